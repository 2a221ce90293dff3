"""Starting the lab in namespaces of its own, and entering it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from svcdoctor.lab.net.control import LOG, READY, Client, clear, empty, folder
from svcdoctor.model.errors import SvcdoctorError

PATIENCE = 60.0  # seconds for the lab to come up
PROGRAMS = ("unshare", "nsenter", "ip", "sysctl", "sh", "env")


def needed(mode: str) -> tuple[str, ...]:
    """The programs that a mode needs."""
    if mode == "nftables":
        return (*PROGRAMS, "nft")
    backend = "legacy" if mode == "iptables-legacy" else "nft"
    return (*PROGRAMS, f"iptables-{backend}-restore", f"ip6tables-{backend}-restore")


def environment() -> dict[str, str]:
    """The environment with the programs of root on the path, and this Python's own first."""
    own = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{own}:{path}:/usr/sbin:/sbin"}


def up(mode: str) -> None:
    """Start a lab and wait until it answers. Raises SvcdoctorError saying what is missing."""
    if not sys.platform.startswith("linux"):
        raise SvcdoctorError("the lab needs Linux: it is made of network namespaces")
    env = environment()
    missing = [p for p in needed(mode) if shutil.which(p, path=env["PATH"]) is None]
    if missing:
        raise SvcdoctorError(
            f"the lab needs {', '.join(missing)}: install iproute2, util-linux, iptables, nftables"
        )
    with _alone(folder(make=True)):
        if _alive():
            raise SvcdoctorError("a lab is up already: svcdoctor lab status, or svcdoctor lab down")
        place = folder(make=True)
        empty(place)  # of what a killed one left
        _start(mode, place, env)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Waits for another ``lab up`` of the same user."""
    import fcntl  # there is none on Windows, where ``up`` says so

    lock = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _later() -> Iterator[list[int]]:
    """Notes Ctrl-C instead of raising it, where a process that nobody knows of yet would be left."""
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _start(mode: str, place: Path, env: dict[str, str]) -> None:
    own = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.getuid() != 0:
        own[1:1] = ["--user", "--map-root-user"]
    command = [*own, sys.executable, "-m", "svcdoctor.lab.net.daemon", mode, str(place)]
    held, end = os.pipe()  # who is alive holds its end
    until = time.monotonic() + PATIENCE
    process: subprocess.Popen[bytes] | None = None
    try:
        with (place / LOG).open("wb") as log, _later() as interrupted:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
                pass_fds=[end],
            )
        os.close(end)
        if interrupted:
            raise KeyboardInterrupt
        while not (place / READY).exists():
            if process.poll() is not None or time.monotonic() > until:
                said = (place / LOG).read_text(errors="replace").strip().splitlines()
                last = (
                    said[-1].removeprefix("error: ") if said else f"unshare ended with {process.returncode}"
                )
                hint = " (it needs root, or namespaces for users)" if "unshare" in last else ""
                raise SvcdoctorError(f"the lab did not come up: {last}{hint}")
            time.sleep(0.05)
    except BaseException:  # Ctrl-C too
        if process is not None:
            # All of its session: unshare's child may not have asked to be killed with it yet.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.read(held, 1)  # until the lab's first process is gone too
        clear(place)
        raise
    finally:
        os.close(held)


def _alive() -> bool:
    try:
        Client().ask("status")
    except SvcdoctorError:
        return False
    return True


def down() -> None:
    """End the lab and wait until its first process is gone. Raises SvcdoctorError where none is up."""
    try:
        client = Client()
    except SvcdoctorError:
        clear(folder())  # what a killed one left
        raise
    pid = client.pid
    client.ask("down")
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.02)


def enter(where: str, words: list[str]) -> int:
    """Run a command in one of the lab's namespaces, with its kubeconfig. Returns the command's exit code."""
    command, env = entering(where, words)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # for nsenter too: Ctrl-C is the command's
    try:
        return subprocess.run(command, env=env, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def entering(where: str, words: list[str]) -> tuple[list[str], dict[str, str]]:
    """The command that runs ``words``, or a shell, in one of the lab's namespaces, and its environment."""
    client = Client()
    pid = client.pid
    place = client.ask("where", **{"in": where})
    env = environment() | {"KUBECONFIG": str(place["kubeconfig"])}
    user = ["--user", "--preserve-credentials"] if os.getuid() != 0 else []
    command = ["nsenter", "--target", str(pid), *user, "--mount", "--pid"]
    inside = ["nsenter", "--target", str(place["pid"]), "--net", "--mount"]
    words = words or [os.environ.get("SHELL", "sh")]
    command += [*inside, "env", "--default-signal=INT", "-C", str(Path.cwd()), *words]
    return command, env
