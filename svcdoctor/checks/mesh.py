"""EXT011: a service mesh that takes no plaintext, and clients that have nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.fixes import patch_field
from svcdoctor.checks.registry import Case, Raised, check, listed
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import ROUTED, ClientKind, Path, Verdict
from svcdoctor.path.mesh import CODE, LINKERD_POLICY, Demand, demand


@check(
    CODE,
    "The service mesh requires mTLS, and the client is not in the mesh",
    Severity.WARNING,
    meaning=(
        "The pod's mesh proxy takes mutual TLS only. A client without a proxy of the mesh (a pod without sidecar, "
        "a node, anything outside) sends plaintext: the connection opens and is closed at once."
    ),
    look="kubectl get peerauthentication -A; kubectl get pod CLIENT -o jsonpath='{.spec.containers[*].name}'",
    mend=(
        "Bring the client into the mesh (label its namespace for injection and restart its pods; for clients outside "
        "the mesh's own ingress gateway), or let the workload take plaintext on that port (mode PERMISSIVE)."
    ),
    links=(
        "https://istio.io/latest/docs/reference/config/security/peer_authentication/",
        "https://istio.io/latest/docs/concepts/security/#mutual-tls-authentication",
        "https://linkerd.io/2/reference/authorization-policy/",
    ),
)
def mesh_requires_mtls(case: Case) -> Iterator[Raised]:
    paths = [p for p in case.trace.paths if any(o.code == CODE for o in p.outcomes)]
    alone = all(p.verdict is Verdict.BROKEN for p in case.trace.paths)
    groups: dict[str, tuple[Demand, list[Path], dict[str, None]]] = {}
    for path in paths:
        for outcome in path.outcomes:
            if outcome.code != CODE or outcome.backend is None or outcome.backend.pod is None:
                continue
            pod = case.view.snapshot.pod(*outcome.backend.pod.split("/", 1))
            told = demand(case.view, pod, outcome.backend.port or 0) if pod is not None else None
            if told is not None:
                cause = told.words if told.subject.startswith("Pod/") else told.subject
                _, of, reasons = groups.setdefault(cause, (told, [], {}))
                of.append(path)
                reasons[outcome.reason] = None
    services = tuple(f"Service/{ns}/{name}" for ns, name in case.trace.services)
    for told, of, reasons in groups.values():
        yield Raised(
            (told.subject, *services),
            (f"clients: {listed(dict.fromkeys(map(_client, of)))}", *list(reasons)[:3]),
            "The connection opens, and the proxy closes it before the application sees anything.",
            _fix(told, of[0]),
            Severity.ERROR if alone and told.certain else None,
            told.field,
        )


def _client(path: Path) -> str:
    if path.entry.kind in ROUTED:
        return f"the {path.entry.kind}'s proxy"
    name = path.client.name or path.client.ip
    return f"{path.client.kind} {name}" if name else f"any {path.client.kind} client"


def _fix(told: Demand, path: Path) -> str:
    kind, _, rest = told.subject.partition("/")
    client = path.client
    if kind != "PeerAuthentication":
        namespace = rest.partition("/")[0]
        return f"kubectl annotate namespace {namespace} {LINKERD_POLICY}=all-unauthenticated --overwrite"
    if client.kind is ClientKind.POD and client.name and path.entry.kind not in ROUTED:
        return f"kubectl label namespace {client.name.partition('/')[0]} istio-injection=enabled"
    namespace, _, name = rest.partition("/")
    return patch_field("peerauthentication", namespace, name, told.field, "PERMISSIVE")
