"""The short-lived pod that facts of a node are read from: its manifest, pure.

Why it looks like this. kube-proxy's image, the default, has no shell and need not have any program that only
waits. Collecting commands as the containers' own, read through logs, would need none, but a log mixes stdout
with stderr, is written to the node's disk, and is cut at 10 MiB. So the pod only waits, and commands are run in
it by exec, byte for byte as in kube-proxy's own pod. Two containers wait, each with a program that some images
lack: ``sleep`` is in kube-proxy's upstream image and in every image with a shell, ``nft monitor trace`` (which
listens for traced packets, and there are none) in images that were stripped further. Whichever runs is used.

Privileges: the node's network; user 0, with all capabilities dropped but NET_ADMIN, which reading rules takes,
and NET_RAW, because iptables-legacy-save reads them from a raw socket. Nothing is written: the file system is
read-only, which the ``-save`` programs do not mind, as only changing rules takes the xtables lock.

Specification: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from typing import Any

SECONDS = 120
"""After this time the kubelet ends the pod by itself."""

LABELS = {"app.kubernetes.io/managed-by": "svcdoctor", "svcdoctor/purpose": "node-facts"}
SELECTOR = ",".join(f"{key}={value}" for key, value in LABELS.items())
"""Finds all such pods, whoever made them."""

KEEPERS: dict[str, tuple[str, ...]] = {
    "sleep": ("sleep", str(SECONDS)),
    "nft": ("nft", "monitor", "trace"),
}
"""The containers by name, in the order in which they are preferred, and what they wait with."""

CAPABILITIES = ("NET_ADMIN", "NET_RAW")


def manifest(name: str, namespace: str, node: str, image: str) -> dict[str, Any]:
    """The pod as it is sent to the API server."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": False,
        "runAsUser": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
        "spec": {
            "nodeName": node,
            "hostNetwork": True,
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": SECONDS,
            # What waits as process 1 does not hear SIGTERM.
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [
                {
                    "name": keeper,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": list(command),
                    "securityContext": security,
                }
                for keeper, command in KEEPERS.items()
            ],
        },
    }
