"""The lab's control socket: a line of JSON in, a line of JSON out, for the user who started the lab only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import struct
import tempfile
from pathlib import Path
from typing import Any

from svcdoctor.model.errors import SvcdoctorError

LONGEST = 1 << 20  # bytes of an answer
SECONDS = 120.0  # for an answer
READY = "ready"  # the file that says that the lab is up
LOG = "log"


def folder(make: bool = False) -> Path:
    """Where a user's lab keeps its files, with access for that user only. Raises SvcdoctorError."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    path = base / f"svcdoctor-lab-{os.getuid()}"
    try:
        if make and not path.is_symlink() and not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
        held = path.lstat()
    except OSError as e:
        if isinstance(e, FileNotFoundError) and not make:
            return path
        raise SvcdoctorError(f"{path}: {e.strerror}") from None
    if held.st_uid != os.getuid() or held.st_mode & 0o077 or not stat.S_ISDIR(held.st_mode):
        raise SvcdoctorError(f"{path} belongs to somebody else, or others may read it: remove it")
    return path


def empty(path: Path) -> None:
    """Remove what a lab puts into its folder."""
    for held in path.iterdir():
        if held.is_dir():
            shutil.rmtree(held, ignore_errors=True)  # the API server's certificates
        else:
            held.unlink(missing_ok=True)


def clear(path: Path) -> None:
    """Remove a lab's folder with all that is in it."""
    with contextlib.suppress(OSError):
        empty(path)
        path.rmdir()


def socket_path() -> Path:
    return folder() / "control"


class Client:
    """A connection to the running lab. Raises SvcdoctorError where there is none."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        try:
            self._socket.connect(str(socket_path()))
        except OSError:
            self._socket.close()
            raise SvcdoctorError("no lab is up: start one with svcdoctor lab up") from None

    @property
    def pid(self) -> int:
        """The lab's first process, as this process sees it."""
        found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", found)[0])

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Ask the lab to do something. Raises SvcdoctorError with what it says."""
        try:
            self._socket.sendall(json.dumps({"do": do, **more}).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n") and len(data) < LONGEST:
                piece = self._socket.recv(65536)
                if not piece:
                    break
                data += piece
        except OSError as e:
            raise SvcdoctorError(f"the lab does not answer: {e}") from None
        finally:
            self._socket.close()
        if not data:
            raise SvcdoctorError("the lab ended before it answered")
        answer: dict[str, Any] = json.loads(data)
        if "error" in answer:
            raise SvcdoctorError(str(answer["error"]))
        return answer
