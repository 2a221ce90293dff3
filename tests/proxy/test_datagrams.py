"""Batches of datagrams from one socket to others: each arrives as it was, however the kernel is told of them."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from svcdoctor.proxy.datagrams import BATCH, BatchedDatagrams

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="batches are Linux's")

ALIKE = [os.urandom(64) for _ in range(BATCH)]
LONG = [os.urandom(1200) for _ in range(BATCH)]  # more than one packet holds
MIXED = [os.urandom(1 + n * 37 % 1400) for n in range(BATCH)]
EMPTY = [b""] * 5


def bound(ip: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((ip, 0))
    sock.setblocking(False)
    return sock


def pass_on(batch: BatchedDatagrams, fd: int, count: int, to: bytes | None) -> None:
    first = 0
    while first < count:
        first += batch.send(fd, first, count, to)


def received(sock: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(65535))
        except BlockingIOError:
            return found


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    "said", [ALIKE, LONG, MIXED, EMPTY, ALIKE[:1]], ids=["alike", "long", "mixed", "empty", "one"]
)
def test_each_arrives_as_it_was(ip: str, said: list[bytes]) -> None:
    batch = BatchedDatagrams()
    with bound(ip) as client, bound(ip) as relay, bound(ip) as upstream, bound(ip) as server:
        upstream.connect(server.getsockname())
        for data in said:
            client.sendto(data, relay.getsockname())
        assert batch.receive(relay.fileno(), named=True) == len(said)
        ((key, first, end),) = batch.senders(len(said))
        assert (batch.peer(key), first, end) == (client.getsockname()[:2], 0, len(said))
        pass_on(batch, upstream.fileno(), len(said), None)
        assert received(server) == said
        assert isinstance(key, bytes)
        pass_on(batch, relay.fileno(), len(said), key)
        assert received(client) == said


def test_a_packet_for_many_that_the_socket_cannot_hold_goes_one_by_one() -> None:
    batch = BatchedDatagrams()
    with bound("127.0.0.1") as client, bound("127.0.0.1") as relay, bound("127.0.0.1") as upstream:
        for data in LONG:
            client.sendto(data, relay.getsockname())
        assert batch.receive(relay.fileno(), named=True) == BATCH
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel's least
        upstream.connect(client.getsockname())
        assert batch.send(upstream.fileno(), 0, BATCH, None) >= 1
        assert received(client)[0] == LONG[0]


def test_senders_are_told_apart() -> None:
    batch = BatchedDatagrams()
    with bound("127.0.0.1") as one, bound("127.0.0.1") as other, bound("127.0.0.1") as relay:
        for sock in (one, one, other, one):
            sock.sendto(b"x", relay.getsockname())
        assert batch.receive(relay.fileno(), named=True) == 4
        runs = [(batch.peer(key), first, end) for key, first, end in batch.senders(4)]
        assert runs == [(one.getsockname(), 0, 2), (other.getsockname(), 2, 3), (one.getsockname(), 3, 4)]
