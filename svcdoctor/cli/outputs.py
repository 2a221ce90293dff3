"""``-o FORMAT[=FILE]``: the forms that an answer takes, and where each goes.

Theory. Every form is rendered before the first byte is written. Then the files appear, each whole or not at all,
and standard output comes last: what is read there was written everywhere else too.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from svcdoctor.cli.wholefiles import write_whole
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from rich.console import Console

    from svcdoctor.model.checkup import Checkup

STDOUT = "-"
FILE_WIDTH = 120  # columns of the terminal's report in a file


class Format(StrEnum):
    """The forms of a checkup."""

    TERMINAL = "terminal"
    TABLE = "table"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"
    YAML = "yaml"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    GITLAB = "gitlab"


@dataclass(frozen=True, slots=True)
class Output:
    """One form of the answer: a member of its command's formats. ``file`` is ``None`` for standard output."""

    format: StrEnum
    file: Path | None = None


def parse_outputs(texts: Sequence[str], formats: type[StrEnum] = Format) -> tuple[Output, ...]:
    """What ``-o`` said, each time; the first of the formats where it said nothing. Raises SvcdoctorError."""
    found: list[Output] = []
    for text in texts:
        word, equals, name = text.removeprefix("=").partition("=")  # kubectl's users write -o=json
        if equals and not name:
            raise SvcdoctorError(f"-o {text}: a file's name is missing after =; {STDOUT} is standard output")
        found.append(Output(_format(word, text, formats), Path(name) if name not in ("", STDOUT) else None))
    streamed = [o.format for o in found if o.file is None]
    if len(streamed) > 1:
        raise SvcdoctorError(
            f"-o {streamed[0]} and -o {streamed[1]}: only one can go to standard output; "
            f"give the other a file: -o {streamed[1]}=FILE"
        )
    files = [o.file for o in found if o.file is not None]
    for i, file in enumerate(files):
        if file.resolve() in (other.resolve() for other in files[:i]):
            raise SvcdoctorError(f"-o …={file}: two forms cannot go to one file")
    return tuple(found) or (Output(next(iter(formats))),)


def _format(word: str, text: str, formats: type[StrEnum]) -> StrEnum:
    try:
        return formats(word.strip().lower())
    except ValueError:
        from svcdoctor.cluster.nearmiss import near_names

        near = near_names(word.strip().lower(), formats)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise SvcdoctorError(
            f"-o {text}: no format {word!r}{meant} (there are {', '.join(formats)})"
        ) from None


def write(answer: Checkup, outputs: Sequence[Output], *, fail_on: str, color: str, verbose: bool) -> None:
    """Writes every form to where it goes. Raises SvcdoctorError where a file cannot be written.

    ``fail_on`` says from which severity on a JUnit case fails, ``color`` is auto, always or never.
    """
    deliver(outputs, lambda output: _rendered(answer, output, fail_on, color, verbose))


def deliver(outputs: Sequence[Output], rendered: Callable[[Output], str]) -> None:
    """Renders every form, and writes each to where it goes. Raises SvcdoctorError where a file cannot be written."""
    files: dict[Path, bytes] = {}
    stream = ""
    for output in outputs:
        text = rendered(output)
        if output.file is not None:
            files[output.file] = text.encode("utf-8", "replace")
        else:
            stream = text
    write_whole(files)
    if stream:
        sys.stdout.write(stream)


def _rendered(answer: Checkup, output: Output, fail_on: str, color: str, verbose: bool) -> str:
    """One form as text; a renderer is imported when its form is asked for."""
    from svcdoctor.report import machine

    match output.format:
        case Format.TERMINAL:
            from svcdoctor.report.checkup import render

            console = console_for(color, sys.stdout if output.file is None else None)
            with console.capture() as captured:
                render(answer, console, verbose=verbose)
            return captured.get()
        case Format.TABLE:
            from svcdoctor.report.checkuptables import table

            return table(answer)
        case Format.MARKDOWN:
            from svcdoctor.report.checkupmarkdown import markdown

            return markdown(answer)
        case Format.HTML:
            from svcdoctor.report.html.checking import checkup_page

            return checkup_page(answer)
        case Format.JUNIT:
            from svcdoctor.report.checkupjunit import junit

            return junit(answer, warnings_fail=fail_on == "warning")
        case Format.GITHUB:
            from svcdoctor.report.github import workflow_commands

            return workflow_commands(answer)
        case Format.GITLAB:
            from svcdoctor.report.gitlab import code_quality

            return machine.form_as_json(code_quality(answer))
        case Format.SARIF:
            from svcdoctor.report.sarif import sarif

            return machine.form_as_json(sarif(answer))
        case Format.JSON:
            from svcdoctor.report.checkupjson import checkup_json

            return machine.form_as_json(checkup_json(answer))
        case _:
            from svcdoctor.report.checkupjson import checkup_json

            return machine.form_as_yaml(checkup_json(answer))


def console_for(color: str, stream: TextIO | None) -> Console:
    """The terminal's console; for a file (``None``) one of a fixed width."""
    from rich.console import Console

    forced = True if color == "always" else None
    plain = True if color == "never" else None
    if stream is None:
        return Console(
            file=io.StringIO(),
            width=FILE_WIDTH,
            force_terminal=forced or False,
            no_color=plain,
            highlight=False,
            soft_wrap=False,
        )
    return Console(file=stream, force_terminal=forced, no_color=plain, highlight=False, soft_wrap=False)
