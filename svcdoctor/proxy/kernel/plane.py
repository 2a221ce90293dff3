"""The kernel as a plane of the control process: nftables rules carry the traffic, one transaction for each change.

Theory. Before the first rules are loaded the evaluator runs them among the rules of this node: where a rule of others
drops what they send, they cannot help; where kube-proxy's rules already do what they would, they are not wanted. After
they are loaded it runs what the kernel lists. Rules outlive the process: those of a run that was killed go on, and the
next run replaces them in one transaction, with the clients that they remember.

What may live here: what is done when. The rules are in ``compile``, nft in ``apply``, the comparison in ``verify``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.kernel import apply
from svcdoctor.proxy.kernel.apply import NotLoaded
from svcdoctor.proxy.kernel.claim import Claim
from svcdoctor.proxy.kernel.compile import Ruleset, compiled, idle_table
from svcdoctor.proxy.kernel.delta import delta
from svcdoctor.proxy.kernel.ending import Ending
from svcdoctor.proxy.kernel.flows import forget_stale
from svcdoctor.proxy.kernel.judge import Judge
from svcdoctor.proxy.kernel.layout import IPS, TABLE
from svcdoctor.proxy.kernel.recheck import Recheck
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.kernel.verify import Contradiction, Verified
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.serving.served import ServedPort

VERIFY_SECONDS = 0.7
"""How long the evaluator is asked before rules are loaded; of the ports that are left nothing is said."""

CHANGE_SECONDS = 0.02
"""How long it is asked about a change."""

GUARD_SECONDS = 10.0
"""Between two looks whether the tables are still there: a firewall that is loaded anew may take them away."""

_TOLD = 5  # contradictions that are told in full


class KernelPlane:
    """``site`` tells how packets of pods are told; it is asked at each change. ``takeover`` says that rules which work
    are shadowed, ``drain_seconds`` how long a drain waits for connections. ``held`` is called when all that was put is
    served, ``failed`` where it cannot be, ``tell`` with lines for the user."""

    def __init__(
        self,
        loop: Loop,
        site: Callable[[], Site],
        takeover: bool,
        drain_seconds: float,
        *,
        tell: Callable[[str], None],
        held: Callable[[], None],
        failed: Callable[[SvcdoctorError], None],
    ) -> None:
        self._loop = loop
        self._site = site
        self._takeover = takeover
        self._drain_seconds = drain_seconds
        self._ending: Ending | None = None
        self._tell, self._held, self._failed = tell, held, failed
        self._claim: Claim | None = None
        self._judge: Judge | None = None
        self._wanted: Ruleset | None = None
        self._loaded: Ruleset | None = None
        self._put: dict[str, ServedPort] = {}
        self._removed: dict[str, None] = {}
        self._waiting = False
        self._guard: Timer | None = None
        self._recheck: Recheck | None = None
        self._told: set[tuple[object, ...]] = set()

    # --- as the control process calls it

    def start(self) -> None:
        """Make sure that rules can be loaded. Those of an earlier run go on until there is something to serve."""
        apply.check_nft()
        self._claim = Claim()

    def put(self, ports: Iterable[ServedPort], whole: bool = False) -> None:
        """Serve these from now on; with ``whole`` no others."""
        given = {port.key: port for port in ports}
        if whole:
            self._removed.update(dict.fromkeys((*(self._wanted.ports if self._wanted else ()), *self._put)))
            self._put.clear()
        for key in given:
            self._removed.pop(key, None)
        self._put.update(given)
        self._soon()

    def remove(self, keys: Iterable[str]) -> None:
        """Serve these no longer."""
        for key in keys:
            self._put.pop(key, None)
            self._removed[key] = None
        self._soon()

    def drain(self, ended: Callable[[], None]) -> None:
        """Remove the rules; connections that there are go on, or have the time of a drain where they cannot."""
        self._end(ended, self._drain_seconds)

    def stop(self, ended: Callable[[], None]) -> None:
        """Remove the rules; connections that there are go on, or are cut off where they cannot."""
        if self._ending is not None:
            self._ending.end()
        else:
            self._end(ended, 0.0)

    def abandon(self, ended: Callable[[], None]) -> None:
        """As `drain`; rules of an earlier run that were not replaced go on."""
        if self._loaded is not None:
            self._end(ended, self._drain_seconds)
        else:
            self._release(ended)

    # --- what it does

    def _soon(self) -> None:
        """What is asked for in one turn is one transaction."""
        if not self._waiting:
            self._waiting = True
            self._loop.call_soon(self._apply)

    def _apply(self) -> None:
        self._waiting = False
        if self._claim is None or self._ending is not None:
            return
        put, removed = tuple(self._put.values()), tuple(self._removed)
        self._put, self._removed = {}, {}
        try:
            if self._wanted is None:
                self._begin(put)
            else:
                self._change(self._wanted, put, removed)
        except SvcdoctorError as e:
            self._failed(e)

    def _begin(self, ports: tuple[ServedPort, ...]) -> None:
        site = self._site()
        ruleset = compiled(ports, site)
        judge = self._judge = Judge(site)
        if judge.unknown:
            self._tell(f"the rules could not be verified: {judge.unknown}")
        elif not self._takeover:
            _refuse_to_shadow(judge, ports)
        before = judge.compiled(ruleset, ruleset.ports, VERIFY_SECONDS)
        _refuse_in_vain(before)
        tables = judge.tables()
        loaded = "".join(ruleset.table(ip, apply.remembered(tables, ip)) for ip in ruleset.families)
        earlier = (
            ip for ip in IPS.values() if f"{ip} {TABLE}" in tables.tables and ip not in ruleset.families
        )
        apply.apply("".join(map(idle_table, earlier)) + loaded)
        self._wanted = self._loaded = ruleset
        self._report(before.contradictions)
        self._forget(ports, ())
        self._held()
        if not judge.unknown:
            self._recheck = Recheck(self._loop, ruleset, self._rechecked)
        self._guard = self._loop.call_later(GUARD_SECONDS, self._look)

    def _change(self, old: Ruleset, put: tuple[ServedPort, ...], removed: tuple[str, ...]) -> None:
        site = self._site()
        gone = tuple(port for key in removed if (port := old.ports.get(key)) is not None)
        if site == old.site:
            self._wanted = old.changed(put, removed)
        else:
            kept = {key: port for key, port in old.ports.items() if key not in removed}
            self._wanted = compiled((kept | {port.key: port for port in put}).values(), site)
        if self._judge is not None:
            keys = (port.key for port in put)
            self._report(self._judge.compiled(self._wanted, keys, CHANGE_SECONDS).contradictions)
        if self._load():
            self._forget(put, gone)
            self._held()

    def _load(self) -> bool:
        """Have the kernel do what is wanted. What cannot be loaded now is tried again; until then the rules before
        hold."""
        old, new = self._loaded, self._wanted
        if old is None or new is None:
            return False
        try:
            if old.site != new.site or not _changed(old, new):
                gone = (ip for ip in old.families if ip not in new.families)
                apply.apply("".join(map(idle_table, gone)) + new.text)
        except SvcdoctorError as e:
            self._tell(f"{e.message}; the rules before hold, it is tried again")
            return False
        self._loaded = new
        return True

    def _look(self) -> None:
        """Load what could not be loaded, and again what somebody removed."""
        self._guard = self._loop.call_later(GUARD_SECONDS, self._look)
        if self._loaded is None:
            return
        if self._loaded is not self._wanted:
            if self._load():
                self._held()
            return
        try:
            if not all(apply.present(ip) for ip in self._loaded.families):
                apply.apply(self._loaded.text)
                self._tell("something removed the rules from this node: they are loaded again")
        except SvcdoctorError as e:
            self._tell(e.message)

    def _rechecked(self, ruleset: Ruleset, found: tuple[Contradiction, ...]) -> None:
        """Of ports that were changed meanwhile nothing can be said."""
        now = self._loaded.ports if self._loaded is not None else {}
        self._report(tuple(c for c in found if now.get(c.key) is ruleset.ports[c.key]))

    def _forget(self, served: Iterable[ServedPort], gone: Iterable[ServedPort]) -> None:
        try:
            forget_stale(served, gone)
        except OSError as e:
            self._tell(f"UDP flows that there were before stay where they are: {e.strerror or e}")

    def _report(self, contradictions: tuple[Contradiction, ...]) -> None:
        """Tell what was not told yet."""
        by_kind = {(c.key, c.listen, c.client, c.rule or c.problem): c for c in contradictions}
        new = [c for kind, c in by_kind.items() if kind not in self._told]
        self._told |= by_kind.keys()
        for contradiction in new[:_TOLD]:
            self._tell(_words(contradiction))
        if len(new) > _TOLD:
            self._tell(f"and {len(new) - _TOLD} more packets that do not end as they should")

    def _end(self, ended: Callable[[], None], seconds: float) -> None:
        """Of a drain that has begun it is `stop` alone that changes anything."""
        if self._ending is not None:
            return
        self._stop_looking()
        ports = tuple(self._loaded.ports.values()) if self._loaded is not None else ()
        self._ending = Ending(self._loop, ports, seconds, self._tell, lambda: self._release(ended))

    def _release(self, ended: Callable[[], None]) -> None:
        self._stop_looking()
        if self._claim is not None:
            self._claim.release()
            self._claim = None
        self._loop.call_soon(ended)

    def _stop_looking(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
        if self._recheck is not None:
            self._recheck.close()


def _changed(old: Ruleset, new: Ruleset) -> bool:
    """Whether the change alone could be loaded: not where somebody changed or removed the tables."""
    try:
        apply.apply(delta(old, new))
    except NotLoaded:
        return False
    return True


def _refuse_to_shadow(judge: Judge, ports: tuple[ServedPort, ...]) -> None:
    """Raises SvcdoctorError where rules of others carry a port as they should."""
    verified = judge.others(ports, VERIFY_SECONDS)
    wrong = {c.key for c in verified.contradictions if not c.masquerading}
    theirs = (p for p in ports[: verified.ports] if any(listen.kind != "local" for listen in p.listens))
    working = [port.key for port in theirs if port.key not in wrong]
    if working:
        more = f" (and {len(working) - 1} more)" if len(working) > 1 else ""
        raise SvcdoctorError(
            f"{working[0]}{more}: rules of this node, kube-proxy's, carry it as they should already; add --takeover to "
            "put rules of svcdoctor's own before them",
            1,
        )


def _refuse_in_vain(verified: Verified) -> None:
    """Raises SvcdoctorError where another table's rules stop every packet of all that were asked about."""
    stopped = [c for c in verified.contradictions if c.rule]
    if stopped and not verified.carried:
        raise SvcdoctorError(_words(stopped[0]), 1)


def _words(contradiction: Contradiction) -> str:
    text = str(contradiction)
    if contradiction.rule:
        return f"{text}; rules of svcdoctor's own cannot override it: {apply.USER_SPACE.removeprefix('or ')}"
    return text
