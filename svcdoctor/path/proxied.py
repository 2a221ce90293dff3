"""What a proxy in the cluster meets that sends to a Service's endpoints itself: an Ingress controller, a Gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.trace import Outcome, SourceSeen
from svcdoctor.path.backends import endpoint_outcome
from svcdoctor.path.deliver import none_ready
from svcdoctor.path.mesh import outsiders, refused
from svcdoctor.path.named_ways import external_name_path
from svcdoctor.path.policed import policed_from
from svcdoctor.path.tracing import Tracing


def proxied_outcomes(
    t: Tracing,
    service: Service,
    port: ServicePort | None,
    proxies: Callable[[], Iterable[Pod]],
    share: float = 1.0,
) -> tuple[Outcome, ...]:
    """The outcomes of the ``share`` of all requests that the proxy sends to the Service's port.

    An ExternalName needs no port. What is without a ready endpoint is answered by the proxy with 503. ``proxies`` are
    the proxy's own pods, as far as they are known; they are asked for only where a mesh wants to know its clients.
    """
    if service.type == "ExternalName" or port is None:
        outcomes = external_name_path(t, service).outcomes
        return tuple(replace(o, probability=o.probability * share) for o in outcomes)
    family = (t.families(service) or (4,))[0]
    if service.headless:
        endpoints = tuple(e for e in t.world.endpoints(service, port, family) if e.ready)
    else:
        endpoints = t.world.choice(service, port, family, None).cluster
    if not endpoints:
        reason = f"Service {service.namespace}/{service.name} has no ready endpoint (503)"
        return (replace(none_ready(t.snapshot, service, reason), probability=share),)
    each = share / len(endpoints)
    outcomes = tuple(
        replace(endpoint_outcome(t.world, e, port, each), source_seen=SourceSeen.UNKNOWN) for e in endpoints
    )
    if service.namespace in t.world.policies:
        outcomes = policed_from(t.view, proxies(), outcomes, port)
    return refused(t.view, outcomes, lambda: outsiders(t.view, proxies()))
