"""Messages between control and workers: whole, in pieces, and what is none."""

import struct

import pytest
from served_world import served

from svcdoctor.proxy.serving import wire
from svcdoctor.proxy.serving.wire import (
    ControlReader,
    Count,
    Counters,
    Drain,
    EndpointCounts,
    Failed,
    Held,
    Hello,
    PortCounts,
    Put,
    Ready,
    Recall,
    Remove,
    Stop,
    WireError,
    WorkerReader,
    frame,
)

COUNTS = EndpointCounts("10.0.0.1:80", "shop/a", 3, 1, 0, 10, 20, 0.25, (1, 2))
TO_WORKER = [
    Put(1, (served(), served(ip="::1")), whole=True),
    Put(2, (served(backends=()),)),
    Remove(3, ("shop/cart:80/TCP/4",)),
    Count(),
    Recall(),
    Drain(),
    Stop(),
]
TO_CONTROL = [
    Hello(12, "{}", draining=True),
    Ready(3),
    Failed("shop/cart:80/TCP/4", "in use"),
    Held((served(),)),
    Counters(12, 1, False, (PortCounts("shop/cart:80/TCP/4", (COUNTS,), forbidden=2),)),
]


@pytest.mark.parametrize(("messages", "reader"), [(TO_WORKER, WorkerReader), (TO_CONTROL, ControlReader)])
@pytest.mark.parametrize("piece", [1, 7, 100000])
def test_messages_arrive_as_they_were_sent_however_they_are_cut(messages, reader, piece):
    data = b"".join(map(frame, messages))
    made = reader()
    found = [m for at in range(0, len(data), piece) for m in made.messages(data[at : at + piece])]
    assert found == messages


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!I", wire.MAX_FRAME + 1),
        struct.pack("!I", 3) + b"abc",
        frame(Ready(1)),  # of the other direction
        struct.pack("!I", 1) + b"\xc1",
    ],
)
def test_what_is_no_message_is_an_error(data):
    with pytest.raises(WireError):
        WorkerReader().messages(data)


def test_a_message_that_is_too_long_is_not_sent(monkeypatch):
    monkeypatch.setattr(wire, "MAX_FRAME", 100)
    with pytest.raises(WireError, match="a message of 0 MiB"):
        frame(Held(tuple(served(f"service{n}") for n in range(10))))
