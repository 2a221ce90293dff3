"""Running the API server as a program: until somebody ends it, leaving nothing behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from svcdoctor.lab.apiserver import ApiServer


def serve(server: ApiServer, kubeconfig: Path, announce: Callable[[ApiServer], None]) -> None:
    """Serve until SIGINT (Ctrl-C) or SIGTERM, with the administrator's kubeconfig in a file meanwhile.

    `announce` is called once when the server answers and the file is there. Call it from the main thread:
    signals go nowhere else. Raises `SvcdoctorError` where the address cannot be bound.
    """
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with server:
            server.write_kubeconfig(kubeconfig)
            try:
                announce(server)
                ended.wait()
            finally:
                kubeconfig.unlink(missing_ok=True)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
