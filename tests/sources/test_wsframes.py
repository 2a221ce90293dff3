"""WebSocket framing: RFC 6455's own examples, any pieces, and what must be refused."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from svcdoctor.sources.wsframes import Message, MessageReader, Opcode, ProtocolError, accept_key, frame


def test_the_examples_of_the_specification() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert frame(Opcode.TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert frame(Opcode.TEXT, b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert frame(Opcode.BINARY, bytes(256))[:4] == bytes.fromhex("827e0100")
    assert frame(Opcode.BINARY, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")


def test_a_message_in_pieces_with_a_ping_between() -> None:
    reader = MessageReader()
    assert reader.feed(bytes.fromhex("010348656c")) == []
    assert reader.feed(bytes.fromhex("8900")) == [Message(Opcode.PING, b"")]
    assert reader.feed(bytes.fromhex("80026c6f")) == [Message(Opcode.TEXT, b"Hello")]


@given(
    strategies.lists(strategies.binary(max_size=70_000), max_size=4),
    strategies.one_of(strategies.just(b""), strategies.binary(min_size=4, max_size=4)),
    strategies.integers(min_value=1, max_value=50_000),
)
def test_what_is_framed_is_read_again_in_any_pieces(parts: list[bytes], mask: bytes, size: int) -> None:
    sent = b"".join(frame(Opcode.BINARY, part, mask) for part in parts)
    reader = MessageReader()
    got = [m for i in range(0, len(sent), size) for m in reader.feed(sent[i : i + size])]
    assert got == [Message(Opcode.BINARY, part) for part in parts]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("c100", "extension"),
        ("8300", "unknown kind of frame 3"),
        ("8000", "out of order"),
        ("01006100", "extension"),
        ("01000100", "out of order"),
        ("827f7fffffffffffffff", "more than 16 MiB"),
    ],
)
def test_what_is_not_websocket_is_refused(data: str, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        MessageReader().feed(bytes.fromhex(data))


def test_pieces_together_may_not_be_larger_than_a_message() -> None:
    reader = MessageReader(limit=10)
    reader.feed(b"\x02\x08" + bytes(8))
    with pytest.raises(ProtocolError, match="more than"):
        reader.feed(b"\x80\x03" + bytes(3))
