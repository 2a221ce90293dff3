"""Relays between real connections: bytes, ends, resets, and who has to wait for whom."""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from piping import Forwarding, Server, connect, digest, echo, payload, read_all, receive, reset, wait_for

from svcdoctor.proxy import buffers as buffers_module
from svcdoctor.proxy.buffers import BLOCK, PIPE, Buffers
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.relay import Relay

SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 7, 20_000_003]


def exchange(address: tuple[str, int], data: bytes) -> str:
    """Say all and hear all at the same time; the digest of what was heard."""
    with connect(address) as sock:
        writer = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        writer.start()
        heard = read_all(sock)
        writer.join()
    return digest(heard)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_arrive_as_they_were_both_ways(forwarding: Forwarding, host: str, size: int) -> None:
    data = payload(size, size)
    with Server(host, echo) as server:
        assert exchange(forwarding.to(server.endpoint, host), data) == digest(data)
        (relay,) = forwarding.wait_ended(1)
    assert relay.error is None
    assert (relay.left.moved, relay.right.moved) == (size, size)


def test_bytes_arrive_where_there_are_no_pipes(
    forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers_module, "MOST_PIPES", 0)
    data = payload(20_000_003, 1)
    with Server("127.0.0.1", echo) as server:
        assert exchange(forwarding.to(server.endpoint), data) == digest(data)


def test_bulk_goes_through_pipes_and_a_talk_does_not(forwarding: Forwarding) -> None:
    with Server("127.0.0.1", echo) as server, connect(forwarding.to(server.endpoint)) as sock:
        for _ in range(20):
            sock.sendall(b"x" * 1000)
            receive(sock, 1000)
        assert not forwarding.buffers.kept
        data = payload(8 << 20, 2)
        writer = threading.Thread(target=lambda: sock.sendall(data))
        writer.start()
        assert digest(receive(sock, len(data))) == digest(data)
        writer.join()
        # And all of them are back when nothing waits.
        wait_for(lambda: forwarding.buffers.kept == forwarding.buffers.made > 0)


def test_a_thousand_connections_at_a_time(forwarding: Forwarding) -> None:
    # One thread for all, or the test would measure threads.
    def serve_all(listening: socket.socket) -> None:
        poll, open_ = select.epoll(), {}
        listening.setblocking(False)
        poll.register(listening, select.EPOLLIN)
        ended = 0
        while ended < 1000:
            for fd, _bits in poll.poll(5):
                if fd == listening.fileno():
                    sock, _peer = listening.accept()
                    open_[sock.fileno()] = sock
                    poll.register(sock, select.EPOLLIN)
                elif data := open_[fd].recv(4096):
                    open_[fd].sendall(data[::-1])
                else:
                    open_.pop(fd).close()
                    ended += 1
        poll.close()

    server = Server("127.0.0.1", echo)  # only its listening socket
    thread = threading.Thread(target=serve_all, args=(server.listening,))
    thread.start()
    address = forwarding.to(server.endpoint)
    clients = [connect(address) for _ in range(1000)]
    for round_ in range(3):
        for number, sock in enumerate(clients):
            sock.sendall(b"%d of round %d" % (number, round_))
        for number, sock in enumerate(clients):
            assert sock.recv(100) == (b"%d of round %d" % (number, round_))[::-1]
    for sock in clients:
        sock.close()
    thread.join()
    server.listening.close()
    ended = forwarding.wait_ended(1000)
    assert not [relay.error for relay in ended if relay.error]
    assert sum(relay.left.moved for relay in ended) == sum(relay.right.moved for relay in ended) > 30000


def test_a_client_that_says_no_more_hears_the_answer_a_second_and_a_half_later(
    forwarding: Forwarding,
) -> None:
    def serve(sock: socket.socket) -> None:
        asked = read_all(sock)
        time.sleep(1.5)
        sock.sendall(asked[::-1])

    def ask(number: int) -> bool:
        with connect(address) as sock:
            sock.sendall(b"question %d" % number)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock) == (b"question %d" % number)[::-1]

    with Server("127.0.0.1", serve) as server, ThreadPoolExecutor(100) as clients:
        address = forwarding.to(server.endpoint)
        assert sum(clients.map(ask, range(100))) == 100


