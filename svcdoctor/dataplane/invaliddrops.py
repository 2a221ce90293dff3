"""Rules that drop what conntrack calls INVALID, and what they have counted.

A packet is INVALID to conntrack where it belongs to no connection that this node has seen begin: an answer whose first
packet took another way (asymmetric routing), a packet outside the window, or one that comes after its entry is gone.
Service rules drop such packets before they leave untranslated (kube-proxy's KUBE-FORWARD), and so do host firewalls.

Specification: https://docs.kernel.org/networking/nf_conntrack-sysctl.html (nf_conntrack_tcp_be_liberal)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from svcdoctor.dataplane.language import Chain, Op, Ruleset

INVALID = re.compile(r"(?<!! )--ctstate \S*\bINVALID\b|\bct state (?!!=)[^;]*\binvalid\b")
KNOWN = re.compile(r"(?<!! )--ctstate \S*\bESTABLISHED\b|\bct state (?!!=)[^;]*\bestablished\b")
SCANNED = 200  # rules of a chain up to which it is looked through
PASSED_OVER = ("nat", "ip kube-proxy", "ip6 kube-proxy")  # which never drop them, and are large
SYN_ACKS = ((56, 64), (76, 84))  # bytes in IPv4 and IPv6, with timestamps (RFC 7323); a bare ACK has 52 or 72


@dataclass(frozen=True, slots=True)
class Dropped:
    """One rule's count. ``beside`` are the packets that rules of the chain let pass as part of known connections."""

    rule: str
    packets: int
    octets: int
    beside: int

    @property
    def share(self) -> float:
        """The part of the chain's packets that were dropped, 0 where nothing is known of the others."""
        return self.packets / (self.packets + self.beside) if self.beside else 0.0

    @property
    def size(self) -> float:
        """The packets' mean size in bytes, IP headers included."""
        return self.octets / self.packets

    @property
    def answers(self) -> bool:
        """Whether they have the size of SYN-ACKs: answers to first packets that took another way."""
        return any(low <= self.size <= high for low, high in SYN_ACKS)


def invalid_drops(rulesets: Iterable[Ruleset]) -> Iterator[Dropped]:
    """The rules that have dropped any such packet, as far as the dumps have counters."""
    for ruleset in rulesets:
        for table in ruleset.tables():
            for name in ruleset.chains(table) if table not in PASSED_OVER else ():
                chain = ruleset.chain(table, name)
                if chain is not None and len(chain) <= SCANNED:
                    yield from _of_chain(chain)


def _of_chain(chain: Chain) -> Iterator[Dropped]:
    texts = [chain.dialect.text(raw) for raw in chain.raws]
    for number, text in enumerate(texts, 1):
        if INVALID.search(text) is None:
            continue
        rule = chain.rule(number)
        if rule.packets and any(op is Op.DROP for op, _ in rule.actions):
            passed = (
                chain.dialect.packets(raw)
                for raw, t in zip(chain.raws, texts, strict=True)
                if KNOWN.search(t)
            )
            yield Dropped(str(rule), rule.packets, rule.octets or 0, sum(p or 0 for p in passed))
