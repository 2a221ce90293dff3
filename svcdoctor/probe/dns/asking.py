"""Asking a DNS server: queries that are sent together over UDP, TCP where an answer does not fit.

Theory. One round is what a C library sends in one go: the A and the AAAA query of a name, from one socket. Everything
is bounded: a round ends with its deadline, with both answers, or when more strays have come than anybody sends by
mistake. What is no answer is counted and waited past, as the libraries do; it is told if nothing better comes.
"""

from __future__ import annotations

import errno
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from svcdoctor.model.lookup import Met, Reply
from svcdoctor.probe.dns.messages import NotTheAnswer, Said, query, said

STRAYS = 200
"""Datagrams of a round that may be no answers."""

UDP_SIZE = 65535
CONNECT_SECONDS = 5.0


class Stream(Protocol):
    """A connection to a server, for DNS over TCP."""

    def send(self, data: bytes, end: float) -> None:
        """Send all of it until ``time.monotonic()`` is ``end``. Raises OSError."""

    def receive(self, count: int, end: float) -> bytes:
        """So many bytes. Raises OSError, TimeoutError at ``end``, EOFError where it was closed before."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to ask. ``dial``, where there is one, makes every connection, and there is no UDP."""

    ip: str
    port: int = 53
    dial: Callable[[float], Stream] | None = None

    def __str__(self) -> str:
        if self.port == 53:
            return self.ip
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def ask(
    server: Server, name: str, rtypes: Sequence[str], seconds: float, *, tcp: bool = False
) -> dict[str, Reply]:
    """The reply to each type's query of an absolute name, sent once. Never takes much longer than twice ``seconds``."""
    if tcp or server.dial is not None:
        return {rtype: _over_tcp(server, name, rtype, seconds) for rtype in rtypes}
    replies = _over_udp(server, name, rtypes, seconds)
    for rtype, reply in replies.items():
        if reply.truncated:
            replies[rtype] = _again(server, name, rtype, seconds, reply)
    return replies


def _again(server: Server, name: str, rtype: str, seconds: float, cut: Reply) -> Reply:
    """The answer over TCP to what did not fit into UDP."""
    whole = _over_tcp(server, name, rtype, seconds)
    spent = (cut.seconds or 0.0) + (whole.seconds or 0.0)
    detail = "truncated over UDP, asked again over TCP"
    if whole.met not in (Met.DATA, Met.NODATA, Met.NXDOMAIN):
        detail += f": {whole.detail or whole.met}"
    return Reply(whole.met, whole.data, spent, "TCP", True, detail)


def _over_udp(server: Server, name: str, rtypes: Sequence[str], seconds: float) -> dict[str, Reply]:
    start = time.monotonic()
    family = socket.AF_INET6 if ":" in server.ip else socket.AF_INET
    waiting = dict(zip(_numbers(len(rtypes)), rtypes, strict=True))
    found: dict[str, Reply] = {}
    strays: dict[str, int] = {}
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((server.ip, server.port))
            for number, rtype in waiting.items():
                sock.send(query(name, rtype, number))
            while waiting and sum(strays.values()) < STRAYS:
                left = start + seconds - time.monotonic()
                if left <= 0:
                    break
                sock.settimeout(left)
                wire = sock.recv(UDP_SIZE)
                try:
                    number, answer = _matching(wire, name, waiting)
                except NotTheAnswer as e:
                    strays[str(e)] = strays.get(str(e), 0) + 1
                else:
                    found[waiting.pop(number)] = _reply(answer, time.monotonic() - start, "UDP")
    except TimeoutError:
        pass
    except OSError as e:
        lost = Reply(Met.UNREACHABLE, (), time.monotonic() - start, "UDP", False, _reason(e, server))
        return found | dict.fromkeys(waiting.values(), lost)
    return found | dict.fromkeys(waiting.values(), _nothing(strays, time.monotonic() - start, server))


def _numbers(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(secrets.randbelow(1 << 16))
    return list(found)


def _matching(wire: bytes, name: str, waiting: dict[int, str]) -> tuple[int, Said]:
    """Which query a datagram answers, and what it says. Raises NotTheAnswer."""
    number = int.from_bytes(wire[:2])
    if number not in waiting:
        said(wire, name, next(iter(waiting.values())), next(iter(waiting)))
    return number, said(wire, name, waiting[number], number)


def _nothing(strays: dict[str, int], seconds: float, server: Server) -> Reply:
    """What is said where no answer came."""
    if not strays:
        return Reply(Met.TIMEOUT, (), seconds, "UDP", False, f"no answer within {seconds:.3g} s")
    total = sum(strays.values())
    why = max(strays, key=lambda w: strays[w])
    many = f", {total} such datagrams" if total > 1 else ""
    flood = "; it floods, and was listened to no longer" if total >= STRAYS else ""
    return Reply(Met.GARBLED, (), seconds, "UDP", False, f"what came is no answer: {why}{many}{flood}")


def _over_tcp(server: Server, name: str, rtype: str, seconds: float) -> Reply:
    start = time.monotonic()
    end = start + seconds
    [number] = _numbers(1)
    wire = query(name, rtype, number)
    try:
        stream = (
            server.dial(seconds) if server.dial is not None else TcpStream(server.ip, server.port, seconds)
        )
        try:
            stream.send(len(wire).to_bytes(2) + wire, end)
            length = int.from_bytes(stream.receive(2, end))
            answer = said(stream.receive(length, end), name, rtype, number)
        finally:
            stream.close()
    except NotTheAnswer as e:
        return Reply(Met.GARBLED, (), time.monotonic() - start, "TCP", False, f"what came is no answer: {e}")
    except TimeoutError:
        spent = time.monotonic() - start
        return Reply(Met.TIMEOUT, (), spent, "TCP", False, f"no whole answer within {spent:.3g} s")
    except EOFError:
        return Reply(
            Met.GARBLED, (), time.monotonic() - start, "TCP", False, "closed before a whole answer came"
        )
    except OSError as e:
        return Reply(Met.UNREACHABLE, (), time.monotonic() - start, "TCP", False, _reason(e, server))
    return _reply(answer, time.monotonic() - start, "TCP")


def _reply(answer: Said, seconds: float, transport: str) -> Reply:
    return Reply(answer.met, answer.data, seconds, transport, answer.truncated, answer.detail)


def _reason(error: OSError, server: Server) -> str:
    if error.errno == errno.ECONNREFUSED:
        return f"{server} refuses: nobody listens on port {server.port}, or a rule rejects"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no way to {server}: {(error.strerror or str(error)).lower()}"
    return f"{server}: {(error.strerror or str(error)).lower()}"


class TcpStream:
    """A plain TCP connection."""

    def __init__(self, ip: str, port: int, seconds: float) -> None:
        """Raises OSError."""
        self._socket = socket.create_connection((ip, port), min(seconds, CONNECT_SECONDS))

    def send(self, data: bytes, end: float) -> None:
        self._until(end)
        self._socket.sendall(data)

    def receive(self, count: int, end: float) -> bytes:
        data = b""
        while len(data) < count:
            self._until(end)
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def close(self) -> None:
        self._socket.close()

    def _until(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