def test_a_server_that_says_no_more_hears_the_client_later(forwarding: Forwarding, host: str) -> None:
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"all")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))

    with Server(host, serve) as server, connect(forwarding.to(server.endpoint, host)) as sock:
        assert read_all(sock) == b"all"
        time.sleep(0.2)
        sock.sendall(payload(300_000, 3))
        sock.shutdown(socket.SHUT_WR)
        (relay,) = forwarding.wait_ended(1)
    assert heard == [payload(300_000, 3)]
    assert relay.error is None


@pytest.mark.parametrize("size", [1, 1000, BLOCK, 5 * BLOCK])
def test_the_end_right_behind_the_bytes_is_not_lost(forwarding: Forwarding, size: int) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(b"x" * size)

    with Server("127.0.0.1", serve) as server:
        address = forwarding.to(server.endpoint)
        for _ in range(50):
            with connect(address) as sock:
                assert len(read_all(sock)) == size


def test_the_client_s_reset_is_the_server_s(forwarding: Forwarding, host: str) -> None:
    heard: list[int | None] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"hello")
        try:
            while sock.recv(100):
                pass
        except OSError as e:
            heard.append(e.errno)

    with Server(host, serve) as server:
        sock = connect(forwarding.to(server.endpoint, host))
        assert sock.recv(100) == b"hello"
        reset(sock)
        (relay,) = forwarding.wait_ended(1)
    assert heard == [errno.ECONNRESET]
    assert relay.error is not None
    assert relay.error.errno == errno.ECONNRESET
    assert relay.failed is relay.left


def test_the_server_s_reset_is_the_client_s_and_bytes_before_it_arrive(
    forwarding: Forwarding, host: str
) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(b"hello")
        time.sleep(0.1)
        reset(sock)

    with Server(host, serve) as server:
        with connect(forwarding.to(server.endpoint, host)) as sock:
            assert sock.recv(100) == b"hello"
            with pytest.raises(ConnectionResetError):
                sock.recv(100)
        (relay,) = forwarding.wait_ended(1)
    assert relay.failed is relay.right


def test_a_reset_after_the_end_is_passed_on(forwarding: Forwarding) -> None:
    heard: list[int | None] = []

    def serve(sock: socket.socket) -> None:
        assert sock.recv(100) == b"question"
        assert sock.recv(100) == b""
        time.sleep(0.3)  # the reset comes while nothing is read
        try:
            for _ in range(50):
                sock.sendall(b"answer")
                time.sleep(0.05)
        except OSError as e:
            heard.append(e.errno)

    with Server("127.0.0.1", serve) as server:
        sock = connect(forwarding.to(server.endpoint))
        sock.sendall(b"question")
        sock.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
        reset(sock)
        (relay,) = forwarding.wait_ended(1)
        assert relay.failed is relay.left
    assert heard in ([errno.ECONNRESET], [errno.EPIPE])


def test_a_reset_reaches_a_reader_who_stalls(forwarding: Forwarding) -> None:
    reading = threading.Event()
    heard: list[int | None] = []

    def serve(sock: socket.socket) -> None:
        reading.wait(20)
        try:
            read_all(sock)
        except OSError as e:
            heard.append(e.errno)

    with Server("127.0.0.1", serve) as server:
        sock = connect(forwarding.to(server.endpoint))
        fill(sock)
        reset(sock)
        forwarding.wait_ended(1)
        reading.set()
    assert heard == [errno.ECONNRESET]


def fill(sock: socket.socket) -> int:
    """Write until nothing is taken for a while; how much was."""
    sock.settimeout(0.5)
    written = 0
    block = payload(1 << 20, 4)
    try:
        while True:
            written += sock.send(block[written % (1 << 20) :])
    except TimeoutError:
        return written


