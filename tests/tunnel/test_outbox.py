"""What waits to be sent: order, turns, measures, and what is thrown away."""

from __future__ import annotations

import pytest

from svcdoctor.tunnel.errors import TunnelError
from svcdoctor.tunnel.outbox import FRAME, MAX_CONTROL, Outbox


def marked(out: bytearray, stream: int, data: memoryview, last: bool) -> None:
    out += b"<%d:%d%s>" % (stream, len(data), b"!" if last else b"")


def outbox(*streams: int) -> Outbox:
    box = Outbox(marked)
    for stream in streams:
        box.add(stream)
    return box


def test_control_comes_first_and_streams_take_turns() -> None:
    box = outbox(1, 3)
    box.send(1, bytes(3 * FRAME))
    box.send(3, b"ab")
    box.send(3, b"c")
    box.control(b"[control]")
    assert bool(box)
    assert (box.pending(1), box.pending(3), box.pending(5)) == (3 * FRAME, 3, 0)
    assert box.take() == b"[control]<1:32768><3:3><1:32768><1:32768>"
    assert not box
    assert box.pending(1) == 0


def test_taking_stops_at_the_limit() -> None:
    box = outbox(1, 3)
    box.send(1, bytes(2 * FRAME))
    box.send(3, b"ab")
    assert box.take(1) == b"<1:32768>"
    assert box.take(1) == b"<3:2>"
    box.send(3, b"c")
    assert box.take(20) == b"<1:32768><3:1>"
    assert box.take() == b""


def test_the_end_goes_with_the_last_bytes_once() -> None:
    box = outbox(1, 3)
    box.send(1, bytes(FRAME + 1))
    box.end(1)
    box.end(1)
    box.end(3)
    box.end(3)
    assert box.take() == b"<1:32768><3:0!><1:1!>"
    box.end(1)
    box.send(1, b"too late, and gone")
    assert box.take() == b""


def test_sending_after_the_end_is_a_mistake_of_the_owner() -> None:
    box = outbox(1)
    box.end(1)
    box.send(1, b"")
    with pytest.raises(ValueError, match="stream 1 was ended"):
        box.send(1, b"x")


def test_what_is_discarded_is_not_sent() -> None:
    box = outbox(1, 3)
    box.send(1, b"waits")
    box.send(3, b"stays")
    assert box.discard(1)
    assert not box.discard(1)
    assert box.take() == b"<3:5>"
    box.end(3)
    box.take()
    assert not box.discard(3)  # its end is out: nobody need be told


def test_answers_are_bounded_and_control_is_not() -> None:
    box = outbox()
    box.control(bytes(MAX_CONTROL))
    assert not box.full
    box.answer(b"x")
    assert box.full
    with pytest.raises(TunnelError, match="asks without reading: 1,048,577 bytes of answers wait"):
        box.answer(b"x")
    box.control(b"x")
    assert len(box.take()) == MAX_CONTROL + 2
    box.answer(b"x")
