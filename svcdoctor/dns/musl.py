"""musl's resolver: every server at once, and a search list only for names with few dots.

src/network/lookup_name.c and res_msend.c of musl 1.2.4 and later (Alpine 3.18). Before 1.2.4 there is no TCP, a
truncated answer is used as far as it goes, and NODATA is EAI_NONAME; before 1.1.13 there is no search list at all.
Of several servers the fastest counts; here it is the first in the file's order.
"""

from __future__ import annotations

from collections.abc import Sequence

from svcdoctor.dns.question import Answer, Reply, Sending, Status, Walk, fits
from svcdoctor.dns.resolvconf import ResolvConf

ADDRESSES = 48  # MAXADDRS: more are dropped

_ACCEPTED = (Status.DATA, Status.NODATA, Status.NXDOMAIN)


def walk(name: str, conf: ResolvConf, answer: Answer, rtypes: Sequence[str]) -> Walk:
    """What getaddrinfo(NAME) sends and returns; ``conf`` is within musl's limits."""
    out = Sending(answer)
    plain = name.removesuffix(".").lower()
    search = () if name.endswith(".") or name.count(".") >= conf.ndots else conf.search
    for tried in (*(f"{plain}.{domain}".removesuffix(".").lower() for domain in search), plain):
        if not fits(tried):
            continue
        replies = _exchange(out, tried, conf, rtypes)
        # The first type decides, whatever the second says.
        for reply in replies:
            if reply is None:
                return out.done((), None, "EAI_AGAIN")
            if reply.status is Status.NXDOMAIN:
                break
        else:
            addresses = tuple(a for reply in reversed(replies) if reply for a in reply.addresses)
            if addresses:
                return out.done(addresses[:ADDRESSES], tried, None)
            return out.done((), None, "EAI_NODATA")
    return out.done((), None, "EAI_NONAME")


def _exchange(out: Sending, name: str, conf: ResolvConf, rtypes: Sequence[str]) -> list[Reply | None]:
    """The accepted reply of each type; ``None`` where none came in time.

    Sends to all servers, and again to all after each interval. A server failure is asked again at once, as often as
    the queries are many, twice; every other error is as if nothing had come.
    """
    accepted: dict[str, Reply | None] = {}
    for _ in range(conf.attempts):
        wave = [(name, t, server) for t in rtypes if t not in accepted for server in conf.nameservers]
        budget = 2 * len(rtypes)
        while wave:
            again: list[tuple[str, str, str]] = []
            for query, reply in zip(wave, out.together(wave), strict=True):
                if query[1] in accepted:
                    continue
                if reply.status in _ACCEPTED:
                    accepted[query[1]] = _whole(out, query, reply)
                elif reply.status is Status.SERVFAIL and budget:
                    budget -= 1
                    again.append(query)
            wave = [query for query in again if query[1] not in accepted]
        if len(accepted) == len(rtypes):
            break
        out.waited += conf.timeout / conf.attempts
    return [accepted.get(rtype) for rtype in rtypes]


def _whole(out: Sending, query: tuple[str, str, str], reply: Reply) -> Reply | None:
    """The reply, asked for again over TCP of the same server where it was cut."""
    if not reply.truncated:
        return reply
    (over_tcp,) = out.together([query], tcp=True)
    return over_tcp if over_tcp.status in _ACCEPTED else None
