"""What a served port promises its clients: who is sent where, and with whose address.

Written apart from the rules, from what `ServedPort` says of itself, so that the two can be held against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from svcdoctor.model.snapshot import in_networks
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.serving.served import Listen, ServedPort

Number = tuple[str, int]
"""An endpoint's address and port."""


class ClientKind(Enum):
    """Who asks; the value is how messages call them."""

    OUTSIDE = "outside"
    BARRED = "outside the allowed source ranges"
    POD = "a pod"
    NODE = "this node"


class Ended(Enum):
    """How a packet ends that reaches no endpoint."""

    REFUSED = "refused"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Promise:
    """``endpoints`` are all that a packet may reach; ``ended`` is set where there are none. ``masqueraded`` says
    whether they see this node's address instead of the client's, None where either is right."""

    endpoints: frozenset[Number] = frozenset()
    ended: Ended | None = None
    masqueraded: bool | None = None


def promised(port: ServedPort, listen: Listen, kind: ClientKind, source: str, site: Site) -> Promise:
    """What a client with that source address meets."""
    if listen.kind == "loadBalancer" and port.sources and not in_networks(source, port.sources):
        return Promise(ended=Ended.DROPPED)
    external = listen.kind in ("nodePort", "loadBalancer", "externalIP")
    inside = kind in (ClientKind.POD, ClientKind.NODE)
    # Pods and the node itself are not bound by the external policy.
    only_local = port.external_local and not inside if external else port.internal_local
    backends = port.local if only_local else port.cluster
    if not backends:
        return Promise(ended=Ended.DROPPED if port.has_endpoints else Ended.REFUSED)
    return Promise(
        frozenset((b.ip, b.port) for b in backends),
        masqueraded=None if kind is ClientKind.NODE else _masqueraded(port, listen, kind, site),
    )


def _masqueraded(port: ServedPort, listen: Listen, kind: ClientKind, site: Site) -> bool:
    if listen.kind == "local":
        return True
    if listen.kind == "clusterIP":
        family = 6 if ":" in listen.ip else 4
        told = site.pods.get(family) is not None
        return site.masquerade_all or (told and kind is not ClientKind.POD)
    return not port.external_local
