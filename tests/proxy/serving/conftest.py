"""Workers of a stand-in, in a directory of their own; none is left running."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from served_world import turn_until
from working import WorkerProcess

from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.rundir import RunDirectory
from svcdoctor.proxy.serving.supervise import Workers
from svcdoctor.proxy.serving.wire import Settings, Stop, frame

STAND_IN = (sys.executable, str(Path(__file__).with_name("standin.py")))


@pytest.fixture
def short():
    """A directory whose name is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="sd") as made:
        yield Path(made)


class Run:
    """A control's part: the workers in one directory, and what they told."""

    def __init__(self, above, wanted, settings, program):
        self.loop = Loop()
        self.directory = RunDirectory("proxy-test", above)
        self.directory.lock()
        self.notes, self.recalled, self.errors = [], [], []
        self.holds = 0
        self.workers = Workers(
            self.loop,
            self.directory,
            settings,
            wanted,
            tell=self.notes.append,
            held=self._held,
            recalled=self.recalled.append,
            failed=self.errors.append,
            program=program,
        )
        self.workers.start()

    def _held(self):
        self.holds += 1

    @property
    def pids(self):
        """The processes of the workers that have begun and are not drained."""
        return tuple(w.pid for w in self.workers._workers.values() if w.pid and not w.leaving)

    def until(self, condition, seconds=10.0):
        turn_until(self.loop, condition, seconds)

    def put(self, *ports, whole=False):
        """Until all workers hold it."""
        before = self.holds
        self.workers.put(ports, whole)
        self.until(lambda: self.holds > before)

    def end(self, how="stop"):
        ended = []
        getattr(self.workers, how)(lambda: ended.append(True))
        self.until(lambda: ended)

    def close(self):
        """Whatever is left is killed."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.end()
        self.loop.turn(0)
        self.loop.free()
        self.directory.release()


@pytest.fixture
def runs(short):
    """Starts runs; all that they started is ended."""
    made = []

    def start(wanted=2, program=STAND_IN, **settings):
        run = Run(short, wanted, Settings("1", **settings), program)
        made.append(run)
        return run

    yield start
    for run in made:
        run.close()
    assert not list(short.iterdir()) or not list((short / "proxy-test").iterdir())


class Process:
    """A control process; its events are lines of JSON."""

    def __init__(self, directory, config):
        words = [
            sys.executable,
            str(Path(__file__).with_name("control_process.py")),
            str(directory),
            json.dumps(config),
        ]
        self._popen = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid = self._popen.pid
        self.told = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._popen.stdout:
            self.told.put(json.loads(line))

    def next(self, kind, seconds=15):
        """The next event of this kind; those before it are passed over."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(queue.Empty):
                event = self.told.get(timeout=0.1)
                if event["kind"] == kind:
                    return event
            assert self._popen.poll() is None or not self.told.empty(), self.wait()
            assert time.monotonic() < end, f"no {kind} is told"

    def ends_or_tells(self, seconds=15):
        """Until it has ended, or told anything."""
        end = time.monotonic() + seconds
        while self.told.empty() and self._popen.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.01)

    def children(self):
        """The processes that it started and that live."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def signal(self, number):
        self._popen.send_signal(number)

    def wait(self, seconds=15):
        """The exit code, and what was written to stderr."""
        code = self._popen.wait(seconds)
        self._reader.join()
        with self._popen as popen:
            return code, popen.stderr.read().decode()

    def kill(self):
        """SIGKILL, where it has not ended by itself."""
        if self._popen.returncode is None:
            self._popen.kill()
            self.wait()


@pytest.fixture
def control(short):
    """Starts control processes, all of one run; they and their workers are ended."""
    made = []

    def start(**config):
        process = Process(short, config)
        made.append(process)
        return process

    yield start
    for process in made:
        process.kill()
    for number in RunDirectory("proxy-test", short).workers():
        with contextlib.suppress(OSError), RunDirectory("proxy-test", short).connect(number) as sock:
            sock.setblocking(True)
            sock.sendall(frame(Stop()))
            while sock.recv(65536):
                pass


@pytest.fixture
def workers():
    """Starts real workers, with settings; all are ended."""
    made = []

    def start(before=(), **settings):
        made.append(WorkerProcess(before, **settings))
        return made[-1]

    yield start
    for worker in made:
        worker.close()


@pytest.fixture(scope="session")
def lasting():
    """A worker for many tests, one after the other."""
    worker = WorkerProcess()
    yield worker
    worker.close()


@pytest.fixture
def lent(workers, lasting):
    """As ``workers``; the first one that has the usual settings is the lasting one, if nothing lives there."""
    given = []

    def start(before=(), **settings):
        if before or settings or given or lasting.control.counters().active:
            return workers(before, **settings)
        given.append(lasting)
        return lasting

    yield start
    lasting.control.put(whole=True)
    lasting.control.failures.clear()


@pytest.fixture
def servers():
    """Closes what is given to it, at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda server: stack.enter_context(contextlib.closing(server))
