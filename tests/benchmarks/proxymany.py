"""The benchmark of proxies, its last part: one node's fallback for many Services, by the command itself.

A control process with two workers serves the cluster IPs of all Services, ten endpoints each; those that clients ask
have one. Measured are the time until the first and the last of them are answered for, the time from a change of one
endpoint in the API until a client reaches it, and the memory of all its processes.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy" / "serving"))

from measured import report
from served_world import as_json, endpoint, endpoint_slice, node, service

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN
from svcdoctor.lab.store import ObjectStore

ENDPOINTS = 10
CHANGES = 20
PATIENCE = 60.0


def _ip(number: int) -> str:
    return f"10.96.{number // 250}.{number % 250 + 1}"


def _slice(number: int, *ips: str) -> object:
    """The endpoints of one Service: these, or ten that nobody is at."""
    found = ips or tuple(f"10.{1 + number % 100}.{number // 100}.{e + 1}" for e in range(ENDPOINTS))
    return endpoint_slice(*(endpoint(ip, node="node1") for ip in found), owner=f"s{number}")


def _serve(ip: str) -> None:
    """A server that says its address and ends the connection."""
    listening = socket.create_server((ip, 8080))

    def accept() -> None:
        while True:
            client, _ = listening.accept()
            with client:
                client.sendall(ip.encode())

    threading.Thread(target=accept, daemon=True).start()


def _ask(ip: str) -> str:
    try:
        with socket.create_connection((ip, 80), 1.0) as sock:
            return sock.recv(100).decode()
    except OSError:
        return ""


def _answered(ip: str, wanted: str, began: float) -> float:
    """Seconds until a client of the cluster IP hears the endpoint."""
    while _ask(ip) != wanted:
        if time.monotonic() > began + PATIENCE:
            sys.exit(f"{ip} is not answered for by {wanted}")
        time.sleep(0.001)
    return time.monotonic() - began


def _memory(pid: int) -> float:
    """MiB of a process and its children, pages that they share counted once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"Pss:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1024 + sum(_memory(int(child)) for child in children)


def many(services: int) -> None:
    """In a network namespace of its own, and with mounts of its own."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    before, after = "127.0.1.1", "127.0.1.2"
    for ip in (before, after):
        _serve(ip)
    last = services - 1
    objects = [as_json(node(addresses=("127.0.0.1",)))]
    for number in range(services):
        ip = _ip(number)
        objects.append(as_json(service(f"s{number}", cluster_ip=ip, cluster_ips=(ip,))))
        asked = number <= CHANGES or number == last
        objects.append(as_json(_slice(number, *((before,) if asked else ()))))
    with tempfile.TemporaryDirectory() as folder, ApiServer(ObjectStore(objects), users=(ADMIN,)) as api:
        api.write_kubeconfig(Path(folder) / "config", namespace="shop")
        words = [
            *(sys.executable, "-m", "svcdoctor.cli.main", "proxy", "-A", "--clusterip"),
            *("--node", "node1", "--workers", "2", "--kubeconfig", f"{folder}/config"),
        ]
        environment = {**os.environ, "KUBECONFIG": f"{folder}/config"}
        began = time.monotonic()
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment) as command:
            first = _answered(_ip(0), before, began)
            start = max(first, _answered(_ip(last), before, began))
            latencies = []
            for number in range(1, CHANGES + 1):
                changed = time.monotonic()
                api.store.update(as_json(_slice(number, after)))
                latencies.append(_answered(_ip(number), after, changed))
            memory = _memory(command.pid)
            command.terminate()
    print(
        f"{services} Services of {ENDPOINTS} endpoints: the first served after {first:.2f} s, the last after "
        f"{start:.2f} s; {CHANGES} changes after {statistics.median(latencies) * 1000:.0f} ms in the median and "
        f"{max(latencies) * 1000:.0f} ms at most; {memory:.0f} MiB"
    )
    report("start", start, 5.0, " s")
    report("change", statistics.median(latencies) * 1000, 100, " ms")
    report("memory", memory, 300, " MiB")
