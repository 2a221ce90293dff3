"""Nodes whose DaemonSet's pods are real processes: the manifest's own command, in the node's network namespace."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from node_spaces import Nodes, Spaces

from svcdoctor.lab.podruntime import running
from svcdoctor.lab.resources import Object

BIN = Path(sys.executable).parent
EVERY = "0.5s"  # instead of the manifest's minute


class ReportingNodes(Nodes):
    """Starts a pod's command where its node is. Its log is what it wrote; ``logs`` replaces that of a pod."""

    def __init__(self, spaces: Spaces) -> None:
        super().__init__(spaces)
        self.logs: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._written: dict[str, bytearray] = {}
        self._running: dict[str, tuple[subprocess.Popen[bytes], threading.Thread]] = {}

    def created(self, pod: Object) -> Object:
        self.made.append(pod)
        name, spec = pod["metadata"]["name"], pod["spec"]
        program, *words = spec["containers"][0]["command"]
        words = [EVERY if word == "60s" else word for word in words]
        command = self.spaces.command(spec["nodeName"], str(BIN / program), *words)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        self._written[name] = bytearray()
        reader = threading.Thread(target=self._read, args=(process.stdout, self._written[name]))
        reader.start()
        self._running[name] = process, reader
        return running(pod)

    def _read(self, pipe: IO[bytes], written: bytearray) -> None:
        with pipe:
            while data := pipe.read1(1 << 16):  # type: ignore[attr-defined]
                with self._lock:
                    written += data

    def log(self, namespace: str, pod: str, container: str) -> bytes:
        with self._lock:
            return self.logs.get(pod, bytes(self._written.get(pod, b"")))

    def end(self, pod: str) -> int:
        """Ends a pod as the kubelet does; its exit code."""
        process, reader = self._running.pop(pod)
        process.terminate()
        code = process.wait(10)
        reader.join()
        return code

    def close(self) -> None:
        for pod in list(self._running):
            self.end(pod)


def pod_of(daemon_set: Object, node: str) -> Object:
    """The pod that the DaemonSet's controller makes for a node."""
    template = copy.deepcopy(daemon_set["spec"]["template"])
    metadata = daemon_set["metadata"]
    template["metadata"] |= {"name": f"{metadata['name']}-{node}", "namespace": metadata["namespace"]}
    template["spec"]["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", **template}
