"""One run of ``proxy``: what is served, where, and by what, put together; and what is answered beside the traffic.

Theory. The control process decides, a plane carries: workers (on addresses that the run holds, where Services' own are
served), or the kernel by rules. What a run serves names its directory, so that the same command finds again what its
control process left when it was killed.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.proxy.asking import why_away
from svcdoctor.proxy.httpanswers import AnswerServer, Respond
from svcdoctor.proxy.kernel.site import Site, site_of
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.accesspipe import AccessPipe, pipe_of
from svcdoctor.proxy.serving.addresses import Where, node_port_addresses
from svcdoctor.proxy.serving.checkedplane import CheckedPlane
from svcdoctor.proxy.serving.choosing import Selection
from svcdoctor.proxy.serving.control import Control, Event, Plane
from svcdoctor.proxy.serving.health import HealthPorts, Healthz
from svcdoctor.proxy.serving.heldplane import HeldPlane
from svcdoctor.proxy.serving.holding import Holding
from svcdoctor.proxy.serving.kubeproxy import of_snapshot
from svcdoctor.proxy.serving.planned import Options, Own
from svcdoctor.proxy.serving.rundir import RunDirectory, run_name, unusable
from svcdoctor.proxy.serving.served import Backend, ServedPort
from svcdoctor.proxy.serving.signals import Signals
from svcdoctor.proxy.serving.supervise import Workers
from svcdoctor.proxy.serving.wire import Counters, Settings
from svcdoctor.sources.localnode import node_here
from svcdoctor.sources.session import ApiSession

HEALTH_SECONDS = 1.0
"""Between two looks which healthCheckNodePorts there are."""

Source = ApiSession | Snapshot | tuple[ServedPort, ...]
"""Who says what is served: the API server, a snapshot, or nobody, where the ports are given."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Rules carry the traffic, with ``takeover`` also what kube-proxy's rules carry."""

    takeover: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked for. ``node`` is this machine's, empty to find it out; ``kernel`` is None for workers,
    ``log`` is where the lines of an access log go that is no file, and ``check_seconds`` is the time between two checks
    of an endpoint, 0 for none."""

    source: Source
    selection: Selection
    where: Where
    options: Options
    settings: Settings
    workers: int
    node: str = ""
    kernel: Kernel | None = None
    log: Callable[[bytes], None] | None = None
    check_seconds: float = 0.0

    @property
    def name(self) -> str:
        """What it serves."""
        given = self.source if isinstance(self.source, tuple) else ()
        where = replace(self.where, machine=())
        return run_name(f"{self.selection} {where} {[port.key for port in given]}")


class ProxyRun:
    """``tell`` gets its events, on the thread that calls `run`."""

    def __init__(self, asked: Asked, tell: Callable[[Event], None]) -> None:
        self.loop = Loop()
        self.control = Control(self.loop, asked.options, tell)
        self._asked = asked
        self._servers: list[AnswerServer] = []
        self._workers: Workers | None = None
        self._checked: CheckedPlane | None = None
        self._health = HealthPorts(self.loop, lambda: self.control.healthy, self.control.note)

    # --- what is answered beside the traffic

    def answer(self, sockets: Sequence[socket.socket], respond: Respond) -> None:
        """Answer HTTP on these listening sockets as long as it runs."""
        self._servers.append(AnswerServer(self.loop, sockets, respond))

    @property
    def healthz(self) -> Respond:
        return Healthz(lambda: self.control.ports, lambda: self.control.healthy)

    @property
    def ports(self) -> tuple[ServedPort, ...]:
        """What is served, as far as it is known."""
        return self.control.ports

    @property
    def healthy(self) -> bool:
        """Whether that is known, and all of it is served."""
        return self.control.healthy

    @property
    def unserved(self) -> dict[str, str]:
        """Why ports are not served everywhere that they should be, by key."""
        return self._workers.unserved if self._workers is not None else {}

    def answers(self, backend: Backend) -> bool | None:
        """Whether an endpoint answers when it is checked; None where none is."""
        return self._checked.answers(backend) if self._checked is not None else None

    def count(self, done: Callable[[Counters], None]) -> None:
        """Have ``done`` called with the counts of all workers."""
        if self._workers is None:
            done(Counters(0, 0, False, ()))
        else:
            self._workers.count(done)

    # --- running

    def run(self) -> int:
        """Serve until a signal; returns the exit code. Raises SvcdoctorError."""
        with Signals() as signals, contextlib.ExitStack() as stack:
            stack.callback(self.loop.free)
            stack.callback(self.loop.turn, 0.0)
            for server in self._servers:
                stack.callback(server.close)
            stack.callback(self._health.close)
            plane = self._kernel(self._asked.kernel) if self._asked.kernel else self._by_workers(stack)
            if self._asked.check_seconds:
                plane = self._checked = CheckedPlane(
                    self.loop, plane, self._asked.check_seconds, self.control.note
                )
            signals.tell(self.control.interrupted)
            with self._explained():
                self._begin()
                self.control.run(plane)
        return signals.code

    def dry_run(self) -> tuple[ServedPort, ...]:
        """What would be served first. Raises SvcdoctorError."""
        looking = _Looking(self.loop)
        with contextlib.ExitStack() as stack:
            stack.callback(self.loop.free)
            stack.callback(self.loop.turn, 0.0)
            with self._explained():
                self._begin(health=False)
                self.control.run(looking)
        return self.control.ports

    def _begin(self, health: bool = True) -> None:
        asked, source = self._asked, self._asked.source
        if isinstance(source, ApiSession):
            in_its_place = asked.where.node_ports or asked.where.cluster_ips or asked.kernel is not None
            self.control.watch(source, asked.selection, asked.node, in_its_place)
        elif isinstance(source, Snapshot):
            name = asked.node or node_here(source.nodes)
            own = Own(name, source.node(name) if name else None, of_snapshot(source, name))
            self.control.take(source, asked.selection, own)
        else:
            self.control.fix(source)
        if health and asked.where.node_ports:
            self._open_health_ports()

    def _kernel(self, wanted: Kernel) -> Plane:
        from svcdoctor.proxy.kernel import apply  # not needed by workers, and large
        from svcdoctor.proxy.kernel.plane import KernelPlane

        control = self.control
        apply.check_nft()
        if not apply.installed():
            self._check_reachable()
        return KernelPlane(
            self.loop,
            self.site,
            wanted.takeover,
            self._asked.settings.drain_seconds,
            tell=control.note,
            held=control.held,
            failed=control.failed,
        )

    def _check_reachable(self) -> None:
        """Where nothing of an earlier run serves, nothing is served without an answer. Raises SvcdoctorError."""
        source = self._asked.source
        away = why_away(source) if isinstance(source, ApiSession) else None
        if away is not None:
            raise away

    def site(self) -> Site:
        """What rules must know of this node."""
        return site_of(self.control.store.own)

    def _by_workers(self, stack: contextlib.ExitStack) -> Plane:
        asked, control = self._asked, self.control
        settings = asked.settings
        directory = RunDirectory(asked.name)
        directory.lock()
        stack.callback(directory.release)
        if asked.log is not None:
            try:
                pipe = AccessPipe(self.loop, pipe_of(directory.path), asked.log)
            except OSError as e:
                raise unusable(directory.path, e) from None
            stack.callback(pipe.close)
            settings = structs.replace(settings, access_log=str(pipe_of(directory.path)))
        fresh = not directory.living_workers()
        if fresh:
            self._check_reachable()
        workers = self._workers = Workers(
            self.loop,
            directory,
            settings,
            asked.workers,
            tell=control.note,
            held=control.held,
            recalled=control.recalled,
            failed=control.failed,
        )
        holding = Holding(directory, control.note)
        stack.callback(holding.close)
        return HeldPlane(
            self.loop,
            workers,
            holding,
            settings.drain_seconds,
            fresh and (bool(asked.selection.name) or isinstance(asked.source, tuple)),
            control.note,
            control.failed,
        )

    def _open_health_ports(self) -> None:
        """Keep the healthCheckNodePorts of what is served open."""
        store, machine = self.control.store, self._asked.where.machine
        places = {
            (ip, check.port): check
            for check in store.health_checks
            for ip in node_port_addresses(store.own, machine, check.family)
        }
        self._health.serve(places)
        self.loop.call_later(HEALTH_SECONDS, self._open_health_ports)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Where the one Service is listened for nowhere, tells why."""
        try:
            yield
        except SvcdoctorError:
            found = next(iter(self.control.store.services), None)
            if self._asked.selection.name and found is not None and not self.control.ports:
                why = self._asked.where.problem(found)
                if why:
                    raise SvcdoctorError(why) from None
            raise


class _Looking:
    """A plane that carries nothing: the run ends with the first state."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def start(self) -> None:
        """There is nothing to begin."""

    def put(self, ports: Iterable[ServedPort], whole: bool = False) -> None:
        self._loop.stop()

    def remove(self, keys: Iterable[str]) -> None:
        """There is nothing to remove."""

    def drain(self, ended: Callable[[], None]) -> None:
        ended()

    stop = abandon = drain
