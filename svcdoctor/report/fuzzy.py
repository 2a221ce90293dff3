"""Which names a few typed letters mean: every word's letters in their order, with anything between them.

What lies closer together counts more: a name that begins with the word, one with a part that does, one that holds it
anywhere, and last one with its letters scattered, the narrower the better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_PARTS = "-._/:"  # what begins a new part of a name


@dataclass(frozen=True, slots=True)
class Match:
    """How well a name fits, the smallest ``rank`` best, and at which ``places`` of it the letters stand."""

    rank: tuple[int, int, int]
    places: frozenset[int]


def match(query: str, name: str) -> Match | None:
    """How the name fits every word of the query; ``None`` where it does not. An empty query fits all alike."""
    lower = name.lower()
    kinds = spread = 0
    places: set[int] = set()
    for word in query.lower().split():
        found = _word(word, lower)
        if found is None:
            return None
        kind, at = found
        kinds += kind
        spread += at[-1] - at[0] + 1 - len(word)
        places.update(at)
    return Match((kinds, spread, len(name) if places else 0), frozenset(places))


def ranked(query: str, items: Iterable[T], name: Callable[[T], str]) -> list[tuple[T, Match]]:
    """The items whose name fits, the best first, and what fits alike in the order given."""
    found = [(item, m) for item in items if (m := match(query, name(item))) is not None]
    return sorted(found, key=lambda pair: pair[1].rank)


def _word(word: str, name: str) -> tuple[int, range | list[int]] | None:
    """Of what kind the word's best match is (0 the best), and its places."""
    size = len(word)
    at = name.find(word)
    if at == 0:
        return 0, range(size)
    first = at
    while at > 0:
        if name[at - 1] in _PARTS:
            return 1, range(at, at + size)
        at = name.find(word, at + 1)
    if first > 0:
        return 2, range(first, first + size)
    scattered = _scattered(word, name)
    return None if scattered is None else (3, scattered)


def _scattered(word: str, name: str) -> list[int] | None:
    """The letters' places: up to where they first are complete, and from there back as near as possible."""
    at = -1
    for letter in word:
        at = name.find(letter, at + 1)
        if at < 0:
            return None
    places: list[int] = []
    at += 1
    for letter in reversed(word):
        at = name.rindex(letter, 0, at)
        places.append(at)
    return places[::-1]
