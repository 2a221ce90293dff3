"""``svcdoctor`` as a process that need not import itself first: to start it costs ten times what most commands do.

What it runs is a child of `warm_server`, with streams, terminal, environment, directory and signals of its own. Where
something is asked for that only a program from its beginning shows (another locale, an interpreter's option), or where
it is another program, it is started as always. That both answer alike is tests/cli/test_warm.py's matter.
"""

from __future__ import annotations

import atexit
import fcntl
import inspect
import json
import os
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from svcdoctor.cli.entry import COMPLETE

_SERVER = Path(__file__).with_name("warm_server.py")
_PROGRAM = str(Path(sys.executable).with_name("svcdoctor"))
_LETTERS = {"PYTHONUTF8": "1", "LANG": "C.UTF-8"}
# How tests are run is no matter of the program that they start.
_ANY = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8"}
_ARGUMENTS = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
_STREAMS = ("stdin", "stdout", "stderr")
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_starting = threading.Lock()


class _Server:
    """The one of this process, which ends with it."""

    def __init__(self) -> None:
        env = {k: v for k, v in os.environ.items() if k not in _ANY and not k.startswith("LC_")}
        self.asked, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(_SERVER), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=env | _LETTERS,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._close)

    def _close(self) -> None:
        self.asked.close()
        self._process.wait()


_server: _Server | None = None


def _server_here() -> _Server:
    global _server
    with _starting:
        if _server is None:
            _server = _Server()
    return _server


def _starts_alike(env: dict[str, str]) -> bool:
    """Whether an interpreter that starts with this environment would be as the server's is."""
    letters = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or "UTF-8"
    others = {k for k, v in env.items() if k.startswith("PYTHON") and v != os.environ.get(k)} - _ANY
    utf_8 = letters.upper().endswith("UTF-8") and env.get("PYTHONUTF8", "1") == "1"
    return utf_8 and not others and "PYTHONIOENCODING" not in env


class Popen(subprocess.Popen[Any]):
    """A process as subprocess.Popen has it; ``env`` must be given. With ``terminal`` its standard input is the terminal
    of a session of its own. What happens ``before``, and whatever is no stream and no directory, needs the program from
    its beginning."""

    def __init__(
        self, words: Any, *, terminal: bool = False, before: Callable[[], object] | None = None, **more: Any
    ) -> None:
        self._told: socket.socket | None = None
        self._terminal = terminal
        self._whole = before is not None or bool(more.keys() - {"env", "cwd", "text", *_STREAMS})

        def own() -> None:
            if terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if before is not None:
                before()

        if terminal or before:
            more |= {"start_new_session": terminal, "preexec_fn": own}
        super().__init__([str(word) for word in words], **more)

    def _execute_child(self, *given: Any) -> None:
        asked = _ARGUMENTS.bind(self, *given).arguments
        words, env = asked["args"], asked["env"]
        other = words[0] != "svcdoctor" or words[1:2] == [COMPLETE]  # which has a beginning of its own
        if other or self._whole or not _starts_alike(env):
            super()._execute_child(*given)  # type: ignore[misc]
            return
        message = {"words": [_PROGRAM, *words[1:]], "env": env, "terminal": self._terminal}
        message["cwd"] = str(asked["cwd"] or Path.cwd())
        ends = (asked["p2cread"], asked["c2pwrite"], asked["errwrite"])
        streams = [number if end == -1 else end for number, end in enumerate(ends)]
        self._told, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            data = json.dumps(message).encode()
            socket.send_fds(_server_here().asked, [data], [*streams, theirs.fileno()])
        self._close_pipe_fds(*(asked[name] for name in _PIPES))  # type: ignore[attr-defined]
        self.pid = self._hear(None)
        self._child_created = True

    def _hear(self, seconds: float | None) -> Any:
        """Raises TimeoutError, and BlockingIOError for no seconds."""
        assert self._told is not None
        self._told.settimeout(seconds)
        data = self._told.recv(100)
        if not data:
            raise RuntimeError(f"{_SERVER.name} has ended: see what it said")
        return json.loads(data)

    def _ended(self, seconds: float | None) -> None:
        self.returncode = os.waitstatus_to_exitcode(self._hear(seconds))
        assert self._told is not None
        self._told.close()

    def _internal_poll(self, *given: Any, **more: Any) -> Any:
        if self._told is None:
            return super()._internal_poll(*given, **more)  # type: ignore[misc]
        lock = self._waitpid_lock  # type: ignore[attr-defined]
        if self.returncode is None and lock.acquire(blocking=False):
            try:
                if self.returncode is None:
                    self._ended(0)
            except BlockingIOError:
                pass
            finally:
                lock.release()
        return self.returncode

    def _wait(self, timeout: float | None) -> Any:
        if self._told is None:
            return super()._wait(timeout)  # type: ignore[misc]
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None:
                try:
                    self._ended(timeout)
                except TimeoutError:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
        return self.returncode


def run(
    words: Any, *, input: str | None = None, timeout: float, **more: Any
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run does, with text, and what is said captured."""
    pipe = subprocess.PIPE
    stdin = None if input is None else pipe
    with Popen(words, stdin=stdin, stdout=pipe, stderr=pipe, text=True, **more) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
