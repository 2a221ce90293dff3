"""Datagrams in batches: up to 64 with one call on Linux (recvmmsg(2), sendmmsg(2)), one by one elsewhere.

A batch is received into buffers, and sent from there. The kernel's structures are made once; per datagram, only
lengths are written. An address is a key here, the bytes of its sockaddr on Linux; `peer` says it to people.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Hashable, Iterator
from typing import Protocol

BATCH = 64
LONGEST = 65535
"""Bytes: more than any UDP datagram holds."""

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

    def send(self, fd: int, first: int, end: int, to: Hashable | None) -> int:
        """Send datagrams of the batch, to an address if the socket is not connected; returns how many were taken, at
        least 1. An error is the first one's, or that of a datagram sent before."""

    def peer(self, key: Hashable) -> Peer:
        """The address that a key stands for."""


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


_NAME = 28  # bytes of a sockaddr_in6, the longest here
_IPV4_NAME = 16
_WORDS = ctypes.sizeof(_Header) // 4
_NAMELEN = _Message.namelen.offset // 4
_LEN = _Header.len.offset // 4


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
        self._names = (ctypes.c_char * (BATCH * _NAME))()
        self._names_view = memoryview(self._names).cast("B")
        self._name = (ctypes.c_char * _NAME)()
        self._unnamed = (_Header * BATCH)()  # from and to connected sockets
        self._from = (_Header * BATCH)()
        self._to = (_Header * BATCH)()  # all to the one address in _name
        for i in range(BATCH):
            self._vectors[i].base = ctypes.addressof(self._block) + i * LONGEST
            self._vectors[i].len = LONGEST
            for headers in (self._unnamed, self._from, self._to):
                headers[i].message.iov = ctypes.addressof(self._vectors[i])
                headers[i].message.iovlen = 1
            self._from[i].message.name = ctypes.addressof(self._names) + i * _NAME
            self._to[i].message.name = ctypes.addressof(self._name)
        self._unnamed_words = memoryview(self._unnamed).cast("B").cast("I")
        self._from_words = memoryview(self._from).cast("B").cast("I")
        self._to_words = memoryview(self._to).cast("B").cast("I")
        self._received = BATCH
        self._named = BATCH

    def receive(self, fd: int, named: bool) -> int:
        lengths = self._lengths
        for i in range(self._received):
            lengths[2 * i + 1] = LONGEST
        headers, words = (self._from, self._from_words) if named else (self._unnamed, self._unnamed_words)
        if named:
            for i in range(_NAMELEN, self._named * _WORDS, _WORDS):
                words[i] = _NAME
            self._named = 0
        self._received = 0
        count: int = self._recvmmsg(fd, ctypes.addressof(headers), BATCH, socket.MSG_DONTWAIT, None)
        if count < 0:
            _raise()
        for i in range(count):
            lengths[2 * i + 1] = words[i * _WORDS + _LEN]
        self._received = count
        if named:
            self._named = count
        return count

    def senders(self, count: int) -> Iterator[tuple[Hashable, int, int]]:
        names, words = self._names_view, self._from_words
        first, run = 0, b""
        for i in range(count):
            start = i * _NAME
            name = bytes(names[start : start + words[i * _WORDS + _NAMELEN]])
            if name != run:
                if i:
                    yield run, first, i
                first, run = i, name
        yield run, first, count

    def data(self, index: int) -> bytes:
        start = index * LONGEST
        return bytes(self._view[start : start + self._lengths[2 * index + 1]])

    def send(self, fd: int, first: int, end: int, to: Hashable | None) -> int:
        headers = self._unnamed
        if to is not None:
            assert isinstance(to, bytes)
            headers, words = self._to, self._to_words
            ctypes.memmove(self._name, to, len(to))
            for i in range(first * _WORDS + _NAMELEN, end * _WORDS, _WORDS):
                words[i] = len(to)
        address = ctypes.addressof(headers) + first * ctypes.sizeof(_Header)
        sent: int = self._sendmmsg(fd, address, end - first, socket.MSG_DONTWAIT)
        if sent < 0:
            _raise()
        return sent

    def peer(self, key: Hashable) -> Peer:
        assert isinstance(key, bytes)
        port = int.from_bytes(key[2:4], "big")
        if len(key) == _IPV4_NAME:
            return socket.inet_ntop(socket.AF_INET, key[4:8]), port
        scope = int.from_bytes(key[24:28], sys.byteorder)
        return socket.inet_ntop(socket.AF_INET6, key[8:24]) + (f"%{scope}" if scope else ""), port


def _raise() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


class SingleDatagrams:
    """`Datagrams` of every system."""

    def __init__(self) -> None:
        self._batch: list[tuple[bytes, Hashable]] = []

    def receive(self, fd: int, named: bool) -> int:
        self._batch = []
        with _borrowed(fd) as sock:
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
        for i, (_data, sender) in enumerate(self._batch[:count]):
            yield sender, i, i + 1

    def data(self, index: int) -> bytes:
        return self._batch[index][0]

    def send(self, fd: int, first: int, end: int, to: Hashable | None) -> int:
        with _borrowed(fd) as sock:
            if to is None:
                sock.send(self._batch[first][0], socket.MSG_DONTWAIT)
            else:
                assert isinstance(to, tuple)
                sock.sendto(self._batch[first][0], socket.MSG_DONTWAIT, to)
        return 1

    def peer(self, key: Hashable) -> Peer:
        assert isinstance(key, tuple)
        return key[0], key[1]


@contextlib.contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    sock = socket.socket(fileno=fd)  # of its own family, on which the form of addresses depends
    try:
        yield sock
    finally:
        sock.detach()


def make_datagrams() -> Datagrams:
    """The best that this system has."""
    return BatchedDatagrams() if sys.platform == "linux" else SingleDatagrams()
