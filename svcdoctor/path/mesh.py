"""What a service mesh makes of plaintext: whose proxies refuse clients without an identity in the mesh.

Theory. A pod of the mesh has its proxy beside it (a sidecar) or on its node (Istio's ambient mode). What its proxy
takes is told by Istio's PeerAuthentication: one that selects the workload, else the namespace's, else the mesh's; the
oldest where there are several; plaintext is taken where none says STRICT. Linkerd's proxy has a default policy in its
environment or on the namespace. Ports that the proxy does not intercept are left alone.

What may live here: who is in a mesh, and the outcomes of those who are not.

Specification: https://istio.io/latest/docs/reference/config/security/peer_authentication/,
https://linkerd.io/2/reference/authorization-policy/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import msgspec
from msgspec.structs import replace

from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.mesh import PeerAuthentication
from svcdoctor.model.pod import NOTHING, Container, Pod
from svcdoctor.model.trace import Client, ClientKind, Outcome, Result, Status
from svcdoctor.path.view import View

CODE = "EXT011"
ISTIO_ROOT = "istio-system"  # the root namespace, whose PeerAuthentication holds for the whole mesh
LINKERD_POLICY = "config.linkerd.io/default-inbound-policy"
_LINKERD_VARIABLE = "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY"
_LINKERD_STRICT = frozenset({"all-authenticated", "cluster-authenticated", "deny"})


class _Variable(msgspec.Struct):
    name: str = ""
    value: str | None = None


_variables = msgspec.json.Decoder(list[_Variable] | None)
_words = msgspec.json.Decoder(list[str] | None)


@dataclass(frozen=True, slots=True)
class Demand:
    """That a pod's proxy takes no plaintext: which object says so, where in it, and in which words.

    ``certain`` is false where objects that are not read may allow it all the same.
    """

    subject: str
    field: str
    words: str
    certain: bool = True


def refused(view: View, outcomes: tuple[Outcome, ...], outsider: Callable[[], str]) -> tuple[Outcome, ...]:
    """The outcomes of a client; ``outsider`` says who it is where it has no identity in a mesh, else nothing.

    It is asked only where a pod has a proxy. The same tuple where nothing changes.
    """
    if view.snapshot.would_be:
        return outcomes  # proxies are added when pods are made
    pods = [_pod_of(view, o) for o in outcomes]
    who = outsider() if any(pod is not None and _proxied(view, pod) for pod in pods) else ""
    if not who:
        return outcomes
    ports = [o.backend.port or 0 if o.backend is not None else 0 for o in outcomes]
    demands = [demand(view, pod, port) if pod else None for pod, port in zip(pods, ports, strict=True)]
    return tuple(_without_identity(o, d, who) if d else o for o, d in zip(outcomes, demands, strict=True))


def _without_identity(outcome: Outcome, demand: Demand, who: str) -> Outcome:
    reason = f"{demand.words}, and {who} has no identity in the mesh: the proxy ends the connection"
    status = Status.FAIL if demand.certain else Status.WARN
    return replace(outcome, result=Result.UNKNOWN, reason=reason, code=CODE, status=status)


def _pod_of(view: View, outcome: Outcome) -> Pod | None:
    """The pod that takes the request, for all that is known so far."""
    backend = outcome.backend
    if backend is None or backend.pod is None or not backend.port or outcome.status is not Status.OK:
        return None
    return view.snapshot.pod(*backend.pod.split("/", 1))


def outsider(view: View, client: Client) -> str:
    """Who the client is, in words, where it has for certain no identity in a mesh; else nothing."""
    if client.kind is not ClientKind.POD:
        return "a client outside the cluster" if client.kind is ClientKind.EXTERNAL else f"node {client.name}"
    namespace, _, name = (client.name or "").partition("/")
    pod = view.snapshot.pod(namespace, name) if name else None
    return outsiders(view, (pod,)) if pod is not None else ""


def outsiders(view: View, pods: Iterable[Pod]) -> str:
    """The same of pods that stand for one client; nothing where any of them is in a mesh."""
    pods = tuple(pods)
    if not pods or any(_in_mesh(view, pod) for pod in pods):
        return ""
    return f"pod {pods[0].namespace}/{pods[0].name}"


def _in_mesh(view: View, pod: Pod) -> bool:
    return bool({"istio-proxy", "linkerd-proxy"} & _names(pod)) or _ambient(view, pod)


def _names(pod: Pod) -> set[str]:
    return {c.name for c in pod.serving_containers}


def _ambient(view: View, pod: Pod) -> bool:
    """Whether the pod is in Istio's ambient mesh, as far as its labels and a held namespace tell."""
    if pod.spec.host_network:
        return False
    namespace = view.snapshot.namespace(pod.namespace)
    own = pod.labels.get("istio.io/dataplane-mode")
    mode = own or (namespace.labels.get("istio.io/dataplane-mode") if namespace is not None else None)
    return mode == "ambient"


