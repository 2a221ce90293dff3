"""The connection between control and worker: both ends real, over a Unix socket."""

import os
import socket
import struct
import subprocess
import sys
import time

import pytest
from served_world import served, turn_until

from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving import link as link_module
from svcdoctor.proxy.serving.link import Link, of_our_own
from svcdoctor.proxy.serving.wire import ControlReader, Put, Ready, WireError, WorkerReader, frame


class Ends:
    """A link on the loop, and the other end as a plain socket."""

    def __init__(self, loop, reader):
        self.loop = loop
        ours, self.other = socket.socketpair()
        self.received, self.lost = [], []
        self.link = Link(loop, ours, reader, self.received.append, self.lost.append)


@pytest.fixture
def ends():
    loop = Loop()
    made = []

    def make(reader=None):
        made.append(Ends(loop, reader or ControlReader()))
        return made[-1]

    yield make
    for one in made:
        one.link.close()
        one.other.close()
    loop.turn(0)
    loop.free()


def test_a_message_that_is_longer_than_the_socket_holds_arrives_whole(ends):
    one = ends()
    message = Put(1, tuple(served(f"service{n}", port=80) for n in range(20000)), whole=True)
    one.link.send(message)
    reader, found = WorkerReader(), []
    one.other.setblocking(False)
    while not found:
        one.loop.turn(0.01)
        try:
            found = reader.messages(one.other.recv(1 << 20))
        except BlockingIOError:
            continue
    assert found == [message]


def test_what_was_said_before_the_end_is_heard(ends):
    one = ends()
    one.other.sendall(frame(Ready(1)) + frame(Ready(2)))
    one.other.close()
    turn_until(one.loop, lambda: one.lost)
    assert one.received == [Ready(1), Ready(2)]
    assert one.lost == ["it has ended"]
    one.link.send(Put(1, ()))  # to nobody


def test_a_peer_that_ended_while_it_was_written_to_is_lost_once(ends):
    one = ends()
    one.other.sendall(frame(Ready(1)))
    one.other.close()
    one.link.send(Put(1, (served(),)))
    turn_until(one.loop, lambda: one.lost)
    assert len(one.lost) == 1


def test_what_is_no_message_ends_it(ends):
    one = ends()
    one.other.sendall(struct.pack("!I", 5) + b"hello")
    turn_until(one.loop, lambda: one.lost)
    assert one.lost[0].startswith("it says what is not understood: ")


def test_a_peer_that_does_not_read_is_lost_and_costs_no_more_memory(ends, monkeypatch):
    monkeypatch.setattr(link_module, "MAX_UNSENT", 1 << 20)
    one = ends()
    data = frame(Put(1, tuple(served(f"service{n}", port=80) for n in range(1000))))
    for _ in range(100):
        one.link.send_frame(data)
    assert one.lost == ["it does not read what it is told"]


def test_a_link_that_was_closed_tells_nothing(ends):
    one = ends()
    one.other.sendall(frame(Ready(1)))
    one.link.close()
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        one.loop.turn(0.02)
    assert (one.received, one.lost) == ([], [])


def test_too_long_a_message_is_not_sent(ends, monkeypatch):
    monkeypatch.setattr("svcdoctor.proxy.serving.wire.MAX_FRAME", 10)
    with pytest.raises(WireError):
        ends().link.send(Put(1, (served(),)))


def test_another_users_process_is_told_from_ones_own():
    ours, other = socket.socketpair()
    with ours, other:
        assert of_our_own(ours)
    if os.geteuid() != 0:
        reason = "being another user needs root"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    code = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "a, b = socket.socketpair()\n"
        "socket.send_fds(socket.socket(fileno=0), [b'x'], [a.fileno()])\n"
        "sys.stdin.read()"
    )
    mine, theirs = socket.socketpair()
    with mine, subprocess.Popen([sys.executable, "-S", "-c", code], stdin=theirs) as process:
        theirs.close()
        _, (fd,), _, _ = socket.recv_fds(mine, 1, 1)
        with socket.socket(fileno=fd) as foreign:
            assert not of_our_own(foreign)
        process.kill()
