"""The poller of systems without epoll (macOS, the BSDs): kqueue(2) that speaks the bits of epoll(7).

EV_CLEAR is kqueue's edge trigger.
"""

from __future__ import annotations

import contextlib
import select
import sys

assert sys.platform != "linux"

_READABLE = 0x001
_WRITABLE = 0x004
_BROKEN = 0x008
_HUNG_UP = 0x010
_ENDED = 0x2000


class Poller:
    """Of the interface of `select.epoll`, what `loop` uses."""

    def __init__(self) -> None:
        self._queue = select.kqueue()

    def register(self, fd: int, events: int) -> None:
        """Both directions of a descriptor, at their edges, whatever ``events`` says."""
        flags = select.KQ_EV_ADD | select.KQ_EV_CLEAR
        self._queue.control([select.kevent(fd, select.KQ_FILTER_READ, flags)], 0)
        with contextlib.suppress(OSError):  # listeners and the reading ends of pipes are never writable
            self._queue.control([select.kevent(fd, select.KQ_FILTER_WRITE, flags)], 0)

    def modify(self, fd: int, events: int) -> None:
        """Tell again what is ready."""
        self.register(fd, events)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Descriptors and their bits; a descriptor whose two directions are ready comes twice."""
        return [(event.ident, _bits(event)) for event in self._queue.control(None, most, timeout)]

    def close(self) -> None:
        self._queue.close()


def _bits(event: select.kevent) -> int:
    ended = event.flags & select.KQ_EV_EOF
    broken = _BROKEN if ended and event.fflags else 0
    if event.filter == select.KQ_FILTER_WRITE:
        return _WRITABLE | (_HUNG_UP if ended else 0) | broken
    return _READABLE | (_ENDED if ended else 0) | broken
