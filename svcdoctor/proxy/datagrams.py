"""Datagrams in batches: up to 64 with one call on Linux (recvmmsg(2), sendmmsg(2)), one by one elsewhere.

A batch is received into buffers, and sent from there. The kernel's structures are made once; per datagram, only
lengths are written. Datagrams of one length to one address are one packet for the kernel until they leave
(UDP_SEGMENT, udp(7)). An address is a key here, the bytes of its sockaddr on Linux; `peer` says it to people.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from array import array
from collections.abc import Hashable, Iterator
from typing import Protocol

from svcdoctor.proxy.descriptors import whole_socket
from svcdoctor.proxy.senders import CONTROL, NAME, ask_for_target, parts, sender, target, without_interface

BATCH = 64
LONGEST = 65535
"""Bytes: more than any UDP datagram holds."""

_UDP_SEGMENT = 103
_JOINED = 1200
"""Bytes of the longest datagrams that are sent as one packet: every path takes them."""
_LONGEST_JOINED = 65000
_NOT_JOINED = {errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EAGAIN}
"""The path or the device does not take it, or the socket not all of it."""
_SEGMENT = struct.Struct("@nii H 6x")  # a cmsghdr and its value, aligned

Peer = tuple[str, int]
"""An IP address and a port."""


class Datagrams(Protocol):
    """A batch. Errors of the socket are raised as OSError, BlockingIOError when it would have to wait."""

    def receive(self, fd: int, named: bool) -> int:
        """Receive datagrams, and their senders if the socket is not connected; returns how many, at least 1. Fewer
        than `BATCH` means that there are no more."""

    def senders(self, count: int) -> Iterator[tuple[Hashable, int, int]]:
        """Of the first ``count`` datagrams, the sender of each run of them, the run's first and the one after its
        last."""

    def data(self, index: int) -> bytes:
        """One datagram."""

    def size(self, first: int, end: int) -> int:
        """Bytes that datagrams of the batch have together."""

    def send(self, fd: int, first: int, end: int, to: Hashable | None) -> int:
        """Send datagrams of the batch, to an address if the socket is not connected; returns how many were taken, at
        least 1. An error is the first one's, or that of a datagram sent before."""

    def peer(self, key: Hashable) -> Peer:
        """The address that a key stands for."""

    def tell_local(self, sock: socket.socket) -> None:
        """Let the keys of senders hold which address of this machine they sent to, where the system can: answers go
        out from there. For sockets that are bound to no address."""

    def local(self, key: Hashable) -> str:
        """The IP address of this machine that a key holds, empty where none."""


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("message", _Message), ("len", ctypes.c_uint))


_WORDS = ctypes.sizeof(_Header) // 4
_NAMELEN = _Message.namelen.offset // 4
_LEN = _Header.len.offset // 4
_LONGS = ctypes.sizeof(_Header) // ctypes.sizeof(ctypes.c_size_t)
_CONTROLLEN = _Message.controllen.offset // ctypes.sizeof(ctypes.c_size_t)


# What is written anew for each batch.
_LONGEST_LENGTHS = memoryview(array("L", [LONGEST] * BATCH))
_CONTROL_LENGTHS = memoryview(array("L", [CONTROL] * BATCH))
_NAME_LENGTHS = memoryview(array("I", [NAME] * BATCH))


