"""One Service, or one pod, that clients of the SOCKS proxy asked for: watched, with a forwarding for each port.

Theory. A watch of the one Service tells what it is and, later, that it became another one; a watch of its pods tells
the endpoints. Whoever asks for a port waits until both are known and the way to the first pod was found to work, and
then belongs to the port's `Forwarding`, which balances, tries again and waits as for any local port. What no waiting
changes is told at once: no such Service, no such port, forbidden.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import Forbidden, SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service
from svcdoctor.proxy.arguments import ForwardTarget, PortRequest
from svcdoctor.proxy.balance import Balancer, BalancerPolicy, make_policy
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.forwarder import Offered, Plan, Settings, Tell
from svcdoctor.proxy.forwarding import Forwarding
from svcdoctor.proxy.listener import Address
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.reach import Way
from svcdoctor.proxy.socks5 import Reply
from svcdoctor.proxy.status import PortStatus
from svcdoctor.proxy.tally import Tally
from svcdoctor.proxy.targets import Selection, endpoints, selection
from svcdoctor.sources.session import ApiSession
from svcdoctor.sources.watching import Watcher


class Asker(Protocol):
    """Who asked for a port. One of these is called once."""

    def given(self, forwarding: Forwarding) -> None:
        """It may go there."""

    def refused(self, reply: Reply, why: str) -> None:
        """It may not, or cannot."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all destinations of one proxy share."""

    loop: Loop
    session: ApiSession
    way: Way
    settings: Settings
    balance: BalancerPolicy | None
    addresses: tuple[Address, ...]
    tell: Tell


class Destination:
    """Watched from `start` to `close`. ``useless`` is called when there is nothing to be had here."""

    def __init__(
        self, around: Surroundings, namespace: str, target: ForwardTarget, useless: Callable[[], None]
    ) -> None:
        self.namespace = namespace
        self.target = target
        self.used = around.loop.now
        """When it was last asked for."""
        self.around = around
        self._useless = useless
        self._service: Service | None = None
        self._pods: list[Pod] | None = None
        self._selection: Selection | None = None
        self._refusal: tuple[Reply, str] | None = None  # what everybody is told now
        self._outage = ""
        self._prepared = self._preparing = self._closed = False
        self._waiting: dict[Asker, tuple[int, Timer]] = {}
        self._ports: dict[int, _Port] = {}
        self._watchers: dict[Kind, Watcher] = {}

    def start(self) -> None:
        """Begin to watch."""
        if self.target.kind is Kind.POD:
            self._watch_pods(Selection(self.namespace, pod=self.target.name))
        else:
            self._watch(Kind.SERVICE, self._service_changed, name=self.target.name)

    def ask(self, port: int, asker: Asker) -> None:
        """Give the asker a forwarding to the port, or a refusal, now or later."""
        around = self.around
        self.used = around.loop.now
        timer = around.loop.call_later(around.settings.wait, lambda: self._waited(asker))
        self._waiting[asker] = (port, timer)
        self._settle()

    def withdraw(self, asker: Asker) -> None:
        """The asker does not want it any more."""
        _, timer = self._waiting.pop(asker, (0, None))
        if timer is not None:
            timer.cancel()

    @property
    def busy(self) -> bool:
        """Whether anybody waits here or is connected."""
        return bool(self._waiting) or any(port.forwarding.clients for port in self._ports.values())

    def status(self) -> list[PortStatus]:
        """How its ports stand."""
        return [port.status() for port in self._ports.values()]

    def close(self) -> list[threading.Thread]:
        """End what is connected, and the watches; those end on the threads that are returned."""
        self._closed = True
        for asker in list(self._waiting):
            self.withdraw(asker)
        for port in self._ports.values():
            port.forwarding.close()
        watchers, self._watchers = self._watchers, {}
        return [_ending(watcher) for watcher in watchers.values()]

    # --- what the API tells

    def _watch(
        self,
        kind: Kind,
        changed: Callable[[tuple[KubeObject, ...]], None],
        *,
        name: str = "",
        labels: str = "",
    ) -> None:
        watcher = Watcher(
            self.around.session,
            kind,
            self.namespace,
            name=name,
            labels=labels,
            changed=lambda objects: self._soon(kind, watcher, lambda: changed(objects)),
            failed=lambda error: self._soon(kind, watcher, lambda: self._failed(error)),
            outage=lambda error: self._soon(kind, watcher, lambda: self._outaged(error)),
        )
        before, self._watchers[kind] = self._watchers.get(kind), watcher
        if before is not None:
            _ending(before)
        watcher.start()

    def _soon(self, kind: Kind, watcher: Watcher, call: Callable[[], None]) -> None:
        """On the loop, unless the watch has been replaced by then."""

        def now() -> None:
            if self._watchers.get(kind) is watcher:
                call()

        self.around.loop.call_soon_threadsafe(now)

    def _watch_pods(self, wanted: Selection) -> None:
        self._selection, self._pods = wanted, None
        self._watch(Kind.POD, self._pods_changed, name=wanted.pod, labels=wanted.labels)

    def _service_changed(self, objects: Sequence[KubeObject]) -> None:
        service = next((o for o in objects if isinstance(o, Service)), None)
        self._service, self._refusal = service, None
        if service is None:
            why = f"no Service {self.target.name} in namespace {self.namespace}"
            self._refuse_all(Reply.HOST_UNREACHABLE, why)
            return
        try:
            wanted = selection(service)
        except SvcdoctorError as e:
            self._refuse_all(Reply.HOST_UNREACHABLE, e.message)
            return
        if wanted != self._selection:
            self._watch_pods(wanted)
        self._settle()

    def _pods_changed(self, objects: Sequence[KubeObject]) -> None:
        self._pods = [o for o in objects if isinstance(o, Pod)]
        if self.target.kind is Kind.POD:
            self._refusal = None
            if not self._pods:
                why = f"no pod {self.target.name} in namespace {self.namespace}"
                self._refuse_all(Reply.HOST_UNREACHABLE, why)
        self._settle()

    def _failed(self, error: SvcdoctorError) -> None:
        self._selection = None
        forbidden = isinstance(error, Forbidden)
        self._refuse_all(Reply.NOT_ALLOWED if forbidden else Reply.GENERAL_FAILURE, error.message)

    def _outaged(self, error: SvcdoctorError | None) -> None:
        self._outage = error.message if error is not None else ""

    # --- who asks

    def _settle(self) -> None:
        """Offer each port what it has now, and give or refuse those who wait what can be said now."""
        if self._closed:
            return
        if self._refusal is not None:
            self._refuse_all(*self._refusal)
            return
        if self.target.kind is not Kind.POD and self._service is None:
            return
        for port in self._ports.values():
            port.offer(self._endpoints(port.request))
        for asker, (number, _) in list(self._waiting.items()):
            if asker in self._waiting:
                self._answer(asker, number)

    def _answer(self, asker: Asker, number: int) -> None:
        found = self._endpoints(PortRequest(str(number), number))
        if isinstance(found, SvcdoctorError):
            self._refuse(asker, Reply.REFUSED, found.message)
        elif self._pods is None or self._preparing:
            pass  # what is missing will come, and settle this
        elif found and not self._prepared:
            self._preparing = True
            self.around.way.prepare(found[0], self._way_found)
        else:
            self.withdraw(asker)
            port = self._ports.get(number)
            if port is None:
                port = self._ports[number] = _Port(self, number)
                port.offer(found)
            asker.given(port.forwarding)

    def _way_found(self, error: SvcdoctorError | None) -> None:
        self._preparing = False
        if isinstance(error, Forbidden):
            for asker in list(self._waiting):
                self._refuse(asker, Reply.NOT_ALLOWED, error.message)
            return
        self._prepared = True  # or the forwarding finds another way, or says why there is none
        self._settle()

    def _endpoints(self, request: PortRequest) -> list[Endpoint] | SvcdoctorError:
        try:
            named = self.target.kind is Kind.POD
            return endpoints(self._pods or (), request, self._service, named=named)
        except SvcdoctorError as e:
            return e

    def _refuse(self, asker: Asker, reply: Reply, why: str) -> None:
        self.withdraw(asker)
        asker.refused(reply, why)

    def _refuse_all(self, reply: Reply, why: str) -> None:
        """Refuse whoever waits, and who asks from now on."""
        self._refusal = reply, why
        for port in self._ports.values():
            port.offer([])
        for asker in list(self._waiting):
            self._refuse(asker, reply, why)
        if not self.busy:
            self._useless()

    def _waited(self, asker: Asker) -> None:
        if asker in self._waiting:
            why = self._outage or f"nothing is known of {self.target} after {self.around.settings.wait:.3g} s"
            self._refuse(asker, Reply.HOST_UNREACHABLE, why)


