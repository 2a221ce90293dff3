"""What differs in how nodes' rules serve Services: where they do not what the API demands, in either snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from svcdoctor.checks.changes.fields import Difference
from svcdoctor.model.service import Service
from svcdoctor.path.audit import Auditor, Place, places
from svcdoctor.path.audit import Difference as RuleDifference
from svcdoctor.path.world import World

AS_DEMANDED = "what the API demands"
Key = tuple[str, str, int, str]  # kind of entry, address, port, protocol


def rule_differences(
    before: World, after: World, chosen: Callable[[Service], bool]
) -> Iterator[tuple[str, Service, Difference]]:
    """Node, Service and difference, for every frontend that nodes whose rules both snapshots hold serve otherwise."""
    for name in _known_nodes(before, after):
        old, new = _served(before, name, chosen), _served(after, name, chosen)
        for key in dict.fromkeys([*old, *new]):
            (was, service), (now, later) = old.get(key, (None, None)), new.get(key, (None, None))
            if was is not None and now is not None and was != now:
                held = later or service
                assert held is not None
                yield name, held, (f"rules for {key[0]} {key[1]}", was, now)


def _known_nodes(before: World, after: World) -> list[str]:
    """The nodes whose rules both hold."""

    def known(world: World, name: str) -> bool:
        host = world.hosts.host(name)
        return host is not None and host.node is not None and not (host.ebpf_signs and not host.serves)

    return [n for n in before.snapshot.node_facts if known(before, n) and known(after, n)]


def _served(world: World, name: str, chosen: Callable[[Service], bool]) -> dict[Key, tuple[str, Service]]:
    """What the rules of a node do at each frontend, in words: as demanded, or how not."""
    node = world.hosts.node(name)
    assert node is not None
    auditor = Auditor(world, name, node)
    found: dict[Key, tuple[str, Service]] = {}
    for place in places(world, name, node):
        if chosen(place.frontend.service):
            frontend = place.frontend
            key = (str(frontend.kind), place.text, place.port, frontend.port.protocol)
            found[key] = _words(auditor, place), frontend.service
    return found


def _words(auditor: Auditor, place: Place) -> str:
    differing = auditor.differences(place)
    texts = [
        f"{d.code}: {d.problem}" if isinstance(d, RuleDifference) else f"unknown: {d.reason}"
        for d in differing
    ]
    return "; ".join(dict.fromkeys(texts)) or AS_DEMANDED
