"""Every frame on every interface of this node that a filter lets through: a packet socket with a ring.

Theory. The kernel writes frames into blocks of memory that this process sees as well (TPACKET_V3), and hands a block
over when it is full or some milliseconds old. A block is copied out and handed back at once, so that the ring holds
what comes while frames are worked on: 32 MiB. What then still finds no room is counted by the kernel.

Specification: packet(7), https://docs.kernel.org/networking/packet_mmap.html
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct, pack

from svcdoctor.capture.bpf import Instruction
from svcdoctor.capture.ringblock import KERNEL, STATUS, USER
from svcdoctor.model.errors import SvcdoctorError

ETH_P_ALL = 3
RETIRED = 40  # milliseconds after which a block is handed over however little is in it

_BLOCK = 1 << 19
_BLOCKS = 64
_FRAME = 1 << 11
_SOL_PACKET, _RX_RING, _STATISTICS, _VERSION = 263, 5, 6, 10
_TPACKET_V3 = 2
_SO_ATTACH_FILTER = 26
_COUNTS = Struct("=III")
_INSTRUCTION = Struct("=HBBI")
_WORD = Struct("=I")


class Sniffer:
    """Sniffs from its making to `close`. Raises SvcdoctorError where that is not permitted, or not possible."""

    def __init__(self, program: Sequence[Instruction]) -> None:
        self._dropped = 0
        self._next = 0
        self._socket = _packet_socket()
        try:
            self.attach(program)
            self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
            self._blocks = self._ring()
            self._memory = mmap.mmap(self._socket.fileno(), self._blocks * _BLOCK)
            _receive(self._socket)
        except OSError as e:
            self._socket.close()
            raise SvcdoctorError(f"packets cannot be captured here: {e.strerror or e}", 3) from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def attach(self, program: Sequence[Instruction]) -> None:
        """Let only through what a program does, from now on. Raises OSError."""
        code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
        held = ctypes.create_string_buffer(code, len(code))
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, pack("@HP", len(program), ctypes.addressof(held))
        )

    def _ring(self) -> int:
        """Make the ring as large as there is memory for: its number of blocks."""
        blocks = _BLOCKS
        while True:
            try:
                request = (_BLOCK, blocks, _FRAME, _BLOCK // _FRAME * blocks, RETIRED, 0, 0)
                self._socket.setsockopt(_SOL_PACKET, _RX_RING, pack("=7I", *request))
                return blocks
            except OSError as e:
                if e.errno != errno.ENOMEM or blocks == 1:
                    raise
                blocks //= 2

    def blocks(self) -> Iterator[bytes]:
        """The blocks that the kernel has handed over, oldest first; at most as many as there are in the ring."""
        for _ in range(self._blocks):
            at = self._next * _BLOCK
            if not _WORD.unpack_from(self._memory, at + STATUS)[0] & USER:
                return
            used = _WORD.unpack_from(self._memory, at + STATUS + 12)[0]
            block = self._memory[at : at + used]
            _WORD.pack_into(self._memory, at + STATUS, KERNEL)
            self._next = (self._next + 1) % self._blocks
            yield block

    def dropped(self) -> int:
        """How many packets the kernel had no room for so far."""
        found = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, _COUNTS.size)
        self._dropped += _COUNTS.unpack(found)[1]  # it counts anew each time
        return self._dropped

    def close(self) -> None:
        self._memory.close()
        self._socket.close()


def _packet_socket() -> socket.socket:
    if not sys.platform.startswith("linux"):
        raise SvcdoctorError(
            "packets are captured on a Linux node: run svcdoctor there, or read a file of tcpdump with --read",
            3,
        )
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        python = Path(sys.executable).resolve()
        raise SvcdoctorError(
            "raw sockets are not permitted here: run it with sudo, in a pod add the capabilities NET_RAW and "
            f"NET_ADMIN, or grant them to every Python program: sudo setcap cap_net_raw,cap_net_admin+ep {python}",
            3,
        ) from None


def _receive(sock: socket.socket) -> None:
    """Begin to receive from all interfaces, which Python's bind() cannot say. Raises OSError."""
    address = pack("=HHiHBB8x", socket.AF_PACKET, socket.htons(ETH_P_ALL), 0, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.bind(sock.fileno(), address, len(address)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class InterfaceNames(dict[int, str]):
    """Names of interfaces by their index, looked up when they are met and kept when they are gone."""

    def __init__(self) -> None:
        super().__init__(socket.if_nameindex())

    def __missing__(self, index: int) -> str:
        try:
            name = socket.if_indextoname(index)
        except OSError:
            name = f"interface {index}"  # it came and went
        self[index] = name
        return name
