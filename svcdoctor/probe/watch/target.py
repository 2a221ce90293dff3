"""One address and port that is probed again and again: what it met, and whether that says anything.

Theory. From where svcdoctor runs much cannot be reached at all: cluster IPs and pods from a laptop, IPv6 where there is
none. A refusal comes from somebody; silence says something only where another target of the same class (pods of a
family, nodePorts of a family) has answered, or this one itself has.

Pure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from svcdoctor.model.observed import Latency, Met, Sample

HISTORY = 120
"""Probes whose results are kept for drawing."""

_LATENCIES = 4096  # the newest answers, for the percentiles

_SOMEBODY = frozenset({Met.REFUSED, Met.RESET, Met.CLOSED})


@dataclass(frozen=True, slots=True)
class TargetName:
    """``subject`` is the endpoint's or entry's name; ``way`` is ``endpoint`` or the entry's kind."""

    subject: str
    way: str
    ip: str
    port: int

    @property
    def family(self) -> int:
        return 6 if ":" in self.ip else 4

    @property
    def address(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.family == 6 else f"{self.ip}:{self.port}"

    @property
    def reach(self) -> tuple[str, int]:
        """The class that is reachable from here or not."""
        return self.way, self.family


class ProbeTarget:
    """What a target met so far; ``at``, ``met`` and ``detail`` are of the last probe. ``history`` has the seconds that
    each answer took, and None for what was none."""

    def __init__(self, name: TargetName) -> None:
        self.name = name
        self.at = 0.0
        self.met: Met | None = None
        self.detail = ""
        self.answered = False
        self.sent = 0
        self.failed = 0
        self.history: deque[float | None] = deque(maxlen=HISTORY)
        self._seconds: deque[float] = deque(maxlen=_LATENCIES)

    def note(self, at: float, sample: Sample) -> bool:
        """Take what a probe met that was sent ``at``. Whether it is something else than the last one."""
        changed = sample.met is not self.met
        self.at, self.met, self.detail = at, sample.met, sample.detail
        if sample.met is Met.ERROR:  # it was not tried
            return changed
        self.sent += 1
        if sample.met is Met.ANSWERED:
            self.answered = True
            took = sample.connect if sample.connect is not None else sample.seconds
            self.history.append(took)
            self._seconds.append(took)
        else:
            self.failed += 1
            self.history.append(None)
        return changed

    def failing(self, reached: bool) -> bool:
        """Whether it does not answer though it could; ``reached`` is whether others of its class have answered."""
        if self.met in (None, Met.ANSWERED, Met.ERROR):
            return False
        return self.met in _SOMEBODY or self.answered or reached

    @property
    def latency(self) -> Latency | None:
        """Over the newest answers, by nearest rank."""
        if not self._seconds:
            return None
        ordered = sorted(self._seconds)

        def percentile(share: int) -> float:
            return ordered[(share * len(ordered) + 99) // 100 - 1]

        return Latency(percentile(50), percentile(90), percentile(99), ordered[-1])