class BatchedDatagrams:
    """`Datagrams` of Linux."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg = libc.recvmmsg
        self._recvmmsg.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_void_p,
        ]
        self._sendmmsg = libc.sendmmsg
        self._sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
        self._block = (
            ctypes.c_char * (BATCH * LONGEST)
        )()  # touched, and so real, as far as datagrams are long
        self._view = memoryview(self._block).cast("B")
        self._vectors = (_IoVec * BATCH)()
        self._lengths = memoryview(self._vectors).cast("B").cast("L")
        self._names = (ctypes.c_char * (BATCH * NAME))()
        self._names_view = memoryview(self._names).cast("B")
        self._name = (ctypes.c_char * NAME)()
        self._controls = (ctypes.c_char * (BATCH * CONTROL))()
        self._controls_view = memoryview(self._controls).cast("B")
        self._control = (ctypes.c_char * CONTROL)()
        self._unnamed = (_Header * BATCH)()  # from and to connected sockets
        self._from = (_Header * BATCH)()
        self._to = (_Header * BATCH)()  # all to the one address in _name
        for i in range(BATCH):
            self._vectors[i].base = ctypes.addressof(self._block) + i * LONGEST
            self._vectors[i].len = LONGEST
            for headers in (self._unnamed, self._from, self._to):
                headers[i].message.iov = ctypes.addressof(self._vectors[i])
                headers[i].message.iovlen = 1
            self._from[i].message.name = ctypes.addressof(self._names) + i * NAME
            self._from[i].message.control = ctypes.addressof(self._controls) + i * CONTROL
            self._to[i].message.name = ctypes.addressof(self._name)
            self._to[i].message.control = ctypes.addressof(self._control)
        self._unnamed_words = memoryview(self._unnamed).cast("B").cast("I")
        self._from_words = memoryview(self._from).cast("B").cast("I")
        self._from_longs = memoryview(self._from).cast("B").cast("L")
        self._to_words = memoryview(self._to).cast("B").cast("I")
        self._to_longs = memoryview(self._to).cast("B").cast("L")
        self._sendmsg = libc.sendmsg
        self._sendmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        self._joint = _Message()  # several datagrams as one packet
        self._joint_control = (ctypes.c_char * (CONTROL + _SEGMENT.size))()
        self._joint.control = ctypes.addressof(self._joint_control)
        self._joins = _knows_segments()
        self._received = BATCH
        self._named = BATCH

    def receive(self, fd: int, named: bool) -> int:
        self._lengths[1 : 2 * self._received : 2] = _LONGEST_LENGTHS[: self._received]
        headers, words = (self._from, self._from_words) if named else (self._unnamed, self._unnamed_words)
        if named:
            before = self._named
            words[_NAMELEN : before * _WORDS : _WORDS] = _NAME_LENGTHS[:before]
            self._from_longs[_CONTROLLEN : before * _LONGS : _LONGS] = _CONTROL_LENGTHS[:before]
            self._named = 0
        self._received = 0
        count: int = self._recvmmsg(fd, ctypes.addressof(headers), BATCH, socket.MSG_DONTWAIT, None)
        if count < 0:
            _raise()
        found = array("L", words[_LEN : count * _WORDS : _WORDS].tolist())
        self._lengths[1 : 2 * count : 2] = memoryview(found)
        self._received = count
        if named:
            self._named = count
        return count

    def senders(self, count: int) -> Iterator[tuple[Hashable, int, int]]:
        names, words, longs = self._names_view, self._from_words, self._from_longs
        first, run = 0, b""
        block, control_block = (
            names[: count * NAME].tobytes(),
            self._controls_view[: count * CONTROL].tobytes(),
        )
        if block == block[:NAME] * count and control_block == control_block[:CONTROL] * count:
            alike, count = count, 1
        else:
            alike = count
        for i in range(count):
            start = i * NAME
            name = bytes(names[start : start + words[i * _WORDS + _NAMELEN]])
            if control := longs[i * _LONGS + _CONTROLLEN]:
                start = i * CONTROL
                name += without_interface(bytearray(self._controls_view[start : start + control]))
            if name != run:
                if i:
                    yield run, first, i
                first, run = i, name
        yield run, first, alike

    def data(self, index: int) -> bytes:
        start = index * LONGEST
        return bytes(self._view[start : start + self._lengths[2 * index + 1]])

    def size(self, first: int, end: int) -> int:
        return sum(self._lengths[2 * first + 1 : 2 * end : 2])

    def send(self, fd: int, first: int, end: int, to: Hashable | None) -> int:
        if self._joins and end - first > 1 and (joined := self._send_joined(fd, first, end, to)):
            return joined
        headers = self._unnamed
        if to is not None:
            assert isinstance(to, bytes)
            headers, words = self._to, self._to_words
            name, control = parts(to)
            ctypes.memmove(self._name, name, len(name))
            ctypes.memmove(self._control, control, len(control))
            longs = self._to_longs
            for i in range(first, end):
                words[i * _WORDS + _NAMELEN] = len(name)
                longs[i * _LONGS + _CONTROLLEN] = len(control)
        address = ctypes.addressof(headers) + first * ctypes.sizeof(_Header)
        sent: int = self._sendmmsg(fd, address, end - first, socket.MSG_DONTWAIT)
        if sent < 0:
            _raise()
        return sent

    def _send_joined(self, fd: int, first: int, end: int, to: Hashable | None) -> int:
        """Send datagrams that have one length as one packet. Returns how many that were; 0 where it cannot be."""
        size: int = self._lengths[2 * first + 1]
        lengths = self._lengths[2 * first + 1 : 2 * end : 2].tolist()
        if not 0 < size <= _JOINED or lengths.count(size) < len(lengths):
            return 0
        count = min(end - first, _LONGEST_JOINED // size)
        message = self._joint
        control = _SEGMENT.pack(_SEGMENT.size - 6, socket.IPPROTO_UDP, _UDP_SEGMENT, size)
        message.name, message.namelen = None, 0
        if to is not None:
            assert isinstance(to, bytes)
            name, target = parts(to)
            ctypes.memmove(self._name, name, len(name))
            message.name, message.namelen = ctypes.addressof(self._name), len(name)
            control = target + control
        ctypes.memmove(self._joint_control, control, len(control))
        message.controllen = len(control)
        message.iov = ctypes.addressof(self._vectors) + first * ctypes.sizeof(_IoVec)
        message.iovlen = count
        if self._sendmsg(fd, ctypes.addressof(message), socket.MSG_DONTWAIT) < 0:
            if ctypes.get_errno() in _NOT_JOINED:
                return 0
            _raise()
        return count

    def peer(self, key: Hashable) -> Peer:
        assert isinstance(key, bytes)
        return sender(key)

    def tell_local(self, sock: socket.socket) -> None:
        ask_for_target(sock)

    def local(self, key: Hashable) -> str:
        assert isinstance(key, bytes)
        return target(key)


def _knows_segments() -> bool:
    """Whether the kernel has UDP_SEGMENT: one that has not would send everything as one datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.getsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT)
        return True
    return False


