"""One worker as the control process sees it: its connection, its process, and how far it is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.serving.link import ENDED, Link
from svcdoctor.proxy.serving.rundir import RunDirectory, unusable
from svcdoctor.proxy.serving.wire import ControlReader, Counters, Hello, Stop, ToControl, ToWorker

HELLO_SECONDS = 30.0
"""How long a worker may take to begin, on a machine that is busy."""

KILL_SECONDS = 3.0
"""How long a worker may take to end after it was told to."""


def started(
    directory: RunDirectory, program: Sequence[str], settings: str
) -> tuple[int, socket.socket, subprocess.Popen[bytes]]:
    """A worker that was started just now: its number, a connection to it, its process. Raises SvcdoctorError."""
    number, listener = directory.new_worker()
    try:
        log = directory.log(number).open("wb")
    except OSError as e:
        listener.close()
        directory.forget(number)
        raise unusable(directory.path, e) from None
    with listener, log:
        sock = directory.connect(number)
        try:
            process = subprocess.Popen(
                [*program, str(listener.fileno()), settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
        except OSError as e:
            sock.close()
            directory.forget(number)
            raise SvcdoctorError(f"no worker can be started: {program[0]}: {e.strerror}", 3) from None
    return number, sock, process


class Attached:
    """A worker. ``process`` is known of those that this control started. ``greeted`` is called when it has begun,
    ``said`` with everything that it says later, ``lost`` once, in words why, when it has ended; until its `Hello` its
    ``pid`` is 0."""

    def __init__(
        self,
        loop: Loop,
        number: int,
        sock: socket.socket,
        process: subprocess.Popen[bytes] | None,
        settings: str,
        greeted: Callable[[Attached], None],
        said: Callable[[Attached, ToControl], None],
        lost: Callable[[Attached, str], None],
    ) -> None:
        self.number = number
        self.pid = 0
        self.since = loop.now
        self.ready = 0
        """The serial of the last message that it holds."""
        self.foreign = False
        """Whether it was started with other settings."""
        self.leaving = False
        """Whether it listens no longer."""
        self.adopted = process is None
        self.failures: dict[str, str] = {}
        """Why it does not serve ports, by key."""
        self.counted = Counters(0, 0, False, ())
        self.link = Link(loop, sock, ControlReader(), self._received, self._lost)
        self._loop = loop
        self._process = process
        self._settings = settings
        self._tell_greeted, self._tell_said, self._tell_lost = greeted, said, lost
        self._timer: Timer | None = loop.call_later(HELLO_SECONDS, self._too_late)

    @property
    def serves(self) -> bool:
        """Whether it serves the control's state, or will."""
        return not (self.leaving or self.foreign)

    def leave(self, message: ToWorker, seconds: float) -> None:
        """Tell it to end: `Drain`, for which it has so many seconds, or `Stop`."""
        self.leaving = True
        self.link.send(message)
        self._cancel()
        self._timer = self._loop.call_later(seconds + KILL_SECONDS, self._kill)

    def detach(self) -> None:
        """Leave it to itself."""
        self._cancel()
        self.link.close()

    def _received(self, message: ToControl) -> None:
        if isinstance(message, Hello) and not self.pid:
            self._cancel()
            self.pid = message.pid
            self.foreign = message.settings != self._settings
            self.leaving = self.leaving or message.draining
            self._tell_greeted(self)
        elif self.pid:
            self._tell_said(self, message)

    def _too_late(self) -> None:
        self._timer = None
        self.link.send(Stop())
        self.link.close()
        self._lost(f"it does not begin within {HELLO_SECONDS:.0f} s")

    def _kill(self) -> None:
        self._timer = None
        pid = self._process.pid if self._process is not None else self.pid
        if pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _lost(self, why: str) -> None:
        self._cancel()
        self._tell_lost(self, self._end(why))

    def _end(self, why: str) -> str:
        """Makes sure that it ends, and says how it did where that is known."""
        if self._process is None:
            if why != ENDED:
                self._kill()
            return why
        try:
            code = self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return why
        return (
            f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"
        )
