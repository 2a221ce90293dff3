"""The answer to "what does this name come to, and for whom": a Lookup of the queries that a resolver sends.

The field names are those of the JSON contract, as in ``model.trace``. Times are seconds.
"""

from __future__ import annotations

from enum import StrEnum

from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding
from svcdoctor.model.trace import Basis, Value, Verdict


class Met(StrEnum):
    """What one query meets.

    ``nodata``: the name exists and has nothing of that type. ``servfail`` stands for every other code of an error.
    ``unreachable``: nobody listens there, or there is no way. ``garbled``: what came was no answer to the query.
    ``nothing``: getent found nothing, be it that there is no such name or that no server answers. ``outside``: the
    cluster's objects do not say, whoever serves that name outside decides.
    """

    DATA = "data"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    GARBLED = "garbled"
    NOTHING = "nothing"
    OUTSIDE = "outside"


ANSWERS = frozenset({Met.DATA, Met.NODATA, Met.NXDOMAIN})
"""What a server says of its own names, in contrast to a failure."""


class Reply(Value, frozen=True):
    """What came back, or should: ``data`` in the words of a zone file, aliases as ``CNAME name.``

    ``seconds`` is ``None`` where nothing was sent. ``truncated``: the UDP answer did not fit, and what stands here
    came over TCP. ``detail`` is one line.
    """

    met: Met
    data: tuple[str, ...] = ()
    seconds: float | None = None
    transport: str = ""
    truncated: bool = False
    detail: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(d for d in self.data if not d.startswith("CNAME "))

    @property
    def aliases(self) -> tuple[str, ...]:
        return tuple(d.removeprefix("CNAME ").rstrip(".") for d in self.data if d.startswith("CNAME "))


class Query(Value, frozen=True):
    """One query of the list, in its place: what it meets, and what it should.

    ``wrong``: an answer came that the objects contradict.
    """

    name: str
    rtype: str
    nameserver: str
    step: int
    reply: Reply
    expected: Reply
    wrong: bool = False


class Resolution(Value, frozen=True):
    """What one C library sends and its caller gets. ``name`` is the one that answered, ``error`` getaddrinfo's."""

    libc: str
    queries: tuple[Query, ...]
    addresses: tuple[str, ...]
    name: str | None
    error: str | None
    waited: float = 0.0


class Resolver(Value, frozen=True):
    """The resolv.conf in force. ``ignored`` says what of it, or of what was asked for, nobody obeys."""

    basis: Basis
    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    options: tuple[str, ...]
    source: str
    ignored: tuple[str, ...] = ()


class Whole(Value, frozen=True):
    """The pod's own resolver, asked as a program asks it (getent): addresses, or how it failed."""

    command: str
    addresses: tuple[str, ...]
    seconds: float
    error: str = ""


class Lookup(Value, frozen=True):
    """One name as one client resolves it.

    ``client`` is ``namespace/pod``, or empty for any pod of the namespace. ``server`` says in words who was asked,
    empty where nobody was. ``records`` are those that a Service must have, where a Service was asked for.
    """

    verdict: Verdict
    name: str
    namespace: str
    client: str
    domain: str
    basis: Basis
    server: str
    resolver: Resolver
    resolutions: tuple[Resolution, ...]
    records: tuple[Query, ...] = ()
    whole: Whole | None = None
    findings: tuple[Finding, ...] = ()
    unknowns: tuple[MissingFact, ...] = ()
    notes: tuple[str, ...] = ()
