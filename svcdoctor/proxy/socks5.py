"""SOCKS version 5, the server's side of one handshake: bytes in, one request out. No I/O.

Theory of operation. A client begins with the methods of authentication that it knows; the server chooses "none", or
says that none will do. Then the client sends its one request: a command, and an address with a port. The server
answers with a code, and if that is "succeeded", all further bytes are the application's, both ways. Clients may send
everything at once; what comes behind the request is kept for the application. An address is an IPv4 or IPv6 address
or a name, which the server resolves: that is what makes names of a cluster work.

Each message says its length in its first bytes, so no more than 262 of them ever wait for the rest of one. Only
CONNECT is served; BIND and UDP ASSOCIATE get the reply for that, as do addresses of an unknown type.

Specification: RFC 1928 (https://www.rfc-editor.org/rfc/rfc1928)
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import IntEnum

VERSION = 5

_NO_AUTHENTICATION = 0
_NO_METHOD = 0xFF

_CONNECT = 1
_COMMANDS = {2: "BIND", 3: "UDP ASSOCIATE"}

_V4, _NAME, _V6 = 1, 3, 4
_LENGTHS = {_V4: 4, _V6: 16}


class Reply(IntEnum):
    """What the server answers to a request (RFC 1928, section 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    REFUSED = 5
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_NOT_SUPPORTED = 8


@dataclass(frozen=True, slots=True)
class Connect:
    """A client wants a connection to a host, which is a name or an IP address, at a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The handshake has failed: the connection is to be closed when what is outgoing was sent."""

    why: str


class Handshake:
    """One client's handshake, until its request."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._outgoing = bytearray()
        self._greeted = False
        self._found: Connect | Refused | None = None

    def receive(self, data: bytes) -> Connect | Refused | None:
        """Take bytes; returns the request, or why there will be none, once that is known.

        A request is to be answered with `reply_bytes`. What came behind it is `rest`.
        """
        self._received += data
        if self._found is None and not self._greeted:
            self._found = self._greeting()
        if self._found is None and self._greeted:
            self._found = self._request()
        return self._found

    def outgoing(self) -> bytes:
        """What is to be sent now."""
        found, self._outgoing = bytes(self._outgoing), bytearray()
        return found

    @property
    def rest(self) -> bytes:
        """What came behind the request, and is the application's."""
        return bytes(self._received) if isinstance(self._found, Connect) else b""

    def _greeting(self) -> Refused | None:
        held = self._received
        if held and held[0] != VERSION:
            return Refused(_strange(held))
        if len(held) < 2 or len(held) < 2 + held[1]:
            return None
        methods = held[2 : 2 + held[1]]
        del held[: 2 + len(methods)]
        if _NO_AUTHENTICATION not in methods:
            self._outgoing += bytes([VERSION, _NO_METHOD])
            return Refused("the client insists on authentication")
        self._outgoing += bytes([VERSION, _NO_AUTHENTICATION])
        self._greeted = True
        return None

    def _request(self) -> Connect | Refused | None:
        held = self._received
        if held and held[0] != VERSION:
            return self._refuse(Reply.GENERAL_FAILURE, _strange(held))
        if len(held) < 5:
            return None
        command, kind = held[1], held[3]
        start = 5 if kind == _NAME else 4
        length = held[4] if kind == _NAME else _LENGTHS.get(kind)
        if length is None:
            return self._refuse(Reply.ADDRESS_NOT_SUPPORTED, f"address type {kind} is unknown")
        end = start + length
        if len(held) < end + 2:
            return None
        if command != _CONNECT:
            name = _COMMANDS.get(command, f"command {command}")
            return self._refuse(Reply.COMMAND_NOT_SUPPORTED, f"{name} is not served, only CONNECT is")
        raw, port = bytes(held[start:end]), int.from_bytes(held[end : end + 2], "big")
        del held[: end + 2]
        if kind == _NAME:
            try:
                return Connect(raw.decode("ascii"), port)
            except UnicodeDecodeError:
                return self._refuse(Reply.HOST_UNREACHABLE, "the name is not ASCII")
        return Connect(str(ipaddress.ip_address(raw)), port)

    def _refuse(self, reply: Reply, why: str) -> Refused:
        self._outgoing += reply_bytes(reply)
        return Refused(why)


def reply_bytes(reply: Reply) -> bytes:
    """The answer to a request. The bound address in it is 0.0.0.0:0: clients have no use for a pod's."""
    return bytes([VERSION, reply, 0, _V4, 0, 0, 0, 0, 0, 0])


def _strange(held: bytearray) -> str:
    if held[0] == 4:
        return "the client speaks SOCKS 4; let it speak SOCKS 5 (socks5h://)"
    if held[:1].isalpha():
        return "the client speaks HTTP, or something else; let it speak SOCKS 5 (socks5h://)"
    return f"the client does not speak SOCKS 5 (its first byte is {held[0]})"
