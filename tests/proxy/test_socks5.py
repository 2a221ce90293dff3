"""The handshake of SOCKS 5: what RFC 1928 says of each byte, in whatever pieces it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.proxy.socks5 import Connect, Handshake, Refused, Reply, reply_bytes

GREETING = bytes([5, 1, 0])
CHOSEN = bytes([5, 0])
NAME = b"web.shop.svc.cluster.local"
V6 = bytes.fromhex("20010db8000000000000000000000007")


def request(address: bytes, port: int = 80, command: int = 1) -> bytes:
    return bytes([5, command, 0]) + address + port.to_bytes(2, "big")


def named(name: bytes) -> bytes:
    return bytes([3, len(name)]) + name


def refusal(reply: Reply) -> bytes:
    return bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])


GOOD = {
    "name": (request(named(NAME)), Connect(NAME.decode(), 80)),
    "longest name": (request(named(b"n" * 255), 65535), Connect("n" * 255, 65535)),
    "no name": (request(named(b"")), Connect("", 80)),
    "IPv4": (request(b"\x01\x0a\x60\x00\x07", 443), Connect("10.96.0.7", 443)),
    "IPv6": (request(b"\x04" + V6, 8080), Connect("2001:db8::7", 8080)),
}


@pytest.mark.parametrize("words", GOOD)
def test_requests(words: str) -> None:
    sent, expected = GOOD[words]
    handshake = Handshake()
    assert handshake.receive(GREETING) is None
    assert handshake.outgoing() == CHOSEN
    assert handshake.receive(sent) == expected
    assert (handshake.outgoing(), handshake.rest) == (b"", b"")


@pytest.mark.parametrize("words", GOOD)
def test_any_pieces_say_the_same(words: str) -> None:
    sent, expected = GOOD[words]
    for size in (1, 2, 3, 7, 300):
        handshake, found, answers = Handshake(), None, b""
        data = GREETING + sent
        for at in range(0, len(data), size):
            assert found is None
            found = handshake.receive(data[at : at + size])
            answers += handshake.outgoing()
        assert (found, answers) == (expected, CHOSEN)


def test_what_comes_behind_the_request_is_the_applications() -> None:
    handshake = Handshake()
    assert handshake.receive(GREETING + request(named(NAME)) + b"GET / HTTP/1.1\r\n") == GOOD["name"][1]
    assert handshake.rest == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("sent", "answer", "why"),
    [
        (bytes([5, 1, 2]), b"\x05\xff", "insists on authentication"),
        (bytes([5, 0]), b"\x05\xff", "insists on authentication"),
        (b"\x04\x01\x00\x50\x0a\x00\x00\x01\x00", b"", "speaks SOCKS 4"),
        (b"GET / HTTP/1.1\r\n\r\n", b"", "speaks HTTP, or something else"),
        (b"\x16\x03\x01\x02\x00", b"", "does not speak SOCKS 5 (its first byte is 22)"),
        (GREETING + request(named(NAME), command=2), CHOSEN + refusal(Reply(7)), "BIND is not served"),
        (
            GREETING + request(named(NAME), command=3),
            CHOSEN + refusal(Reply(7)),
            "UDP ASSOCIATE is not served",
        ),
        (GREETING + request(named(NAME), command=9), CHOSEN + refusal(Reply(7)), "command 9 is not served"),
        (GREETING + request(b"\x05abcdef"), CHOSEN + refusal(Reply(8)), "address type 5 is unknown"),
        (GREETING + request(named(b"w\xc3\xa9b")), CHOSEN + refusal(Reply(4)), "not ASCII"),
        (GREETING + b"\x04" + request(named(NAME)), CHOSEN + refusal(Reply(1)), "speaks SOCKS 4"),
    ],
)
def test_what_is_refused(sent: bytes, answer: bytes, why: str) -> None:
    for pieces in ([sent], [sent[i : i + 1] for i in range(len(sent))]):
        handshake, found, answers = Handshake(), None, b""
        for piece in pieces:
            found = handshake.receive(piece)
            answers += handshake.outgoing()
            if found is not None:
                break
        assert isinstance(found, Refused) and why in found.why
        assert (answers, handshake.rest) == (answer, b"")


def test_the_greeting_may_name_many_methods() -> None:
    handshake = Handshake()
    assert handshake.receive(bytes([5, 255, *range(254, -1, -1)])) is None
    assert handshake.outgoing() == CHOSEN


def test_the_reply_has_the_form_of_the_specification() -> None:
    assert reply_bytes(Reply.SUCCEEDED) == b"\x05\x00\x00\x01" + bytes(6)
    assert reply_bytes(Reply.NOT_ALLOWED)[1] == 2


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_no_bytes_make_it_fail_or_keep_much(pieces: list[bytes]) -> None:
    handshake = Handshake()
    for piece in pieces:
        if handshake.receive(piece) is not None:
            break
        assert len(handshake._received) < 262  # what is not enough yet
        handshake.outgoing()


@given(
    st.binary(min_size=1, max_size=255), st.integers(0, 65535), st.binary(max_size=99), st.integers(1, 400)
)
def test_every_ascii_name_and_port_comes_through(name: bytes, port: int, rest: bytes, size: int) -> None:
    name = bytes(byte & 0x7F for byte in name)
    data = GREETING + request(named(name), port)
    handshake = Handshake()
    found = None
    for at in range(0, len(data), size):
        found = handshake.receive(data[at : at + size])
    assert found == Connect(name.decode(), port)
    handshake.receive(rest)
    assert handshake.rest == rest
