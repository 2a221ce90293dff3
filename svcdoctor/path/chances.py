"""Whether what was counted can have come from what was predicted: binomial chances.

What may live here: arithmetic on counts. A prediction counts as contradicted where what was counted, or less, has
less than one chance in a million: an answer holds many counts, and none of them may raise a false alarm.
"""

from __future__ import annotations

from math import comb

CHANCE = 1e-6


def least(tries: int, share: float) -> int:
    """The fewest successes out of so many tries that still agree with a share of successes."""
    if share >= 1.0 - 1e-9:
        return tries
    if share <= 1e-9:
        return 0
    total = 0.0
    for successes in range(tries + 1):
        total += comb(tries, successes) * share**successes * (1.0 - share) ** (tries - successes)
        if total >= CHANCE:
            return successes
    return tries


def most(tries: int, share: float) -> int:
    """The most successes out of so many tries that still agree with a share of successes."""
    return tries - least(tries, 1.0 - share)


def would_be_seen(tries: int, share: float) -> bool:
    """Whether something with this share would surely have occurred in so many tries."""
    return (1.0 - share) ** tries < CHANCE
