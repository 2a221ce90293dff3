"""The listening sockets of pods: files below /proc of the pod's processes where this is its node, else ``cat`` by exec.

Reading changes nothing, and is a command in somebody's pod all the same: it is asked for first. A container without
``cat`` cannot be read; the sockets are the pod's, so another container of it does as well.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.nodefacts import Listener
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.node.procnet import listening
from svcdoctor.proxy.netns import SUPPORTED
from svcdoctor.proxy.netns_find import PodFinder, node_root
from svcdoctor.sources.collecting import NotRun, Run
from svcdoctor.sources.execnode import runner
from svcdoctor.sources.podexec import Container, Streams
from svcdoctor.sources.session import ApiSession

TABLES = {"TCP": ("tcp", "tcp6"), "UDP": ("udp", "udp6")}
SECONDS = 15.0  # for one table
LIMIT = 16 << 20  # bytes of one table
AT_ONCE = 4  # pods

Confirm = Callable[[str], None]
"""Asks a person whether to go on. Raises SvcdoctorError where the answer is no, or nobody can be asked."""

Read = tuple[dict[str, tuple[Listener, ...]], tuple[MissingFact, ...]]


class SocketReader:
    """Reads sockets of pods, by ``namespace/name``."""

    def __init__(self, session: ApiSession, snapshot: Snapshot, confirm: Confirm) -> None:
        self._session = session
        self._snapshot = snapshot
        self._confirm = confirm
        self._streams = Streams()

    def read(self, pods: Sequence[str]) -> Read:
        """What listens in each pod, and why others could not be read."""
        found = {pod: listeners for pod in pods if (listeners := _on_this_node(pod)) is not None}
        left = [pod for pod in pods if pod not in found]
        if not left:
            return found, ()
        names = ", ".join(pod.rpartition("/")[2] for pod in left)
        try:
            what = "pod" if len(left) == 1 else "pods"
            self._confirm(
                f"Read the listening sockets of {what} {names}: run cat /proc/net/tcp and the like there"
            )
        except SvcdoctorError as e:
            fact = MissingFact(f"sockets of pods {names}", e.message, "add --yes")
            return found, (fact,)
        missing: list[MissingFact] = []
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="svcdoctor-sockets")
        try:
            for pod, result in zip(left, pool.map(self._by_exec, left), strict=True):
                if isinstance(result, MissingFact):
                    missing.append(result)
                else:
                    found[pod] = result
        except BaseException:
            self._streams.end()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return found, tuple(missing)

    def _by_exec(self, name: str) -> tuple[Listener, ...] | MissingFact:
        namespace, _, pod = name.partition("/")
        held = self._snapshot.pod(namespace, pod)
        containers = [c.name for c in held.serving_containers] if held is not None else []
        why = "the pod is not known"
        for container in containers:
            run = runner(self._session, Container(namespace, pod, container), self._streams)
            try:
                return _tables(run)
            except NotRun as e:
                why = e.reason
                if not e.program:
                    break
        reason, separator, command = why.partition(": kubectl ")
        grant = f"kubectl {command}" if separator else _debug(namespace, pod, containers)
        return MissingFact(f"sockets of pod {name}", reason, grant)


def _tables(run: Run) -> tuple[Listener, ...]:
    found: list[Listener] = []
    for protocol, files in TABLES.items():
        for file in files:  # a kernel without IPv6 has no tcp6: cat says so and writes nothing
            found += listening(protocol, run(("cat", f"/proc/net/{file}"), SECONDS, LIMIT).stdout)
    return tuple(dict.fromkeys(found))


def _debug(namespace: str, pod: str, containers: Sequence[str]) -> str:
    """How to look by hand where the image has no cat: an ephemeral container shares the pod's network."""
    target = f" --target={containers[0]}" if containers else ""
    return f"kubectl -n {namespace} debug {pod} -it --image=busybox{target} -- netstat -lntu"


def _on_this_node(name: str) -> tuple[Listener, ...] | None:
    """What listens in a pod of this node, by its processes; None where this is not its node, or not as root."""
    if not SUPPORTED or os.geteuid() != 0:
        return None
    finder = PodFinder(node_root())
    if not finder.logs.is_dir():
        return None
    try:
        process = finder.namespace(*name.split("/", 1)).parent.parent
    except SvcdoctorError:
        return None
    found: list[Listener] = []
    for protocol, files in TABLES.items():
        for file in files:
            with contextlib.suppress(OSError):
                found += listening(protocol, Path(process / "net" / file).read_bytes())
    return tuple(dict.fromkeys(found))
