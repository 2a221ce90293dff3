"""Finding the network namespace of a pod on its own node, with nothing but files.

The kubelet keeps a pod's logs in ``/var/log/pods/NAMESPACE_NAME_UID``, and runs its containers in cgroups below
``pod<UID>`` (the cgroupfs driver) or ``…-pod<UID with underscores>.slice`` (the systemd driver). A process of such a
cgroup is in the pod's network namespace, ``/proc/PID/ns/net``. A static pod has the same UID, a hash, in both places.
"""

from __future__ import annotations

import contextlib
import re
from ipaddress import ip_address
from pathlib import Path

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.procnet import local_addresses

MOUNTED = Path("/host")
"""Where kubectl debug node/NAME, and most DaemonSets that look after nodes, mount the node's own files."""

_LOGS = "var/log/pods"
_POD = re.compile(r"pod([0-9a-f_-]+)(?:/|\.slice|$)", re.M)


def node_root() -> Path:
    """Where the node's files are: below ``/host`` in a container that has them there, else ``/``."""
    root = Path("/")
    if not (root / _LOGS).is_dir() and (MOUNTED / _LOGS).is_dir():
        return MOUNTED
    return root


class PodFinder:
    """Looks pods up below ``root``: ``/`` but where the node's files are mounted elsewhere. Needs the node's PID
    namespace. ``proc`` and ``logs`` are where the two directories are."""

    def __init__(self, root: Path = Path("/"), proc: Path | None = None) -> None:
        self.logs = root / _LOGS
        self.proc = proc or root / "proc"
        self._known: dict[tuple[str, str], tuple[str, int]] = {}

    def namespace(self, namespace: str, pod: str) -> Path:
        """The path of the network namespace of a pod that runs here; of the node's own for a host-network pod.
        Raises SvcdoctorError where there is none.

        The processes of the node are read only when the one that was found last time is gone.
        """
        known = self._known.pop((namespace, pod), None)
        if known is not None and self._belongs(self.proc / str(known[1]), known[0]):
            path = self._path(known[1])
            if path is not None:
                self._known[namespace, pod] = known
                return path
        uids = self.uids(namespace, pod)
        for uid in uids:
            for pid in self.processes(uid):
                path = self._path(pid)
                if path is not None:
                    self._known[namespace, pod] = (uid, pid)
                    return path
        if not uids:
            raise SvcdoctorError(
                f"pod {namespace}/{pod}: {self.logs} has nothing of it; run svcdoctor on the pod's node", 3
            )
        raise SvcdoctorError(
            f"pod {namespace}/{pod}: no process of it is visible; wait until it runs, or run svcdoctor as root in "
            "the node's PID namespace (hostPID)",
            3,
        )

    def addresses(self, namespace: str, pod: str) -> tuple[str, ...]:
        """The addresses of a pod that runs here, IPv4 first; its node's for a host-network pod. Raises
        SvcdoctorError where it is not here."""
        return _addresses(self.namespace(namespace, pod).parent.parent)

    def by_address(self) -> dict[str, tuple[str, str]]:
        """Namespace and name of every pod that runs here and has a network of its own, by each of its addresses.

        One pass over the processes of the node.
        """
        pods = {}
        with contextlib.suppress(OSError):
            for path in self.logs.iterdir():
                namespace, _, rest = path.name.partition("_")
                pod, _, uid = rest.partition("_")
                pods[uid] = pods[uid.replace("-", "_")] = (namespace, pod)
        seen = {Path("/proc/self/ns/net").stat().st_ino}  # the node's own
        found: dict[str, tuple[str, str]] = {}
        for process in self.proc.glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                uids = [uid for uid in _POD.findall((process / "cgroup").read_text()) if uid in pods]
                if uids and (inode := (process / "ns/net").stat().st_ino) not in seen:
                    seen.add(inode)
                    found.update(dict.fromkeys(_addresses(process), pods[uids[0]]))
        return found

    def _path(self, pid: int) -> Path | None:
        path = self.proc / str(pid) / "ns/net"
        try:
            path.stat()
        except OSError:  # the process has ended
            return None
        return path

    def uids(self, namespace: str, pod: str) -> list[str]:
        """The UIDs that a pod of this name had here, the newest first: a StatefulSet's pod comes back by its name."""
        start = f"{namespace}_{pod}_"  # neither name can hold an underscore
        try:
            found = [path for path in self.logs.iterdir() if path.name.startswith(start)]
            found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        except OSError:
            return []
        return [path.name.removeprefix(start) for path in found]

    def processes(self, uid: str) -> list[int]:
        """The processes of a pod's containers, the oldest first: that is the sandbox, whose namespace the others
        share, while a later one may have made another of its own. Linear in the processes of the node."""
        found = []
        for folder in self.proc.glob("[0-9]*"):
            try:
                if self._belongs(folder, uid):
                    found.append((_started(folder), int(folder.name)))
            except (OSError, ValueError):  # it has ended
                continue
        return [pid for _started_at, pid in sorted(found)]

    def _belongs(self, process: Path, uid: str) -> bool:
        """Whether a process is in one of the pod's cgroups."""
        try:
            text = (process / "cgroup").read_text()
        except OSError:  # it has ended, or is not ours to see
            return False
        return any(found in (uid, uid.replace("-", "_")) for found in _POD.findall(text))


def _addresses(process: Path) -> tuple[str, ...]:
    """Those of a process's network namespace, without loopback and link-local ones."""

    def read(name: str) -> bytes:
        try:
            return (process / "net" / name).read_bytes()
        except OSError:  # it has ended, or the kernel has no such family
            return b""

    every = local_addresses(read("fib_trie"), read("if_inet6"))
    return tuple(a for a in every if not (ip_address(a).is_loopback or ip_address(a).is_link_local))


def _started(folder: Path) -> int:
    """When a process started, in ticks since the boot: field 22 of proc_pid_stat(5)."""
    return int((folder / "stat").read_text().rpartition(")")[2].split()[19])
