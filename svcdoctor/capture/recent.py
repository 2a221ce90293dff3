"""What is remembered for a while and in bounded number: the newer half is kept when the older half is forgotten."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """A table of at most ``most`` entries, each kept for at least ``seconds`` of the packets' time
    unless it is full."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most // 2
        self._span = int(seconds * 1_000_000_000)
        self._new: dict[bytes, T] = {}
        self._old: dict[bytes, T] = {}
        self._since = 0

    def get(self, key: bytes) -> T | None:
        found = self._new.get(key)
        return self._old.get(key) if found is None else found

    def put(self, key: bytes, value: T, now: int) -> None:
        if len(self._new) >= self._most or abs(now - self._since) > self._span:
            self._old, self._new, self._since = self._new, {}, now
        self._new[key] = value
