"""How much of a Service's traffic each endpoint gets where hints keep clients near.

Theory. Clients are taken as spread evenly over nodes. A node's clients use the endpoints that are meant for the node,
else those meant for its zone, else all (KEP-3015, KEP-4444): a zone's clients share what the zone has, however few.

What may live here: reckoning. Whether hints count at all is for who asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from svcdoctor.model.cluster import Node
from svcdoctor.model.endpoints import SliceEndpoint


def zone_hints(e: SliceEndpoint) -> list[str]:
    """The zones that the endpoint is meant for."""
    return [z.name for z in e.hints.for_zones or ()] if e.hints is not None else []


def node_hints(e: SliceEndpoint) -> list[str]:
    """The nodes that the endpoint is meant for."""
    return [n.name for n in e.hints.for_nodes or ()] if e.hints is not None else []


def shares(
    ready: Sequence[SliceEndpoint], zones: Mapping[str, Sequence[Node]], by_node: bool
) -> tuple[list[float], list[str]]:
    """Each endpoint's share of all traffic (their sum is 1), and in words where each zone's clients go.

    ``zones`` are the nodes with clients by zone, ``""`` for those without one; ``by_node`` says that hints for nodes
    count. Linear in nodes and hints.
    """
    total = sum(map(len, zones.values()))
    near: dict[str, list[int]] = {}
    beside: dict[str, list[int]] = {}
    for i, e in enumerate(ready):
        for zone in zone_hints(e):
            near.setdefault(zone, []).append(i)
        for name in node_hints(e) if by_node else ():
            beside.setdefault(name, []).append(i)
    by_zone = all(map(zone_hints, ready))
    parts = [0.0] * len(ready)
    lines = []
    everywhere = 0
    for zone, nodes in sorted(zones.items()):
        own = [beside[node.name] for node in nodes if node.name in beside]
        for chosen in own:
            for i in chosen:
                parts[i] += 1 / total / len(chosen)
        left = len(nodes) - len(own)
        chosen = near.get(zone, []) if zone and by_zone else []
        for i in chosen:
            parts[i] += left / total / len(chosen)
        if left:
            everywhere += 0 if chosen else left
            where = f"{len(chosen)} of {len(ready)}" if chosen else f"all {len(ready)}"
            lines.append(
                f"zone {zone or '(none)'}: clients on {left} of {total} nodes share {where} endpoints"
            )
    if beside:
        lines.insert(0, f"endpoints for their own node's clients: on {', '.join(sorted(beside)[:6])}")
    return [part + everywhere / total / len(ready) for part in parts], lines
