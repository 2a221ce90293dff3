"""Somebody who reads a document and tries every command of it, in a folder of their own, and compares what is printed.

With ``WRITE_DOCS=1`` what is really printed is written into the document instead, where it differs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from asuser import environment
from documents import ROOT, Block, Step, blocks, shown
from labshell import LabShell

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.store import ObjectStore
from svcdoctor.sources.files import raw_objects

WRITE = "WRITE_DOCS"
SECONDS = 60  # for one command
LINKED = ("docs", "fixtures", "plugins", "tests", "README.md", "pyproject.toml")


class Reader:
    """Follows documents. Close it: a lab that a document brings up ends then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.folder.mkdir()
        for name in LINKED:
            (self.folder / name).symlink_to(ROOT / name)
        self._home = folder / "home"
        self._home.mkdir()
        # A folder of its own for the lab's control socket: a user's lab is left alone.
        self._lab = {"XDG_RUNTIME_DIR": str(folder), "COLUMNS": "80"}
        self._stack = contextlib.ExitStack()
        self._kubeconfigs: dict[str, Path] = {}
        self._shells: dict[str, LabShell] = {}
        self.ran = 0

    def follow(self, document: Path) -> list[str]:
        """Run every command, and return what is otherwise than the document says."""
        text = document.read_text()
        wrong: list[str] = []
        pieces: list[str] = []
        at = 0
        for block in blocks(text):
            if "file" in block.words:
                file = self.folder / block.words["file"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text)
            if block.language != "console":
                continue
            printed = self._run(block, f"{document.name}:{block.line}", wrong)
            pieces += [text[at : block.start], printed]
            at = block.end
        new = "".join([*pieces, text[at:]])
        if os.environ.get(WRITE) and new != text:
            document.write_text(new)
        return wrong

    def _run(self, block: Block, place: str, wrong: list[str]) -> str:
        """The block as it really is."""
        found: list[str] = []
        for number, step in enumerate(block.steps, 1):
            if step.place:
                code, output = self._shell(step.place).call(step.command)
            else:
                code, output = self.call(step.command, block.words.get("cluster"))
            self.ran += 1
            ending = int(block.words.get("exit", "0")) if number == len(block.steps) else 0
            right = step.agrees(output)
            if not right:
                wrong.append(f"{place}: {step.lines[0]}\n{_beside(step, output)}")
            if code != ending:
                wrong.append(f"{place}: {step.lines[0]}\nends with {code}\n{output}")
            found += [*step.lines, *(step.printed if right else shown(output))]
        return "".join(f"{line}\n" for line in found)

    def _shell(self, place: str) -> LabShell:
        """The shell that is open in a place of the lab."""
        if place not in self._shells:
            env = environment(self._home, **self._lab)
            self._shells[place] = self._stack.enter_context(LabShell(place, env, self.folder))
        return self._shells[place]

    def call(self, command: str, cluster: str | None = None) -> tuple[int, str]:
        """Run a command line in the folder: its exit code, and errors and output in one as a terminal shows them."""
        kubeconfig = self._served(cluster) if cluster else None
        done = subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=environment(self._home, kubeconfig, **self._lab),
            timeout=SECONDS,
            check=False,
        )
        return done.returncode, done.stdout

    def _served(self, cluster: str) -> Path:
        """The kubeconfig of an API server over these objects."""
        if cluster not in self._kubeconfigs:
            server = self._stack.enter_context(ApiServer(ObjectStore(raw_objects(ROOT / cluster))))
            path = self._home / f"kubeconfig-{len(self._kubeconfigs)}"
            server.write_kubeconfig(path)
            self._kubeconfigs[cluster] = path
        return self._kubeconfigs[cluster]

    def close(self) -> None:
        self._stack.close()
        if any(self._home.parent.glob("svcdoctor-lab*")):
            self.call("svcdoctor lab down")


def _beside(step: Step, output: str) -> str:
    """The lines that are to be printed with ``-``, those that are with ``+``."""
    import difflib

    return "\n".join(
        difflib.unified_diff(step.printed, shown(output), "document", "printed", lineterm="", n=1)
    )


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[Reader]:
    """A Reader that is closed at the end."""
    reader = Reader(folder)
    try:
        yield reader
    finally:
        reader.close()
