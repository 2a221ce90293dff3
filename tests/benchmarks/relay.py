"""Benchmark of the TCP relay, run by hand as root: python tests/benchmarks/relay.py [ROUNDS]

Three network namespaces, a client, a relay and a server, joined by veth pairs; the direct way is a third pair. In each
round the same loads go the direct way, through haproxy with one thread (as it comes, and with 1 MiB pipes and forced
splice), and through svcdoctor's relay with one worker: bulk with 1 and 8 streams (iperf3), requests on 32 kept
connections, and one connection per request (wrk against haproxy as the server). Printed are medians of ratios within
a round, the CPU time of the relays against haproxy's, the memory of 1,000 idle connections, and whether each bound is
kept. Needs haproxy, iperf3 and wrk; takes about half a minute a round.
"""

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
from pathlib import Path

from svcdoctor.lab.net.spaces import Spaces
from svcdoctor.proxy.buffers import Buffers
from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.listener import Listener, listening_socket
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.relay import Relay

SECONDS = 2  # of one load
IDLE = 1000
LINKS = [("client", "relay", 1), ("relay", "server", 2), ("client", "server", 3)]
LOADS = ["bulk, 1 stream", "bulk, 8 streams", "requests", "connections"]
BOUNDS = {"bulk, 1 stream": 1.5, "bulk, 8 streams": 1.5, "requests": 0.9, "connections": 0.85}
TUNED = "haproxy, tuned"
# Ports of the relay namespace: bulk, web.
WAYS = {"direct": (5201, 8080), "haproxy": (6201, 6080), TUNED: (7201, 7080), "svcdoctor": (9201, 9080)}

HAPROXY = """
global
  nbthread 1
  maxconn 4000
{more}
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
{options}
listen bulk
  bind 0.0.0.0:{bulk}
  server s 10.2.0.2:5201
listen web
  bind 0.0.0.0:{web}
  server s 10.2.0.2:8080
"""
ORIGIN = """
global
  nbthread 1
defaults
  mode http
  timeout client 60s
frontend web
  bind 0.0.0.0:8080
  http-request return status 200 content-type text/plain string ok
"""


def serve(bulk, web):
    """The relay that is measured: listeners, the direct dialer, relays."""
    loop, buffers = Loop(), Buffers()
    dialer = DirectDialer(loop)
    for listening, port in ((bulk, 5201), (web, 8080)):
        endpoint = Endpoint("10.2.0.2", port)

        def accepted(fd, peer, endpoint=endpoint):
            def dialed(result):
                if isinstance(result, int):
                    Relay(loop, buffers, fd, result, ended).start()
                else:
                    loop.close(fd)

            dialer.dial(endpoint, dialed)

        Listener(loop, listening_socket("0.0.0.0", listening), accepted)
    loop.run()


def ended(relay):
    pass


def build(spaces):
    for name in ("client", "relay", "server"):
        spaces.add(name)
        spaces.run(name, "ip", "link", "set", "lo", "up")
    for left, right, net in LINKS:
        spaces.batch(
            left, f"link add to-{right} type veth peer name to-{left} netns {spaces.pid(right)}",
            f"link set to-{right} up", f"addr add 10.{net}.0.1/24 dev to-{right}",
        )  # fmt: skip
        spaces.batch(right, f"link set to-{left} up", f"addr add 10.{net}.0.2/24 dev to-{left}")


def haproxy(spaces, folder, name, config, where):
    file = folder / f"{name}.cfg"
    file.write_text(config)
    return spaces.start(where, "haproxy", "-db", "-q", "-f", str(file))


def start(spaces, folder):
    """Start everything; the processes of the relays by their names."""
    haproxy(spaces, folder, "origin", ORIGIN, "server")
    spaces.start("server", "sh", "-c", "exec iperf3 -s >/dev/null 2>&1")
    bulk, web = WAYS["haproxy"]
    tuned_bulk, tuned_web = WAYS[TUNED]
    more = "  tune.pipesize 1048576"
    splice = "  option splice-request\n  option splice-response"
    plain = HAPROXY.format(more="", options="", bulk=bulk, web=web)
    tuned = HAPROXY.format(more=more, options=splice, bulk=tuned_bulk, web=tuned_web)
    ours = [sys.executable, __file__, "serve", *map(str, WAYS["svcdoctor"])]
    return {
        "haproxy": haproxy(spaces, folder, "plain", plain, "relay"),
        TUNED: haproxy(spaces, folder, "tuned", tuned, "relay"),
        "svcdoctor": spaces.start("relay", *ours),
    }


