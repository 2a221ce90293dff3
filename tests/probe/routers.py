"""A client and a server with three routers between them, in network namespaces, IPv4 and IPv6."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

NEEDED = ("ip", "unshare", "nsenter", "iptables", "ip6tables", "nft", "sysctl")
NAMES = ("client", "r1", "r2", "r3", "server")
SETTINGS = (
    "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000",
    "net.ipv6.icmp.ratelimit=0", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0",
)  # fmt: skip


def skip_or_fail(reason: str) -> None:
    """Without what a test needs it is skipped, but not in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI must not skip these tests")
    pytest.skip(reason)


def possible() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        skip_or_fail(f"needs {', '.join(missing)}")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        skip_or_fail("needs root and network namespaces")


def address(link: int, end: int, family: int) -> str:
    """Of the link behind ``NAMES[link]``: end 1 is nearer to the client, end 2 to the server."""
    return f"10.99.{link + 1}.{end}" if family == 4 else f"fd99:{link + 1}::{end}"


class Chain:
    """client — r1 — r2 — r3 — server. Nothing is named or mounted: with its holder each namespace is gone."""

    def __init__(self) -> None:
        self.holders: dict[str, subprocess.Popen[bytes]] = {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._undo: list[tuple[str, str]] = []

    def make(self) -> None:
        for name in NAMES:
            holder = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE
            )
            self.holders[name] = holder
            assert holder.stdout is not None
            holder.stdout.readline()
            holder.stdout.close()
            self.run(name, f"sysctl -q -e -w {' '.join(SETTINGS)}; ip link set lo up")
        for link, (near, far) in enumerate(itertools.pairwise(NAMES)):
            pid = self.holders[far].pid
            self.run(near, f"ip link add east type veth peer name west netns {pid}")
            for name, interface, end in ((near, "east", 1), (far, "west", 2)):
                self.run(name, f"ip link set {interface} up")
                self.run(name, f"ip addr add {address(link, end, 4)}/24 dev {interface}")
                self.run(name, f"ip addr add {address(link, end, 6)}/64 dev {interface} nodad")
        for at, name in enumerate(NAMES):
            for link in range(len(NAMES) - 1):
                for family in (4, 6):
                    if link > at:
                        self.run(name, f"ip route add {self.net(link, family)} via {address(at, 2, family)}")
                    elif link < at - 1:
                        self.run(
                            name, f"ip route add {self.net(link, family)} via {address(at - 1, 1, family)}"
                        )

    @staticmethod
    def net(link: int, family: int) -> str:
        return f"10.99.{link + 1}.0/24" if family == 4 else f"fd99:{link + 1}::/64"

    def server(self, family: int) -> str:
        return address(len(NAMES) - 2, 2, family)

    def routers(self, family: int) -> list[str]:
        """As their errors name them: by the end that the SYN comes in at."""
        return [address(link, 2, family) for link in range(len(NAMES) - 2)]

    def namespace(self, name: str) -> Path:
        return Path(f"/proc/{self.holders[name].pid}/ns/net")

    def command(self, name: str, *words: str) -> list[str]:
        return ["nsenter", "--target", str(self.holders[name].pid), "--net", *words]

    def run(self, name: str, script: str) -> str:
        done = subprocess.run(
            self.command(name, "sh", "-c", script), capture_output=True, text=True, timeout=30, check=False
        )
        assert not done.returncode, f"{script} in {name}: {done.stderr}"
        return done.stdout

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self.command(name, *words), stdout=subprocess.PIPE)
        self.processes.append(process)
        return process

    @contextmanager
    def rule(self, name: str, family: int, rule: str) -> Iterator[None]:
        """A rule (``FORWARD -p tcp -j DROP``) until the end of the block."""
        tables = "iptables" if family == 4 else "ip6tables"
        self.run(name, f"{tables} -A {rule}")
        try:
            yield
        finally:
            self.run(name, f"{tables} -D {rule}")

    def close(self) -> None:
        for process in [*self.processes, *self.holders.values()]:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


CAP_NET_RAW = 13
_libc = ctypes.CDLL(None, use_errno=True)


def without_raw_sockets(work: Callable[[], T]) -> T:
    """``work`` on a thread of its own that has given CAP_NET_RAW up (capset(2) is of one thread)."""
    results: list[T] = []

    def run() -> None:
        header = struct.pack("=Ii", 0x20080522, 0)
        data = ctypes.create_string_buffer(24)
        assert not _libc.capget(header, data)
        words = list(struct.unpack("=6I", data.raw))
        words[0] &= ~(1 << CAP_NET_RAW)
        assert not _libc.capset(header, struct.pack("=6I", *words))
        results.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


LISTEN = """
import signal, socket
held = []
for family, any_address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    sock = socket.socket(family)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((any_address, 8080))
    sock.listen(64)
    held.append(sock)
print(flush=True)
signal.pause()
"""


@contextmanager
def chain_with_server() -> Iterator[Chain]:
    """The chain with a listener on the server's port 8080 that accepts no connection."""
    possible()
    chain = Chain()
    try:
        chain.make()
        listening = chain.start("server", sys.executable, "-c", LISTEN)
        assert listening.stdout is not None
        listening.stdout.readline()
        yield chain
    finally:
        chain.close()
