"""Running ``forward``: targets are read and watched, ports opened, until the user, a command or an error ends it.

Theory. Everything happens on the loop; the watchers' threads and the openers of tunnels only hand it what they found.
What goes wrong before all ports listen ends the run with an error, as kubectl has it; what goes wrong later is told,
and mended by trying again. On a node it works without the API server too: ``alone``.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service
from svcdoctor.proxy.alone import Following, Found, NodeView
from svcdoctor.proxy.arguments import ListenAddress
from svcdoctor.proxy.asking import read_target, why_away
from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.childcommand import ChildCommand, environment, in_words
from svcdoctor.proxy.destination import Surroundings
from svcdoctor.proxy.destinations import Destinations
from svcdoctor.proxy.dialways import Dial, choose
from svcdoctor.proxy.forwarder import Event, Listening, Plan, PortForwards, Proxying, Settings, Troubled
from svcdoctor.proxy.listening import bound_addresses, local_sockets
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.netns_find import PodFinder, node_root
from svcdoctor.proxy.socks import SocksProxy
from svcdoctor.proxy.status import ForwardStatus
from svcdoctor.proxy.targets import selection
from svcdoctor.sources.session import ApiSession
from svcdoctor.sources.watching import Watcher

RUNNING_SECONDS = 60.0
"""How long a first pod is waited for: kubectl's --pod-running-timeout."""

LOST = "lost connection to pod"
"""kubectl's words for the end of its session."""


class Closable(Protocol):
    """Something that runs on the loop."""

    def close(self) -> None:
        """End it."""


