"""TCP: a connection, and with a payload whether its bytes arrive."""

from __future__ import annotations

import asyncio

from svcdoctor.model.observed import Aim
from svcdoctor.probe.answer import Answer
from svcdoctor.probe.exchange import Exchange
from svcdoctor.probe.who import who

_POLL = 0.01  # seconds between looks at what was acknowledged
_SPEECH = 0.2  # seconds in which the application may say something to what its kernel took


async def tcp(exchange: Exchange, aim: Aim, names: tuple[str, ...]) -> Answer:
    """The connection is the answer. With a payload it is what the other side says to it, or where it says nothing
    that its kernel acknowledged every byte."""
    payload = aim.sent
    if not payload:
        return Answer()
    await exchange.send(payload)
    heard = asyncio.ensure_future(exchange.receive())
    try:
        while not heard.done() and exchange.unacknowledged() != 0:
            await asyncio.wait([heard], timeout=_POLL)
        await asyncio.wait([heard], timeout=_SPEECH)
        if not heard.done():
            return Answer(detail=f"{len(payload):,} bytes were acknowledged; it said nothing to them")
        data = heard.result()
    finally:
        heard.cancel()
    if not data:
        return Answer(detail=f"it took {len(payload):,} bytes and closed without an answer")
    return Answer(who(data, names))
