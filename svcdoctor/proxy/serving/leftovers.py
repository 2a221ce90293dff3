"""What runs left on this machine whose control process is gone: workers, addresses, rules; taken away on demand."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.kernel import apply, claim
from svcdoctor.proxy.kernel.layout import TABLE
from svcdoctor.proxy.serving.holding import Holding, recorded, runs_here
from svcdoctor.proxy.serving.rundir import RunDirectory, runs_directory
from svcdoctor.proxy.serving.wire import ControlReader, Hello, Stop, frame

STOP_SECONDS = 5.0
"""How long a worker may take to end."""

_CHUNK = 1 << 16


def clean_up(above: Path | None = None) -> tuple[list[str], list[str]]:
    """Removes it from this network namespace; returns in lines what was removed, and what could not be. Runs whose
    control process lives are left alone, and to anybody but root there is nothing but his own runs."""
    removed: list[str] = []
    problems: list[str] = []
    for path in runs_here(above or runs_directory()):
        with _noted(problems):
            _clear(path, removed)
    if os.geteuid() == 0 and shutil.which("nft") is not None and not claim.holder():
        with _noted(problems):
            removed += [f"table {family} {TABLE}" for family in apply.cleanup()]
    return removed, problems


@contextlib.contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except SvcdoctorError as e:
        problems.append(e.message)


def _clear(path: Path, removed: list[str]) -> None:
    directory = RunDirectory(path.name, path.parent)
    if directory.try_lock() is not None:
        return
    try:
        for number in directory.living_workers():
            if pid := _stopped(directory, number):
                removed.append(f"worker {pid}")
                directory.forget(number)
        held = recorded(path)
        if held and not directory.workers():
            holding = Holding(directory, removed.append)
            try:
                holding.drop(held)
            finally:
                holding.close()
            removed += [f"address {ip}" for ip in held]
    finally:
        directory.release()


def _stopped(directory: RunDirectory, number: int) -> int:
    """Ends a worker of this network namespace; its process ID, 0 where it is another one's."""
    with contextlib.suppress(OSError), directory.connect(number) as sock:
        sock.settimeout(STOP_SECONDS)
        pid = _greeted(sock)
        if not pid or not _in_our_namespace(pid):
            return 0
        sock.sendall(frame(Stop()))
        try:
            while sock.recv(_CHUNK):
                pass
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
        return pid
    return 0


def _greeted(sock: socket.socket) -> int:
    """The process ID that a worker tells."""
    reader = ControlReader()
    while data := sock.recv(_CHUNK):
        for message in reader.messages(data):
            return message.pid if isinstance(message, Hello) else 0
    return 0


def _in_our_namespace(pid: int) -> bool:
    return Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net")
