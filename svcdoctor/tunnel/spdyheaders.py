"""SPDY/3.1's compressed header blocks, both directions.

Theory. Each direction of a session is one zlib stream that begins with a dictionary known to both sides and is
flushed to a byte boundary after every block, so a block can be read only after all blocks before it, also those
that nobody wants. That is why a block that cannot be read ends the session.

A block is a count, then so many pairs of name and value, each with its length in 32 bits. A few bytes can inflate
to any size; reading stops at a limit, and what would come after it is never made.

Specification: SPDY Protocol, draft 3.1, section 2.6.10 (name/value header block)
"""

from __future__ import annotations

import struct
import zlib

from svcdoctor.tunnel.errors import SpdyError

MAX_HEADERS = 16 << 10
"""Bytes of one block, inflated; port-forward's have less than a hundred."""

HeaderList = tuple[tuple[str, str], ...]
"""Names, which are lowercase, and values, in order."""

_U32 = struct.Struct(">I")

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age "
    "allow authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)  # each with its length before it; the underscore is a space
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(_U32.pack(len(word)) + word.replace("_", " ").encode() for word in _WORDS.split())
    + _REST.encode()
)
"""The draft's dictionary: 1423 bytes, Adler-32 e3c6a7c2."""


class HeaderEncoder:
    """Compresses the blocks of one direction; they must be sent in the order in which they were made."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(level=9, zdict=DICTIONARY)

    def encode(self, headers: HeaderList) -> bytes:
        """The block, flushed. Characters beyond Latin-1 have no form on the wire: UnicodeEncodeError."""
        parts = [_U32.pack(len(headers))]
        for pair in headers:
            for text in pair:
                raw = text.encode("latin-1")
                parts += (_U32.pack(len(raw)), raw)
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecoder:
    """Inflates the blocks of one direction, each at most ``limit`` bytes long when inflated."""

    def __init__(self, limit: int = MAX_HEADERS) -> None:
        self._limit = limit
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, block: bytes) -> HeaderList:
        """The headers of the next block. Raises SpdyError, after which no other block can be read."""
        try:
            plain = self._inflate.decompress(block, self._limit + 1)
        except zlib.error:
            raise SpdyError(
                "a header block is not what the dictionary and the blocks before it inflate"
            ) from None
        if len(plain) > self._limit:
            raise SpdyError(f"a header block inflates to more than {self._limit:,} bytes")
        if self._inflate.unused_data:
            raise SpdyError("the stream of header blocks has ended, and goes on")
        return _parsed(plain)


def _parsed(plain: bytes) -> HeaderList:
    at, texts = _U32.size, []
    try:
        for _ in range(2 * _U32.unpack_from(plain)[0]):
            start = at + _U32.size
            at = start + _U32.unpack_from(plain, at)[0]
            texts.append(plain[start:at].decode("latin-1"))
    except struct.error:
        raise SpdyError("a header block ends before its last header") from None
    if at != len(plain):
        raise SpdyError("a header block is not as long as its headers")
    names = texts[::2]
    if len({*names}) != len(names) or not all(name and name == name.lower() for name in names):
        raise SpdyError("a header block has a name that is empty, in capitals or there twice")
    return tuple(zip(names, texts[1::2], strict=True))
