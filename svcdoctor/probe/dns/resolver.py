"""The queries of a lookup, sent as the C libraries send them, and told again to whoever asks the same later.

Theory. One lookup is walked twice, for glibc and for musl, and once more when facts are refilled; nothing is sent
twice for that. The n-th time that a lookup asks the same query is a transmission of its own: lost packets show as a
query that is answered at the second time. A server that never answered anything is waited for by the first
lookup only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from svcdoctor.dns.question import Question
from svcdoctor.dns.resolvconf import Libc, ResolvConf
from svcdoctor.model.lookup import Met, Reply
from svcdoctor.probe.dns.asking import Server, ask

Key = tuple[str, str, str, bool]
ADDRESSES = ("A", "AAAA")


class Asker:
    """Sends the queries of one name. ``server_of`` finds the server that a nameserver's address stands for."""

    def __init__(self, conf: ResolvConf, server_of: Callable[[str], Server]) -> None:
        self._conf = conf
        self._server_of = server_of
        self._replies: dict[Key, list[Reply]] = {}
        self._heard: dict[str, bool] = {}
        self._begun = False

    def asking(self, libc: Libc) -> Callable[[Question], Reply]:
        """Begin one library's lookup."""
        turns: dict[Key, int] = {}
        again, self._begun = self._begun, True

        def asked(question: Question) -> Reply:
            key = (question.name, question.rtype, question.nameserver, question.tcp)
            turn = turns[key] = turns.get(key, -1) + 1
            held = self._replies.setdefault(key, [])
            if turn >= len(held):
                if again and not self._heard.get(question.nameserver, True):
                    return Reply(Met.TIMEOUT, (), 0.0, detail="not asked again: it answers nothing")
                self._send(question, libc)
            return held[min(turn, len(held) - 1)]

        return asked

    def _send(self, question: Question, libc: Libc) -> None:
        types = self._together(question, libc)
        seconds = self._conf.timeout / (max(self._conf.attempts, 1) if libc is Libc.MUSL else 1)
        server = self._server_of(question.nameserver)
        for rtype, reply in ask(server, question.name, types, seconds, tcp=question.tcp).items():
            self._replies.setdefault(_key(question, rtype), []).append(reply)
            heard = reply.met not in (Met.TIMEOUT, Met.UNREACHABLE)
            self._heard[question.nameserver] = heard or self._heard.get(question.nameserver, False)

    def _together(self, question: Question, libc: Libc) -> Sequence[str]:
        """The types that go out at once: both, unless the resolver asks one after the other by now."""
        single = self._conf.no_aaaa or (self._conf.single_request and libc is not Libc.MUSL)
        if question.rtype not in ADDRESSES or single:
            return (question.rtype,)
        held = [self._replies.get(_key(question, t), []) for t in ADDRESSES]
        lost = [replies[-1].met is Met.TIMEOUT for replies in held if replies]
        return ADDRESSES if len(held[0]) == len(held[1]) and all(lost) else (question.rtype,)


def _key(question: Question, rtype: str) -> Key:
    return (question.name, rtype, question.nameserver, question.tcp)
