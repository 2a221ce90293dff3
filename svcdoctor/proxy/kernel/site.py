"""How this machine tells packets of pods from others: what rules need to know beside what is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from svcdoctor.model.facts import Kind
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.nodeplan import PodTraffic, pod_traffic
from svcdoctor.path.world import World
from svcdoctor.proxy.serving.planned import Own


@dataclass(frozen=True, slots=True)
class Site:
    """How pods are told by IP family, where they can be, and whether every packet to a cluster IP is masqueraded
    (kube-proxy's masqueradeAll)."""

    pods: Mapping[int, PodTraffic | None] = field(default_factory=dict)
    masquerade_all: bool = False


def site_of(own: Own) -> Site:
    """As this node's kube-proxy would. A machine that is no node masquerades everything: what the endpoints answer must
    come back through it."""
    world = World(Snapshot({Kind.NODE: () if own.node is None else (own.node,)}, {}))
    pods = {family: pod_traffic(world, own.name, own.kube_proxy, family) for family in (4, 6)}
    return Site(pods, own.kube_proxy.masquerade_all or not own.name)
