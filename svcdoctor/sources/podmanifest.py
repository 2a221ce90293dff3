"""The short-lived pods that svcdoctor makes: their manifests, pure.

All of them wait, and commands are run in them by exec, byte for byte as in any container. Commands as the
containers' own, read through logs, would need no program that only waits, but a log mixes stdout with stderr, is
written to the node's disk, and is cut at 10 MiB. Their file systems are read-only, they have no account of the
cluster, and they end by themselves.

Facts of a node. kube-proxy's image, the default, has no shell and need not have any program that only waits. So two
containers wait, each with a program that some images lack: ``sleep`` is in kube-proxy's upstream image and in every
image with a shell, ``nft monitor trace`` (which listens for traced packets, and there are none) in images that were
stripped further. Whichever runs is used. Privileges: the node's network; user 0, with all capabilities dropped but
NET_ADMIN, which reading rules takes, and NET_RAW, because iptables-legacy-save reads them from a raw socket.

Probes. A pod on the pods' network, or on the node's, as nobody and without any capability: it only connects. It
never gets another pod's labels, although policies would then hold for it too: Services would send it requests.

Captures. A pod on the node's network; user 0, with all capabilities dropped but NET_RAW, which sniffing takes.

Specification: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from enum import Enum
from typing import Any

SECONDS = 120
"""After this time the kubelet ends the pod by itself."""

LABELS = {"app.kubernetes.io/managed-by": "svcdoctor"}
SELECTOR = ",".join(f"{key}={value}" for key, value in LABELS.items())
"""Finds all such pods, whoever made them and for what."""

PURPOSE = "svcdoctor/purpose"
"""The label that says what a pod is for."""


class Purpose(Enum):
    """What a pod is made for, as its name and label say it."""

    NODE_FACTS = "node-facts"
    PROBE = "probe"
    CAPTURE = "capture"

    @property
    def option(self) -> str:
        """The option that names the namespace of such pods."""
        return f"--{self.value}-namespace"


KEEPERS: dict[str, tuple[str, ...]] = {
    "sleep": ("sleep", str(SECONDS)),
    "nft": ("nft", "monitor", "trace"),
}
"""The containers by name, in the order in which they are preferred, and what they wait with."""

CAPABILITIES = ("NET_ADMIN", "NET_RAW")

_NOBODY = 65534


def node_facts_pod(name: str, namespace: str, node: str, image: str) -> dict[str, Any]:
    """The pod that facts of a node are read from."""
    user = {"runAsNonRoot": False, "runAsUser": 0}
    containers = [_container(keeper, image, CAPABILITIES, user) for keeper in KEEPERS]
    return _pod(name, namespace, Purpose.NODE_FACTS, node, containers, host_network=True)


def probe_pod(name: str, namespace: str, node: str, image: str, *, host_network: bool) -> dict[str, Any]:
    """The pod that probes start from, on a node, or wherever it is put where ``node`` is empty."""
    user = {"runAsNonRoot": True, "runAsUser": _NOBODY}
    containers = [_container("sleep", image, (), user)]
    return _pod(name, namespace, Purpose.PROBE, node, containers, host_network=host_network)


def capture_pod(name: str, namespace: str, node: str, image: str) -> dict[str, Any]:
    """The pod whose tcpdump captures on a node."""
    user = {"runAsNonRoot": False, "runAsUser": 0}
    containers = [_container("sleep", image, ("NET_RAW",), user)]
    return _pod(name, namespace, Purpose.CAPTURE, node, containers, host_network=True)


def _container(
    keeper: str, image: str, capabilities: tuple[str, ...], user: dict[str, Any]
) -> dict[str, Any]:
    added = {"add": list(capabilities)} if capabilities else {}
    return {
        "name": keeper,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(KEEPERS[keeper]),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], **added},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            **user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _pod(
    name: str,
    namespace: str,
    purpose: Purpose,
    node: str,
    containers: list[dict[str, Any]],
    *,
    host_network: bool,
) -> dict[str, Any]:
    """The pod as it is sent to the API server."""
    where = {"nodeName": node, "tolerations": [{"operator": "Exists"}]} if node else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {**LABELS, PURPOSE: purpose.value}},
        "spec": {
            **where,
            **({"hostNetwork": True} if host_network else {}),
            "restartPolicy": "Never",
            "activeDeadlineSeconds": SECONDS,
            # What waits as process 1 does not hear SIGTERM.
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": containers,
        },
    }
