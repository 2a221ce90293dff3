"""Running commands as exec in a container does: with a PATH that has what an image has, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from svcdoctor.model.observed import Place, PlaceKind
from svcdoctor.probe.inshell import InShell
from svcdoctor.sources.collecting import NotRun
from svcdoctor.sources.podexec import Output

BASE = ("od", "head", "tr", "grep", "sleep", "true", "cat", "dd")
"""What every image with a shell has."""

PLACE = Place(PlaceKind.POD, "default/x")


class Container:
    """An image's programs in a folder of their own, and the commands that were run."""

    def __init__(
        self, folder: Path, programs: Sequence[str], shell: str = "dash", pid: int | None = None
    ) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.commands: list[tuple[str, ...]] = []
        self.pid = pid
        if shell == "busybox":
            self._link("busybox", *BASE, "sh", "timeout", *(["nc"] if "nc" in programs else []))
            programs = [p for p in programs if p != "nc"]
        elif shell:
            self._link(shell, "sh")
            for program in (*BASE, "timeout"):
                self._link(program, program)
        for program in programs:
            self._link(program, program)

    def _link(self, program: str, *names: str) -> None:
        # "python3" on PATH may be a script that chooses one, and finds nothing here.
        found = sys.executable if program == "python3" else shutil.which(program)
        if found is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{program} is not installed")
        for name in names:
            (self.bin / name).symlink_to(os.path.realpath(found))

    def origin(self, processes: int = 16) -> InShell:
        return InShell(PLACE, self.run, lambda: None, processes)

    def run(self, arguments: tuple[str, ...], seconds: float, limit: int) -> Output:
        self.commands.append(arguments)
        program = self.bin / arguments[0]
        if not program.exists():
            raise NotRun(f"the image of container x has no program {arguments[0]}", program=arguments[0])
        entered = (
            []
            if self.pid is None
            else [shutil.which("nsenter") or "nsenter", "--target", str(self.pid), "--net"]
        )
        done = subprocess.run(
            [*entered, str(program), *arguments[1:]],
            env={"PATH": str(self.bin)},
            capture_output=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert len(done.stdout) + len(done.stderr) <= limit
        return Output(done.stdout, done.stderr, done.returncode)
