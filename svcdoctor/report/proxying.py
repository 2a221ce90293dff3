"""What ``proxy`` serves, in lines: each Service port once, with every address that was bound for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from svcdoctor.proxy.serving.control import Changed, Event, Note, Serving
from svcdoctor.proxy.serving.served import Listen, ServedPort, address_text

_NOTHING: Mapping[str, str] = MappingProxyType({})

SHOWN = 4  # endpoints of a line
MANY = 20  # Services, from where on only changes of addresses are told


class ServedLines:
    """Events as lines, each with whether it is about what is served. ``unserved`` gives by key why a port is not
    listened for everywhere."""

    def __init__(self, unserved: Callable[[], Mapping[str, str]]) -> None:
        self._unserved = unserved
        self._ports: dict[str, ServedPort] = {}

    def lines(self, event: Event) -> Iterator[tuple[str, bool]]:
        match event:
            case Note(text):
                yield text, False
            case Serving(ports, earlier):
                self._ports = {port.key: port for port in ports}
                if earlier:
                    yield (
                        "going on with what an earlier run served; what there is now is not known yet",
                        False,
                    )
                for line in served_lines(ports, self._unserved()):
                    yield line, True
                if not ports:
                    yield "no Service to serve yet", False
            case Changed(put, removed):
                yield from self._changed(put, removed)

    def _changed(self, put: tuple[ServedPort, ...], removed: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
        many = len({name_of(key) for key in self._ports}) >= MANY
        for port in put:
            before = self._ports.get(port.key)
            self._ports[port.key] = port
            if before is None or before.listens != port.listens:
                yield from ((line, True) for line in served_lines([port]))
            elif not many and (before.cluster, before.local) != (port.cluster, port.local):
                yield f"{name_of(port.key)}: {_endpoints([port])}", True
        for key in removed:
            if self._ports.pop(key, None) is not None:
                yield f"{name_of(key)} is listened for no longer", True


def served_lines(ports: Iterable[ServedPort], unserved: Mapping[str, str] = _NOTHING) -> Iterator[str]:
    """A line for each Service port, of both IP families; ``unserved`` gives by key why it is not served everywhere."""
    by_name: dict[str, list[ServedPort]] = {}
    for port in ports:
        by_name.setdefault(name_of(port.key), []).append(port)
    for name, families in by_name.items():
        where = ", ".join(_listen(listen) for port in families for listen in port.listens)
        missing = "".join(f"; but {why}" for port in families if (why := unserved.get(port.key)))
        yield f"Serving {name} on {where}: {_endpoints(families)}{missing}"


def name_of(key: str) -> str:
    """``NAMESPACE/NAME:PORT/PROTOCOL`` of a port's key."""
    return key.rpartition("/")[0]


def _listen(listen: Listen) -> str:
    words = {
        "clusterIP": " (cluster IP)",
        "nodePort": " (nodePort)",
        "loadBalancer": " (load balancer)",
        "externalIP": " (external IP)",
    }
    return f"{address_text(listen.ip, listen.port)}{words.get(listen.kind, '')}"


def _endpoints(ports: Iterable[ServedPort]) -> str:
    found = dict.fromkeys(str(b) for port in ports for b in (*port.cluster, *port.local))
    if not found:
        return "no endpoint, clients are refused"
    shown = ", ".join(list(found)[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    return f"{len(found)} endpoint{'s' if len(found) > 1 else ''} ({shown})"
