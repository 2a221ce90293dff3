"""What stands in for a SYN of our own: connect(), and what its error tells of the answer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

from svcdoctor.model.observed import Aim
from svcdoctor.model.packetpath import Said, SynAnswer
from svcdoctor.proxy.descriptors import family_of, reset_at_close, unblocking_socket

# tcp(7), ip(7): what the kernel makes of ICMP errors. A port unreachable is as a RST to it.
_BY_ERROR = {
    errno.ECONNREFUSED: (Said.RST, ""),
    errno.EHOSTUNREACH: (Said.UNREACHABLE, "host unreachable, or prohibited there"),
    errno.ENETUNREACH: (Said.UNREACHABLE, "network unreachable"),
    errno.ENOPROTOOPT: (Said.UNREACHABLE, "protocol unreachable"),
    errno.EACCES: (Said.UNREACHABLE, "prohibited there"),
    errno.EPERM: (Said.NOT_SENT, "a rule of its OUTPUT chain drops it"),
    errno.ETIMEDOUT: (Said.SILENCE, ""),
}


async def connected(aim: Aim, sport: int, seconds: float) -> SynAnswer:
    """Connect from ``sport`` (0: a free one), and end the connection with RST where one is made."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    with contextlib.closing(unblocking_socket(family_of(aim.ip), socket.SOCK_STREAM)) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sport:
                sock.bind(("", sport))
            async with asyncio.timeout(seconds):
                await loop.sock_connect(sock, (aim.ip, aim.port))
        except TimeoutError:
            return SynAnswer(Said.SILENCE, _port(sock))
        except OSError as e:
            number = e.errno or 0
            said, detail = _BY_ERROR.get(number, (Said.NOT_SENT, os.strerror(number)))
            heard = None if said in (Said.SILENCE, Said.NOT_SENT) else loop.time() - begin
            return SynAnswer(said, sport or _port(sock), seconds=heard, detail=detail)
        reset_at_close(sock.fileno())
        return SynAnswer(Said.SYN_ACK, _port(sock), by=aim.ip, by_port=aim.port, seconds=loop.time() - begin)


def _port(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port
