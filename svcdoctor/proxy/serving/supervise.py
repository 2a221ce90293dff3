"""The workers of a run: started, adopted, told what to serve, started again, drained.

Theory. What is served is kept here by key; a worker that begins gets all of it, and from then on what changes. Workers
are processes of sessions of their own, so that nothing that ends the control process ends them: a new one finds
their sockets and adopts those that were started with the same settings. Others go on until all new workers hold the
state, and are drained then, so that at every moment somebody listens. A worker that ends is started again, after pauses
that grow where it ends at once.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.serving.asking import Counting
from svcdoctor.proxy.serving.attached import Attached, started
from svcdoctor.proxy.serving.link import of_our_own
from svcdoctor.proxy.serving.rundir import RunDirectory
from svcdoctor.proxy.serving.served import ServedPort
from svcdoctor.proxy.serving.wire import (
    Counters,
    Drain,
    Failed,
    Held,
    Put,
    Ready,
    Recall,
    Remove,
    Settings,
    Stop,
    ToControl,
    ToWorker,
    WireError,
    frame,
)

PROGRAM = (sys.executable, "-m", "svcdoctor.proxy.serving.worker")

_FIRST_PAUSE = 0.1
_MAX_PAUSE = 10.0
_LASTING_SECONDS = 10.0  # a worker that ran so long may be started again at once
_HOPELESS = 4  # workers that end before they begin, one after the other


class Workers:
    """Keeps ``wanted`` workers in the run's directory, on the loop.

    ``tell`` gets lines for the user. ``held`` is called whenever all workers hold what was put. ``recalled`` gets what
    adopted workers serve, where nothing was put until they told it; that counts as put. ``failed`` is called where no
    worker can be had.
    """

    def __init__(
        self,
        loop: Loop,
        directory: RunDirectory,
        settings: Settings,
        wanted: int,
        *,
        tell: Callable[[str], None],
        held: Callable[[], None],
        recalled: Callable[[tuple[ServedPort, ...]], None],
        failed: Callable[[SvcdoctorError], None],
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.loop = loop
        self.directory = directory
        self.settings = msgspec.json.encode(settings).decode()
        self._counting = Counting(loop)
        self._drain_seconds = settings.drain_seconds
        self._wanted = wanted
        self._tell, self._held, self._recalled, self._failed = tell, held, recalled, failed
        self._program = program
        self._workers: dict[int, Attached] = {}
        self._ports: dict[str, ServedPort] | None = None
        self._serial = 0
        self._told_serial = 0
        self._pause = 0.0
        self._vain = 0
        self._starting: Timer | None = None
        self._ending: Callable[[], None] | None = None

    def start(self) -> None:
        """Adopt the workers that live, and start those that are missing."""
        for number in self.directory.workers():
            self._adopt(number)
        self._fill()

    @property
    def unserved(self) -> dict[str, str]:
        """Why ports are not served as they should be, by key."""
        return {key: why for worker in self._workers.values() for key, why in worker.failures.items()}

    # --- what is served

    def put(self, ports: Iterable[ServedPort], whole: bool = False) -> None:
        """Serve these from now on; with ``whole`` no others."""
        given = tuple(ports)
        if whole or self._ports is None:
            self._ports = {}
            whole = True
        self._ports.update((port.key, port) for port in given)
        self._serial += 1
        try:
            data = frame(Put(self._serial, given, whole))
        except WireError as e:
            self._failed(SvcdoctorError(f"too much is to be served: {e}; choose Services with -n or -l", 3))
            return
        self._send_all(data)

    def remove(self, keys: Iterable[str]) -> None:
        """Listen for these no longer."""
        given = tuple(keys)
        for key in given:
            if self._ports is not None:
                self._ports.pop(key, None)
            for worker in self._workers.values():
                worker.failures.pop(key, None)
        self._serial += 1
        self._send_all(frame(Remove(self._serial, given)))

    def count(self, done: Callable[[Counters], None]) -> None:
        """Ask all workers for their counts; ``done`` is called with the sums when all have answered, or with the last
        ones of those that do not in time. Workers that have ended are in the sums."""
        self._counting.ask([worker for worker in self._workers.values() if worker.pid], done)

    # --- ends

    def drain(self, ended: Callable[[], None]) -> None:
        """Let all workers listen no longer and end with their connections; ``ended`` is called when none is left."""
        if self._drain_seconds:
            self._tell(
                f"no new connections are taken; those that live have up to {self._drain_seconds:.0f} s to end; the "
                "next signal ends them"
            )
        self._end(Drain(), self._drain_seconds, ended)

    def stop(self, ended: Callable[[], None]) -> None:
        """End all workers now."""
        self._end(Stop(), 0.0, ended)

    def abandon(self, ended: Callable[[], None]) -> None:
        """End the workers that this control started; those that it adopted go on with what they serve."""
        for worker in list(self._workers.values()):
            if worker.adopted:
                worker.detach()
                del self._workers[worker.number]
        self.stop(ended)

    def _end(self, message: ToWorker, seconds: float, ended: Callable[[], None]) -> None:
        self._ending = ended
        if self._starting is not None:
            self._starting.cancel()
        for worker in list(self._workers.values()):
            worker.leave(message, seconds)
        if not self._workers:
            self.loop.call_soon(ended)

    # --- workers that come and go

    def _adopt(self, number: int) -> None:
        try:
            sock = self.directory.connect(number)
        except (ConnectionRefusedError, FileNotFoundError):
            self.directory.forget(number)
            return
        except OSError as e:
            self._tell(
                f"worker {number} of an earlier run does not take connections ({e.strerror}); it goes on"
            )
            return
        if of_our_own(sock):
            self._attach(number, sock, None)
        else:
            sock.close()

    def _fill(self) -> None:
        """Start what is missing; what is too much is drained."""
        self._starting = None
        if self._ending is not None:
            return
        ours = [worker for worker in self._workers.values() if worker.serves]
        for _ in range(self._wanted - len(ours)):
            if not self._start_one():
                return
        for worker in ours[self._wanted :]:
            worker.leave(Drain(), self._drain_seconds)

    def _start_one(self) -> bool:
        try:
            number, sock, process = started(self.directory, self._program, self.settings)
        except SvcdoctorError as e:
            return self._cannot(e)
        self._attach(number, sock, process)
        return True

    def _cannot(self, error: SvcdoctorError) -> bool:
        """A worker cannot be had now: at the beginning that is the end, later it is tried again."""
        if not self._told_serial:
            self._failed(error)
        else:
            self._tell(error.message)
            self._starting = self.loop.call_later(_MAX_PAUSE, self._fill)
        return False

    def _attach(self, number: int, sock: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
        self._workers[number] = Attached(
            self.loop, number, sock, process, self.settings, self._greeted, self._said, self._lost
        )

    def _greeted(self, worker: Attached) -> None:
        """It has begun."""
        self._vain = 0
        if not worker.serves:
            self._settled()
        elif self._ports is not None:
            worker.link.send(Put(self._serial, tuple(self._ports.values()), whole=True))
        elif worker.adopted:
            worker.link.send(Recall())
        self._fill()

    def _said(self, worker: Attached, message: ToControl) -> None:
        """Anything but its first message."""
        match message:
            case Ready(serial):
                worker.ready = serial
                self._settled()
            case Failed(key, why):
                self._tell_failed(worker, key, why)
            case Counters():
                worker.counted = message
                self._counting.answered(worker)
            case Held(ports):
                self._take(ports)

    def _lost(self, worker: Attached, why: str) -> None:
        """It has ended, or has to."""
        del self._workers[worker.number]
        self._counting.lost(worker, self._ports or {})
        words = self.directory.last_words(worker.number)
        self.directory.forget(worker.number)
        if self._ending is not None:
            if not self._workers:
                self._ending()
            return
        if worker.serves:
            self._again(worker, why + (f" ({words})" if words else ""))
        self._settled()

    def _again(self, worker: Attached, why: str) -> None:
        """Another one is needed in its place."""
        self._vain = 0 if worker.pid else self._vain + 1
        if self._vain >= _HOPELESS:
            self._vain = 0
            self._cannot(SvcdoctorError(f"no worker can be started: {why}", 3))
            return
        lasted = self.loop.now - worker.since >= _LASTING_SECONDS
        self._pause = 0.0 if lasted else min(_MAX_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
        self._tell(f"worker {worker.pid or worker.number} is lost: {why}; another one is started")
        if self._starting is None:
            self._starting = self.loop.call_later(self._pause, self._fill)

    def _take(self, ports: tuple[ServedPort, ...]) -> None:
        if self._ports is None and ports:
            self.put(ports, whole=True)
            self._recalled(ports)

    def _send_all(self, data: bytes) -> None:
        for worker in list(self._workers.values()):
            if worker.pid and worker.serves:
                worker.link.send_frame(data)

    def _settled(self) -> None:
        """Tells where all workers hold the state by now; workers of other settings are no longer needed then."""
        ours = [w for w in self._workers.values() if w.serves]
        if self._ports is None or len(ours) < self._wanted or any(w.ready < self._serial for w in ours):
            return
        if self._told_serial < self._serial:
            self._told_serial = self._serial
            self._held()
        for worker in list(self._workers.values()):
            if worker.foreign and not worker.leaving:
                self._tell(f"worker {worker.pid} runs with other settings: it is drained")
                worker.leave(Drain(), self._drain_seconds)

    def _tell_failed(self, worker: Attached, key: str, why: str) -> None:
        before = self.unserved.get(key, "")
        if why:
            worker.failures[key] = why
        else:
            worker.failures.pop(key, None)
        now = self.unserved.get(key, "")
        if now != before:
            self._tell(f"{key}: {now or 'it is served now'}")
