"""What the nodes' kubelets do for DNS: each pod's /etc/resolv.conf, by the pod's spec and the kubelet's settings.

A pod has mounts of its own, and in them a file of the lab's over /etc/resolv.conf; so has a node. A change of the pod's
spec is written at once, as if the pod had been made anew.
"""

from __future__ import annotations

from pathlib import Path

from svcdoctor.dns.kubelet import pod_resolv_conf
from svcdoctor.dns.resolvconf import parse, rendered
from svcdoctor.lab.net.spaces import Spaces
from svcdoctor.lab.net.world import DNS_IP, DOMAIN, MASTER4, NODES, PODS
from svcdoctor.model.snapshot import Snapshot

NODE_CONF = f"search lan.example\nnameserver {MASTER4}\n"


class Kubelets:
    """The files of all pods and nodes. ``cluster_dns`` and ``domain`` are the kubelets' settings."""

    def __init__(self, spaces: Spaces, folder: Path) -> None:
        self._spaces = spaces
        self._folder = folder / "resolv"
        self.cluster_dns = {n.name: (DNS_IP,) for n in NODES}
        self.domain = DOMAIN

    def mount(self) -> None:
        """Put the files where the programs of pods and nodes look for them, once. Raises SvcdoctorError."""
        self._folder.mkdir(exist_ok=True)
        for name in (*(n.name for n in NODES), *(p.key for p in PODS)):
            self._file(name).write_text(NODE_CONF)
            where = ["nsenter", "--target", str(self._spaces.pid(name)), "--mount"]
            self._spaces.run(None, *where, "mount", "--bind", str(self._file(name)), "/etc/resolv.conf")

    def sync(self, snapshot: Snapshot) -> None:
        """Write the pods' files as their objects demand."""
        for lab_pod in PODS:
            pod = snapshot.pod(lab_pod.namespace, lab_pod.name)
            if pod is None:
                continue
            conf = pod_resolv_conf(pod, self.cluster_dns[lab_pod.node], self.domain, parse(NODE_CONF))
            path, text = self._file(lab_pod.key), rendered(conf)
            if path.read_text() != text:
                path.write_text(text)  # in its place: what is mounted is this file

    def _file(self, name: str) -> Path:
        return self._folder / name.replace("/", "_")
