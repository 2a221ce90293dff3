"""The command of ``forward … -- COMMAND``: what it finds in its environment, and its end."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.forwarder import Listening
from svcdoctor.proxy.listener import Address


class ChildCommand:
    """A command that runs. ``ended`` is called on another thread with its exit code, 128 and the number of the signal
    that ended it. Raises SvcdoctorError, exit code 126 or 127 as shells have it, where it cannot be started."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], ended: Callable[[int], None]) -> None:
        try:
            self._process = subprocess.Popen(words, env=env)
        except OSError as e:
            raise SvcdoctorError(f"{words[0]}: {e.strerror}", 127 if e.errno == 2 else 126) from None

        def wait() -> None:
            code = self._process.wait()
            ended(code if code >= 0 else 128 - code)

        threading.Thread(target=wait, name="command", daemon=True).start()

    def interrupted(self, number: int, early: bool = False) -> None:
        """The run got a signal: Ctrl-C reaches the command itself, others are passed on as SIGTERM. One that came
        ``early``, while the command was being started, may have been lost on it and is sent again."""
        if number != signal.SIGINT:
            self._process.terminate()
        elif early:
            self._process.send_signal(number)


def environment(listening: Sequence[Listening]) -> dict[str, str]:
    """The local port of each remote one, and of the first of them all; and where that is."""
    found: dict[str, str] = {}
    for at in listening:
        name = "".join(c if c.isalnum() else "_" for c in str(at.request.remote)).upper()
        found.setdefault("SVCDOCTOR_PORT", str(at.local))
        found.setdefault("SVCDOCTOR_ADDRESS", in_words((at.ip, at.local)))
        found.setdefault(f"SVCDOCTOR_PORT_{name}", str(at.local))
    return found


def in_words(address: Address) -> str:
    """ADDRESS:PORT as a URL has it."""
    ip, port = address
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
