"""Executing a command of a pod as a real process, its streams connected to the client's."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO

from svcdoctor.lab.podruntime import CHUNK, Call, NotStarted

_TICK = 0.05  # seconds until it is noticed that the client has gone


def run_process(call: Call, command: Sequence[str]) -> int:
    """Runs a command for a call and returns its exit code, 128 and the signal's number where one ended it.

    The process is killed when the client goes away. Raises NotStarted where the program cannot be run.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as e:
        raise NotStarted(not_executable(call.arguments[0], e)) from None
    with process:
        pumps = [
            threading.Thread(target=_pump, args=(pipe, write), name="lab-pump")
            for pipe, write in ((process.stdout, call.stdout), (process.stderr, call.stderr))
        ]
        feeder = threading.Thread(target=_feed, args=(call, process), name="lab-pump")
        for thread in (*pumps, feeder):
            thread.start()
        # Until its output has ended: a child of the command may go on writing.
        while any(pump.is_alive() for pump in pumps) or process.poll() is None:
            if call.gone.wait(_TICK):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        feeder.join()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def not_executable(program: str, error: OSError | None = None) -> str:
    """What a container runtime says of a program that it cannot start, one that is not there by default."""
    number = errno.ENOENT if error is None else error.errno or 0
    problem = "executable file not found in $PATH" if number == errno.ENOENT else os.strerror(number)
    return f'exec failed: unable to start container process: exec: "{program}": {problem}: unknown'


def _pump(pipe: IO[bytes] | None, write: Callable[[bytes], None]) -> None:
    with contextlib.suppress(ConnectionAbortedError):
        while pipe is not None and (data := os.read(pipe.fileno(), CHUNK)):
            write(data)


def _feed(call: Call, process: subprocess.Popen[bytes]) -> None:
    pipe = process.stdin
    if pipe is None:
        return
    with contextlib.suppress(OSError):
        while process.poll() is None:
            try:
                data = call.input.get(timeout=_TICK)
            except queue.Empty:
                continue
            if not data:
                break
            pipe.write(data)
    with contextlib.suppress(OSError):
        pipe.close()
