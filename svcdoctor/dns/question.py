"""One query of a resolver, what it met, and the whole of one look-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from svcdoctor.dns.names import LABEL_LIMIT, NAME_LIMIT


class Status(StrEnum):
    """What one query met."""

    DATA = "data"  # NOERROR with an answer; without addresses it is a CNAME that leads to none
    NODATA = "nodata"  # NOERROR, and nothing of that type
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"
    REFUSED = "refused"  # NOTIMP, and an empty referral (neither AA nor RA), are taken alike
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # an ICMP error came back: nobody listens there, or there is no route


@dataclass(frozen=True, slots=True)
class Question:
    """One query: an absolute name without its last dot, A or AAAA, and the server that it goes to.

    Queries with one ``step`` are sent together, in no order that can be relied on. ``tcp`` is a query over TCP:
    repeated because its answer did not fit, or sent so from the start (``use-vc``).
    """

    name: str
    rtype: str
    nameserver: str
    step: int = 0
    tcp: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. ``truncated``: the UDP answer had the TC bit, the library asks again over TCP."""

    status: Status
    addresses: tuple[str, ...] = ()
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Walk:
    """What was sent, and what the caller of getaddrinfo() gets: addresses, or an EAI_ error's name.

    ``name`` is the name that answered; ``waited`` the seconds spent on queries that nobody answered.
    """

    sent: tuple[Question, ...]
    addresses: tuple[str, ...]
    name: str | None
    error: str | None
    waited: float


Answer: TypeAlias = Callable[[Question], Reply]


class Sending:
    """Asks, and keeps what was asked: ``answer`` says what each query meets."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.sent: list[Question] = []
        self.waited = 0.0
        self._step = 0

    def together(self, queries: list[tuple[str, str, str]], *, tcp: bool = False) -> list[Reply]:
        """The replies to queries (name, type, server) that are sent at once."""
        questions = [Question(*query, self._step, tcp) for query in queries]
        self._step += 1
        self.sent += questions
        return [self._answer(question) for question in questions]

    def done(self, addresses: tuple[str, ...], name: str | None, error: str | None) -> Walk:
        return Walk(tuple(self.sent), addresses, name, error, self.waited)


def fits(name: str) -> bool:
    """Whether a name without its last dot can be put into a message."""
    return len(name) <= NAME_LIMIT and all(0 < len(label) <= LABEL_LIMIT for label in name.split("."))