def _raise() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


class SingleDatagrams:
    """`Datagrams` of every system."""

    def __init__(self) -> None:
        self._batch: list[tuple[bytes, Hashable]] = []

    def receive(self, fd: int, named: bool) -> int:
        self._batch = []
        with whole_socket(fd) as sock:
            while len(self._batch) < BATCH:
                try:
                    data, sender = sock.recvfrom(LONGEST, socket.MSG_DONTWAIT)
                except OSError:
                    if not self._batch:
                        raise
                    break
                self._batch.append((data, sender))
        return len(self._batch)

    def senders(self, count: int) -> Iterator[tuple[Hashable, int, int]]:
        for i, (_data, name) in enumerate(self._batch[:count]):
            yield name, i, i + 1

    def data(self, index: int) -> bytes:
        return self._batch[index][0]

    def size(self, first: int, end: int) -> int:
        return sum(len(data) for data, _ in self._batch[first:end])

    def send(self, fd: int, first: int, end: int, to: Hashable | None) -> int:
        with whole_socket(fd) as sock:
            if to is None:
                sock.send(self._batch[first][0], socket.MSG_DONTWAIT)
            else:
                assert isinstance(to, tuple)
                sock.sendto(self._batch[first][0], socket.MSG_DONTWAIT, to)
        return 1

    def peer(self, key: Hashable) -> Peer:
        assert isinstance(key, tuple)
        return key[0], key[1]

    def tell_local(self, sock: socket.socket) -> None:
        pass

    def local(self, key: Hashable) -> str:
        return ""


def make_datagrams() -> Datagrams:
    """The best that this system has."""
    return BatchedDatagrams() if sys.platform == "linux" else SingleDatagrams()
