"""The signals that end a run: the first one gracefully, the second one at once; none while everything is cleared away.

Theory. Until the run takes them, a signal ends what is done, as a question to the API server that nobody answers. From
then on they are only told and counted, up to the very end: what was begun is taken back whatever comes meanwhile.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class Signals:
    """SIGINT and SIGTERM, and SIGHUP unless that is ignored (nohup), between ``with`` and its end. Where one came the
    process is about to end, and its exit code says it all: more of them are ignored then."""

    def __init__(self) -> None:
        self._came: list[int] = []
        self._tell: Callable[[], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._take) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._came else handler)

    def tell(self, tell: Callable[[], None]) -> None:
        """Call this at each signal from now on; before, the first one raises SystemExit."""
        self._tell = tell

    @property
    def code(self) -> int:
        """The run's exit code: 0, or what shells count for the signal that ended it at once."""
        return 128 + self._came[1] if len(self._came) > 1 else 0

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)
        if self._tell is not None:
            self._tell()
        elif len(self._came) == 1:
            raise SystemExit(128 + number)
