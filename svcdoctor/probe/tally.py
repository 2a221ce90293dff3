"""What many samples of one aim come to: counts, shares and percentiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from svcdoctor.model.observed import Aim, Certificate, Latency, Met, Observation, Place, Sample, Speaks


class Tally:
    """Grows by samples; its size does not depend on how many (but for one number each)."""

    def __init__(self) -> None:
        self._met: Counter[Met] = Counter()
        self._who: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._details: Counter[tuple[Met, str]] = Counter()
        self._seconds: list[float] = []
        self._speaks: Speaks | None = None
        self._certificate: Certificate | None = None

    def add(self, sample: Sample) -> None:
        self._met[sample.met] += 1
        self._details[(sample.met, sample.detail)] += 1
        self._speaks = sample.speaks or self._speaks
        self._certificate = sample.certificate or self._certificate
        if sample.met is Met.ANSWERED:
            self._who[sample.who] += 1
            self._seconds.append(sample.seconds)
            if sample.status:
                self._statuses[sample.status] += 1

    def observation(self, aim: Aim, place: Place) -> Observation:
        return Observation(
            aim,
            place,
            self._met.total(),
            dict(self._met),
            dict(self._who.most_common()),
            dict(self._statuses.most_common()),
            latency(self._seconds),
            self._speaks,
            self._detail(),
            self._certificate,
        )

    def _detail(self) -> str:
        failed = [(met, text) for met, text in self._details if met is not Met.ANSWERED]
        told = max(failed or self._details, key=lambda key: self._details[key], default=(Met.ERROR, ""))
        return told[1]


def latency(seconds: Sequence[float]) -> Latency | None:
    """Percentiles by nearest rank; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def rank(percent: int) -> float:
        return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]

    return Latency(rank(50), rank(90), rank(99), ordered[-1])
