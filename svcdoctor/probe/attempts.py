"""Trying aims over connections that this process opens: how many at once, for how long, and what each try met."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from svcdoctor.model.observed import Aim, Met, ProbeKind, Sample, Speaks
from svcdoctor.probe.answer import Answer
from svcdoctor.probe.exchange import Exchange, Stream
from svcdoctor.probe.failing import Failed, met_of
from svcdoctor.probe.origin import Order, Tell
from svcdoctor.probe.spoken import WORDS, speaks
from svcdoctor.probe.udp import SILENCE, udp

AT_ONE_AIM = 16
"""Tries of one aim at once, so that a large count is no flood."""

Conversation = Callable[[Exchange, Aim, tuple[str, ...]], Awaitable[Answer]]


class Opener(Protocol):
    """Opens connections from a place."""

    async def connect(self, aim: Aim) -> Stream:
        """A connection to the aim's port. Raises `Failed`, or OSError. Closes what it made when it is cancelled."""

    async def datagrams(self, aim: Aim) -> socket.socket:
        """A non-blocking UDP socket that is connected to the aim. Raises as `connect` does."""


def conversation(kind: ProbeKind) -> Conversation:
    """What is said on a connection. Imported when it is used: a watch of TCP needs no HTTP/2."""
    match kind:
        case ProbeKind.TLS:
            from svcdoctor.probe.tls import tls

            return tls
        case ProbeKind.HTTP:
            from svcdoctor.probe.http import http

            return http
        case ProbeKind.GRPC:
            from svcdoctor.probe.grpc import grpc

            return grpc
        case _:
            from svcdoctor.probe.tcp import tcp

            return tcp


async def attempts(opener: Opener, aims: Sequence[Aim], order: Order, tell: Tell) -> None:
    """Tries the aims as they are ordered, and tells each sample."""
    room = asyncio.Semaphore(order.concurrency)
    async with asyncio.TaskGroup() as tasks:
        for position, aim in enumerate(aims):
            trying = _Trying(opener, aim, order, room, position, tell)
            for _ in range(min(order.count, AT_ONE_AIM)):
                tasks.create_task(trying.work())


class _Trying:
    """The tries of one aim."""

    def __init__(
        self, opener: Opener, aim: Aim, order: Order, room: asyncio.Semaphore, position: int, tell: Tell
    ) -> None:
        self._opener = opener
        self._aim = aim
        self._order = order
        self._room = room
        self._position = position
        self._tell = tell
        self._left = order.count
        self._asked_again: asyncio.Future[Speaks | None] | None = None

    async def work(self) -> None:
        while self._left:
            self._left -= 1
            async with self._room:
                sample = await self._sample()
            self._tell(self._position, sample)

    async def _sample(self) -> Sample:
        aim = self._aim
        if aim.kind is ProbeKind.UDP:
            return await self._datagram()
        sample = await self._converse(aim, conversation(aim.kind))
        if aim.tls or aim.kind not in (ProbeKind.HTTP, ProbeKind.GRPC) or sample.speaks is not None:
            return sample
        if sample.met not in (Met.CLOSED, Met.RESET, Met.GARBLED):
            return sample
        spoken = await self._other_protocol()
        if spoken is None:
            return sample
        return Sample(
            sample.met,
            sample.seconds,
            sample.connect,
            speaks=spoken,
            detail=f"{sample.detail}; {WORDS[spoken]}",
        )

    async def _converse(self, aim: Aim, talk: Conversation) -> Sample:
        """One connection and what is said on it."""
        exchange = Exchange()
        try:
            async with asyncio.timeout(self._order.seconds):
                exchange.connected(await self._opener.connect(aim))
                answer = await talk(exchange, aim, self._order.names)
        except TimeoutError:
            return self._late(exchange)
        except Failed as e:
            return Sample(e.met, exchange.seconds, exchange.connect, speaks=e.speaks, detail=e.detail)
        except OSError as e:
            failed = met_of(e, exchange.received)
            return Sample(
                failed.met,
                exchange.seconds,
                exchange.connect,
                speaks=self._heard(exchange),
                detail=failed.detail,
            )
        finally:
            exchange.close()
        return answer.sample(exchange.seconds, exchange.connect)

    def _late(self, exchange: Exchange) -> Sample:
        """What was met when the time was over."""
        limit = f"{self._order.seconds:.3g} s"
        if exchange.connect is None:
            return Sample(Met.TIMEOUT, exchange.seconds, detail=f"no answer to the connection within {limit}")
        if exchange.received:
            detail = f"the answer stalled: {exchange.received:,} bytes within {limit}, and no end"
            return Sample(
                Met.STALLED, exchange.seconds, exchange.connect, speaks=self._heard(exchange), detail=detail
            )
        detail = f"connected, and then no answer within {limit}"
        if waiting := exchange.unacknowledged():
            detail += f"; {waiting:,} bytes of the request were never acknowledged"
        return Sample(Met.TIMEOUT, exchange.seconds, exchange.connect, detail=detail)

    def _heard(self, exchange: Exchange) -> Speaks | None:
        """The protocol of what came, where it is not the one that was asked."""
        asked = {ProbeKind.HTTP: Speaks.HTTP, ProbeKind.GRPC: Speaks.HTTP2, ProbeKind.TLS: Speaks.TLS}
        spoken = speaks(exchange.head)
        return None if self._aim.tls or spoken in (None, asked.get(self._aim.kind)) else spoken

    async def _datagram(self) -> Sample:
        exchange = Exchange()
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(self._order.seconds):
                sock = await self._opener.datagrams(self._aim)
                answer = await udp(sock, self._aim, self._order.names)
        except TimeoutError:
            return Sample(Met.TIMEOUT, exchange.seconds, detail=SILENCE)
        except Failed as e:
            return Sample(e.met, exchange.seconds, detail=e.detail)
        except OSError as e:
            failed = met_of(e)
            return Sample(failed.met, exchange.seconds, detail=failed.detail)
        finally:
            if sock is not None:
                sock.close()
        return answer.sample(exchange.seconds, None)

    async def _other_protocol(self) -> Speaks | None:
        """What the port speaks instead of the protocol that it ended: asked once for all tries of the aim."""
        if self._asked_again is not None:
            return await asyncio.shield(self._asked_again)
        self._asked_again = asyncio.get_running_loop().create_future()
        found = None
        try:
            aim = self._aim
            sample = await self._converse(aim, conversation(ProbeKind.TLS))
            if sample.met is Met.ANSWERED:
                found = Speaks.TLS
            elif aim.kind is ProbeKind.HTTP:
                sample = await self._converse(aim, conversation(ProbeKind.GRPC))
                found = Speaks.HTTP2 if sample.met is Met.ANSWERED else None
        finally:
            self._asked_again.set_result(found)
        return found
