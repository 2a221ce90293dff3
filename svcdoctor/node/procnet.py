"""Addresses and listening sockets from files below /proc/net, for containers that have neither ip nor ss.

Bytes in, values out; lines that are not understood are passed over. The kernel prints the addresses of
sockets in the machine's byte order, which is taken to be little-endian.

Specification: https://docs.kernel.org/networking/proc_net_tcp.html
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from svcdoctor.model.nodefacts import Listener

_LEAF = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)$")
_SOCKET = re.compile(r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) ")

# What ss -l shows: TCP sockets in LISTEN, UDP sockets that are connected to nobody.
_WAITING = {"TCP": "0A", "UDP": "07"}


def local_addresses(fib_trie: bytes, if_inet6: bytes) -> tuple[str, ...]:
    """The node's own addresses: those of ``fib_trie``'s local table, then those of ``if_inet6``."""
    found: list[str] = []
    leaf = ""
    for line in fib_trie.decode("ascii", "replace").splitlines():
        match = _LEAF.search(line)
        if match:
            leaf = match[1]
        elif leaf and line.strip() == "/32 host LOCAL":
            found.append(leaf)
    for line in if_inet6.decode("ascii", "replace").splitlines():
        digits = line.partition(" ")[0]
        if re.fullmatch(r"[0-9a-f]{32}", digits):
            found.append(str(IPv6Address(int(digits, 16))))
    return tuple(dict.fromkeys(found))


def listening(protocol: str, table: bytes) -> tuple[Listener, ...]:
    """Listening sockets of ``/proc/net/tcp``, ``tcp6``, ``udp`` or ``udp6``; ``protocol`` is TCP or UDP."""
    found = []
    for line in table.decode("ascii", "replace").splitlines():
        match = _SOCKET.match(line)
        if match and match[3] == _WAITING[protocol]:
            found.append(Listener(protocol, _address(match[1]), int(match[2], 16)))
    return tuple(found)


def _address(digits: str) -> str:
    """An address as four-byte words in little-endian order."""
    words = [bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8)]
    packed = b"".join(words)
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))
