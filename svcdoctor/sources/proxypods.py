"""The kube-proxy pod of each node: where it is looked for, and what is run in it.

kubeadm, kind and EKS label it k8s-app=kube-proxy, GKE, k3s' server and RKE2 component=kube-proxy; what has
neither is taken by its name. All of them are in kube-system.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Need, Scope
from svcdoctor.model.pod import Pod
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.live import LiveSource

NAMESPACE = "kube-system"
_LABELS = (("k8s-app", "kube-proxy"), ("component", "kube-proxy"))
_SCOPES = (*(Scope(NAMESPACE, (label,)) for label in _LABELS), Scope(NAMESPACE))


class _Container(msgspec.Struct):
    name: str = ""
    image: str = ""


class _Spec(msgspec.Struct):
    containers: list[_Container] = []


def with_proxy_pods(source: LiveSource, snapshot: Snapshot, nodes: Collection[str] | None) -> Snapshot:
    """The Snapshot with the kube-proxy pods of these nodes, or of all where ``None``, as far as they exist."""
    for scope in _SCOPES:
        snapshot = source.refill(snapshot, (Need(Kind.POD, scope),))
        found = proxy_pods(snapshot)
        if found and (nodes is None or found.keys() >= set(nodes)):
            break
    return snapshot


def proxy_pods(snapshot: Snapshot) -> dict[str, Pod]:
    """The kube-proxy pod of each node that has one, running ones preferred."""
    found: dict[str, Pod] = {}
    for pod in sorted(
        snapshot.pods_in(NAMESPACE), key=lambda p: p.status.phase == "Running" and not p.terminating
    ):
        if _is_proxy(pod) and pod.spec.node_name:
            found[pod.spec.node_name] = pod
    return found


def why_no_pods(snapshot: Snapshot) -> str:
    """Why the pods of kube-system are not known, and what to grant; empty where they are."""
    unknown = snapshot.why_unknown(Kind.POD, _SCOPES[0])
    return "" if unknown is None else f"{unknown.reason}; grant {unknown.grant}"


def container_of(pod: Pod) -> tuple[str, str]:
    """The name and image of kube-proxy's own container. Raises SvcdoctorError for a malformed spec."""
    try:
        containers = msgspec.json.decode(pod.raw_spec, type=_Spec).containers
    except msgspec.DecodeError as e:
        raise SvcdoctorError(f"Pod {pod.namespace}/{pod.name}: not a valid object: {e}") from None
    if not containers:
        raise SvcdoctorError(f"Pod {pod.namespace}/{pod.name}: it has no container")
    chosen = next((c for c in containers if c.name == "kube-proxy"), containers[0])
    return chosen.name, chosen.image


def _is_proxy(pod: Pod) -> bool:
    labels = pod.labels.items()
    return any(label in labels for label in _LABELS) or pod.name.startswith("kube-proxy")
