"""The program with its modules in memory. Each command is a child of this process: the same main() in a process of
its own, which need not import them again. `warm` talks to it.

A message of the one socket names the words, the directory and the environment, and carries the command's standard
streams and a socket: there go the child's process id and, when it has ended, its status.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import random
import select
import signal
import socket
import sys
import termios
import threading
import time
from typing import Any

from typer.testing import CliRunner

import svcdoctor
from svcdoctor.cli.entry import main
from svcdoctor.cli.main import app

LONGEST = 1 << 20  # bytes of a message
LEFT_OUT = ("svcdoctor.lab.net", "svcdoctor.proxy.kqueue")  # programs of their own, and another system's


def everything() -> None:
    """Import all modules of the program, and what Typer imports only when it parses."""
    for found in pkgutil.walk_packages(svcdoctor.__path__, "svcdoctor."):
        if not found.name.startswith(LEFT_OUT) and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    CliRunner().invoke(app, ["codes"])
    gc.collect()
    gc.freeze()


def serve(asked: socket.socket) -> None:
    """Returns in each child, as the process of a command. The parent ends when nobody can ask any more."""
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    running: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor of a child
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in running:
                pid, told = running.pop(descriptor)
                poll.unregister(descriptor)
                os.close(descriptor)
                status = os.waitpid(pid, 0)[1]
                with told, contextlib.suppress(OSError):  # nobody waits for it
                    told.send(json.dumps(status).encode())
                continue
            text, passed, _, _ = socket.recv_fds(asked, LONGEST, 4)
            if not text:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                sys.exit()
            told = socket.socket(fileno=passed[3])
            pid = os.fork()
            if pid == 0:
                for other, (_, another) in running.items():
                    os.close(other)
                    another.close()
                asked.close()
                told.close()
                become(json.loads(text), passed[:3])
                return
            for each in passed[:3]:
                os.close(each)
            told.send(json.dumps(pid).encode())
            child = os.pidfd_open(pid)
            running[child] = (pid, told)
            poll.register(child, select.POLLIN)


def become(command: dict[str, Any], streams: list[int]) -> None:
    """Take the streams, the terminal, the directory, the environment and the words of a command."""
    for number, each in enumerate(streams):
        os.dup2(each, number)
    for each in streams:
        os.close(each)
    if command["terminal"]:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, name)  # as the interpreter made it, but for what it is connected to
        binary = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115
        lines = number == 2 or os.isatty(number)
        newline = "\n" if number else None
        stream = io.TextIOWrapper(binary, before.encoding, before.errors, newline, line_buffering=lines)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    time.tzset()
    random.seed()
    sys.argv = command["words"]


def run() -> None:
    """main(), and the interpreter's end without its last part: to take all modules apart, which nobody sees."""
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)


if __name__ == "__main__":
    everything()
    serve(socket.socket(fileno=int(sys.argv[1])))
    run()
