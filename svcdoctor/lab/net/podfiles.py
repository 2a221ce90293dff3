"""The files by which a pod is found on its node: the folder of its logs, and the cgroup of its first process.

A node has its own mounts, and so its own ``/var/log``, which ends with it. The cgroup is what ``/proc/PID/cgroup``
says there, as a file over the kernel's: real cgroups are the machine's, would outlast a lab that is killed, and only
root may make them.

Specification: the kubelet's names, https://kubernetes.io/docs/concepts/cluster-administration/logging/ and
https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/configure-cgroup-driver/ (the systemd driver)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from svcdoctor.lab.net.spaces import Spaces

LOGS = "/var/log/pods"

_FILES = f"""set -e
mount -t tmpfs -o mode=755,size=1m lab-logs /var/log
mkdir {LOGS}
while read -r folder pid cgroup; do
    mkdir "{LOGS}/$folder"
    echo "$cgroup" > /var/log/cgroup
    mount --bind /var/log/cgroup "/proc/$pid/cgroup"
    rm /var/log/cgroup
done
"""


@dataclass(frozen=True, slots=True)
class PodFiles:
    """A pod, and its first process: the sandbox's."""

    namespace: str
    name: str
    uid: str
    pid: int


def write_pod_files(spaces: Spaces, node: str, pods: Iterable[PodFiles]) -> None:
    """Make the files of these pods on their node, once. Raises SvcdoctorError."""
    lines = [f"{p.namespace}_{p.name}_{p.uid} {p.pid} {_cgroup(p.uid)}\n" for p in pods]
    where = ["nsenter", "--target", str(spaces.pid(node)), "--mount"]
    spaces.run(None, *where, "sh", "-c", _FILES, stdin="".join(lines))


def _cgroup(uid: str) -> str:
    slice_ = f"kubepods-besteffort-pod{uid.replace('-', '_')}.slice"
    return f"0::/kubepods.slice/kubepods-besteffort.slice/{slice_}/cri-containerd-sandbox.scope"
