"""Benchmark of `proxy`, run by hand as root: python tests/benchmarks/proxy.py [ROUNDS] [SERVICES]

In network namespaces the same loads go from a client to a server directly, through a router, by the rules of kernel
mode and by the fewest that do the same, and through haproxy, nginx stream, socat and svcdoctor's workers, with one
and with two workers (threads) each; haproxy as it comes, and tuned (1 MiB pipes, forced splice). Loads: bulk with 1
and 8 streams (iperf3), requests on 32 kept connections, one connection per request, and one request at a time for its
latency (wrk; haproxy is the server), and datagrams on one flow (udpload.c). Beside them the memory of 1,000 idle
connections, and a half-close: the answer comes 1.5 s after the client has said all. Printed are medians over the
rounds, of ratios within a round, and whether each bound is kept.

At the end 5,000 Services of ten endpoints are served by the command itself: its start, a change, its memory. Needs gcc,
haproxy, iperf3, nginx (with its stream module), nft, socat and wrk; takes about two minutes a round, and three more.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measured import report
from proxyways import Way, World

SECONDS = 2  # of one load
IDLE = 1000
BULK = {"bulk, 1 stream": 1, "bulk, 8 streams": 8}
WRK = {
    "requests": ("-c32",),
    "connections": ("-c32", "-H", "Connection: close"),
    "latency": ("-c1", "--latency"),
}
UDP = "datagrams"
LOADS = (*BULK, *WRK, UDP)
UDP_WAYS = ("direct", "kernel", "by hand", "routed", "nginx 1", "socat", "svcdoctor 1")
LOAD_PROGRAM = str(Path(__file__).with_name("proxyload.py"))
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}

Values = dict[tuple[str, str], list[float]]


def bulk(world: World, way: Way, streams: int) -> float:
    """Bytes per second."""
    words = [
        *("iperf3", "-c", way.host, "-p", str(way.ports["bulk"])),
        *("-t", str(SECONDS), "-P", str(streams), "-J"),
    ]
    for _ in range(10):
        answer = json.loads(world.spaces.run("client", *words, check=False))
        if "sum_received" in answer["end"]:
            return float(answer["end"]["sum_received"]["bits_per_second"]) / 8
        # iperf3's server takes one test at a time, and may not have seen the last one's end.
        time.sleep(0.5)
    sys.exit(f"{way.name}: iperf3: {answer['error']}")


def wrk(world: World, way: Way, words: tuple[str, ...]) -> tuple[float, float, float]:
    """Requests per second, and the median and the 99th percentile in microseconds where it was asked for."""
    url = f"http://{way.host}:{way.ports['web']}/"
    text = world.spaces.run("client", "wrk", "-t1", *words, f"-d{SECONDS}s", url, check=False)
    errors = re.search(r"(Socket errors|Non-2xx).*", text)
    if errors:
        print(f"{way.name}, {' '.join(words)}: {errors[0].strip()}", file=sys.stderr)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        sys.exit(f"{way.name}: wrk: {text}")
    found = {p: float(n) * UNITS[u] for p, n, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", text)}
    return float(rate[1]), found.get("50", 0.0), found.get("99", 0.0)


def datagrams(world: World, way: Way) -> float:
    words = (world.udpload, "ask", way.host, str(way.ports["udp"]), str(SECONDS))
    return float(world.spaces.run("client", *words).split()[0])


def idle(world: World, way: Way) -> float:
    """MiB for each 1,000 connections that nothing is said on."""
    before = way.memory()
    words = [sys.executable, LOAD_PROGRAM, "idle", way.host, str(way.ports["web"]), str(IDLE)]
    command = world.spaces.command("client", words)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as clients:
        assert clients.stdout is not None
        clients.stdout.readline()
        time.sleep(1.0)
        return (way.memory() - before) * 1000 / IDLE


def measure(world: World, way: Way, load: str, found: Values) -> None:
    used = way.cpu()
    if load in BULK:
        speed = bulk(world, way, BULK[load])
    elif load == UDP:
        speed = datagrams(world, way)
    else:
        speed, median, slow = wrk(world, way, WRK[load])
        if load == "latency":
            found.setdefault((way.name, "p50"), []).append(median)
            found.setdefault((way.name, "p99"), []).append(slow)
    found.setdefault((way.name, load), []).append(speed)
    found.setdefault((way.name, f"CPU of {load}"), []).append((way.cpu() - used) / (speed * SECONDS))


def ratio(found: Values, what: str, way: str, other: str) -> float:
    pairs = zip(found[way, what], found[other, what], strict=True)
    return statistics.median(a / b if b else float("nan") for a, b in pairs)


def traffic(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            time.sleep(2.0)
            carriers = [way for way in world.ways.values() if way.processes]
            memory = {way.name: idle(world, way) for way in carriers}
            halves = {}
            for way in world.ways.values():
                words = (sys.executable, LOAD_PROGRAM, "halfclose", way.host, str(way.ports["late"]))
                halves[way.name] = int(world.spaces.run("client", *words))
            found: Values = {}
            for number in range(rounds):
                for load in LOADS:
                    for way in world.ways.values():
                        if load != UDP or way.name in UDP_WAYS:
                            measure(world, way, load, found)
                load_now = ", ".join(f"{value:.1f}" for value in os.getloadavg())
                print(f"round {number + 1} of {rounds}; load of the machine {load_now}", flush=True)
        finally:
            world.close()
    tables(world, found)
    for name, size in memory.items():
        print(f"{name:16} {size:6.2f} MiB per 1,000 idle connections, half-close {halves[name]} of 100")
    judge(found, memory, halves)


def tables(world: World, found: Values) -> None:
    for load in LOADS:
        ways = [way for way in world.ways.values() if (way.name, load) in found]
        print(
            f"{load:16} {'per second':>14} {'/ direct':>9} {'/ haproxy':>10} {'/ same, tuned':>14} {'CPU':>13} "
            f"{'CPU / haproxy':>14}"
        )
        for way in ways:
            name, tuned = way.name, f"haproxy tuned {way.workers}"
            value = statistics.median(found[name, load])
            speed = f"{value / 2**20:10,.0f} MiB" if load in BULK else f"{value:14,.0f}"
            others = [
                f"{ratio(found, load, name, other):.2f}" if (other, load) in found else ""
                for other in ("direct", "haproxy 1", tuned)
            ]
            spent, share = "", ""
            if way.processes and (name, load) != ("socat", UDP):  # its process of a flow is lost sight of
                cost = statistics.median(found[name, f"CPU of {load}"])
                spent = f"{cost * 2**30:.2f} s/GiB" if load in BULK else f"{cost * 1e6:.1f} us"
                if ("haproxy 1", load) in found:
                    share = f"{ratio(found, f'CPU of {load}', name, 'haproxy 1'):.2f}"
            print(
                f"  {name:14} {speed} {others[0]:>9} {others[1]:>10} {others[2]:>14} {spent:>13} {share:>14}"
            )
    print(f"{'added latency':16} {'p50':>10} {'p99':>10}")
    base = {p: statistics.median(found["direct", p]) for p in ("p50", "p99")}
    for way in world.ways.values():
        added = [statistics.median(found[way.name, p]) - base[p] for p in ("p50", "p99")]
        print(f"  {way.name:14} {added[0]:7.0f} us {added[1]:7.0f} us")


def judge(found: Values, memory: dict[str, float], halves: dict[str, int]) -> None:
    """Whether each bound is kept."""
    one, two, haproxy = "svcdoctor 1", "svcdoctor 2", "haproxy 1"
    aims = {"bulk, 1 stream": 2.0, "bulk, 8 streams": 2.0, "requests": 1.0, "connections": 1.0}
    bounds = {"bulk, 1 stream": 1.5, "bulk, 8 streams": 1.5, "requests": 0.9, "connections": 0.85}
    for load, bound in bounds.items():
        report(f"{load}, one worker / haproxy", ratio(found, load, one, haproxy), bound, least=True)
    for load, aim in aims.items():
        report(f"{load}, two workers / haproxy", ratio(found, load, two, haproxy), aim, least=True)
    for load in BULK:
        report(f"{load}, CPU per byte / haproxy", ratio(found, f"CPU of {load}", one, haproxy), 0.35)
    report("idle memory / haproxy", memory[one] / memory[haproxy], 0.3)
    for name in (one, two):
        report(f"half-close, {name}", halves[name], 100, " of 100", least=True)
    report("datagrams / socat", ratio(found, UDP, one, "socat"), 2.0, least=True)
    report("datagrams / nginx", ratio(found, UDP, one, "nginx 1"), 0.9, least=True)
    kernel = {"bulk, 1 stream": 0.9, "bulk, 8 streams": 0.9, "requests": 0.9, "connections": 0.7, UDP: 0.7}
    for load, bound in kernel.items():
        report(f"{load}, kernel mode / direct", ratio(found, load, "kernel", "direct"), bound, least=True)
        others = {name: ratio(found, load, "kernel", name) for name in ("by hand", "routed")}
        print(
            f"    of rules by hand {others['by hand']:.2f}, of a router without rules {others['routed']:.2f}"
        )


def main(rounds: int, services: int) -> None:
    started: list[Callable[[], None]] = []
    if rounds:
        started.append(lambda: traffic(rounds))
    if services:
        from proxymany import many

        started.append(lambda: many(services))
    for part in started:
        part()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if sys.argv[1:2] == ["inside"]:
        main(int(sys.argv[2]), int(sys.argv[3]))
    else:
        needed = ("gcc", "haproxy", "iperf3", "nft", "nginx", "nsenter", "socat", "unshare", "wrk")
        missing = [name for name in needed if not shutil.which(name)]
        if missing or os.getuid():
            sys.exit(f"proxy.py: needs root and {', '.join(missing) or 'nothing else'}")
        # With its first process, the PID namespace ends all others, and they the network namespaces.
        words = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
        given = (sys.argv[1:3] + ["3", "5000"][len(sys.argv[1:3]) :])[:2]
        sys.exit(subprocess.run([*words, sys.executable, __file__, "inside", *given], check=False).returncode)