class _Port:
    """A port of the destination that was asked for."""

    def __init__(self, owner: Destination, number: int) -> None:
        self.request = PortRequest(str(number), number)
        around = owner.around
        loop = around.loop
        policy = around.balance or BalancerPolicy.ROUND_ROBIN
        self._owner = owner
        self._balancer = Balancer(make_policy(policy, around.settings.seed, lambda: loop.now))
        self._tally = Tally(lambda: loop.now, around.tell)
        local = around.addresses[0][1]
        self.forwarding = Forwarding(
            loop, around.way, self._balancer, local, around.settings.wait, self._tally
        )
        self._plan = Plan(owner.target, owner.namespace, (self.request,), (), around.balance)

    def offer(self, found: list[Endpoint] | SvcdoctorError) -> None:
        """From now on there are these; none, where there is no such port any more."""
        offered = () if isinstance(found, SvcdoctorError) else tuple(found)
        if offered != self._balancer.offered:
            self.forwarding.offer(offered)
            self._owner.around.tell(Offered(self._plan, self.request, offered))

    def status(self) -> PortStatus:
        owner, offered = self._owner, self._balancer.offered
        remote = offered[0].port if offered else 0
        counts = self._tally.counts(self.forwarding.moving())
        where = owner.around.addresses
        return PortStatus(
            where, owner.namespace, owner.target, self.request, remote, "", len(offered), counts, socks=True
        )


def _ending(watcher: Watcher) -> threading.Thread:
    """A thread that ends a watch, which may have to wait for the server."""
    thread = threading.Thread(target=watcher.close, name="end of a watch", daemon=True)
    thread.start()
    return thread
