"""The oracle's node: a process in a network namespace of its own, with peers in a second one beyond its links.

Run it as ``unshare --net python oracle_node.py``; it reads commands as JSON lines and answers each with one. Both
namespaces end with the process. Packets come in by the links as their peers send them, or are made on the node.
Three things are seen of them: what leaves by a link, what reaches a socket, and errors about them as the kernel
makes them, before any rule can change or drop those.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

LINKS = {
    "eth0": ("192.0.2.1/24", "192.0.2.2/24", "2001:db8:1::1/64", "2001:db8:1::2/64"),
    "eth1": ("198.51.100.1/24", "2001:db8:2::1/64"),
    "cni0": ("10.244.1.1/24", "fd00:244:1::1/64"),
}
HARDWARE, PEER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
ROUTES = (
    "default via 192.0.2.254 dev eth0",
    "10.244.2.0/24 via 198.51.100.20 dev eth1",
    "unreachable 10.66.0.0/16",
    "blackhole 10.67.0.0/16",
    "default via 2001:db8:1::fe dev eth0",
    "fd00:244:2::/64 via 2001:db8:2::20 dev eth1",
    "unreachable fd00:66::/64",
    "blackhole fd00:67::/64",
)
SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/icmp_ratemask": "0",
    "ipv4/conf/{all,default}/rp_filter": "0",
    "ipv4/conf/{all,default}/send_redirects": "0",
    "ipv4/conf/default/route_localnet": "0",
    "ipv6/conf/{all,default}/forwarding": "1",
    "ipv6/conf/{all,default}/accept_ra": "0",
    "ipv6/conf/{all,default}/disable_ipv6": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
    "ipv6/icmp/ratemask": "255",
}
ALSO = {"ipv4/conf/eth0/route_localnet": "1"}  # as kube-proxy sets it for nodePorts on localhost

# The kernel's errors are copied to this process as soon as they are made. The rule with ct is there because the
# kernel tracks connections only where a rule asks for it, and calls no NAT chain where it does not.
WATCH = """table inet oracle {
	chain errors {
		type filter hook output priority -500;
		icmp type destination-unreachable log group 7
		icmpv6 type destination-unreachable log group 7
		tcp flags & rst == rst log group 7
		ct state new counter
	}
}
"""
GROUP = 7

CLONE_NEWNET = 0x40000000
SO_RCVMARK, SO_MARK = 75, 36
ETH_P_ALL = 3
NFLOG_CONFIG, NFLOG_PACKET = 4 << 8 | 1, 4 << 8
PAYLOAD = 9
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def configure() -> None:
    """Write the sysctls; a brace holds alternatives."""
    for name, value in SYSCTLS.items():
        before, brace, rest = name.partition("{")
        alternatives, _, after = rest.partition("}")
        for middle in alternatives.split(",") if brace else [""]:
            Path("/proc/sys/net", before + middle + after).write_text(value)


class Node:
    """Links, sockets and what is seen on them."""

    def __init__(self) -> None:
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        _check(_libc.unshare(CLONE_NEWNET))
        there = os.open("/proc/self/ns/net", os.O_RDONLY)
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        _check(_libc.setns(here, CLONE_NEWNET))
        configure()
        ip("link", "set", "lo", "up")
        for link, addresses in LINKS.items():
            peer = ("peer", "name", link, "netns", f"/proc/{os.getpid()}/fd/{there}")
            ip("link", "add", link, "address", HARDWARE.hex(":"), "type", "veth", *peer)
            for address in addresses:
                ip("addr", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
            ip("link", "set", link, "arp", "off", "up")
        for name, value in ALSO.items():
            Path("/proc/sys/net", name).write_text(value)
        _check(_libc.setns(there, CLONE_NEWNET))
        self.peers = {}
        for link in LINKS:
            ip("link", "set", link, "up")
            self.peers[link] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.peers[link].bind((link, 0))
        _check(_libc.setns(here, CLONE_NEWNET))
        for route in ROUTES:
            ip("-6" if "::" in route else "-4", "route", "add", *route.split())
        self.leaving = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.arriving = [
            socket.socket(family, socket.SOCK_RAW, proto)
            for family, protos in ((socket.AF_INET, (1, 6, 17, 132)), (socket.AF_INET6, (58, 6, 17, 132)))
            for proto in protos
        ]
        self.errors = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self._watch_errors()
        for one in (self.leaving, self.errors, *self.arriving):
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
            if one is not self.errors:
                one.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
            if one.family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self.own: dict[bytes, socket.socket] = {}

    def _watch_errors(self) -> None:
        """Bind NFLOG's group: whole packets, each at once (nfnetlink_log.h)."""
        head = struct.pack("!BBH", 0, 0, GROUP)
        for attribute in (
            struct.pack("=HH", 5, 1) + b"\1\0\0\0",  # bind
            struct.pack("=HH", 10, 2) + struct.pack("!IBB", 2048, 2, 0) + b"\0\0",  # copy packets
            struct.pack("=HH", 8, 5) + struct.pack("!I", 1),  # a queue of one
        ):
            length = 16 + len(head) + len(attribute)
            self.errors.send(struct.pack("=IHHII", length, NFLOG_CONFIG, 5, 0, 0) + head + attribute)
            answer = self.errors.recv(4096)
            (code,) = struct.unpack_from("=i", answer, 16)
            if code:
                raise OSError(-code, os.strerror(-code))

    def send(self, packets: list[list[Any]]) -> list[list[Any]]:
        """Send [interface or "", destination, mark, hex]; everything seen: [where, interface, mark, hex]."""
        seen: list[list[Any]] = []
        for position, (link, destination, mark, text) in enumerate(packets, 1):
            data = bytes.fromhex(text)
            if link:
                kind = b"\x08\x00" if data[0] >> 4 == 4 else b"\x86\xdd"
                self.peers[link].send(HARDWARE + PEER + kind + data)
            else:
                own = self._own(data)
                own.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
                try:
                    own.sendto(data, (destination, 0))
                except OSError as e:
                    seen.append(["failed", str(e), 0, text])
            if position % 100 == 0:
                self.look(seen)
        self.look(seen)
        return seen

    def _own(self, data: bytes) -> socket.socket:
        """A socket that is bound to the packet's source, by which the kernel routes."""
        four = data[0] >> 4 == 4
        source = data[12:16] if four else data[8:24]
        if source not in self.own:
            family = socket.AF_INET if four else socket.AF_INET6
            self.own[source] = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self.own[source].bind((socket.inet_ntop(family, source), 0))
        return self.own[source]

    def look(self, seen: list[list[Any]]) -> None:
        """Add everything that was seen since."""
        while (got := _receive(self.leaving)) is not None:
            data, ancillary, address = got
            if address[2] == socket.PACKET_OUTGOING and address[0] in LINKS:
                seen.append(["leaves", address[0], _mark(ancillary), data.hex()])
        for one in self.arriving:
            while (got := _receive(one)) is not None:
                data, ancillary, address = got
                if one.family == socket.AF_INET6:
                    to = next(d for _, kind, d in ancillary if kind == socket.IPV6_PKTINFO)[:16]
                    head = struct.pack("!IHBB", 6 << 28, len(data), one.proto, 64)
                    data = head + socket.inet_pton(socket.AF_INET6, address[0]) + to + data
                seen.append(["arrives", "", _mark(ancillary), data.hex()])
        while (got := _receive(self.errors)) is not None:
            seen += [["error", "", 0, payload.hex()] for payload in _payloads(got[0])]


