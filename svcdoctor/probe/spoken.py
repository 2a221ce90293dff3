"""Which protocol the first bytes of an answer are.

Specification: RFC 8446 5.1 (TLS records), RFC 9113 4.1 and 3.4 (a server's first frame is SETTINGS), RFC 9112 4
"""

from __future__ import annotations

import re

from svcdoctor.model.observed import Speaks

# A server that notices HTTP on its port for HTTPS says so: Go, nginx, Apache, Tomcat, HAProxy and others.
_WANTS_TLS = re.compile(
    rb"HTTP request to an HTTPS server|plain HTTP request was sent to HTTPS port|plain HTTP to an SSL-enabled|"
    rb"combination of host and port requires TLS|plain HTTP request to (a|an) (TLS|HTTPS)",
    re.IGNORECASE,
)
_PAGE = re.compile(rb"\s*<(!DOCTYPE )?html", re.IGNORECASE)  # what some servers say to what is no request
_RECORDS = {20, 21, 22, 23}  # change cipher spec, alert, handshake, application data
_SETTINGS, _GOAWAY = 4, 7


def speaks(data: bytes) -> Speaks | None:
    """The protocol that the bytes begin with; None where there are too few to tell."""
    if data.startswith(b"HTTP/1.") or _PAGE.match(data):
        return Speaks.TLS if _WANTS_TLS.search(data) else Speaks.HTTP
    if len(data) >= 3 and data[0] in _RECORDS and data[1] == 3 and data[2] <= 4:
        return Speaks.TLS
    if len(data) >= 9 and data[3] in (_SETTINGS, _GOAWAY) and data[5:9] == b"\0\0\0\0" and data[0] == 0:
        return Speaks.HTTP2
    return Speaks.OTHER if len(data) >= 9 else None


WORDS = {
    Speaks.TLS: "the port speaks TLS",
    Speaks.HTTP: "the port speaks HTTP/1.1 without TLS",
    Speaks.HTTP2: "the port speaks HTTP/2 only, as gRPC servers do",
    Speaks.OTHER: "the port speaks another protocol",
}


def shown(data: bytes, most: int = 60) -> str:
    """The first bytes as one printable line."""
    text = data[:most].decode("utf-8", "backslashreplace")
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return f"{line[:most]}…" if len(line) > most or len(data) > most else line
