"""What the generators of rules draw by: templates whose placeholders are filled from pools, by Hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

Pools = Mapping[str, Sequence[str]]


class Draw:
    """Draws one thing after the other. ``d["port"]`` is one of the pool ``port``."""

    def __init__(self, draw: Callable[..., Any], family: int, pools: Pools | None = None) -> None:
        self.draw = draw
        self.family = family
        self.pools: dict[str, Sequence[str]] = dict(pools or {})

    def __getitem__(self, name: str) -> str:
        return str(self.one(self.pools[name]))

    def one(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def some(self, options: Sequence[Any], least: int = 1, most: int = 4) -> list[Any]:
        return self.draw(st.lists(st.sampled_from(options), min_size=least, max_size=most, unique=True))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) >= 100 - percent

    def fill(self, templates: Sequence[str]) -> str:
        """One of the templates, each placeholder drawn anew."""
        return str(self.one(templates)).format_map(self)  # type: ignore[arg-type]