def cpu(process):
    """Seconds of CPU that a process has used; nsenter became it."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process):
    """MiB that a process holds for itself."""
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return int(re.search(r"Pss_Anon:\s+(\d+)", text)[1]) / 1024


def measure(spaces, way, load):
    """What one load reached: bytes or requests per second."""
    bulk, web = WAYS[way]
    host = "10.3.0.2" if way == "direct" else "10.1.0.2"
    if load.startswith("bulk"):
        streams = re.search(r"\d", load)[0]
        words = ["iperf3", "-c", host, "-p", str(bulk), "-t", str(SECONDS), "-P", streams, "-J"]
        for _ in range(5):
            answer = json.loads(spaces.run("client", *words, check=False))
            if "sum_received" in answer["end"]:
                return answer["end"]["sum_received"]["bits_per_second"] / 8
            print(f"{way}, {load}: {answer['error']}", file=sys.stderr)
            time.sleep(
                0.5
            )  # iperf3's server takes one test at a time, and may not have seen the last one's end
    close = ["-H", "Connection: close"] if load == "connections" else []
    text = spaces.run(
        "client", "wrk", "-t1", "-c32", f"-d{SECONDS}s", *close, f"http://{host}:{web}/", check=False
    )
    errors = re.search(r"(Socket errors|Non-2xx).*", text)
    if errors:
        print(f"{way}, {load}: {errors[0].strip()}", file=sys.stderr)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])


def idle(spaces, way, process):
    """MiB for each 1,000 connections that nothing is said on."""
    before = memory(process)
    code = (
        "import socket, sys\n"
        f"made = [socket.create_connection(('10.1.0.2', {WAYS[way][1]})) for _ in range({IDLE})]\n"
        "print(flush=True); sys.stdin.read()"
    )
    command = spaces.command("client", [sys.executable, "-c", code])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as clients:
        clients.stdout.readline()
        time.sleep(0.3)
        return (memory(process) - before) * 1000 / IDLE


def main(rounds):
    spaces = Spaces({})
    build(spaces)
    with tempfile.TemporaryDirectory() as folder:
        relays = start(spaces, Path(folder))
        time.sleep(1.5)
        fresh = {way: idle(spaces, way, process) for way, process in relays.items()}
        speeds = {(way, load): [] for way in WAYS for load in LOADS}
        costs = {(way, load): [] for way in relays for load in LOADS}
        for _ in range(rounds):
            for load in LOADS:
                for way in WAYS:
                    used = cpu(relays[way]) if way in relays else 0.0
                    speed = measure(spaces, way, load)
                    speeds[way, load].append(speed)
                    if way in relays:
                        costs[way, load].append((cpu(relays[way]) - used) / speed)
        report(speeds, costs, fresh)


def ratio(values, others):
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def report(speeds, costs, idle_memory):
    print(
        f"{'':16} {'':16} {'per second':>12} {'/ direct':>9} {'/ haproxy':>10} {'/ tuned':>8} {'CPU / haproxy':>14}"
    )
    for load in LOADS:
        for way in WAYS:
            values = speeds[way, load]
            middle = statistics.median(values)
            speed = f"{middle / 2**20:8.0f} MiB" if load.startswith("bulk") else f"{middle:12.0f}"
            others = [ratio(values, speeds[other, load]) for other in ("direct", "haproxy", TUNED)]
            cost = f"{ratio(costs[way, load], costs['haproxy', load]):14.2f}" if way != "direct" else ""
            print(f"{load:16} {way:16} {speed} {others[0]:9.2f} {others[1]:10.2f} {others[2]:8.2f} {cost}")
    for way, size in idle_memory.items():
        print(f"{way}: {size:.2f} MiB per 1,000 idle connections")
    for load, bound in BOUNDS.items():
        reached = ratio(speeds["svcdoctor", load], speeds["haproxy", load])
        print(
            f"{'kept' if reached >= bound else 'MISSED'}: {load} {reached:.2f} of haproxy (at least {bound})"
        )
    size = idle_memory["svcdoctor"]
    print(f"{'kept' if size <= 1 else 'MISSED'}: {size:.2f} MiB per 1,000 idle connections (at most 1)")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["inside"]:
        main(int(sys.argv[2]))
    else:
        missing = [
            name for name in ("haproxy", "iperf3", "wrk", "unshare", "nsenter") if not shutil.which(name)
        ]
        if missing or os.getuid():
            sys.exit(f"relay.py: needs root and {', '.join(missing) or 'nothing else'}")
        # With its first process, the PID namespace ends all others, and they the network namespaces.
        words = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        rounds = sys.argv[1] if len(sys.argv) > 1 else "3"
        sys.exit(subprocess.run([*words, sys.executable, __file__, "inside", rounds], check=False).returncode)
