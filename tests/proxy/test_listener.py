"""Listeners: batches, clients that are gone already, and a process without descriptors."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from piping import PATIENCE, connect, descriptors_left, reset

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.listener import BATCH, Doors, InUse, Listener, bound_socket, listening_socket
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.portowner import port_owner


class Door:
    """A listener that the test turns itself, and who came in."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.loop = Loop()
        self.came: list[tuple[int, tuple[str, int]]] = []
        sock = listening_socket(host, 0)
        self.listener = Listener(self.loop, sock, lambda fd, peer: self.came.append((fd, peer)))

    def turn_until(self, count: int) -> None:
        end = time.monotonic() + PATIENCE
        while len(self.came) < count:
            assert time.monotonic() < end
            self.loop.turn(0.05)

    def turn_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.loop.turn(0.02)

    def close(self) -> None:
        self.listener.close()
        for fd, _peer in self.came:
            self.loop.close(fd)
        self.loop.free()


@pytest.fixture
def door(host: str) -> Iterator[Door]:
    made = Door(host)
    yield made
    made.close()


def test_clients_come_in_non_blocking_without_delay_and_with_their_address(door: Door, host: str) -> None:
    with connect(door.listener.address) as client:
        door.turn_until(1)
        fd, peer = door.came[0]
        assert peer == client.getsockname()[:2]
        assert peer[0] == host
        assert not os.get_blocking(fd)
        sock = socket.socket(fileno=os.dup(fd))
        with sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_more_clients_than_a_batch_come_in(door: Door) -> None:
    clients = [connect(door.listener.address) for _ in range(3 * BATCH)]
    door.turn_until(3 * BATCH)
    assert {peer for _fd, peer in door.came} == {c.getsockname()[:2] for c in clients}
    for client in clients:
        client.close()


def test_clients_that_are_gone_before_they_are_accepted_do_no_harm(door: Door) -> None:
    for end in (reset, socket.socket.close):
        end(connect(door.listener.address))
    with connect(door.listener.address) as client:
        end_ = time.monotonic() + PATIENCE
        while client.getsockname()[:2] not in [peer for _fd, peer in door.came]:
            assert time.monotonic() < end_
            door.loop.turn(0.05)


def test_clients_wait_while_there_are_no_descriptors_and_come_in_when_there_are(door: Door) -> None:
    clients = [connect(door.listener.address) for _ in range(5)]
    with descriptors_left(2):
        door.turn_for(0.35)
        assert len(door.came) == 2
        door.loop.close(door.came[0][0])
        door.loop.close(door.came[1][0])
        door.came[:2] = []
        door.turn_until(2)
    door.turn_until(3)
    assert door.listener.turned_away == 0
    for client in clients:
        client.close()


def test_clients_that_wait_in_vain_are_turned_away_and_later_ones_come_in(door: Door) -> None:
    clients = [connect(door.listener.address) for _ in range(4)]
    with descriptors_left(1):
        door.turn_for(1.5)
        assert len(door.came) == 1
        assert door.listener.turned_away == 3
        refused = 0
        for client in clients:
            client.settimeout(0.05)
            try:
                client.recv(1)
            except ConnectionResetError:
                refused += 1
            except TimeoutError:
                pass
        assert refused == 3
    later = connect(door.listener.address)
    door.turn_until(2)
    for client in [*clients, later]:
        client.close()


def test_a_pause_leaves_clients_in_the_queue(door: Door) -> None:
    door.listener.pause(0.3)
    with connect(door.listener.address):
        begin = time.monotonic()
        door.turn_until(1)
        assert time.monotonic() - begin > 0.2


def test_doors_that_are_closed_leave_clients_in_the_queue_of_each_listener() -> None:
    loop, doors, came = Loop(), Doors(), []
    sockets = [listening_socket("127.0.0.1", 0) for _ in range(2)]
    listeners = [Listener(loop, sock, lambda fd, _: came.append(fd), doors) for sock in sockets]
    doors.open = False
    clients = [connect(listener.address) for listener in listeners]
    for _ in range(20):
        loop.turn(0.01)
    assert not came
    doors.open = True
    end = time.monotonic() + PATIENCE
    while len(came) < 2:
        assert time.monotonic() < end
        loop.turn(0.05)
    for listener in listeners:
        listener.close()
    doors.spend()
    for fd in came:
        loop.close(fd)
    loop.turn(0.0)
    loop.free()
    for client in clients:
        client.close()


def test_a_listener_that_retires_accepts_who_waits_and_refuses_who_comes(door: Door) -> None:
    address = door.listener.address
    clients = [connect(address) for _ in range(2 * BATCH + 1)]
    door.listener.retire()
    assert {peer for _fd, peer in door.came} == {c.getsockname()[:2] for c in clients}
    with pytest.raises(ConnectionRefusedError):
        connect(address)
    for client in clients:
        client.close()


def test_shared_sockets_share_one_port_and_others_do_not(host: str) -> None:
    with listening_socket(host, 0, shared=True) as one:
        port = one.getsockname()[1]
        listening_socket(host, port, shared=True).close()
        with pytest.raises(InUse):
            listening_socket(host, port)


def test_an_address_that_cannot_be_had_is_named_with_what_to_do(host: str) -> None:
    with listening_socket(host, 0) as taken:
        port = taken.getsockname()[1]
        where = f"[::1]:{port}" if ":" in host else f"127.0.0.1:{port}"
        with pytest.raises(SvcdoctorError) as told:
            listening_socket(host, port)
        this = f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"
        assert told.value.message == (
            f"cannot listen on {where}: Address already in use by {this}; choose another port, or end the program "
            "that listens there"
        )
        assert port_owner("0.0.0.0" if host == "127.0.0.1" else "::", port, socket.SOCK_STREAM) == this
        assert port_owner("192.0.2.1", port, socket.SOCK_STREAM) == ""
        assert port_owner(host, port, socket.SOCK_DGRAM) == ""
    with bound_socket(host, 0, socket.SOCK_DGRAM) as taken:
        assert port_owner(host, taken.getsockname()[1], socket.SOCK_DGRAM) == this
    with pytest.raises(SvcdoctorError, match="choose an address of this machine"):
        listening_socket("192.0.2.1", 0)


def test_both_families_can_have_one_port() -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with bound_socket("127.0.0.1", 0, kind) as sock:
            bound_socket("::", sock.getsockname()[1], kind).close()
