"""The end of kernel mode: the rules go at once, and connections that NAT carries get the time of a drain to end.

Theory. A connection is translated by what conntrack keeps of it, not by rules; so connections outlive the rules that
made them. But packets only come to be translated while some chain of type nat hooks their IP family, of whatever table,
and some rule asks conntrack: with the last one the kernel unhooks them, and established connections break off. Where
other rules of this node use NAT, the table is removed and everything goes on. Where svcdoctor's are the last, a table
with one such chain and rule stays until no translated connection lives, or for the time of the drain.

What may live here: when which table goes, and what the user is told of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.kernel import apply
from svcdoctor.proxy.kernel.compile import gone_table, idle_table
from svcdoctor.proxy.kernel.conntrack import living
from svcdoctor.proxy.kernel.flows import destinations
from svcdoctor.proxy.kernel.layout import IPS, TABLE
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.serving.served import ServedPort
from svcdoctor.sources.collecting import NotRun
from svcdoctor.sources.localnode import run

LOOK_SECONDS = 0.5
"""Between two looks whether the last connection has ended."""

_SECONDS = 10.0
_MOST_BYTES = 64 << 20

_LEGACY = {
    "ip": ("ip_tables_names", "iptables-legacy-save"),
    "ip6": ("ip6_tables_names", "ip6tables-legacy-save"),
}
"""The file that names iptables' own tables, and the program that prints their rules."""

_FAMILIES = {ip: family for family, ip in IPS.items()}


class Ending:
    """Removes the tables of all families. ``ports`` are those that were served, ``seconds`` is the time of the drain.
    ``tell`` gets lines for the user; ``ended`` is called once, by the loop, when no table is left or those that are
    cannot be removed."""

    def __init__(
        self,
        loop: Loop,
        ports: Iterable[ServedPort],
        seconds: float,
        tell: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._tell = tell
        self._ended: Callable[[], None] | None = ended
        self._until = loop.now + seconds
        self._last: tuple[str, ...] = ()
        self._timer: Timer | None = None
        with self._told():
            self._begin(ports, seconds)

    def end(self) -> None:
        """Wait no longer."""
        if self._ended is not None:
            with self._told():
                self._clear()

    def _begin(self, ports: Iterable[ServedPort], seconds: float) -> None:
        installed = apply.installed()
        if not installed:
            self._finish()
            return
        self._last = tuple(ip for ip in installed if not others_translate(ip))
        lives = _living(self._last)
        if lives != 0 and seconds:
            apply.apply("".join(idle_table(ip) if ip in self._last else gone_table(ip) for ip in installed))
            self._tell(
                f"the rules are removed: no new connections; those that live ({_number(lives)}) have up to "
                f"{seconds:.0f} s to end, for no other rule of this node uses NAT, without which the kernel "
                "translates nothing; the next signal cuts them off"
            )
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
            return
        if not self._last:
            served = _living(installed, frozenset(destinations(ports)))
            self._tell(
                f"the rules are removed: no new connections; those that live ({_number(served)}) go on, for other "
                "rules of this node use NAT, too"
            )
        elif lives == 0:
            self._tell("the rules are removed: no new connections, and none was left")
        self._clear()

    def _look(self) -> None:
        if self._loop.now >= self._until or _living(self._last) == 0:
            self.end()
        else:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _clear(self) -> None:
        lost = _living(ip for ip in self._last if not others_translate(ip))
        apply.cleanup()
        if lost != 0:
            self._tell(
                f"connections that were cut off: {_number(lost)}; no rule of this node uses NAT any more, so the "
                "kernel does not translate them"
            )
        self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        ended, self._ended = self._ended, None
        if ended is not None:
            self._loop.call_soon(ended)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SvcdoctorError as e:
            self._tell(f"{e.message}; svcdoctor proxy cleanup removes the tables {TABLE} that are left")
            self._finish()


def others_translate(ip: str) -> bool:
    """Whether other rules of this network namespace use NAT in a family: nftables', or those of iptables itself
    (legacy). Raises SvcdoctorError."""
    return apply.others_translate(ip) or _iptables_translates(ip)


def _iptables_translates(ip: str) -> bool:
    tables, program = _LEGACY[ip]
    try:
        if "nat" not in Path("/proc/thread-self/net", tables).read_text().split():
            return False
        return b"\n-A " in run((program, "-t", "nat"), _SECONDS, _MOST_BYTES).stdout
    except OSError:  # this kernel has no iptables
        return False
    except NotRun:  # if there are rules, connections are waited for in vain
        return False


def _living(ips: Iterable[str], to: frozenset[bytes] | None = None) -> int | None:
    """How many translated connections live; None where that cannot be told."""
    try:
        return sum(living(_FAMILIES[ip], to) for ip in ips)
    except OSError:
        return None


def _number(count: int | None) -> str:
    return "how many is not known" if count is None else str(count)