def _receive(one: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]], Any] | None:
    try:
        data, ancillary, _, address = one.recvmsg(4096, 256)
    except BlockingIOError:
        return None
    return data, ancillary, address


def _mark(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_MARK):
            return int.from_bytes(data[:4], sys.byteorder)
    raise RuntimeError("the kernel does not tell a received packet's mark (SO_RCVMARK, Linux 5.19)")


def _payloads(data: bytes) -> list[bytes]:
    """The packets in NFLOG's messages."""
    found = []
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        at = 20
        while kind == NFLOG_PACKET and at + 4 <= length:
            size, attribute = struct.unpack_from("=HH", data, at)
            if attribute & 0x3FFF == PAYLOAD:
                found.append(data[at + 4 : at + size])
            at += (size + 3) & ~3
        data = data[(length + 3) & ~3 :]
    return found


def execute(programs: list[list[Any]]) -> list[list[Any]]:
    """Run [words, input] in order: [exit code, output, errors] of each, up to the first that fails."""
    done = []
    for words, text in programs:
        ran = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        done.append([ran.returncode, ran.stdout, ran.stderr])
        if ran.returncode:
            break
    return done


def main() -> None:
    node = Node()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command, argument = json.loads(line)
        answer: list[list[Any]] = []
        if command == "send":
            answer = node.send(argument)
        elif command == "look":
            node.look(answer)
        else:
            answer = execute(argument)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