def demand(view: View, pod: Pod, port: int) -> Demand | None:
    """What makes the pod's proxy take no plaintext on the port; ``None`` where it does, or has no proxy."""
    if not _proxied(view, pod) or _left_alone(pod, port):
        return None
    return _linkerd(view, pod) if "linkerd-proxy" in _names(pod) else _istio(view, pod, port)


def _proxied(view: View, pod: Pod) -> bool:
    """Whether a mesh's proxy takes what is sent to the pod.

    A pod of nothing but Istio's proxy is a gateway of the mesh: it answers plaintext itself.
    """
    names = _names(pod)
    return "linkerd-proxy" in names or ("istio-proxy" in names and len(names) > 1) or _ambient(view, pod)


def _istio(view: View, pod: Pod, port: int) -> Demand | None:
    known = view.complete(Kind.PEER_AUTHENTICATION, Scope(pod.namespace))
    if not (view.complete(Kind.PEER_AUTHENTICATION, Scope(ISTIO_ROOT)) and known):
        return None
    for policy in _policies(view, pod):
        modes = (policy.spec.port_level_mtls or {}).get(str(port), {}) if _selector(policy) else {}
        of_port = modes.get("mode", "UNSET")
        mode = policy.spec.mtls.mode if policy.spec.mtls is not None else ""
        chosen, field = mode, "spec.mtls.mode"
        if of_port not in ("", "UNSET"):
            chosen, field = of_port, f"spec.portLevelMtls['{port}'].mode"
        if chosen in ("", "UNSET"):
            continue
        name = f"{policy.namespace}/{policy.name}"
        words = f"PeerAuthentication {name} is STRICT, so port {port} takes mTLS only"
        return Demand(f"PeerAuthentication/{name}", field, words) if chosen == "STRICT" else None
    return None


def _policies(view: View, pod: Pod) -> list[PeerAuthentication]:
    """Those that hold for the pod, the narrowest first: each inherits from the next what it leaves unset."""
    levels: tuple[list[PeerAuthentication], ...] = ([], [], [])
    for policy in view.snapshot.of(Kind.PEER_AUTHENTICATION):
        selector = _selector(policy)
        if policy.namespace == pod.namespace and selector:
            # In the root namespace those with a selector are ignored.
            if matches_labels(selector, pod.labels) and pod.namespace != ISTIO_ROOT:
                levels[0].append(policy)
        elif policy.namespace == pod.namespace:
            levels[1].append(policy)
        elif policy.namespace == ISTIO_ROOT and not selector:
            levels[2].append(policy)
    return [
        min(level, key=lambda p: (p.metadata.creation_timestamp or "", p.name)) for level in levels if level
    ]


def _selector(policy: PeerAuthentication) -> dict[str, str]:
    return (policy.spec.selector.match_labels if policy.spec.selector else None) or {}


def _linkerd(view: View, pod: Pod) -> Demand | None:
    proxy = next(c for c in pod.serving_containers if c.name == "linkerd-proxy")
    namespace = view.snapshot.namespace(pod.namespace)
    annotations = (namespace.metadata.annotations if namespace is not None else None) or {}
    own = _variable(proxy, _LINKERD_VARIABLE)
    policy = own or annotations.get(LINKERD_POLICY, "")
    if policy not in _LINKERD_STRICT:
        return None
    # A Server and its AuthorizationPolicy, which are not read, may allow more.
    words = f"the default inbound policy is {policy}"
    if own:
        return Demand(
            f"Pod/{pod.namespace}/{pod.name}", f"metadata.annotations['{LINKERD_POLICY}']", words, False
        )
    return Demand(f"Namespace/{pod.namespace}", f"metadata.annotations['{LINKERD_POLICY}']", words, False)


def _variable(container: Container, name: str) -> str:
    if container.env is NOTHING or name.encode() not in bytes(container.env):
        return ""
    try:
        return next((v.value or "" for v in _variables.decode(container.env) or () if v.name == name), "")
    except msgspec.DecodeError:
        return ""


def _left_alone(pod: Pod, port: int) -> bool:
    """Whether the init container that redirects traffic to the proxy was told to leave the port alone."""
    for container in pod.spec.init_containers or ():
        if (
            container.name not in ("istio-init", "istio-validation", "linkerd-init")
            or container.args is NOTHING
        ):
            continue
        try:
            words = _words.decode(container.args) or []
        except msgspec.DecodeError:
            continue
        told = dict(pairwise(words))
        included = told.get("-b", "*")
        if included != "*" and not _lists(included, port):
            return True
        if any(_lists(told.get(flag, ""), port) for flag in ("-d", "--inbound-ports-to-ignore")):
            return True
    return False


def _lists(ports: str, port: int) -> bool:
    """Whether ``80,8000-8080`` holds the port."""
    for part in ports.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and int(first) <= port <= int(last if last.isdecimal() else first):
            return True
    return False
