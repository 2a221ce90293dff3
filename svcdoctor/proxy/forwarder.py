"""``forward`` as a whole: targets whose pods are watched, and the local ports that lead to them, on one loop.

Theory. A target begins as its object, read once; a watcher on a thread of its own then tells which pods it has, and
each change becomes the endpoints of its ports. A port is listened on when its first endpoint can be reached, so that
who reads "Forwarding from" can connect. From then on nothing ends it but the user: pods come and go, tunnels are
opened again, and the API server may be away. With ``once`` it is as kubectl's port-forward: one pod, and its end.

What may live here: when a port opens and what it offers. What becomes of a client: ``forwarding``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service
from svcdoctor.proxy import forwarding
from svcdoctor.proxy.arguments import ForwardTarget, ListenAddress, PortRequest
from svcdoctor.proxy.balance import Balancer, BalancerPolicy, make_policy
from svcdoctor.proxy.datagramforward import DatagramForwarding, check_datagrams
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.listener import Address, Listener
from svcdoctor.proxy.listening import bound_addresses, local_sockets
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.reach import Way
from svcdoctor.proxy.status import PortStatus
from svcdoctor.proxy.tally import Tally
from svcdoctor.proxy.targets import endpoints, local_port

_SHOWN = 3
"""Pods that a message lists."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One target to forward to, with the options that are its own. ``balance`` ``None`` is kubectl's way: one pod
    for a pod, round-robin for what has several."""

    target: ForwardTarget
    namespace: str
    ports: tuple[PortRequest, ...]
    addresses: tuple[ListenAddress, ...]
    balance: BalancerPolicy | None = None
    all_pods: bool = False


@dataclass(frozen=True, slots=True)
class Listening:
    """A local port is open and leads to ``remote``, a number in the pod; ``pod`` where it is for that one only."""

    ip: str
    local: int
    remote: int
    plan: Plan
    request: PortRequest
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Proxying:
    """The SOCKS proxy listens."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """The endpoints that new connections of a port go to, from now on."""

    plan: Plan
    request: PortRequest
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Troubled:
    """Something that does not end the forwards: the API server is away, a tunnel was lost, a port has no pod."""

    what: str
    why: str


Event = Listening | Proxying | Offered | Troubled | forwarding.Event
Tell = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all targets. ``wait`` is in seconds."""

    wait: float = 30.0
    seed: int = 0
    once: bool = False


class PortForwards:
    """The local ports of one plan. ``opened`` is called once, when all of them listen."""

    def __init__(
        self,
        loop: Loop,
        way: Way,
        plan: Plan,
        service: Service | None,
        settings: Settings,
        tell: Tell,
        opened: Callable[[], None],
    ) -> None:
        self.loop = loop
        self.way = way
        self.plan = plan
        self.service = service
        self.settings = settings
        self.tell = tell
        self._opened: Callable[[], None] | None = opened
        self._ports: dict[tuple[PortRequest, str], _Port] = {}
        self._slots: dict[str, int] = {}  # of pods that have a port of their own
        self.prepared = False
        """Whether the way to the pods was found to work."""
        self.latest: Sequence[Pod] = ()
        """The pods as they were told last."""
        self._only = ""  # the pod that ``once`` stays with

    def first(self, pods: Sequence[Pod]) -> Endpoint | None:
        """An endpoint that some port leads to. Raises SvcdoctorError as `update` does."""
        named = self.plan.target.kind is Kind.POD
        found = [e for r in self.plan.ports for e in endpoints(pods, r, self.service, named=named)]
        return found[0] if found else None

    def update(self, pods: Sequence[Pod]) -> None:
        """The target's pods changed. Raises SvcdoctorError where a port was asked for that there is not."""
        named = self.plan.target.kind is Kind.POD
        if self.settings.once:
            if not self._only and (first := self.first(pods)) is not None:
                self._only = first.pod
            named = named or bool(self._only)
            pods = [pod for pod in pods if pod.name == self._only or not self._only]
        self.offer({r: endpoints(pods, r, self.service, named=named) for r in self.plan.ports})

    def offer(self, offered: Mapping[PortRequest, list[Endpoint]]) -> None:
        """New connections of each port go to these endpoints. Raises SvcdoctorError where it cannot be opened."""
        for request, found in offered.items():
            if not self.plan.all_pods:
                self._offer(request, "", found)
                continue
            for endpoint in found:
                self._slots.setdefault(endpoint.pod, len(self._slots))
                self._offer(request, endpoint.pod, [endpoint])
            gone = {pod for asked, pod in self._ports if asked is request} - {e.pod for e in found}
            for pod in gone:
                self._offer(request, pod, [])
        self._tell_when_open()

    def _tell_when_open(self) -> None:
        asked = {request for request, _ in self._ports}
        if self._opened is not None and asked.issuperset(self.plan.ports):
            opened, self._opened = self._opened, None
            opened()

    def close(self) -> None:
        """Listen no more, and end what is connected."""
        for port in self._ports.values():
            port.close()

    @property
    def ports(self) -> list[_Port]:
        return list(self._ports.values())

    @property
    def lost(self) -> bool:
        """Whether the one pod of ``once`` is gone."""
        return bool(self._only) and not any(p.name == self._only and not p.finished for p in self.latest)

    @property
    def missing(self) -> str:
        """Why there is nothing to forward to: what its pods are instead of ready."""
        pods = [f"{pod.name} is {_state(pod)}" for pod in self.latest[:_SHOWN]]
        more = [f"and {len(self.latest) - _SHOWN} more"] if len(self.latest) > _SHOWN else []
        return ", ".join(pods + more) or "it has no pods"

    def _offer(self, request: PortRequest, pod: str, found: list[Endpoint]) -> None:
        port = self._ports.get((request, pod))
        if port is None:
            if not found:
                return
            local = local_port(request, self.service, found) or 0
            local += self._slots.get(pod, 0) if local else 0
            port = self._ports[request, pod] = _Port(self, request, pod)
            try:
                port.listen(local, found[0].port)
            except SvcdoctorError:
                del self._ports[request, pod]
                raise
        if port.offer(found):
            self.tell(Offered(self.plan, request, tuple(found)))