def test_a_reader_who_stalls_stops_the_writer_and_nobody_else(forwarding: Forwarding) -> None:
    reading = threading.Event()
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        if sock.recv(1) == b"t":  # a talk
            echo(sock)
            return
        reading.wait(20)
        heard.append(read_all(sock))

    with Server("127.0.0.1", serve) as server:
        address = forwarding.to(server.endpoint)
        with connect(address) as sock:
            sock.sendall(b"s")
            tracemalloc.start()
            written = fill(sock)
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            # What the kernel's buffers of four sockets hold, and one pipe: no more is on the way.
            assert written < 64 << 20
            assert held < 4 << 20
            with connect(address) as other:
                other.sendall(b"t")
                for _ in range(100):
                    other.sendall(b"talk")
                    assert receive(other, 4) == b"talk"
            reading.set()
            sock.shutdown(socket.SHUT_WR)
            forwarding.wait_ended(2)
    block = payload(1 << 20, 4)
    expected = (block * (written // len(block) + 1))[:written]
    assert digest(heard[0]) == digest(expected)


def test_bulk_leaves_others_their_turn(forwarding: Forwarding) -> None:
    stop = threading.Event()

    def serve(sock: socket.socket) -> None:
        if sock.recv(1) == b"t":
            echo(sock)
            return
        while sock.recv(1 << 20):
            pass

    def flood() -> None:
        with connect(address) as sock:
            block = b"f" * (1 << 20)
            while not stop.is_set():
                sock.sendall(block)

    with Server("127.0.0.1", serve) as server:
        address = forwarding.to(server.endpoint)
        floods = [threading.Thread(target=flood) for _ in range(2)]
        for thread in floods:
            thread.start()
        with connect(address) as sock:
            sock.sendall(b"t")
            for _ in range(30):
                sock.sendall(b"talk")
                assert receive(sock, 4) == b"talk"
        stop.set()
        for thread in floods:
            thread.join()


def test_what_was_read_before_comes_first(forwarding: Forwarding) -> None:
    forwarding.first = payload(100_000, 5)
    with Server("127.0.0.1", echo) as server, connect(forwarding.to(server.endpoint)) as sock:
        sock.sendall(b" and more")
        sock.shutdown(socket.SHUT_WR)
        assert digest(read_all(sock)) == digest(forwarding.first + b" and more")
        (relay,) = forwarding.wait_ended(1)
    assert relay.left.moved == 100_009


def test_what_a_relay_holds_is_counted_out(forwarding: Forwarding) -> None:
    """A relay that ends with bytes in its pipe gives neither them nor the pipe to another one."""
    with Server("127.0.0.1", lambda sock: time.sleep(1.5)) as server:
        sock = connect(forwarding.to(server.endpoint))
        assert fill(sock) > PIPE
        reset(sock)
        forwarding.wait_ended(1)
        assert forwarding.buffers.kept == forwarding.buffers.made


def test_a_thousand_idle_relays_hold_less_than_a_mebibyte() -> None:
    loop, buffers = Loop(), Buffers()
    pairs = [(socket.socketpair(), socket.socketpair()) for _ in range(1000)]
    fds = [(left[0].detach(), right[0].detach()) for left, right in pairs]
    over: list[Relay] = []
    tracemalloc.start()
    relays = [Relay(loop, buffers, left, right, over.append) for left, right in fds]
    for relay in relays:
        relay.start()
    for _ in range(20):
        loop.turn(0.0)
    for left, right in pairs:
        left[1].sendall(b"x" * 100)
        right[1].sendall(b"y" * 100)
    for _ in range(20):
        loop.turn(0.0)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert [relay.left.moved for relay in relays] == [100] * 1000
    assert held < 1 << 20
    for relay in relays:
        relay.reset()
    assert over == relays
    for left, right in pairs:
        left[1].close()
        right[1].close()
    loop.free()
    buffers.free()
