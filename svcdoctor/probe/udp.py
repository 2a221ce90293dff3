"""UDP: one datagram. An answer, a refusal by ICMP, or silence, which may mean anything.

Specification: RFC 1122 4.1.3.3 (a connected socket hears of ICMP errors)
"""

from __future__ import annotations

import asyncio
import socket

from svcdoctor.model.observed import Aim
from svcdoctor.probe.answer import Answer
from svcdoctor.probe.exchange import READ
from svcdoctor.probe.who import who

SILENCE = "silence: it was lost on the way, dropped, or taken without an answer"


async def udp(sock: socket.socket, aim: Aim, names: tuple[str, ...]) -> Answer:
    """The first datagram that comes back on a connected, non-blocking socket. Raises OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, aim.sent)
    return Answer(who(await loop.sock_recv(sock, READ), names))
