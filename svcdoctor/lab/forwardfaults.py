"""What goes wrong with port-forward's tunnels, for tests to turn on while the server runs."""

from __future__ import annotations

import threading
from collections.abc import Callable


class ForwardFaults:
    """The switches. Thread-safe."""

    def __init__(self) -> None:
        self.refuse_websocket = False
        """Answer the WebSocket tunnel as servers do that do not know it; v4 channels are served."""
        self.refuse_spdy = False
        """Answer SPDY's upgrade as a server does behind a proxy that takes the header away."""
        self.latency = 0.0
        """Seconds by which new tunnels hear later what the client sends."""
        self._lock = threading.Lock()
        self._deaf = False
        self._cuts: list[int] = []
        self._wakes: set[Callable[[], None]] = set()

    @property
    def deaf(self) -> bool:
        """Whether tunnels do not read."""
        return self._deaf

    def stop_reading(self) -> None:
        """Let no tunnel read from its client, until `go_on_reading`."""
        self._deaf = True

    def go_on_reading(self) -> None:
        """Undo `stop_reading`."""
        with self._lock:
            self._deaf = False
            for wake in self._wakes:
                wake()

    def cut_after(self, frames: int, *, times: int = 1) -> None:
        """Cut each of the next ``times`` SPDY tunnels when so many frames have passed, both directions counted
        together: between that frame and the next."""
        with self._lock:
            self._cuts += [frames] * times

    def take_cut(self) -> int | None:
        """After how many frames a new tunnel is to be cut."""
        with self._lock:
            return self._cuts.pop(0) if self._cuts else None

    def join(self, wake: Callable[[], None]) -> None:
        """``wake`` is called, on any thread, when reading may go on; until `leave`."""
        with self._lock:
            self._wakes.add(wake)

    def leave(self, wake: Callable[[], None]) -> None:
        """Undo `join`."""
        with self._lock:
            self._wakes.discard(wake)
