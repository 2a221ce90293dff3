"""The destination address and port that a rule of nftables demands, by which long chains are indexed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from svcdoctor.dataplane.nfttypes import ipv4, ipv6
from svcdoctor.dataplane.nftvalues import Unmodelled

PORTED = frozenset({"tcp", "udp", "sctp", "dccp", "udplite", "th"})
# Statements that change nothing, so that a test behind them still decides over the whole rule.
HARMLESS = frozenset({"match", "counter", "log", "limit", "quota", "xt"})


def demanded(statements: Iterable[Any], family: str) -> tuple[int | None, int | None]:
    """The one address and port, each ``None`` where the rule does not plainly demand one.

    Only what is tested before the rule does anything counts: what comes after does not undo it.
    """
    address = port = None
    for statement in statements:
        if not isinstance(statement, dict) or not HARMLESS.issuperset(statement):
            break
        about = statement.get("match")
        if not isinstance(about, dict) or about.get("op") != "==":
            continue
        left, right = about.get("left"), about.get("right")
        payload = left.get("payload") if isinstance(left, dict) else None
        if not isinstance(payload, dict):
            continue
        protocol, field = payload.get("protocol"), payload.get("field")
        if field == "daddr" and isinstance(right, str) and not right.startswith("@"):
            try:
                address = ipv4(right) if protocol == "ip" else ipv6(right) if protocol == "ip6" else address
            except Unmodelled:
                continue
        elif field == "dport" and protocol in PORTED and type(right) is int:
            port = right
    return address, port
