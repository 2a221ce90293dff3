"""Targets without the API server: what the node itself knows of its pods and of Services.

Theory. A pod of this node has a folder of logs and processes, which tell its addresses. A Service is in kube-proxy's
rules, by its name, with the endpoints that were ready when the API server was heard last; those that are addresses of
pods of this node are such pods, others are addresses. While the API server is away the node is looked at again and
again, and so is whether the API server has come back: from then on it tells.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from svcdoctor.model.base import AnnotatedMeta, KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.model.service import Service, ServicePort, ServiceSpec
from svcdoctor.node.namedservices import RuledPort, ruled_names, ruled_ports
from svcdoctor.proxy.arguments import PortRequest
from svcdoctor.proxy.asking import read_target, why_away
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.forwarder import Plan
from svcdoctor.proxy.netns_find import PodFinder
from svcdoctor.proxy.targets import service_port
from svcdoctor.sources.localnode import local_rules
from svcdoctor.sources.session import ApiSession

PAUSE_SECONDS = 5.0
"""Between two looks; longer where a look takes long, as with very many rules."""

_SHARE = 20  # of the time, at most one part in so many is spent looking
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A target's endpoints by its ports, and in words where they are from. ``service`` has the ports' numbers."""

    service: Service | None
    endpoints: Mapping[PortRequest, list[Endpoint]]
    how: str


class NodeView:
    """Finds targets on this node. ``read_rules`` gives the node's rules."""

    def __init__(self, finder: PodFinder, read_rules: Callable[[], NodeFacts] = local_rules) -> None:
        self._finder = finder
        self._read_rules = read_rules

    def find(self, plan: Plan) -> Found:
        """The target's endpoints. Raises SvcdoctorError, exit code 3, where the node does not know it."""
        if plan.target.kind is Kind.POD:
            return self._pod(plan)
        if plan.target.kind is Kind.SERVICE:
            return self._service(plan)
        raise SvcdoctorError(
            f"{plan.target}: only the API server knows its pods; name a pod of this node (pod/NAME PORT), or a "
            "Service",
            3,
        )

    def _pod(self, plan: Plan) -> Found:
        name = plan.target.name
        addresses = self._finder.addresses(plan.namespace, name)
        endpoints = {}
        for request in plan.ports:
            if isinstance(request.remote, str):
                raise SvcdoctorError(
                    f"{plan.target}: only the API server knows which port is {request.remote!r}; say its number",
                    3,
                )
            ip = addresses[0] if addresses else ""
            endpoints[request] = [Endpoint(ip, request.remote, plan.namespace, name)]
        return Found(None, endpoints, "found in the files of this node")

    def _service(self, plan: Plan) -> Found:
        facts = self._read_rules()
        ports = ruled_ports(facts.raw, plan.namespace, plan.target.name)
        if not ports:
            raise SvcdoctorError(f"{plan.target}: {_why_unknown(facts, plan)}", 3)
        service = _service(plan, ports)
        pods = self._finder.by_address()
        endpoints: dict[PortRequest, list[Endpoint]] = {}
        for request in plan.ports:
            wanted = service_port(service, request)
            found: dict[Endpoint, None] = {}
            for port in ports:
                if wanted is not None and _is(port, wanted):
                    for ip, number in _of_one_family(port):
                        namespace, pod = pods.get(ip, ("", ""))
                        if pod or not plan.all_pods:  # what has no name cannot have a port of its own
                            found[Endpoint(ip, number, namespace, pod)] = None
            endpoints[request] = list(found)
        every = {e for found_ in endpoints.values() for e in found_}
        here = sum(bool(e.pod) for e in every)
        how = f"found in the rules of this node: {_counted(len(every))}, {here} on this node"
        return Found(service, endpoints, how)


def _service(plan: Plan, ports: tuple[RuledPort, ...]) -> Service:
    """The Service, as far as rules tell."""
    return Service(
        kind=Kind.SERVICE,
        metadata=AnnotatedMeta(name=plan.target.name, namespace=plan.namespace),
        spec=ServiceSpec(
            ports=tuple(
                ServicePort(port=p.number, name=p.name.port, protocol=p.name.protocol.upper()) for p in ports
            )
        ),
    )


def _is(port: RuledPort, wanted: ServicePort) -> bool:
    return (port.number, port.name.port, port.name.protocol.upper()) == (
        wanted.port,
        wanted.name,
        wanted.protocol,
    )


def _of_one_family(port: RuledPort) -> list[tuple[str, int]]:
    """A dual-stack Service has each pod twice: once is enough."""
    return [e for e in port.endpoints if ":" not in e[0]] or list(port.endpoints)


def _why_unknown(facts: NodeFacts, plan: Plan) -> str:
    names = ruled_names(facts.raw)
    if not facts.raw:
        why = next(iter(facts.missing.values()), "there are none")
        return f"the rules of this node cannot be read: {why}"
    if not names:
        return (
            "the rules of this node name no Services (kube-proxy's do in iptables and nftables mode); name a pod of "
            "this node: pod/NAME PORT"
        )
    elsewhere = sorted(namespace for namespace, name in names if name == plan.target.name)
    if elsewhere:
        return f"the rules of this node know it in namespace {', '.join(elsewhere[:_SHOWN])}: say -n"
    near = sorted(name for namespace, name in names if namespace == plan.namespace)
    listed = ", ".join(near[:_SHOWN]) + (f" and {len(near) - _SHOWN} more" if len(near) > _SHOWN else "")
    return (
        f"the rules of this node name no such Service in namespace {plan.namespace}, only {listed or 'none'} "
        "(headless ones have no rules); name a pod of this node: pod/NAME PORT"
    )


def _counted(endpoints: int) -> str:
    return "1 endpoint" if endpoints == 1 else f"{endpoints} endpoints"


class Following:
    """Looks at the node for one target, on a thread of its own between `start` and `close`, until the API server
    answers; then it calls ``back`` with the target's object and ends.

    The thread calls ``changed`` with what is found whenever that is something else, and ``told`` with what the API
    server says instead of the object.
    """

    def __init__(
        self,
        session: ApiSession | SvcdoctorError,
        view: NodeView,
        plan: Plan,
        found: Found,
        *,
        changed: Callable[[Found], None],
        told: Callable[[SvcdoctorError], None],
        back: Callable[[KubeObject], None],
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._session = session
        self._view = view
        self._plan = plan
        self._found = found
        self._changed, self._told, self._back = changed, told, back
        self._pause = pause
        self._closed = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="node-view", daemon=True)

    def start(self) -> None:
        """Begin; call it once."""
        self._thread.start()

    def close(self) -> None:
        """End; a question to the API server that is under way is left to end by itself."""
        self._closed.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        pause = self._pause
        while not self._closed.wait(pause):
            if (target := self._ask()) is not None:
                if not self._closed.is_set():
                    self._back(target)
                return
            started = time.monotonic()
            self._look()
            pause = max(self._pause, _SHARE * (time.monotonic() - started))

    def _ask(self) -> KubeObject | None:
        if isinstance(self._session, SvcdoctorError) or why_away(self._session) is not None:
            return None
        try:
            return read_target(self._session, self._plan)
        except SvcdoctorError as e:
            if e.message != self._said and not self._closed.is_set():
                self._said = e.message
                self._told(e)
            return None

    def _look(self) -> None:
        try:
            found = self._view.find(self._plan)
        except SvcdoctorError:  # it is gone; who connects is told
            return
        if found.endpoints != self._found.endpoints and not self._closed.is_set():
            self._found = found
            self._changed(found)
