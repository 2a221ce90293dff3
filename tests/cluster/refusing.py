"""Manifests in a few words, and what the API server refuses of them."""

from svcdoctor.cluster.validation.rules import rejections
from svcdoctor.cluster.yamldoc import load_documents

HEADS = {
    "Service": "apiVersion: v1\nkind: Service\n",
    "Pod": "apiVersion: v1\nkind: Pod\n",
    "Ingress": "apiVersion: networking.k8s.io/v1\nkind: Ingress\n",
    "NetworkPolicy": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n",
    "EndpointSlice": "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n",
    "HTTPRoute": "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n",
    "Job": "apiVersion: batch/v1\nkind: Job\n",
    "ReplicationController": "apiVersion: v1\nkind: ReplicationController\n",
} | {k: f"apiVersion: apps/v1\nkind: {k}\n" for k in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")}


def refused(kind, body, metadata="{name: web}"):
    """(field, words) of every refusal; ``body`` is what follows the metadata."""
    (manifest,) = load_documents(f"{HEADS[kind]}metadata: {metadata}\n{body}\n", "m.yaml")
    return [(r.field, r.words) for r in rejections(manifest)]


def warned(kind, body, metadata="{name: web}"):
    """The same with the severity and the fix."""
    (manifest,) = load_documents(f"{HEADS[kind]}metadata: {metadata}\n{body}\n", "m.yaml")
    return [(r.field, r.severity.value, r.fix) for r in rejections(manifest)]
