"""Benchmark of forward against kubectl's port-forward, run by hand: python tests/benchmarks/forward.py [ROUNDS]

Both programs forward to the same pods through the same API server of the lab, which is a process of its own, as are
the pods' applications; the loads go to one and then to the other within a round. Measured are the throughput of 1 and
8 streams, the time from connect to the first byte of the answer on a new connection, 200 new connections a second for
30 seconds and how many of them failed, the memory of 1,000 idle connections, and failed requests of 5,000 while three
pods that drain on SIGTERM are replaced again and again. Printed are medians, ratios within a round, and whether each
bound is kept. The lab's server is Python and the bottleneck of both in bulk, so throughput has no bound here. Needs
kubectl; takes about two minutes, and 15 seconds for each round.
"""

import contextlib
import itertools
import os
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
from forward_world import NAMESPACE, PORTS, World, pod

KUBECTL, OURS = "kubectl", "svcdoctor"
PROGRAMS = {
    KUBECTL: ["kubectl", "port-forward"],
    OURS: [sys.executable, "-m", "svcdoctor.cli.main", "forward"],
}
SIZE = 96 << 20  # bytes of one bulk load
NEW = 300  # new connections of which the first byte is waited for
RATE, SECONDS = 200, 30
IDLE = 1000
REQUESTS, REQUEST_RATE = 5000, 250
PATIENCE = 15.0
WORKERS = 64


def bulk_wish(connection, wish):
    """``down N`` or ``up N`` bytes, and an answer."""
    line, _, begun = wish.partition(b"\n")
    word, _, count = line.decode().partition(" ")
    left, block = int(count) - len(begun), bytearray(1 << 18)
    connection.setblocking(True)
    with connection:
        while left:
            left -= connection.send(block[:left]) if word == "down" else connection.recv_into(block)
        connection.sendall(b"ok\n")
        connection.recv(1)


