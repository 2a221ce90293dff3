"""Which of the processes that share a port a client comes to: any, or by its address always the same.

Theory. Of sockets that share a port (SO_REUSEPORT) the kernel chooses one for each connection or datagram, by the hash
of addresses and ports. With session affinity each worker would have to know what others know: an endpoint that is new
would be the choice of some, while others remember the client's old one. So a small program chooses by the client's
address alone, and the worker that remembers a client gets all of it. When workers come or go, and only then, clients
change workers; one that does not know them chooses by the hash of the client's address, as the one before did unless
endpoints have come since.

Specification: socket(7), SO_ATTACH_REUSEPORT_CBPF; https://docs.kernel.org/networking/filter.html
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys

from svcdoctor.proxy.descriptors import whole_socket

_ATTACH = 51  # SO_ATTACH_REUSEPORT_CBPF, in socket.h of nearly all architectures
_DETACH = 68  # SO_DETACH_REUSEPORT_BPF
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF
_SOURCES = {
    socket.AF_INET: (12,),
    socket.AF_INET6: (8, 12, 16, 20),
}  # where the source address stands, in words
_LOAD, _TO_X, _XOR_X, _MULTIPLY, _SHIFT, _MODULO, _RETURN = 0x20, 0x07, 0xAC, 0x24, 0x74, 0x94, 0x16
_SPREAD = 0x9E3779B1
_INSTRUCTION = struct.Struct("=HBBI")


def steer(fd: int, workers: int) -> None:
    """Have clients of a bound socket's port spread over so many by their addresses; by all that the kernel knows, where
    ``workers`` is 0. Nothing happens where the system cannot."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError), whole_socket(fd) as sock:
        if workers < 2:
            sock.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
            return
        code = _program(_SOURCES[sock.family], workers)
        held = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(held))
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH, program)


def _program(words: tuple[int, ...], workers: int) -> bytes:
    """The source address as a number below ``workers``: the place of a socket among those that share the port. Where
    there are fewer the kernel chooses as without a program."""
    lines = [(_LOAD, _NETWORK_HEADER + words[0])]
    for at in words[1:]:
        lines += [(_TO_X, 0), (_LOAD, _NETWORK_HEADER + at), (_XOR_X, 0)]
    lines += [(_MULTIPLY, _SPREAD), (_SHIFT, 16), (_MODULO, workers), (_RETURN, 0)]
    return b"".join(_INSTRUCTION.pack(code, 0, 0, k) for code, k in lines)
