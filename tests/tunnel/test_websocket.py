"""A WebSocket's messages: RFC 6455's own examples, fragments, any pieces, limits, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Side
from wire import cut_up

from svcdoctor.tunnel.websocket import MAX_ANSWERS, Message, WebSocket

SIZES = st.lists(st.integers(1, 40_000), min_size=1, max_size=5)


def masked(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def test_the_examples_of_the_specification() -> None:
    client = WebSocket(Side.CLIENT)
    assert client.receive(bytes.fromhex("810548656c6c6f")) == [Message(Opcode.TEXT, b"Hello")]
    assert client.receive(bytes.fromhex("010348656c")) == []
    assert client.receive(bytes.fromhex("80026c6f")) == [Message(Opcode.TEXT, b"Hello")]
    assert client.receive(bytes.fromhex("827e0100") + bytes(256)) == [Message(Opcode.BINARY, bytes(256))]
    big = bytes.fromhex("827f0000000000010000") + bytes(65536)
    assert client.receive(memoryview(big)) == [Message(Opcode.BINARY, bytes(65536))]
    server = WebSocket(Side.SERVER)
    assert server.receive(bytes.fromhex("818537fa213d7f9f4d5158")) == [Message(Opcode.TEXT, b"Hello")]
    assert server.receive(bytes.fromhex("898537fa213d7f9f4d5158")) == []
    assert server.outgoing() == bytes.fromhex("8a0548656c6c6f")


def test_a_ping_between_fragments_is_answered() -> None:
    server = WebSocket(Side.SERVER)
    assert server.receive(masked(Opcode.BINARY, b"Hel", fin=False)) == []
    assert server.receive(masked(Opcode.PING, b"?") + masked(Opcode.PONG, b"!")) == [
        Message(Opcode.PONG, b"!")
    ]
    assert server.outgoing() == b"\x8a\x01?"
    assert server.receive(masked(Opcode.CONT, b"", fin=False)) == []
    assert server.receive(masked(Opcode.CONT, b"lo")) == [Message(Opcode.BINARY, b"Hello")]


@given(st.lists(st.binary(max_size=70_000), max_size=4), st.sampled_from(Side), SIZES)
def test_what_is_sent_is_received_in_any_pieces(parts: list[bytes], side: Side, sizes: list[int]) -> None:
    sender, receiver = WebSocket(side), WebSocket(Side(1 - side))
    for part in parts:
        sender.send(part)
    got = [message for piece in cut_up(sender.outgoing(), sizes) for message in receiver.receive(piece)]
    assert got == [Message(Opcode.BINARY, part) for part in parts]
    assert receiver.error is None


def test_an_orderly_end_is_answered_and_nothing_follows() -> None:
    client, server = WebSocket(Side.CLIENT), WebSocket(Side.SERVER)
    client.send(b"last")
    client.close()
    client.send(b"later")
    client.close()
    assert not client.open
    assert server.receive(client.outgoing()) == [
        Message(Opcode.BINARY, b"last"),
        Message(Opcode.CLOSE, b"\x03\xe8"),
    ]
    server.send(b"too late")
    assert server.receive(masked(Opcode.BINARY, b"more")) == []
    assert client.receive(server.outgoing()) == [Message(Opcode.CLOSE, b"\x03\xe8")]
    assert (client.error, server.error) == (None, None)


def test_an_end_with_a_reason_is_an_error() -> None:
    client = WebSocket(Side.CLIENT)
    assert client.receive(b"\x82\x01x\x88\x09\x03\xf3no more") == [
        Message(Opcode.BINARY, b"x"),
        Message(Opcode.CLOSE, b"\x03\xf3no more"),
    ]
    assert "1011" in str(client.error)
    assert "no more" in str(client.error)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("c100", "reserved bits"),
        ("8300", "opcode"),
        ("8000", "unexpected continuation"),
        ("01000100", "expected a continuation"),
        ("898037fa213d", "masking"),
        ("897e0080", "control frame too long"),
        ("0900", "fragmented control frame"),
        ("827f7fffffffffffffff", "exceeds|over size|16777216"),
        ("880103", "close frame too short"),
    ],
)
@pytest.mark.parametrize("size", [1, 100])
def test_what_is_not_websocket_ends_it(data: str, problem: str, size: int) -> None:
    client, got = WebSocket(Side.CLIENT), []
    raw = bytes.fromhex(data)
    padded = raw + bytes(200) if raw[1] == 0x7E else raw
    for piece in cut_up(b"\x82\x01x" + padded, [size]):
        got += client.receive(piece)
    assert got == [Message(Opcode.BINARY, b"x")]
    assert client.error is not None
    client.send(b"into the void")
    assert client.receive(b"\x82\x01x") == []


def test_fragments_together_may_not_be_larger_than_a_message() -> None:
    client = WebSocket(Side.CLIENT, limit=10)
    assert client.receive(b"\x02\x08" + bytes(8)) == []
    assert client.receive(b"\x00\x00" * 5) == []
    assert client.receive(b"\x80\x03" + bytes(3)) == []
    assert client.error is not None


def test_pings_that_are_not_read() -> None:
    client = WebSocket(Side.CLIENT)
    for _ in range(MAX_ANSWERS // 100):
        client.receive(b"\x89\x7d" + bytes(125))
        assert len(client.outgoing()) == 131
    assert client.error is None
    for _ in range(MAX_ANSWERS // 100):
        client.receive(b"\x89\x7d" + bytes(125))
        if client.error is not None:
            break
    assert "asks without reading" in str(client.error)


@given(st.binary(max_size=300), st.sampled_from(Side), SIZES)
def test_arbitrary_bytes_raise_nothing(data: bytes, side: Side, sizes: list[int]) -> None:
    once, pieces = WebSocket(side, limit=200), WebSocket(side, limit=200)
    whole = once.receive(data)
    assert [message for piece in cut_up(data, sizes) for message in pieces.receive(piece)] == whole
    assert str(once.error) == str(pieces.error)
