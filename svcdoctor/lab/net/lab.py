"""The running lab: its spaces, its API server, its controller, the processes of its pods, and what a fault may do."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.net.controller import KINDS, Controller
from svcdoctor.lab.net.coredns import CoreDns
from svcdoctor.lab.net.dnsserver import DnsServer
from svcdoctor.lab.net.kubelet import Kubelets
from svcdoctor.lab.net.podfiles import PodFiles, write_pod_files
from svcdoctor.lab.net.rollout import Rollouts
from svcdoctor.lab.net.sockets import socket_in
from svcdoctor.lab.net.spaces import CLIENT, Spaces, build
from svcdoctor.lab.net.upstream import Upstream
from svcdoctor.lab.net.world import API_PORT, MASTER4, NODES, PODS, LabPod, objects
from svcdoctor.lab.podprocess import run_process
from svcdoctor.lab.podruntime import Call, NotStarted, PodRuntime, running
from svcdoctor.lab.podsandbox import Sandbox, sandbox_of
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import ObjectStore

Object = dict[str, Any]
DNS_POD = next(p for p in PODS if ("k8s-app", "kube-dns") in p.labels)
PROXY_PORT = 10249  # kube-proxy's metricsBindAddress


class Lab(PodRuntime):
    """One lab in one of the modes. ``folder`` holds its lock file, kubeconfig and resolv.conf files."""

    def __init__(self, mode: str, folder: Path) -> None:
        self.mode = mode
        self.folder = folder
        self.spaces = Spaces({"XTABLES_LOCKFILE": str(folder / "xtables.lock")})
        self.store = ObjectStore(objects())
        self.controller = Controller(self.store, self.spaces, mode)
        self.kubelets = Kubelets(self.spaces, folder)
        self.upstream = Upstream(MASTER4)
        self.dns = CoreDns(lambda: self.controller.snapshot, self._from_dns_pod)
        self.server = ApiServer(self.store, host=MASTER4, port=API_PORT, runtime=self)
        self.kubeconfig = folder / "kubeconfig"
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._undo: list[tuple[str, Callable[[], None]]] = []
        self.broken: list[str] = []

    def start(self) -> None:
        """Build the network, start everything in it, and wait until the rules are there."""
        build(self.spaces)
        for pod in PODS:
            self.serve(pod)
        self._pod_files()
        self.kubelets.mount()
        self.controller.synced = self.kubelets.sync
        self.controller.sync()
        for node in NODES:
            self._tell_settings(node.name)
        self.server.start()
        self.server.write_kubeconfig(self.kubeconfig)
        self._dns()
        threading.Thread(target=self.controller.follow, name="lab-controller", daemon=True).start()
        rollouts = Rollouts(
            self.store, lambda: [p for p in PODS if p.key in self._servers], self.serve, self._stop
        )
        threading.Thread(target=rollouts.follow, name="lab-rollouts", daemon=True).start()

    def serve(self, pod: LabPod, bind: str = "*", tls: Path | None = None) -> None:
        """Start a pod's server, anew if it runs, with ``tls`` (a file with certificate and key) inside of TLS; the DNS
        pod's runs in this process."""
        old = self._servers.pop(pod.key, None)
        if old is not None:
            old.kill()
            old.wait()
        ports = [f"{number}/{protocol}" for _, number, protocol in pod.ports]
        if ports and ("k8s-app", "kube-dns") not in pod.labels:
            words = ["-m", "svcdoctor.lab.net.podserver", pod.name, pod.node, bind, *ports]
            words += ["--tls", str(tls)] if tls is not None else []
            self._servers[pod.key] = self.spaces.start(pod.key, sys.executable, *words)

    def _stop(self, pod: LabPod) -> None:
        """End a pod's server."""
        server = self._servers[pod.key]
        server.terminate()
        server.wait()

    def _pod_files(self) -> None:
        """What each node has of the pods on it."""
        pods = self.store.list_page(KINDS["Pod"]).items
        for node in NODES:
            found = []
            for pod in pods:
                metadata = pod["metadata"]
                space = self._space(metadata["namespace"], metadata["name"])
                if pod["spec"]["nodeName"] == node.name and space is not None:
                    names = (metadata["namespace"], metadata["name"], metadata["uid"])
                    found.append(PodFiles(*names, self.spaces.pid(space)))
            write_pod_files(self.spaces, node.name, found)

    def _dns(self) -> None:
        self.upstream.start()
        pid = self.spaces.pid(DNS_POD.key)
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            udp = socket_in(pid, family, socket.SOCK_DGRAM, address, 53)
            tcp = socket_in(pid, family, socket.SOCK_STREAM, address, 53)
            DnsServer(self.dns.answer).serve(udp, tcp)

    def _from_dns_pod(self, kind: socket.SocketKind) -> socket.socket:
        """A socket that cluster DNS asks others with."""
        return socket_in(self.spaces.pid(DNS_POD.key), socket.AF_INET, kind, DNS_POD.ip4, 0, listening=False)

    def _tell_settings(self, node: str) -> None:
        """kube-proxy's /proxyMode, /configz and /healthz on the node's loopback."""
        controller = self.controller

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                settings = controller.settings[node]
                config = {
                    "kind": "KubeProxyConfiguration",
                    "mode": settings.mode,
                    "clusterCIDR": ",".join(settings.cluster_cidrs),
                    "nodePortAddresses": list(settings.node_port_addresses) or None,
                }
                bodies = {
                    "/proxyMode": settings.mode,
                    "/configz": json.dumps({"kubeproxy.config.k8s.io": config}),
                }
                body = bodies.get(self.path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        sock = socket_in(self.spaces.pid(node), socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", PROXY_PORT)
        server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = sock
        threading.Thread(target=server.serve_forever, name="lab-proxy", daemon=True).start()

    # --- what runs pods

    def created(self, pod: Object) -> Object | None:
        """A pod on a node's network runs at once: what it needs is there."""
        return running(pod) if self._on_node(pod) is not None else None

    def _on_node(self, pod: Object) -> str | None:
        """The node on whose network a pod is."""
        spec = pod["spec"]
        return (
            spec.get("nodeName")
            if spec.get("hostNetwork") and spec.get("nodeName") in self.spaces.names
            else None
        )

    def execute(self, call: Call) -> int:
        space = self._space(call.namespace, call.pod)
        if space is None:
            raise NotStarted(f"nothing runs behind pod {call.pod}")
        if shutil.which(call.arguments[0]) is None:
            raise NotStarted(f'exec: "{call.arguments[0]}": executable file not found in $PATH')
        return run_process(call, self.spaces.command(space, call.arguments, mounts=True))

    def sandbox(self, namespace: str, pod: str) -> Sandbox | None:
        space = self._space(namespace, pod)
        return None if space is None else sandbox_of(space, self.spaces.pid(space))

    def _space(self, namespace: str, pod: str) -> str | None:
        """Where a pod is: those on their node's network there, others in their own namespace."""
        space = f"{namespace}/{pod}"
        if space in self.spaces.names:
            return space
        try:
            return self._on_node(self.store.get(KINDS["Pod"], namespace, pod))
        except ApiError:
            return None

    # --- faults

    def on_fix(self, code: str, undo: Callable[[], None]) -> None:
        """Remember how a part of a fault is undone."""
        self._undo.append((code, undo))

    def fix(self) -> list[str]:
        """Undo every fault, the last one first."""
        fixed = list(self.broken)
        while self._undo:
            self._undo.pop()[1]()
        self.broken.clear()
        self.controller.sync()
        return fixed

    def change(self, code: str, kind: str, namespace: str, name: str, edit: Callable[[Object], None]) -> None:
        """Change an object; the fix puts it back as it was."""
        resource = KINDS[kind]
        before = self.store.get(resource, namespace, name)
        self._put(before, edit)
        self.on_fix(
            code, lambda: self._put(self.store.get(resource, namespace, name), lambda o: _restore(o, before))
        )

    def _put(self, obj: Object, edit: Callable[[Object], None]) -> None:
        new = json.loads(json.dumps(obj))
        new["metadata"].pop("resourceVersion", None)
        edit(new)
        self.store.update(new)

    def add(self, code: str, obj: Object) -> None:
        """Make an object; the fix deletes it."""
        self.store.create(obj)
        metadata = obj["metadata"]

        def gone() -> None:
            self.store.delete(KINDS[obj["kind"]], metadata.get("namespace", ""), metadata["name"])

        self.on_fix(code, gone)

    def delete(self, code: str, kind: str, namespace: str, name: str) -> None:
        """Delete an object; the fix makes it again."""
        before = self.store.delete(KINDS[kind], namespace, name)

        def again() -> None:
            new = json.loads(json.dumps(before))
            new["metadata"].pop("resourceVersion", None)
            self.store.create(new)

        self.on_fix(code, again)

    def run(self, code: str, space: str, do: str, undo: str) -> None:
        """Run a shell command in a namespace; the fix runs the other one."""
        self.spaces.run(space, "sh", "-c", do)

        def back() -> None:
            self.spaces.run(space, "sh", "-c", undo, check=False)

        self.on_fix(code, back)

    @property
    def status(self) -> Object:
        """What is up, for people and programs."""
        return {
            "mode": self.mode,
            "kubeconfig": str(self.kubeconfig),
            "spaces": list(self.spaces.names),
            "client": CLIENT,
            "broken": list(self.broken),
            "nodes": {n.name: n.ip4 for n in NODES},
        }


def _restore(obj: Object, before: Object) -> None:
    version = obj["metadata"].get("resourceVersion")
    obj.clear()
    obj.update(json.loads(json.dumps(before)))
    obj["metadata"].pop("resourceVersion", None)
    if version is not None:
        obj["metadata"]["resourceVersion"] = version
