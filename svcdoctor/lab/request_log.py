"""What was asked of the server, for tests that count requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

# Enough for any test to count, little enough for a server that runs for days.
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request with the status it was answered with. `query` is the raw text behind the `?`, `user` is
    empty where the credentials were refused."""

    method: str
    path: str
    query: str
    user: str
    user_agent: str
    status: int


class RequestLog:
    """The last ten thousand requests, oldest first. Thread-safe.

    A request is there before its client has the answer, so a client's own request is never missing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[LoggedRequest] = deque(maxlen=_KEPT)

    def add(self, entry: LoggedRequest) -> None:
        """Note one request."""
        with self._lock:
            self._entries.append(entry)

    def __iter__(self) -> Iterator[LoggedRequest]:
        with self._lock:
            return iter(tuple(self._entries))

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def count(self, path: str, *, method: str = "GET", status: int | None = None) -> int:
        """How many requests there were for exactly this path, with this status if one is given."""
        return sum(
            entry.path == path and entry.method == method and status in (None, entry.status) for entry in self
        )

    def clear(self) -> None:
        """Forget everything so far."""
        with self._lock:
            self._entries.clear()
