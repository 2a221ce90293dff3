"""What the evaluator says of a packet, in the words of what the oracle sees."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

from oracle_wire import PROTOCOLS, SYN, Sent

from svcdoctor.dataplane.hooks import Fate, Node, Outcome
from svcdoctor.dataplane.packet import INVALID, NEW, Packet, address_text, packet

# ICMP's code for each way to reject, by family.
CODES4 = {
    "icmp-net-unreachable": 0,
    "icmp-host-unreachable": 1,
    "icmp-prot-unreachable": 2,
    "icmp-proto-unreachable": 2,
    "icmp-port-unreachable": 3,
    "icmp-net-prohibited": 9,
    "icmp-host-prohibited": 10,
    "icmp-admin-prohibited": 13,
    "icmp-no-route": 0,
}
CODES6 = {
    "icmp6-no-route": 0,
    "icmp6-admin-prohibited": 1,
    "icmp6-adm-prohibited": 1,
    "icmp6-addr-unreachable": 3,
    "icmp6-port-unreachable": 4,
    "icmp6-policy-fail": 5,
    "icmp6-reject-route": 6,
    "icmp-no-route": 0,
    "icmp-admin-prohibited": 1,
    "icmp-host-unreachable": 3,
    "icmp-port-unreachable": 4,
}
ANY = -1  # a port that the kernel chooses


class Seen(NamedTuple):
    """What became of a packet: ``arrives`` (at a socket of the node), ``leaves``, ``rejected`` or ``dropped``.

    ``sport`` is ANY in a prediction where the kernel may take any port.
    """

    fate: str
    how: Any = ""  # the interface by which it leaves; how it is rejected
    src: str = ""
    sport: int = 0
    dst: str = ""
    dport: int = 0
    mark: int = 0

    def fits(self, predicted: Seen) -> bool:
        return self == (predicted._replace(sport=self.sport) if predicted.sport == ANY else predicted)


class Prediction(NamedTuple):
    """One way that the evaluator sees for a packet. ``why`` is set where it cannot say.

    ``remembered`` names the lists of clients that hold this one when the packet has passed.
    """

    seen: Seen
    probability: float
    why: str = ""
    remembered: frozenset[str] = frozenset()


class Disagreement(NamedTuple):
    sent: Sent
    seen: Seen
    predicted: list[Prediction]

    def __str__(self) -> str:
        lines = [f"{self.sent}", f"  the kernel: {self.seen}"]
        for one in self.predicted:
            lines.append(f"  evaluator, {one.probability:.4g}: {one.why or one.seen}")
        return "\n".join(lines)


def predict(
    node: Node, sent: Sent, state: int = NEW, remembered: frozenset[str] = frozenset()
) -> list[Prediction]:
    """What the evaluator says of a packet whose client the named lists hold."""
    live = asked(sent, state)
    live.remembered = remembered
    return [_prediction(outcome) for outcome in (node.receive(live) if sent.iface else node.send(live))]


def asked(sent: Sent, state: int = NEW) -> Packet:
    """The packet as the evaluator takes it."""
    ports = sent.proto in PROTOCOLS
    proto = sent.proto if ports or sent.family == 4 else "icmpv6"
    live = packet(sent.src, sent.dst, sent.dport if ports else None, proto, sent.sport if ports else None)
    live.iif = sent.iface
    live.mark = sent.mark
    live.state = INVALID if sent.proto == "tcp" and sent.flags != SYN else state
    return live


def _prediction(outcome: Outcome) -> Prediction:
    live = outcome.packet
    if outcome.fate is Fate.UNKNOWN:
        return Prediction(Seen("unknown"), live.probability, f"unknown: {outcome.reason}")
    return Prediction(_as_seen(outcome), live.probability, "", live.remembered)


def _as_seen(outcome: Outcome) -> Seen:
    live = outcome.packet
    if outcome.fate is Fate.DROPPED:
        return Seen("dropped")
    if outcome.fate is Fate.REJECTED:
        return Seen("rejected", "route" if outcome.route is not None else _error(live.family, outcome.reason))
    where, how = "arrives", ""
    if outcome.fate is Fate.FORWARDED:
        assert outcome.route is not None
        where, how = "leaves", str(outcome.route.oif)
    source, target = (str(ip_address(address_text(live.family, a))) for a in (live.src, live.dst))
    chosen = live.masquerade or (live.snat is not None and live.snat[1] is None)
    sport = ANY if chosen and live.sport else live.sport or 0
    return Seen(where, how, source, sport, target, live.dport or 0, live.mark)


def _error(family: int, reason: str) -> Any:
    if reason == "tcp-reset":
        return reason
    kind, codes = (3, CODES4) if family == 4 else (1, CODES6)
    return (kind, codes.get(reason, reason))


def complete(predicted: Sequence[Prediction]) -> bool:
    """Whether everything is known, and the probabilities sum up to one."""
    return not any(p.why for p in predicted) and abs(sum(p.probability for p in predicted) - 1.0) < 1e-6


def fitting(seen: Seen, predicted: Sequence[Prediction]) -> list[Prediction]:
    """The predictions that are what was seen."""
    return [p for p in predicted if p.probability > 0 and _matches(seen, p.seen)]


def _matches(seen: Seen, predicted: Seen) -> bool:
    if predicted == Seen("rejected", "route"):
        # The kernel limits the rate of errors about routes (error_cost); a process of the node gets an errno.
        return seen.fate in ("rejected", "dropped")
    return seen.fits(predicted)
