"""Where probes start from, as `run` sees it: something that tries aims and tells each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from svcdoctor.model.observed import Aim, Place, Sample

Tell = Callable[[int, Sample], None]
"""Hears each sample as it comes, with its aim's position. Called on the loop's thread."""


@dataclass(frozen=True, slots=True)
class Order:
    """How aims are tried: each ``count`` times, ``seconds`` for one try, ``concurrency`` tries at once.

    ``names`` are names that who answers may give itself: those of the pods behind the Service.
    """

    count: int = 1
    seconds: float = 5.0
    concurrency: int = 256
    names: tuple[str, ...] = ()


class Origin(Protocol):
    """A place that aims are tried from.

    `observe` tells every sample exactly once, and raises SvcdoctorError where nothing can be tried from there at all.
    When it is cancelled it leaves no connection, process or pod behind.
    """

    @property
    def place(self) -> Place:
        """As reports name it."""

    async def observe(self, aims: Sequence[Aim], order: Order, tell: Tell) -> None:
        """Try the aims."""
