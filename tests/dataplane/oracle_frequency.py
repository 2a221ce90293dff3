"""How often a packet's ways are taken: counts against the evaluator's probabilities."""

from __future__ import annotations

from collections import Counter
from math import log, sqrt

from oracle import Oracle
from oracle_predict import ANY, Seen, complete, predict
from oracle_wire import Sent

ALARM = 1e-9
"""The probability that a true frequency is called false, by Bernstein's inequality."""


def too_far(count: int, packets: int, probability: float) -> bool:
    """Whether a count is not what so many packets with this probability can come to."""
    loss = log(2 / ALARM)
    variance = packets * probability * (1 - probability)
    return abs(count - packets * probability) > loss / 3 + sqrt(loss * loss / 9 + 2 * loss * variance)


def way(seen: Seen) -> Seen:
    """What was seen, without what differs from packet to packet."""
    return seen._replace(sport=ANY)


def draws(oracle: Oracle, sent: Sent) -> bool:
    """Whether the evaluator sees several ways for a packet, and knows them all."""
    assert oracle.node is not None
    predicted = predict(oracle.node, oracle.numbered([sent])[0])
    return complete(predicted) and len({way(p.seen) for p in predicted}) > 1


def wrong_frequencies(oracle: Oracle, sent: Sent, packets: int) -> list[str]:
    """Send the packet many times from fresh ports: each of its ways that was taken too often or too seldom."""
    assert oracle.node is not None
    copies = oracle.numbered([sent] * packets)
    expected: Counter[Seen] = Counter()
    for p in predict(oracle.node, copies[0]):
        expected[way(p.seen)] += p.probability  # type: ignore[assignment]
    counts = Counter(way(seen) for seen in oracle.observe(copies))
    oracle.compared["frequencies"] += len(expected)
    return [
        f"{sent}: {count} of {packets} packets, expected {packets * expected[seen]:.1f}: {seen}"
        for seen, count in ((seen, counts[seen]) for seen in {*expected, *counts})
        if too_far(count, packets, expected[seen])
    ]
