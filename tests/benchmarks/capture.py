"""Benchmark of captures, run by hand as root: python tests/benchmarks/capture.py [ROUNDS]

Live: in two network namespaces joined by a veth pair, datagrams are sent at a bounded rate while `tcpdump -w` and then
`svcdoctor capture -w` write them, with the same filter on all interfaces. Printed are the packets that are not in the
file. Offline: a file of 1,000,000 packets, of 25,000 connections through NAT, 500 of them at a time, is read by
`tcpdump -n`, by tshark and by `svcdoctor capture --read`, each writing to a file. Printed are medians of ratios within
a round, and the memory for files of four sizes. Needs tcpdump, tshark and 2 GB of disk; takes two minutes a round.
"""

import json
import os
import random
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from svcdoctor.capture.captured import Capture, Window, frames_of
from svcdoctor.lab.net.spaces import Spaces

RATES = (10_000, 30_000, 60_000)  # packets a second
SECONDS = 5
PACKETS = 1_000_000
SIZES = (PACKETS // 4, PACKETS, 2 * PACKETS, 4 * PACKETS)
BOUND = 10  # times tcpdump's time
PORT = 30053
SVCDOCTOR = shutil.which("svcdoctor", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

WORLD = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "type": "NodePort",
                "clusterIP": "10.96.0.1",
                "ports": [{"name": "dns", "port": 53, "nodePort": PORT, "protocol": "UDP"}],
            },
        }
    ],
}
SEND = """
import socket, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
s = socket.socket(type=socket.SOCK_DGRAM)
s.connect(("10.9.0.2", int(sys.argv[3])))
began, sent, data = time.perf_counter(), 0, bytes(200)
while sent < rate * seconds:
    due = (time.perf_counter() - began) * rate
    while sent < due:
        s.send(data)
        sent += 1
    time.sleep(0.0005)
print(sent, time.perf_counter() - began)
"""
HOLD = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', {})); time.sleep(9999)"


def build(spaces):
    for name in ("node", "client"):
        spaces.add(name)
        spaces.run(name, "ip", "link", "set", "lo", "up")
    spaces.batch(
        "client", f"link add eth0 type veth peer name eth0 netns {spaces.pid('node')}", "link set eth0 up",
        "addr add 10.9.0.1/24 dev eth0",
    )  # fmt: skip
    spaces.batch("node", "link set eth0 up", "addr add 10.9.0.2/24 dev eth0")


def sniffing(spaces):
    table = spaces.run("node", "cat", "/proc/net/packet").splitlines()[1:]
    return any(line.split()[3] == "0003" for line in table)


def lost(spaces, words, path, rate):
    """Which share of the packets is not in the file, and how many the capture says were dropped."""
    capture = subprocess.Popen(
        spaces.command("node", words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not sniffing(spaces):
        time.sleep(0.05)
    time.sleep(0.3)
    sent, seconds = spaces.run(
        "client", sys.executable, "-c", SEND, str(rate), str(SECONDS), str(PORT)
    ).split()
    time.sleep(1)
    capture.send_signal(signal.SIGINT)
    capture.communicate()
    with path.open("rb") as file:
        held = sum(1 for frame in frames_of(Capture(Window(file.read)), path.name) if frame[3] >= 200)
    path.unlink()
    return 1 - held / int(sent), int(sent) / float(seconds)


def live(spaces, folder, rounds):
    world = folder / "world.json"
    world.write_text(json.dumps(WORLD))
    ours, theirs = folder / "ours.pcapng", folder / "theirs.pcap"
    limits = ["--count", "100000000", "--seconds", "600"]
    ways = {
        "tcpdump": (["tcpdump", "-i", "any", "-n", "-w", str(theirs), f"udp port {PORT}"], theirs),
        "svcdoctor": (
            [SVCDOCTOR, "capture", "svc/web", "--snapshot", str(world), *limits, "-w", str(ours)], ours,
        ),
    }  # fmt: skip
    print(f"live: packets lost in {SECONDS} s, of all that were sent")
    for rate in RATES:
        shares = {name: [] for name in ways}
        reached = []
        for _ in range(rounds):
            for name, (words, path) in ways.items():
                share, pace = lost(spaces, words, path, rate)
                shares[name].append(share)
                reached.append(pace)
        said = ", ".join(f"{name} {statistics.median(found):.3%}" for name, found in shares.items())
        print(f"  {statistics.median(reached):9,.0f} packets/s: {said}", flush=True)


def frame(source, destination, sport, dport, seq, ack, flags, data, number):
    stamp = (0x0101080A, number & 0xFFFF, 7)
    ports = struct.pack(">HHII", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF)
    tcp = ports + struct.pack(">BBHHHIII", 0x80, flags, 502, 0, 0, *stamp) + data
    ip = (
        struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), number & 0xFFFF, 0x4000, 64, 6, 0)
        + source
        + destination
    )
    return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + ip + tcp