def applications():
    """The process of the applications: its port on standard output. A line is answered at once by one thread, so that
    little of what is measured is its time; bulk has threads of its own."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listening.setblocking(False)
    poll, clients = select.epoll(), {}
    poll.register(listening, select.EPOLLIN)
    print(listening.getsockname()[1], flush=True)
    while True:
        for number, _ in poll.poll():
            if number == listening.fileno():
                client = listening.accept()[0]
                clients[client.fileno()] = client
                poll.register(client, select.EPOLLIN)
                continue
            with contextlib.suppress(OSError):
                wish = clients[number].recv(100)
                if wish == b"hi\n":
                    clients[number].sendall(b"ok\n")
                    continue
                poll.unregister(number)
                client = clients.pop(number)
                if wish:
                    threading.Thread(target=bulk_wish, args=(client, wish), daemon=True).start()
                else:
                    client.close()


def serve(folder):
    """The process of the API server. ``roll`` on standard input replaces the pods of the Service until ``enough``;
    ``latency`` is the seconds by which tunnels hear later what a client sends."""
    world = World()
    words = [sys.executable, __file__, "applications"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as apps:
        world.runtime.pods["bench"] = dict.fromkeys(PORTS, ("127.0.0.1", int(apps.stdout.readline())))
        world.store.create(pod("bench", app="bench"))
        names = [f"web-1-{n}" for n in range(3)]
        for name in names:
            world.start(name)
        world.kubeconfig(Path(folder) / "kubeconfig")
        print("ready", flush=True)
        generations = itertools.count(2)
        enough = threading.Event()

        def roll():
            rounds = 0
            while not enough.is_set():
                names[:] = world.roll(names, next(generations))
                rounds += 1
            print(rounds, flush=True)

        for line in sys.stdin:
            match line.split():
                case ["roll"]:
                    enough.clear()
                    threading.Thread(target=roll).start()
                case ["enough"]:
                    enough.set()
                case ["latency", seconds]:
                    world.server.forward_faults.latency = float(seconds)
                    print(flush=True)
        world.close()
        apps.kill()


class Forwarding:
    """One of the programs, forwarding; `port` is the local one."""

    def __init__(self, program, folder, target):
        words = [*PROGRAMS[program], "--kubeconfig", f"{folder}/kubeconfig", "-n", NAMESPACE]
        words += ["--address", "127.0.0.1", target, ":28080"]
        environment = {k: v for k, v in os.environ.items() if k != "KUBERNETES_SERVICE_HOST"} | {
            "HOME": folder
        }
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )
        line = self.process.stdout.readline()
        self.port = int(re.search(r":(\d+) ->", line)[1])
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def memory(self):
        """MiB that it has resident, children included."""
        found, waiting = 0, [self.process.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                found += int(re.search(r"VmRSS:\s+(\d+)", status)[1])
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found / 1024


def ask(client, line):
    client.sendall(line.encode() + b"\n")
    left = int(line.partition(" ")[2]) if line.startswith("down") else 0
    if line.startswith("up"):
        block = memoryview(bytes(1 << 18))
        size = int(line.partition(" ")[2])
        while size:
            size -= client.send(block[: min(size, len(block))])
    space = bytearray(1 << 18)
    left += 3
    while left:
        count = client.recv_into(space)
        if not count:
            raise ConnectionResetError("ended too early")
        left -= count


def bulk(forwarding, streams, word):
    """Bytes per second of all streams together."""
    clients = [forwarding.connect() for _ in range(streams)]
    for client in clients:
        ask(client, "hi")
    threads = [threading.Thread(target=ask, args=(client, f"{word} {SIZE // streams}")) for client in clients]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    for client in clients:
        client.close()
    return SIZE / seconds


def first_bytes(forwarding):
    """Seconds from connect to the first byte, in the median."""
    times = []
    for _ in range(NEW):
        begun = time.perf_counter()
        with forwarding.connect() as client:
            ask(client, "hi")
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def paced(count, rate, action):
    """How many of so many actions failed, begun at a steady rate whether earlier ones have ended or not."""
    tickets, failed, begun = itertools.count(), [], time.perf_counter()

    def work():
        while (ticket := next(tickets)) < count:
            time.sleep(max(0.0, begun + ticket / rate - time.perf_counter()))
            try:
                action()
            except OSError as e:
                failed.append(e)

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(failed)


def one(forwarding):
    with forwarding.connect() as client:
        client.sendall(b"hi\n")
        if not client.recv(100).endswith(b"\n"):
            raise ConnectionResetError("no answer")


def idle(forwarding):
    """MiB of 1,000 connections that were used once."""
    one(forwarding)
    time.sleep(0.5)
    before = forwarding.memory()
    clients = []
    for _ in range(IDLE):
        clients.append(forwarding.connect())
        ask(clients[-1], "hi")
    time.sleep(1.0)
    used = forwarding.memory() - before
    for client in clients:
        client.close()
    return used * 1000 / IDLE


AWAY = "first byte, 2 ms away"
LOADS = {
    "bulk down, 1 stream": lambda f: bulk(f, 1, "down"),
    "bulk up, 1 stream": lambda f: bulk(f, 1, "up"),
    "bulk down, 8 streams": lambda f: bulk(f, 8, "down"),
    "first byte": first_bytes,
    AWAY: first_bytes,
}


def rounds_of(server, folder, rounds):
    found = {(program, load): [] for program in PROGRAMS for load in LOADS}
    for _ in range(rounds):
        for load, measure in LOADS.items():
            print("latency", 0.002 if load == AWAY else 0, file=server.stdin, flush=True)
            server.stdout.readline()
            for program in PROGRAMS:
                with Forwarding(program, folder, "pod/bench") as forwarding:
                    one(forwarding)
                    found[program, load].append(measure(forwarding))
    for load in LOADS:
        values = {program: statistics.median(found[program, load]) for program in PROGRAMS}
        ratio = statistics.median(a / b for a, b in zip(found[OURS, load], found[KUBECTL, load], strict=True))
        unit, scale = ("ms", 1e3) if load.startswith("first byte") else ("MiB/s", 1 / (1 << 20))
        shown = ", ".join(f"{program} {value * scale:.2f} {unit}" for program, value in values.items())
        print(f"{load}: {shown}: {ratio:.2f}", flush=True)
        if load.startswith("first byte"):
            judge(ratio <= 0.6, f"{load} in {ratio:.2f} of kubectl's time (at most 0.6)")


def judge(kept, text):
    print(f"{'kept' if kept else 'MISSED'}: {text}", flush=True)


def once(server, folder):
    sizes, fresh, lost, failed, rolls = {}, {}, {}, {}, {}
    for program in PROGRAMS:
        with Forwarding(program, folder, "pod/bench") as forwarding:
            fresh[program] = forwarding.memory()
            sizes[program] = idle(forwarding)
        with Forwarding(program, folder, "pod/bench") as forwarding:
            lost[program] = paced(RATE * SECONDS, RATE, lambda f=forwarding: one(f))
        with Forwarding(program, folder, "deploy/web") as forwarding:
            print("roll", file=server.stdin, flush=True)
            failed[program] = paced(REQUESTS, REQUEST_RATE, lambda f=forwarding: one(f))
            print("enough", file=server.stdin, flush=True)
            rolls[program] = int(server.stdout.readline())
        print(
            f"{program}: {fresh[program]:.0f} MiB at the start, {sizes[program]:.2f} MiB more for 1,000 idle "
            f"connections; {lost[program]} of {RATE * SECONDS} new connections failed; {failed[program]} of {REQUESTS} "
            f"requests failed over {rolls[program]} rolling restarts",
            flush=True,
        )
    share = sizes[OURS] / sizes[KUBECTL]
    judge(share < 0.2, f"idle connections in {share:.2f} of kubectl's memory (less than 0.2)")
    judge(not lost[OURS], f"{lost[OURS]} new connections failed (none)")
    judge(not failed[OURS], f"{failed[OURS]} requests failed while pods were replaced (none)")


def main(rounds):
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "serve", folder]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout.readline() == "ready\n"
            once(server, folder)
            rounds_of(server, folder, rounds)
            server.stdin.close()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if sys.argv[1:2] == ["applications"]:
        applications()
    elif sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
