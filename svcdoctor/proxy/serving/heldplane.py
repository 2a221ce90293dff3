"""Workers on addresses that the run holds: each is there before its port is listened for, and goes after its last
connection had the time of a drain. Workers share their ports with whoever shares them too; so a run that begins with
one Service makes sure first that its ports are free."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.listener import bound_socket
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.addresses import HELD
from svcdoctor.proxy.serving.control import Plane
from svcdoctor.proxy.serving.holding import Holding
from svcdoctor.proxy.serving.served import ServedPort


class HeldPlane:
    """``failed`` is called where an address cannot be held, or, with ``checked``, where one of the first ports is not
    free; ``tell`` with lines for the user."""

    def __init__(
        self,
        loop: Loop,
        plane: Plane,
        holding: Holding,
        drain_seconds: float,
        checked: bool,
        tell: Callable[[str], None],
        failed: Callable[[SvcdoctorError], None],
    ) -> None:
        self._loop = loop
        self._plane = plane
        self._holding = holding
        self._drain_seconds = drain_seconds
        self._checked = checked
        self._tell, self._failed = tell, failed
        self._wanted: dict[str, frozenset[str]] = {}
        self._uses: Counter[str] = Counter()
        self._ended = False

    def start(self) -> None:
        try:
            self._holding.clear_leftovers()
        except SvcdoctorError as e:
            self._tell(e.message)
        self._plane.start()

    def put(self, ports: Iterable[ServedPort], whole: bool = False) -> None:
        given = tuple(ports)
        if whole:
            self._wanted.clear()
            self._uses.clear()
        known = set(+self._uses)
        for port in given:
            self._want(port.key, _needed(port))
        try:
            self._holding.hold(ip for ip in +self._uses if ip not in known)
            if self._checked:
                self._checked = False
                _check_free(given)
        except SvcdoctorError as e:
            self._failed(e)
            return
        self._plane.put(given, whole)
        self._drop_later()

    def remove(self, keys: Iterable[str]) -> None:
        given = tuple(keys)
        for key in given:
            self._want(key, frozenset())
        self._plane.remove(given)
        self._drop_later()

    def drain(self, ended: Callable[[], None]) -> None:
        self._plane.drain(lambda: self._end(ended))

    def stop(self, ended: Callable[[], None]) -> None:
        self._plane.stop(lambda: self._end(ended))

    def abandon(self, ended: Callable[[], None]) -> None:
        self._plane.abandon(lambda: self._end(ended, self._holding.earlier))

    def _want(self, key: str, ips: frozenset[str]) -> None:
        """A port needs these addresses from now on."""
        self._uses.subtract(self._wanted.pop(key, ()))
        self._uses.update(ips)
        if ips:
            self._wanted[key] = ips

    def _drop_later(self) -> None:
        if gone := [ip for ip in self._holding.held if self._uses[ip] <= 0]:
            self._loop.call_later(self._drain_seconds, lambda: self._drop(gone))

    def _drop(self, gone: list[str]) -> None:
        if not self._ended:
            self._let_go([ip for ip in gone if self._uses[ip] <= 0])

    def _end(self, ended: Callable[[], None], kept: Collection[str] = ()) -> None:
        self._ended = True
        self._let_go([ip for ip in self._holding.held if ip not in kept])
        ended()

    def _let_go(self, ips: list[str]) -> None:
        try:
            self._holding.drop(ips)
        except SvcdoctorError as e:
            self._tell(f"{e.message}; svcdoctor proxy cleanup removes what is left: {', '.join(ips)}")


def _needed(port: ServedPort) -> frozenset[str]:
    return frozenset(listen.ip for listen in port.listens if listen.kind in HELD)


def _check_free(ports: Iterable[ServedPort]) -> None:
    """Raises SvcdoctorError for the first port that cannot be listened on."""
    for port in ports:
        kind = socket.SOCK_DGRAM if port.protocol == "UDP" else socket.SOCK_STREAM
        for listen in port.listens:
            bound_socket(listen.ip, listen.port, kind).close()
