"""What the kernel lets a probe hear: ICMP errors, and answers to its own SYNs.

All sequence numbers of a probe begin with the same bits, by which the kernel can tell them: a busy node has very many
segments that are none of its business, and every one would be copied for it.
"""

from __future__ import annotations

import ctypes
import random
import socket
import struct

MASK = 0xFFF00000
ROOM = 1 << 17  # what a packet's filling adds must not change those bits

SO_ATTACH_FILTER = 26
Program = tuple[tuple[int, int, int, int], ...]
"""Classic BPF: code, jt, jf, k (linux/filter.h)."""


def draw_sequences() -> int:
    """The bits that all sequence numbers of a probe begin with."""
    return random.getrandbits(32) & MASK


def draw_sequence(sequences: int) -> int:
    """One of those numbers."""
    return sequences + random.randrange(~MASK % (1 << 32) - ROOM)


def packets_with(family: socket.AddressFamily, sequences: int) -> Program:
    """Of IP packets: ICMP, and TCP that acknowledges one of ``sequences``."""
    if family == socket.AF_INET6:
        return (
            (0x30, 0, 0, 6), (0x15, 4, 0, 58), (0x15, 0, 4, 6),
            (0x20, 0, 0, 48), (0x54, 0, 0, MASK), (0x15, 0, 1, sequences),
            (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0),
        )  # fmt: skip
    return (
        (0x30, 0, 0, 9), (0x15, 5, 0, 1), (0x15, 0, 5, 6),
        (0xB1, 0, 0, 0), (0x40, 0, 0, 8), (0x54, 0, 0, MASK), (0x15, 0, 1, sequences),
        (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0),
    )  # fmt: skip


def segments_with(family: socket.AddressFamily, sequences: int) -> Program:
    """The same for raw sockets of TCP: IPv6's see no IP header."""
    if family == socket.AF_INET:
        return packets_with(family, sequences)
    return (
        (0x20, 0, 0, 8), (0x54, 0, 0, MASK), (0x15, 0, 1, sequences),
        (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0),
    )  # fmt: skip


def attach(sock: socket.socket, program: Program) -> None:
    """Filter in the kernel (socket(7), SO_ATTACH_FILTER)."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code))
    )
