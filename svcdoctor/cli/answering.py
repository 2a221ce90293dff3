"""Options that commands with an answer share: when they fail, colour, the form of the answer, where facts come from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class FailOn(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


class Color(StrEnum):
    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


FailOnOption = Annotated[FailOn, typer.Option("--fail-on", help="Exit with 1 from this severity on.")]
ColorOption = Annotated[Color, typer.Option("--color", help="When to use colour.")]
SnapshotOption = Annotated[
    Path | None,
    typer.Option("--snapshot", help="A saved cluster: a folder or archive of dumps.", show_default=False),
]
ManifestsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--filename",
        help="Manifests (file, folder, -): as if they were applied.",
        show_default=False,
    ),
]
OutputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--output",
        help="FORMAT or FORMAT=FILE, may be repeated: terminal (default), table, markdown, html, json, yaml, "
        "junit, sarif, github, gitlab.",
        show_default=False,
    ),
]
ShowSoundOption = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show sound objects and all evidence.")
]
