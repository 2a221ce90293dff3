"""A plane that is not told of endpoints that do not answer when they are checked, as if they were not ready.

Theory. The control process checks, whatever carries the traffic. Where none of those answers that a traffic policy
has, all are offered: clients learn best from the endpoints themselves, and it may be the checks that are stopped. Only
TCP can be checked so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import structs

from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.checks import FAILURES, Checks
from svcdoctor.proxy.serving.control import Plane
from svcdoctor.proxy.serving.served import Backend, ServedPort

_TOLD = 20  # silent endpoints, from where on single ones are told no more


class CheckedPlane:
    """Checks endpoints every ``seconds``; ``tell`` gets lines for the user."""

    def __init__(self, loop: Loop, plane: Plane, seconds: float, tell: Callable[[str], None]) -> None:
        self._plane = plane
        self._checks = Checks(loop, seconds, self._changed)
        self._tell = tell
        self._ports: dict[str, ServedPort] = {}
        self._users: dict[Endpoint, dict[str, None]] = {}

    def start(self) -> None:
        self._plane.start()

    def put(self, ports: Iterable[ServedPort], whole: bool = False) -> None:
        given = {port.key: port for port in ports}
        gone = [key for key in self._ports if key not in given] if whole else []
        left = self._leave((*gone, *given))
        self._ports.update(given)
        for key, port in given.items():
            for endpoint in _endpoints(port):
                self._users.setdefault(endpoint, {})[key] = None
                self._checks.begin(endpoint)
        self._forget(left)
        self._plane.put(tuple(map(self._answering, given.values())), whole)

    def remove(self, keys: Iterable[str]) -> None:
        given = tuple(keys)
        self._forget(self._leave(given))
        self._plane.remove(given)

    def drain(self, ended: Callable[[], None]) -> None:
        self._checks.close()
        self._plane.drain(ended)

    def stop(self, ended: Callable[[], None]) -> None:
        self._checks.close()
        self._plane.stop(ended)

    def abandon(self, ended: Callable[[], None]) -> None:
        self._checks.close()
        self._plane.abandon(ended)

    def answers(self, backend: Backend) -> bool:
        """Whether an endpoint does, as far as is known."""
        return self._checks.answers(Endpoint(backend.ip, backend.port))

    def _leave(self, keys: Iterable[str]) -> dict[Endpoint, None]:
        """These ports use no endpoint any more; returns those that they used."""
        left: dict[Endpoint, None] = {}
        for key in keys:
            port = self._ports.pop(key, None)
            for endpoint in _endpoints(port) if port is not None else ():
                del self._users[endpoint][key]
                left[endpoint] = None
        return left

    def _forget(self, endpoints: Iterable[Endpoint]) -> None:
        """Those of them that nobody uses are not checked any more."""
        unused = [endpoint for endpoint in endpoints if not self._users[endpoint]]
        for endpoint in unused:
            del self._users[endpoint]
        self._checks.end(unused)

    def _changed(self, endpoint: Endpoint) -> None:
        silent = self._checks.silent
        if self._checks.answers(endpoint):
            if silent < _TOLD:
                self._tell(f"{endpoint} answers again")
        elif silent <= _TOLD:
            more = "; others are not named any more, the metrics have them" if silent == _TOLD else ""
            self._tell(f"{endpoint} did not answer {FAILURES} checks: it is passed by until it does{more}")
        self._plane.put(tuple(self._answering(self._ports[key]) for key in self._users[endpoint]))

    def _answering(self, port: ServedPort) -> ServedPort:
        """With those endpoints that answer."""
        if port.protocol != "TCP":
            return port
        cluster = tuple(filter(self.answers, port.cluster)) or port.cluster
        local = tuple(filter(self.answers, port.local)) or port.local
        return structs.replace(port, cluster=cluster, local=local)


def _endpoints(port: ServedPort) -> Iterator[Endpoint]:
    if port.protocol == "TCP":
        yield from {Endpoint(b.ip, b.port) for b in (*port.cluster, *port.local)}
