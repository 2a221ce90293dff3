"""A lab on whose node ``svcdoctor proxy`` runs: askers in its places, the proxy's processes, and the node's rules."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from proxy_table import NODE
from test_lab_network import Lab

HERE = Path(__file__).parent
SECONDS = 15.0


class ProxyLab(Lab):
    """A lab, and programs that live in its places until it is closed."""

    def __init__(self, folder: Path, mode: str) -> None:
        super().__init__(folder)
        self.folder = folder
        self.mode = mode
        self._programs: list[subprocess.Popen[str]] = []
        self._askers: dict[str, subprocess.Popen[str]] = {}
        self._ways: dict[str, tuple[list[str], dict[str, str]]] = {}
        self("up", "--mode", mode)
        # What runs keep under /run is the node's own, and goes with it.
        self.run(NODE, "mount", "-t", "tmpfs", "-o", "mode=755", "lab-run", "/run")

    def close(self) -> None:
        """End all."""
        for program in self._programs:
            ended(program)
        self("down")

    def start(self, where: str, *words: str, log: Path | None = None) -> subprocess.Popen[str]:
        """A program in one of the lab's places, with pipes; what it says besides goes to ``log``."""
        command, env = self._entering(where, words)
        with contextlib.ExitStack() as stack:
            err = stack.enter_context(log.open("w")) if log is not None else None
            program = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True, env=env,
                start_new_session=True,
            )  # fmt: skip
        self._programs.append(program)
        return program

    def _entering(self, where: str, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """The command that runs words there, and its environment; the lab is asked for the place once."""
        if where not in self._ways:
            self._ways[where] = self.entering(where, "")
        way, env = self._ways[where]
        return [*way[:-1], *words], env

    def shell(self, *words: str, where: str = "client") -> subprocess.CompletedProcess[str]:
        command, env = self._entering(where, words)
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)

    def run(self, where: str, *words: str) -> str:
        """What a command in one of the lab's places prints."""
        done = self.shell(*words, where=where)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def python(self, where: str, file: str, *words: str) -> subprocess.Popen[str]:
        """One of this directory's programs."""
        return self.start(where, sys.executable, "-I", str(HERE / file), *words)

    def create(self, objects: Iterable[dict[str, Any]]) -> None:
        """Make objects by the lab's API server."""
        self.put("create", objects)

    def put(self, verb: str, objects: Iterable[dict[str, Any]]) -> None:
        """``create`` or ``replace`` objects."""
        path = self.folder / "objects.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
        self.run("client", "kubectl", verb, "--validate=false", "-f", str(path))

    def ask(self, questions: dict[str, list[list[Any]]]) -> dict[str, list[dict[str, int]]]:
        """What askers in each place met, all places at once."""
        for where, asked in questions.items():
            if where not in self._askers:
                self._askers[where] = self.python(where, "proxy_asker.py")
            told(self._askers[where], asked)
        return {where: heard(self._askers[where]) for where in questions}

    def settle(self, *words: str) -> None:
        """Wait until kube-proxy has written rules with all of these words and goes on to write nothing."""
        before = ""

        def written() -> bool:
            nonlocal before
            earlier, before = before, self.rules()
            return earlier == before and all(word in before for word in words)

        until(written, pause=0.2)

    def forget_connections(self) -> None:
        """No connection of an earlier question decides about a later one."""
        self.shell("conntrack", "-F", where=NODE)

    def rules(self) -> str:
        """All rules of the node, without counters and timestamps."""
        listing = "nft -s list ruleset; iptables-legacy-save; ip6tables-legacy-save"
        return re.sub(r"^#.*\n|\[\d+:\d+\]", "", self.run(NODE, "sh", "-ec", listing), flags=re.MULTILINE)

    def state(self) -> tuple[str, set[str]]:
        """All that a run may have changed on the node: its rules, and addresses with their devices."""
        addresses = self.run(NODE, "ip", "-o", "addr").splitlines()
        return self.rules(), {" ".join(line.split()[1:4]) for line in addresses}


def told(program: subprocess.Popen[str], what: Any) -> None:
    assert program.stdin is not None
    program.stdin.write(json.dumps(what) + "\n")
    program.stdin.flush()


def heard(program: subprocess.Popen[str]) -> Any:
    assert program.stdout is not None
    line = program.stdout.readline()
    assert line, "it has ended"
    return json.loads(line)


def ended(program: subprocess.Popen[str]) -> None:
    """End a program and what it began to enter the lab with."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    for stream in (program.stdin, program.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def until(
    condition: Callable[[], Any], seconds: float = SECONDS, said: Callable[[], str] = str, pause: float = 0.02
) -> Any:
    """What the condition gives when it gives something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"it does not come: {said()}"
        time.sleep(pause)
    return found


class Proxy:
    """``svcdoctor proxy`` on a node."""

    def __init__(self, lab: ProxyLab, *words: str, where: str = NODE, before: Sequence[str] = ()) -> None:
        self.log = lab.folder / f"proxy-{len(lab._programs)}.log"
        self._network = Path()
        self._program = lab.start(
            where, "sh", "-c", 'exec "$@" >&2', "sh", *before, "svcdoctor", "proxy", *words, log=self.log
        )

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def workers(self) -> set[int]:
        """The processes that carry traffic on the node, those of an earlier control process among them."""
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                own = WORKER in (path / "cmdline").read_bytes()
                if own and (path / "ns/net").readlink() == self._network:
                    found.add(int(path.name))
        return found

    def serving(self) -> Proxy:
        """Wait until all is served."""
        until(lambda: SERVING.search(self.said) or self._program.poll() is not None, said=lambda: self.said)
        assert SERVING.search(self.said), self.said
        [control] = children(self._program.pid)
        self._network = Path(f"/proc/{control}/ns/net").readlink()
        return self

    def signal(self, number: int) -> None:
        """Tell the control process: what the program that entered the lab has begun."""
        for pid in children(self._program.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Its exit code."""
        return self._program.wait(seconds)

    def end(self) -> int:
        """End it now, whoever is connected; its exit code."""
        if self._program.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                return self.wait(0.5)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGTERM)
        return self.wait()


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


ENDED_AT_ONCE = 128 + signal.SIGTERM
WORKER = b"svcdoctor.proxy.serving.worker"
SERVING = re.compile(r"^Serving ", re.MULTILINE)


@contextlib.contextmanager
def proxied(lab: ProxyLab, *words: str, where: str = NODE, before: Sequence[str] = ()) -> Iterator[Proxy]:
    """Serve meanwhile."""
    proxy = Proxy(lab, *words, where=where, before=before)
    try:
        yield proxy.serving()
    finally:
        code = proxy.end()
    assert code in (0, ENDED_AT_ONCE), proxy.said
