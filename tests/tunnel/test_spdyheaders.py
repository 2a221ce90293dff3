"""Header blocks: the draft's dictionary, what comes back, bombs, and what no peer should send."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import HEADERS

from svcdoctor.tunnel.errors import SpdyError
from svcdoctor.tunnel.spdyheaders import DICTIONARY, MAX_HEADERS, HeaderDecoder, HeaderEncoder, HeaderList


def deflated(plain: bytes, dictionary: bytes = DICTIONARY) -> bytes:
    deflate = zlib.compressobj(zdict=dictionary)
    return deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)


def block(*texts: str) -> bytes:
    raw = [text.encode() for text in texts]
    return (len(raw) // 2).to_bytes(4, "big") + b"".join(len(t).to_bytes(4, "big") + t for t in raw)


def test_the_dictionary_is_the_drafts() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.lists(HEADERS, max_size=6))
def test_what_is_encoded_is_decoded(lists: list[HeaderList]) -> None:
    encoder, decoder = HeaderEncoder(), HeaderDecoder()
    assert [decoder.decode(encoder.encode(headers)) for headers in lists] == lists


def test_the_limit_is_of_what_is_inflated() -> None:
    fits = (("a", "x" * (MAX_HEADERS - 4 - 5 - 4)),)
    assert HeaderDecoder().decode(HeaderEncoder().encode(fits)) == fits
    with pytest.raises(SpdyError, match="more than 16,384 bytes"):
        HeaderDecoder().decode(HeaderEncoder().encode((("a", "x" * (MAX_HEADERS - 4 - 5 - 3)),)))


def test_a_bomb_is_not_made() -> None:
    bomb = deflated(bytes(256 << 20))
    assert len(bomb) < 300_000
    decoder = HeaderDecoder()
    tracemalloc.start()
    with pytest.raises(SpdyError, match="more than"):
        decoder.decode(bomb)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "before its last header"),
        (b"plain text", "not what the dictionary"),
        (deflated(b"\0\0\0\0", b"another dictionary"), "not what the dictionary"),
        (deflated(b"\0\0\0"), "before its last header"),
        (deflated(b"\xff\xff\xff\xff"), "before its last header"),
        (deflated(block("a", "b")[:-1]), "not as long"),
        (deflated(b"\0\0\0\1" + b"\0\0\0\1a" + b"\xff\xff\xff\xff"), "not as long"),
        (deflated(b"\0\0\0\1" + b"\xff\xff\xff\xff"), "before its last header"),
        (deflated(block("a", "b") + b"!"), "not as long"),
        (deflated(block("Port", "80")), "capitals"),
        (deflated(block("", "80")), "empty"),
        (deflated(block("port", "80", "port", "81")), "twice"),
        (zlib.compress(block("a", "b")) + b"more", "has ended"),
    ],
)
def test_what_is_no_header_block(data: bytes, problem: str) -> None:
    with pytest.raises(SpdyError, match=problem):
        HeaderDecoder().decode(data)