class ForwardRun:
    """One run of the command. ``session`` is one with the API server, or why there is none; ``tell`` gets the run's
    events, on the thread that calls `run`."""

    def __init__(
        self,
        session: ApiSession | SvcdoctorError,
        plans: Sequence[Plan],
        settings: Settings,
        dial: Dial,
        tell: Callable[[Event], None],
        *,
        running_seconds: float = RUNNING_SECONDS,
        environ: Mapping[str, str] = os.environ,
        finder: PodFinder | None = None,
    ) -> None:
        self.loop = Loop()
        self._session = session
        self._plans = plans
        self._settings = settings
        self._tell_user = tell
        self._finder = finder or PodFinder(node_root())
        self._node = NodeView(self._finder)
        self._dial = dial
        self._running_seconds = running_seconds
        self._environ = environ
        self._chosen = choose(self.loop, dial, session, self._finder, environ, self._tunnel_lost)
        self._way, self.reached_by = self._chosen.way, self._chosen.reached_by
        self._away: SvcdoctorError | None = None
        self._forwards: list[PortForwards] = []
        self._watchers: list[Watcher | Following] = []
        self._waiting = len(plans)
        self._began = False
        self._error: SvcdoctorError | None = None
        self._code = 0
        self._child: ChildCommand | None = None
        self._starting = False
        self._early_signal = 0
        self._command: Sequence[str] = ()
        self._listening: list[Listening] = []
        self._socks: SocksProxy | None = None
        self._tunnels_lost = 0
        self.beside: list[Closable] = []
        """What else runs on the loop, and is closed when that ends."""

    def open_socks(
        self, addresses: Sequence[ListenAddress], port: int, balance: BalancerPolicy | None, namespace: str
    ) -> None:
        """Serve SOCKS clients, too; bare names are in ``namespace``. Raises SvcdoctorError."""
        session = self._session
        if isinstance(session, SvcdoctorError):
            raise session
        sockets = local_sockets(addresses, port, lambda e: self._tell(Troubled("--socks5", e.message)))
        local = bound_addresses(sockets)
        around = Surroundings(self.loop, session, self._way, self._settings, balance, local, self._tell)
        self._socks = SocksProxy(self.loop, sockets, Destinations(around, namespace), self._tell)
        self.beside.append(self._socks)
        self._tell(Proxying(local))

    def status(self) -> ForwardStatus:
        """How it stands; for the loop's thread."""
        ports = [port.status() for forwards in self._forwards for port in forwards.ports]
        socks = self._socks
        if socks is None:
            return ForwardStatus(tuple(ports), (), 0, self._tunnels_lost)
        ports += socks.destinations.status()
        return ForwardStatus(tuple(ports), socks.addresses, socks.refused, self._tunnels_lost)

    def run(self, command: Sequence[str] = ()) -> int:
        """Forward until Ctrl-C, or until ``command``, which is started when all ports listen, has ended.

        Returns the exit code: 0, or the command's own. Raises SvcdoctorError.
        """
        self._command = command
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._interrupted) for number in numbers}
        try:
            for plan in self._plans:
                self._begin(plan)
            self._began = True
            if not self._plans and self._command:
                self._start_command()
            self.loop.call_later(self._running_seconds, self._too_late)
            self.loop.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._end()
        if self._error is not None:
            raise self._error
        return self._code

    # --- targets

    def _begin(self, plan: Plan) -> None:
        session = self._session
        if self._chosen.on_node and self._away is None:
            # Here it can be done without, and is not worth waiting long for.
            self._away = session if isinstance(session, SvcdoctorError) else why_away(session)
        if self._away is not None:
            self._begin_alone(plan, self._away)
        elif not isinstance(session, SvcdoctorError):
            target = read_target(session, plan)
            if isinstance(target, Pod) and self._dial is Dial.NETNS:
                self._check_here(target)
            forwards = self._forward(plan, target if isinstance(target, Service) else None)
            self._watch(session, forwards, target)

    def _check_here(self, pod: Pod) -> None:
        """Raises SvcdoctorError for a pod that runs on another node."""
        if pod.status.phase == "Running" and not self._finder.uids(pod.namespace, pod.name):
            raise SvcdoctorError(
                f"pod {pod.namespace}/{pod.name} runs on node {pod.spec.node_name}, and {self._finder.logs} here has "
                "nothing of it; run svcdoctor there, or choose another way with --dial",
                3,
            )

    def _watch(self, session: ApiSession, forwards: PortForwards, target: KubeObject) -> None:
        """Follow the target's pods by the API."""
        plan = forwards.plan
        wanted = selection(target)
        watcher = Watcher(
            session,
            Kind.POD,
            wanted.namespace,
            labels=wanted.labels,
            name=wanted.pod,
            changed=lambda pods: self._soon(lambda: self._update(forwards, pods)),
            failed=lambda error: self._soon(lambda: self._unwatched(plan, error)),
            outage=lambda error: self._soon(lambda: self._outage(plan, error)),
        )
        self._watchers.append(watcher)
        watcher.start()

    def _begin_alone(self, plan: Plan, away: SvcdoctorError) -> None:
        """Without the API server: by what this node knows, until it answers."""
        try:
            found = self._node.find(plan)
        except SvcdoctorError as e:
            raise SvcdoctorError(
                f"{e.message} (the API server cannot be asked: {away.message})", e.exit_code
            ) from None
        self._tell(Troubled(str(plan.target), f"{found.how}; the API server cannot be asked: {away.message}"))
        forwards = self._forward(plan, found.service)
        forwards.prepared = True
        self.loop.call_soon(lambda: self._offer(forwards, found))
        following = Following(
            self._session,
            self._node,
            plan,
            found,
            changed=lambda found: self._soon(lambda: self._offer(forwards, found)),
            told=lambda error: self._soon(lambda: self._outage(plan, error)),
            back=lambda target: self._soon(lambda: self._answered(forwards, target)),
        )
        self._watchers.append(following)
        following.start()

    def _offer(self, forwards: PortForwards, found: Found) -> None:
        once = self._settings.once
        with self._failing(forwards):
            forwards.offer({r: e[:1] if once else e for r, e in found.endpoints.items()})

    def _answered(self, forwards: PortForwards, target: KubeObject) -> None:
        if isinstance(self._session, SvcdoctorError):
            return
        with self._failing(forwards):
            self._outage(forwards.plan, None)
            if isinstance(target, Service):
                forwards.service = target
            self._watch(self._session, forwards, target)

    def _forward(self, plan: Plan, service: Service | None) -> PortForwards:
        forwards = PortForwards(
            self.loop, self._way, plan, service, self._settings, self._tell, self._plan_opened
        )
        self._forwards.append(forwards)
        return forwards

    def _update(self, forwards: PortForwards, pods: Sequence[KubeObject]) -> None:
        with self._failing(forwards):
            forwards.latest = found = [pod for pod in pods if isinstance(pod, Pod)]
            first = forwards.first(found) if not forwards.prepared else None
            if first is None:
                forwards.update(found)
                if forwards.lost:
                    self._fail(SvcdoctorError(LOST, 1))
                return
            self._way.prepare(first, lambda error: self._prepared(forwards, error))

    def _prepared(self, forwards: PortForwards, error: SvcdoctorError | None) -> None:
        if error is not None:
            self._fail(error)
            return
        forwards.prepared = True
        with self._failing(forwards):
            forwards.update(forwards.latest)

    @contextlib.contextmanager
    def _failing(self, forwards: PortForwards) -> Iterator[None]:
        """An error before all ports listen ends the run; later it is told."""
        try:
            yield
        except SvcdoctorError as e:
            if self._waiting:
                self._fail(e)
            else:
                self._tell(Troubled(str(forwards.plan.target), e.message))

    # --- the run

    def _plan_opened(self) -> None:
        self._waiting -= 1
        if not self._waiting and self._command:
            self._start_command()

    def _tell(self, event: Event) -> None:
        if isinstance(event, Listening):
            self._listening.append(event)
        self._tell_user(event)

    def _tunnel_lost(self, pod: str, why: str) -> None:
        self._tunnels_lost += 1
        self._tell(Troubled(f"pod/{pod}", why))
        if self._settings.once:
            self._fail(SvcdoctorError(LOST, 1))

    def _unwatched(self, plan: Plan, error: SvcdoctorError) -> None:
        if self._away is None:
            self._fail(error)
        else:  # it was done without, and still can be
            self._outage(plan, error)

    def _outage(self, plan: Plan, error: SvcdoctorError | None) -> None:
        why = error.message if error is not None else "the API server answers again"
        self._tell(Troubled(str(plan.target), why))

    def _too_late(self) -> None:
        if self._waiting:
            missing = "; ".join(f"{f.plan.target}: {f.missing}" for f in self._forwards if not f.ports)
            self._fail(SvcdoctorError(f"no pod was ready within {self._running_seconds:.3g} s: {missing}", 1))

    def _soon(self, call: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(call)

    def _fail(self, error: SvcdoctorError) -> None:
        self._error = self._error or error
        self.loop.stop()

    def _interrupted(self, number: int, frame: object) -> None:
        if not self._began:  # a question to the API server is not waited for
            raise SystemExit(128 + number)
        if self._child is not None:
            self._child.interrupted(number)
        elif self._starting:  # it may run already, but cannot be told yet
            self._early_signal = number
        else:
            self.loop.stop()

    def _start_command(self) -> None:
        env = {**self._environ, **environment(self._listening)}
        if self._socks is not None:
            env["SVCDOCTOR_SOCKS5"] = in_words(self._socks.addresses[0])
        self._starting = True
        try:
            self._child = ChildCommand(
                self._command, env, lambda code: self._soon(lambda: self._command_ended(code))
            )
        except SvcdoctorError as e:
            self._fail(e)
            return
        if self._early_signal:
            self._child.interrupted(self._early_signal, early=True)

    def _command_ended(self, code: int) -> None:
        self._child = None
        self._code = code
        self.loop.stop()

    def _end(self) -> None:
        if self._child is not None:  # an error ended the run
            self._child.interrupted(signal.SIGTERM)
        for watcher in self._watchers:
            watcher.close()
        for other in self.beside:
            other.close()
        for forwards in self._forwards:
            forwards.close()
        self._chosen.close()
        self.loop.turn(0.0)
        self.loop.free()
