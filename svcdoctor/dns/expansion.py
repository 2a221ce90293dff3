"""The queries that one name becomes: getaddrinfo() of glibc and of musl, in their order.

getaddrinfo() asks for A and AAAA; with AI_ADDRCONFIG or one address family, and gethostbyname2(), for one of them:
that is what ``rtypes`` says. Names that /etc/hosts has are not asked for at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from svcdoctor.dns import glibc, musl
from svcdoctor.dns.question import Answer, Question, Reply, Status, Walk
from svcdoctor.dns.resolvconf import Libc, ResolvConf, effective

__all__ = ["Answer", "Question", "Reply", "Status", "Walk", "names", "questions", "walk"]


def walk(
    name: str, conf: ResolvConf, libc: Libc, answer: Answer, rtypes: Sequence[str] = ("A", "AAAA")
) -> Walk:
    """Which queries are really sent when ``answer`` says what each meets, and what the caller gets.

    The library's limits are applied to ``conf`` here.
    """
    resolver = musl.walk if libc is Libc.MUSL else glibc.walk
    return resolver(name, effective(conf, libc), answer, rtypes)


def questions(
    name: str, conf: ResolvConf, libc: Libc, rtypes: Sequence[str] = ("A", "AAAA")
) -> tuple[Question, ...]:
    """Every query in order when each is answered that there is no such name."""
    return walk(name, conf, libc, lambda _: Reply(Status.NXDOMAIN), rtypes).sent


def names(name: str, conf: ResolvConf, libc: Libc) -> tuple[str, ...]:
    """The absolute names that are tried, in order, while each is answered that there is no such name."""
    return tuple(dict.fromkeys(question.name for question in questions(name, conf, libc, ("A",))))
