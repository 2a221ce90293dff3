"""OBJ035, RUL015: long-lived connections, and packets that belong to no connection."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, subject
from svcdoctor.dataplane.hosts import Host
from svcdoctor.dataplane.invaliddrops import Dropped
from svcdoctor.model.finding import Severity
from svcdoctor.model.observed import Met
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.trace import Path, Result
from svcdoctor.path.endpoints import Endpoint

HTTP2 = frozenset({"grpc", "h2c", "http2", "https2", "h2"})
MESH_PROXIES = frozenset({"istio-proxy", "linkerd-proxy", "kuma-sidecar", "consul-dataplane", "envoy"})

NOTICED = 100  # dropped packets from which on a rule's count is more than chance
LARGE = 0.05  # of the chain's packets: then some connections surely hang


def _speaks_http2(port: ServicePort) -> str:
    """What says that the port's connections carry many requests: ``appProtocol h2c``, ``name grpc-api``.

    An appProtocol counts before the name, and of a name the first word (both as service meshes read them).
    """
    if port.protocol != "TCP":
        return ""
    told = port.app_protocol
    if told:
        return f"appProtocol {told}" if told.lower().rpartition("/")[2] in HTTP2 else ""
    first, _, rest = port.name.lower().partition("-")
    web = first == "grpc" and (rest == "web" or rest.startswith("web-"))  # gRPC-Web is HTTP/1.1 as well
    return f"name {port.name}" if first in HTTP2 and not web else ""


@check(
    "OBJ035",
    "Long-lived connections stay on few endpoints",
    Severity.INFO,
    meaning=(
        "A Service chooses an endpoint for each connection, not for each request. gRPC and HTTP/2 clients send all "
        "their requests over one connection and keep it: each client stays on one endpoint, and new pods get nothing "
        "until somebody connects anew."
    ),
    look="kubectl top pods -l SELECTOR (uneven); ss -tn (in a client: one connection)",
    mend=(
        "Let clients balance by themselves over a headless Service (gRPC: dns:/// with round_robin), let servers end "
        "connections now and then (gRPC: MAX_CONNECTION_AGE), or put a proxy between that balances requests."
    ),
    links=(
        "https://kubernetes.io/docs/reference/networking/virtual-ips/",
        "https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol",
        "https://kubernetes.io/blog/2018/11/07/grpc-load-balancing-on-kubernetes-without-tears/",
    ),
)
def long_lived(case: Case) -> Iterator[Raised]:
    if case.trace.target.kind != "Service":
        return  # controllers of Ingresses and routes dial endpoints themselves, and balance requests
    for service in case.services:
        if service.headless or service.type == "ExternalName":
            continue
        for port in service.ports:
            told = _speaks_http2(port)
            ready = _ready(case, service, port) if told else []
            if len(ready) < 2 or _in_mesh(case, service):
                continue
            name = f"{service.name}.{service.namespace}"
            at = next((f"spec.ports[{i}]" for i, p in enumerate(service.ports) if p is port), "spec.ports")
            yield Raised(
                (subject(service),),
                (f"port {port.name or port.port} ({told}) has {len(ready)} ready endpoints",),
                f"A client that keeps its connection to {name} sends every request to the same one of them.",
                f"a second, headless Service over the same pods (clusterIP: None), and clients that dial "
                f"dns:///{service.name}-headless.{service.namespace}:{ready[0].port} with round_robin",
                field=f"{at}.appProtocol" if port.app_protocol else f"{at}.name",
            )


def _ready(case: Case, service: Service, port: ServicePort) -> list[Endpoint]:
    """The port's ready endpoints, in the family that has more."""
    return max(([e for e in case.world.endpoints(service, port, f) if e.ready] for f in (4, 6)), key=len)


def _in_mesh(case: Case, service: Service) -> bool:
    """Whether sidecars stand beside the pods: those of the clients then balance requests."""
    pods = case.selected(service)
    return any(c.name in MESH_PROXIES for p in pods[:1] for c in p.serving_containers)


@check(
    "RUL015",
    "Packets of no known connection are dropped",
    Severity.WARNING,
    meaning=(
        "Connection tracking calls a packet INVALID that belongs to no connection it has seen begin, and kube-proxy's "
        "rules (and host firewalls) drop it. A few are normal: late packets of closed connections. Many, of the size "
        "of a connection's first answer, mean that answers take another way than requests (asymmetric routing): such "
        "connections hang."
    ),
    look="iptables-save -c -t filter | grep INVALID (on the node, twice: does it grow?); ip route get CLIENT",
    mend=(
        "Let both directions pass the same node: routes and rp_filter of nodes with several interfaces, "
        "externalTrafficPolicy, a masqueraded source. Where the other way is wanted, conntrack.tcpBeLiberal of "
        "kube-proxy's configuration takes its rule away (1.29 and later)."
    ),
    links=(
        "https://kubernetes.io/blog/2019/03/29/kube-proxy-subtleties-debugging-an-intermittent-connection-reset/",
        "https://docs.kernel.org/networking/nf_conntrack-sysctl.html",
        "https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",
    ),
)
def invalid_dropped(case: Case) -> Iterator[Raised]:
    """A warning where a large part was dropped; worth knowing where answers were, and requests hang."""
    hangs = any(_hangs(p) for p in case.trace.paths)
    for service in case.services[:1] if case.trace.paths else ():
        for host in case.hosts:
            noticed = [d for d in host.invalid_drops if d.packets >= NOTICED]
            large = [d for d in noticed if d.share >= LARGE]
            answers = [d for d in noticed if d.answers]
            if large or (answers and hangs):
                yield _raised(service, host, large or answers, bool(large))


def _hangs(path: Path) -> bool:
    """Whether requests time out by this way, and nothing else explains it."""
    if path.observed is not None and any(met is Met.TIMEOUT for met, _ in path.observed.met):
        return path.observed.agrees is not True
    return any(o.result is Result.DROPPED and o.code in (None, "RUL011") for o in path.outcomes)


def _raised(service: Service, host: Host, drops: list[Dropped], large: bool) -> Raised:
    evidence: list[str] = []
    for d in drops[:3]:
        beside = f", beside {d.beside} of known connections" if d.beside else ""
        evidence.append(f"{host.name} dropped {d.packets} packets of {d.size:.0f} bytes on average{beside}")
        evidence.append(f"rule: {d.rule}")
    if any(d.answers for d in drops):
        evidence.append(
            "that is the size of SYN-ACKs: answers to connections that this node did not see begin"
        )
    liberal = host.sysctl("net.netfilter.nf_conntrack_tcp_be_liberal")
    if liberal is not None:
        evidence.append(f"net.netfilter.nf_conntrack_tcp_be_liberal is {liberal}")
    return Raised(
        (subject(service), f"Node/{host.name}"),
        tuple(evidence),
        "Which connections these were, the counter does not tell. Where requests and answers take different ways, "
        "clients time out now and then, whenever that way is chosen.",
        f"iptables-save -c -t filter | grep INVALID (on {host.name}, before and after a request that hangs)",
        None if large else Severity.INFO,
    )