def _state(pod: Pod) -> str:
    if pod.terminating:
        return "being deleted"
    return "not ready" if pod.status.phase == "Running" else (pod.status.phase or "unknown").lower()


class _Port:
    """One local port, on every address, and what it leads to."""

    def __init__(self, owner: PortForwards, request: PortRequest, pod: str) -> None:
        self._owner = owner
        self.request = request
        self.pod = pod
        plan = owner.plan
        one = BalancerPolicy.STICKY if plan.target.kind is Kind.POD else BalancerPolicy.ROUND_ROBIN
        loop = owner.loop
        self.balancer = Balancer(make_policy(plan.balance or one, owner.settings.seed, lambda: loop.now))
        self._forwards: forwarding.Forwarding | DatagramForwarding | None = None
        self._listeners: list[Listener] = []
        self._tally = Tally(lambda: loop.now, owner.tell)
        self._addresses: tuple[Address, ...] = ()
        self.local = self._remote = 0

    def listen(self, local: int, remote: int) -> None:
        """Open the port. Raises SvcdoctorError."""
        owner, udp = self._owner, self.request.protocol == "UDP"
        carrier = check_datagrams(owner.way) if udp else None
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        sockets = local_sockets(
            owner.plan.addresses,
            local,
            lambda error: owner.tell(Troubled(str(owner.plan.target), error.message)),
            kind,
        )
        self.local, self._remote = sockets[0].getsockname()[1], remote
        self._addresses = bound_addresses(sockets)
        if carrier is not None:
            self._forwards = DatagramForwarding(owner.loop, carrier, self.balancer, self.local, self._tally)
            for sock in sockets:
                ip = sock.getsockname()[0]
                self._forwards.add(sock)
                owner.tell(Listening(ip, self.local, remote, owner.plan, self.request, self.pod))
            return
        self._forwards = forwarding.Forwarding(
            owner.loop, owner.way, self.balancer, self.local, owner.settings.wait, self._tally
        )
        for sock in sockets:
            listener = Listener(owner.loop, sock, self._forwards.accept)
            self._listeners.append(listener)
            owner.tell(Listening(listener.address[0], self.local, remote, owner.plan, self.request, self.pod))

    def offer(self, found: Sequence[Endpoint]) -> bool:
        """Offer these endpoints. Returns whether they are others than before."""
        assert self._forwards is not None
        if tuple(found) == self.balancer.offered:
            return False
        self._forwards.offer(found)
        return True

    def status(self) -> PortStatus:
        """How it stands."""
        moving = self._forwards.moving() if isinstance(self._forwards, forwarding.Forwarding) else ()
        plan, ready = self._owner.plan, len(self.balancer.offered)
        counts = self._tally.counts(moving)
        return PortStatus(
            self._addresses, plan.namespace, plan.target, self.request, self._remote, self.pod, ready, counts
        )

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        if self._forwards is not None:
            self._forwards.close()
