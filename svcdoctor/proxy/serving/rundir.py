"""The directory of one run of ``proxy``: its lock, and the sockets by which its workers are found again.

Theory. A run is known by what it serves and by the network namespace it serves it in, so that the same command finds
the directory again after its control process was killed. The control process holds a lock on it as long as it lives;
the kernel releases it. Each worker has a socket there that was made before the worker was started: while it takes
connections its worker lives. Nobody but the user may enter the directory.

Specification: flock(2), unix(7); https://specifications.freedesktop.org/basedir-spec/latest/ (XDG_RUNTIME_DIR)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

from svcdoctor.model.errors import SvcdoctorError

_NAMESPACE = Path("/proc/self/ns/net")
_ROOTS = Path("/run/svcdoctor")
_LOCK = "control"
ADDRESSES = "addresses"
"""The file in a run's directory that names what it holds on this machine (`holding`)."""

_PREFIX = "proxy-"
RUNS = f"{_PREFIX}*"
"""The names of all runs' directories, as a pattern."""

_WORKER = "worker-"
_SOCKET = ".sock"
_LAST = 4096  # bytes of a log that are looked at


def runs_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where all runs of this user are: root's in /run, so that they are found from wherever he comes; where nothing
    can be written there, as others' in XDG_RUNTIME_DIR."""
    given = environ.get("XDG_RUNTIME_DIR", "")
    root = os.geteuid() == 0
    if root and not (given.startswith("/") and _read_only(_ROOTS)):
        return _ROOTS
    if given.startswith("/"):
        return Path(given) / "svcdoctor"
    return Path(tempfile.gettempdir()) / f"svcdoctor-{os.geteuid()}"


def _read_only(path: Path) -> bool:
    return not os.access(path if path.exists() else path.parent, os.W_OK)


def run_name(served: str) -> str:
    """The name of the run that serves what ``served`` says, in this network namespace."""
    namespace = str(_NAMESPACE.stat().st_ino) if _NAMESPACE.exists() else ""
    return _PREFIX + hashlib.sha256(f"{namespace} {served}".encode()).hexdigest()[:12]


class RunDirectory:
    """One run's directory, which is made. Raises SvcdoctorError where it cannot be, or is another user's."""

    def __init__(self, name: str, directory: Path | None = None) -> None:
        above = directory or runs_directory()
        self.path = above / name
        for path in (above, self.path):
            _make(path)
        self._lock: int | None = None

    def lock(self) -> None:
        """Become the run's control process. Raises SvcdoctorError where another one is."""
        holder = self.try_lock()
        if holder is not None:
            raise SvcdoctorError(
                f"another svcdoctor proxy{f' (pid {holder})' if holder else ''} serves the same already; end it "
                "first, or serve something else",
                3,
            )

    def try_lock(self) -> str | None:
        """Become the run's control process; the process ID of the one that there is, as far as it is known, where
        that cannot be."""
        try:
            fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise unusable(self.path, e) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            return holder
        self._lock = fd
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return None

    def release(self) -> None:
        """Be the run's control process no longer. The directory is removed, unless there is a worker or something on
        this machine that it tells of."""
        if not self.workers() and not (self.path / ADDRESSES).exists():
            for path in self.path.iterdir():
                path.unlink()
            self.path.rmdir()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def workers(self) -> list[int]:
        """The numbers of the workers that have a socket here, whether they live or not."""
        names = (path.name for path in self.path.glob(f"{_WORKER}*{_SOCKET}"))
        return sorted(int(n) for name in names if (n := name[len(_WORKER) : -len(_SOCKET)]).isdecimal())

    def living_workers(self) -> list[int]:
        """The numbers of the workers that take connections; the others are forgotten. For the run's control process,
        before it knows its workers."""
        living = []
        for number in self.workers():
            try:
                self.connect(number).close()
            except (ConnectionRefusedError, FileNotFoundError):
                self.forget(number)
                continue
            except BlockingIOError:  # others wait to be heard
                pass
            living.append(number)
        return living

    def new_worker(self) -> tuple[int, socket]:
        """The number of a worker that is to be started, and the socket that it will listen on."""
        number = max(self.workers(), default=0) + 1
        path = self._path(number)
        sock = socket(AF_UNIX, SOCK_STREAM)
        try:
            sock.bind(str(path))
            path.chmod(0o600)
            sock.listen(4)
        except OSError as e:
            sock.close()
            if e.errno in (errno.ENOSPC, errno.EDQUOT):
                raise unusable(path, e) from None
            raise SvcdoctorError(f"{path}: {e.strerror or e}; a worker needs this socket", 3) from None
        return number, sock

    def _path(self, worker: int) -> Path:
        """Where the worker listens."""
        return self.path / f"{_WORKER}{worker}{_SOCKET}"

    def log(self, worker: int) -> Path:
        """Where the worker writes what it has to say."""
        return self.path / f"{_WORKER}{worker}.log"

    def last_words(self, worker: int) -> str:
        """The last line of the worker's log."""
        try:
            with self.log(worker).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST))
                lines = log.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def forget(self, worker: int) -> None:
        """The worker has ended."""
        for path in (self._path(worker), self.log(worker)):
            path.unlink(missing_ok=True)

    def connect(self, worker: int) -> socket:
        """A connection to the worker. Raises OSError where it does not live any more."""
        sock = socket(AF_UNIX, SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(str(self._path(worker)))
        except OSError:
            sock.close()
            raise
        return sock


def unusable(path: Path, error: OSError) -> SvcdoctorError:
    """Why a run's directory cannot be used, and what to do."""
    advice = "set XDG_RUNTIME_DIR to a directory of your own that can be written"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "free some space there"
    return SvcdoctorError(
        f"{path}: {error.strerror}; svcdoctor proxy keeps its workers' sockets there: {advice}", 3
    )


def _make(path: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
        held = path.lstat()
    except OSError as e:
        raise unusable(path, e) from None
    if not stat.S_ISDIR(held.st_mode) or held.st_uid != os.geteuid() or held.st_mode & 0o077:
        other = "" if path.is_relative_to(_ROOTS) else ", or set XDG_RUNTIME_DIR to another one"
        raise SvcdoctorError(
            f"{path}: must be a directory that only this user may enter; remove it{other}", 3
        )
