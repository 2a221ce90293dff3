"""Benchmark of probing, run by hand as root: python tests/benchmarks/probe.py [ENDPOINTS] [NODES]

Endpoints are addresses in one network namespace, where an HTTP server answers after up to a second and some drop
everything; nodes are namespaces that are routed there. All endpoints are probed from all nodes at once, by our own
sockets and by commands that run on the nodes; beside it the slowest of them alone. The ratio that counts is the time
of all to 1.5 times the slowest one plus 2 seconds; below 1 is good. Nothing leaves the namespaces.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from svcdoctor.model.observed import Aim, Place, PlaceKind, ProbeKind
from svcdoctor.probe.here import Here
from svcdoctor.probe.inshell import InShell
from svcdoctor.probe.origin import Origin
from svcdoctor.probe.places import OWN_PROCESSES
from svcdoctor.probe.run import probe, probe_all
from svcdoctor.sources.podexec import Output

SECONDS = 2.0
DROPPED = 15  # every so many endpoints one that drops
SLOW = 10  # every so many one that takes its time

SERVER = """
import asyncio
async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    last = int(writer.get_extra_info("sockname")[0].rpartition(".")[2])
    await asyncio.sleep(1.0 if last % %d == 0 else 0.02)
    body = b"pod-%%d\\n" %% last
    writer.write(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %%d\\r\\n\\r\\n" %% len(body) + body)
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "0.0.0.0", 8080, backlog=4096)
    print("up", flush=True)
    await server.serve_forever()
asyncio.run(main())
""".replace("%%", "%").replace("% %d ==", f"% {SLOW} ==")


class Spaces:
    """The namespaces: one for the endpoints, and one for each node."""

    def __init__(self, endpoints: int, nodes: int) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.endpoints = [f"10.8.{1 + n // 250}.{1 + n % 250}" for n in range(endpoints)]
        self.pods = self._hold()
        dropped = [ip for n, ip in enumerate(self.endpoints) if n % DROPPED == DROPPED - 1]
        self.dropped = set(dropped)
        self.run(
            self.pods,
            "sysctl -q -w net.core.somaxconn=4096 net.ipv4.tcp_max_syn_backlog=4096",
            *(f"ip addr add {ip}/32 dev lo" for ip in self.endpoints),
            *(f"iptables -A INPUT -d {ip} -j DROP" for ip in dropped),
        )
        self.nodes = [self._node(number) for number in range(nodes)]
        server = self._start(self.pods, sys.executable, "-c", SERVER)
        assert server.stdout is not None
        server.stdout.readline()

    def _hold(self) -> int:
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep 600"],
            stdout=subprocess.PIPE,
        )
        self.processes.append(holder)
        assert holder.stdout is not None
        holder.stdout.readline()
        return holder.pid

    def _node(self, number: int) -> int:
        pid = self._hold()
        self.run(self.pods, f"ip link add n{number} type veth peer name eth0 netns {pid}")
        self.run(self.pods, f"ip link set n{number} up", f"ip addr add 10.9.{number}.2/24 dev n{number}")
        self.run(
            pid,
            "ip link set eth0 up",
            f"ip addr add 10.9.{number}.1/24 dev eth0",
            f"ip route add 10.8.0.0/16 via 10.9.{number}.2",
        )
        return pid

    def run(self, pid: int, *commands: str) -> None:
        words = ["nsenter", "--target", str(pid), "--net", "sh", "-ec", "\n".join(commands)]
        subprocess.run(words, check=True)

    def _start(self, pid: int, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["nsenter", "--target", str(pid), "--net", *words], stdout=subprocess.PIPE)
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def by_sockets(pid: int, place: Place) -> Origin:
    return Here(place, Path(f"/proc/{pid}/ns/net"))


def by_command(hidden: str, processes: int) -> Callable[[int, Place], Origin]:
    """Commands on a node whose ``hidden`` program is not there."""

    def origin(pid: int, place: Place) -> Origin:
        def run(arguments: tuple[str, ...], seconds: float, limit: int) -> Output:
            words = ["nsenter", "--target", str(pid), "--net", *arguments]
            done = subprocess.run(words, capture_output=True, timeout=seconds, check=False)
            found = (
                done.stdout.replace(hidden.encode() + b"\n", b"")
                if hidden and len(arguments) == 3
                else done.stdout
            )
            return Output(found, done.stderr, done.returncode)

        return InShell(place, run, lambda: None, processes)

    return origin


def measured(spaces: Spaces, origin: Callable[[int, Place], Origin]) -> tuple[float, float, int]:
    """Seconds of all, of the slowest alone, and how many were answered of all."""
    origins = [origin(pid, Place(PlaceKind.NODE, f"n{n}")) for n, pid in enumerate(spaces.nodes)]
    aims = [Aim(ip, 8080, ProbeKind.HTTP) for ip in spaces.endpoints]
    slowest = next((aim for aim in aims if aim.ip in spaces.dropped), aims[-1])
    start = time.monotonic()
    probe([slowest], origins[0], seconds=SECONDS)
    alone = time.monotonic() - start
    start = time.monotonic()
    seen = probe_all([(one, aims) for one in origins], seconds=SECONDS, concurrency=1000)
    took = time.monotonic() - start
    wrong = [o for o in seen if (o.answered == 0) is not (o.aim.ip in spaces.dropped)]
    assert not wrong, wrong[:3]
    return took, alone, sum(o.answered for o in seen)


def main(endpoints: int, nodes: int) -> None:
    missing = [p for p in ("unshare", "nsenter", "ip", "iptables") if shutil.which(p) is None]
    if missing:
        sys.exit(f"needs {', '.join(missing)}")
    spaces = Spaces(endpoints, nodes)
    ways = {
        "our own sockets": by_sockets,
        "Python on the nodes": by_command("", OWN_PROCESSES),
        "sh and curl on the nodes": by_command("python3", OWN_PROCESSES),
    }
    try:
        print(
            f"{endpoints} endpoints x {nodes} nodes, {len(spaces.dropped)} of them silent; {SECONDS:g} s for a try"
        )
        for name, origin in ways.items():
            took, alone, answered = measured(spaces, origin)
            bound = 1.5 * alone + 2
            print(
                f"{name:26} all {took:5.2f} s, slowest alone {alone:5.2f} s, {took / alone:4.2f} times; "
                f"of the bound of {bound:4.2f} s: {took / bound:4.2f} ({answered} answers)"
            )
    finally:
        spaces.close()


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:3] + ["300", "3"][len(sys.argv) - 1 :])))
