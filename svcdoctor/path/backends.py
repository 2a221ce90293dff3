"""What a connection meets at an endpoint: the pod, its containers, what they declare.

What may live here: one endpoint's outcome from the objects. Choosing endpoints is in ``endpoints``.
"""

from __future__ import annotations

from msgspec.structs import replace

from svcdoctor.cluster.bindhints import loopback_hint, ports_hint
from svcdoctor.model.facts import Kind
from svcdoctor.model.pod import Container, Pod
from svcdoctor.model.service import ServicePort
from svcdoctor.model.trace import Backend, Outcome, Result, SourceSeen, Status
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.world import World

NO_PORTS = "no container declares its ports"


def endpoint_outcome(world: World, endpoint: Endpoint, port: ServicePort, share: float) -> Outcome:
    """What a connection meets at an endpoint that was chosen with probability ``share``."""
    snapshot = world.snapshot
    pod = snapshot.pod(*endpoint.pod) if endpoint.pod else None
    if pod is None and endpoint.pod is None:
        candidates = snapshot.pods_by_ip.get(endpoint.ip, ())
        pod = candidates[0] if len(candidates) == 1 else None
    if pod is not None:
        outcome = pod_outcome(world, pod, endpoint.ip, endpoint.port, port.protocol, share)
        if endpoint.draining and outcome.result is Result.DELIVERED:
            return replace(outcome, status=Status.WARN, reason=f"{outcome.reason}; the pod is terminating")
        return outcome
    name = "/".join(endpoint.pod) if endpoint.pod else None
    host = snapshot.nodes_by_ip.get(endpoint.ip)
    backend = Backend(name, endpoint.ip, endpoint.port, endpoint.node or host, host if name is None else None)
    if name is None:
        reason = f"{endpoint.address} is no pod's: objects cannot tell whether anything answers there"
        return Outcome(Result.UNKNOWN, share, backend, SourceSeen.UNKNOWN, reason, None, Status.OK)
    if snapshot.knows(Kind.POD):
        reason = f"the EndpointSlice names pod {name}, which does not exist"
        return Outcome(Result.UNKNOWN, share, backend, SourceSeen.UNKNOWN, reason, "OBJ023", Status.FAIL)
    reason = f"pod {name} could not be read"
    return Outcome(Result.UNKNOWN, share, backend, SourceSeen.UNKNOWN, reason, None, Status.UNKNOWN)


def pod_outcome(world: World, pod: Pod, ip: str, port: int, protocol: str, share: float) -> Outcome:
    """What a connection to a pod's address meets, by what its containers declare.

    A container that declares no ports at all tells nothing and is trusted; one that declares others, but not
    this one, makes the outcome unknown: declarations are documentation, not configuration.
    """
    meta = pod.metadata
    backend = Backend(f"{meta.namespace}/{meta.name}", ip, port, pod.spec.node_name or None)
    container, declared = declaring(pod, port, protocol)
    hint = loopback_hint(pod, container, port) if protocol == "TCP" else None
    if hint is not None:
        reason = f"the application seems bound to 127.0.0.1 ({hint}): nothing listens on the pod's address"
        return Outcome(Result.REFUSED, share, backend, SourceSeen.CLIENT, reason, "NOD010", Status.FAIL)
    if pod.finished:
        reason = f"pod {pod.name} has ended ({pod.status.phase})"
        return Outcome(Result.DROPPED, share, backend, SourceSeen.CLIENT, reason, "OBJ008", Status.FAIL)
    if declared is not None:
        reason = f"container {container.name if container else '?'} declares {declared}"
        return Outcome(Result.DELIVERED, share, backend, SourceSeen.CLIENT, reason)
    ports = [p for c in pod.serving_containers for p in c.ports or ()]
    if not ports:
        return Outcome(Result.DELIVERED, share, backend, SourceSeen.CLIENT, NO_PORTS)
    other = next((p for p in ports if p.container_port == port), None)
    listed = ", ".join(f"{p.container_port}/{p.protocol}" for p in ports[:8])
    if other is not None:
        reason = f"the container declares {port} for {other.protocol}, not {protocol}"
        return Outcome(Result.UNKNOWN, share, backend, SourceSeen.CLIENT, reason, "OBJ015", Status.WARN)
    for c in pod.serving_containers:
        listing = ports_hint(c, protocol) if len(pod.serving_containers) == 1 else None
        if listing is not None and port not in listing[1]:
            reason = (
                f"no container declares port {port}/{protocol}, and {listing[0]} lists the ports it opens"
            )
            return Outcome(Result.REFUSED, share, backend, SourceSeen.CLIENT, reason, "OBJ013", Status.FAIL)
    reason = f"no container declares port {port}/{protocol}, only {listed}; sockets would tell"
    return Outcome(Result.UNKNOWN, share, backend, SourceSeen.CLIENT, reason, "OBJ013", Status.WARN)


def declaring(pod: Pod, port: int, protocol: str) -> tuple[Container | None, str | None]:
    """The container that declares the port, and how it is declared: ``8080 (http)``.

    With a single container that declares nothing, that container and ``None``.
    """
    containers = pod.serving_containers
    for container in containers:
        for p in container.ports or ():
            if p.container_port == port and p.protocol == protocol:
                return container, f"{port} ({p.name})" if p.name else str(port)
    return (containers[0] if len(containers) == 1 else None), None