def talk(number, chance):
    """One connection's frames, each on both legs: to a nodePort, and masqueraded to one of ten pods."""
    client, node = struct.pack(">I", 0x0A640000 + number // 30000), bytes((192, 168, 0, 44))
    masqueraded, pod = bytes((10, 244, 1, 1)), bytes((10, 244, 1, 40 + chance.randrange(10)))
    sport, port = 1024 + number % 30000, 1024 + number * 7 % 64000
    seq, ack, ident = chance.getrandbits(32), chance.getrandbits(32), chance.getrandbits(16)
    answers = [bytes(chance.choice((100, 500, 1400))) for _ in range(chance.randrange(2, 12))]
    segments = [(1, 2, b""), (0, 18, b""), (1, 16, b""), (1, 24, b"GET / HTTP/1.1\r\n\r\n" + bytes(200))]
    for answer in answers:
        segments += [(0, 24, answer), (1, 16, b"")]
    for forward, flags, data in [*segments, (0, 17, b""), (1, 17, b""), (0, 16, b"")]:
        ident += 1
        if forward:
            yield frame(client, node, sport, 31372, seq, ack, flags, data, ident)
            yield frame(masqueraded, pod, port, 8080, seq, ack, flags, data, ident)
            seq += len(data) + bool(flags & 3)
        else:
            yield frame(pod, masqueraded, 8080, port, ack, seq, flags, data, ident)
            yield frame(node, client, 31372, sport, ack, seq, flags, data, ident)
            ack += len(data) + bool(flags & 3)


def make(path, packets):
    chance = random.Random(1)
    talking, number, written = [], 0, 0
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        while written < packets:
            while len(talking) < 500:
                talking.append(talk(number, chance))
                number += 1
            for one in list(talking):
                data = next(one, None)
                if data is None:
                    talking.remove(one)
                    continue
                at = 1_700_000_000_000_000 + 3 * written
                file.write(struct.pack("<IIII", at // 10**6, at % 10**6, len(data), len(data)) + data)
                written += 1
                if written == packets:
                    break
    return path


def timed(words, output):
    """Seconds, and MiB of memory at most, looked at 20 times a second: what wait4() says begins with the parent's."""
    began = time.perf_counter()
    peak = 0
    with output.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found[1]) if found else 0)
            time.sleep(0.05)
    assert process.returncode == 0, words
    return time.perf_counter() - began, peak / 1024


def offline(folder, rounds):
    path = make(folder / "million.pcap", PACKETS)
    output = folder / "out.txt"
    ways = {
        "tcpdump": ["tcpdump", "-n", "-r", str(path)],
        "tshark": ["tshark", "-n", "-r", str(path)],
        "svcdoctor": [SVCDOCTOR, "capture", "--read", str(path)],
        "svcdoctor -w": [SVCDOCTOR, "capture", "--read", str(path), "-w", str(folder / "new.pcapng")],
    }
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, words in ways.items():
            times[name].append(timed(words, output)[0])
    print(f"offline: {PACKETS:,} packets")
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, times["tcpdump"], strict=True))
        print(f"  {name:13} {statistics.median(found):6.1f} s, {ratio:.2f} times tcpdump")
    ratio = statistics.median(a / b for a, b in zip(times["svcdoctor"], times["tcpdump"], strict=True))
    print(f"  bound: {BOUND} times tcpdump: {'kept' if ratio <= BOUND else 'BROKEN'}")
    path.unlink()
    for size in SIZES:
        path = make(folder / "sized.pcap", size)
        seconds, memory = timed([SVCDOCTOR, "capture", "--read", str(path)], output)
        print(f"  {size:9,} packets: {memory:4.0f} MiB, {seconds:.1f} s")


def main(rounds):
    if os.geteuid():
        raise SystemExit("run it as root")
    spaces = Spaces({})
    holding = None
    try:
        build(spaces)
        holding = spaces.start("node", sys.executable, "-c", HOLD.format(PORT))
        with tempfile.TemporaryDirectory() as folder:
            live(spaces, Path(folder), rounds)
            offline(Path(folder), rounds)
    finally:
        for process in (holding, *spaces._holders.values()):
            if process is not None:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
