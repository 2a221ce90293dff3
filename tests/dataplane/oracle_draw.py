"""What the generators of rules draw by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st


class Draw:
    """Draws by Hypothesis, one after the other."""

    def __init__(self, draw: Callable[..., Any], family: int) -> None:
        self.draw = draw
        self.family = family
        self.ip = "ip6" if family == 6 else "ip"

    def one(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def some(self, options: Sequence[Any], least: int = 1, most: int = 4) -> list[Any]:
        return self.draw(st.lists(st.sampled_from(options), min_size=least, max_size=most, unique=True))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) >= 100 - percent

    def bang(self) -> str:
        """iptables' negation, now and then."""
        return "! " if self.chance(25) else ""

    def no(self) -> str:
        """nftables' negation, now and then."""
        return "!= " if self.chance(25) else ""
