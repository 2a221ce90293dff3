"""The options and the configuration file that say which findings are reported, for ``check`` and ``lint``.

A configuration file may come with a repository that is checked, so it may select, ignore and set severities, and
nothing else; an answer says which file it went by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svcdoctor.cli.connected import Flags, bundled
from svcdoctor.cli.tomltext import line_of, parsed, text_of
from svcdoctor.model.checkup import Place, Problem
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.checks.choosing import Choice
    from svcdoctor.model.finding import Severity

OWN_FILE = "svcdoctor.toml"
SHARED_FILE = "pyproject.toml"  # under [tool.svcdoctor]
KEYS = ("select", "ignore", "severity")
MAX_BASELINE = 256 << 20

_FLAGS: Flags = {
    "select": (
        list[str] | None,
        ("--select",),
        "Report these codes only: CODE,…; OBJ means all that begin so.",
    ),
    "ignore": (list[str] | None, ("--ignore",), "Do not report these codes; they are counted."),
    "severity": (
        list[str] | None,
        ("--severity",),
        "CODE=error|warning|info: report a code with this severity; may be repeated.",
    ),
    "baseline": (Path | None, ("--baseline",), "An earlier answer (-o json): report only what is new."),
    "no_annotations": (
        bool,
        ("--no-annotations",),
        "Disregard the annotation svcdoctor.io/ignore of objects.",
    ),
}


@dataclass(frozen=True, slots=True)
class ChoosingFlags:
    """What the command line says about which findings are reported."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    baseline: Path | None = None
    no_annotations: bool = False

    def choice(self, folder: Path) -> tuple[Choice, tuple[Problem, ...], tuple[str, ...]]:
        """The choice of the command line, completed by the configuration that holds for ``folder``.

        What the command line says of select, ignore, or one code's severity replaces what the file says. Also
        what of the file could not be understood, and notes. Raises SvcdoctorError for a wrong option.
        """
        from svcdoctor.checks.choosing import Choice

        configured = _configured(folder)
        severities: dict[str, Severity] = dict(configured.severities)
        for text in self.severity:
            word, _, level = text.partition("=")
            severities[_code(word.strip(), f"--severity {text}")] = _level(level, f"--severity {text}")
        choice = Choice(
            _codes(self.select, "--select") or configured.select,
            _codes(self.ignore, "--ignore") or configured.ignore,
            severities,
            not self.no_annotations,
            _baseline(self.baseline) if self.baseline is not None else frozenset(),
        )
        return choice, tuple(configured.problems), configured.notes


def choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options that choose findings; the command takes them as ``choosing``."""

    def made(flags: dict[str, Any]) -> ChoosingFlags:
        return ChoosingFlags(
            tuple(flags["select"] or ()),
            tuple(flags["ignore"] or ()),
            tuple(flags["severity"] or ()),
            flags["baseline"],
            flags["no_annotations"],
        )

    return bundled(function, "choosing", _FLAGS, made)


def _codes(texts: Iterable[str], where: str) -> tuple[str, ...]:
    words = (w.strip() for text in texts for w in text.split(","))
    return tuple(_code(w, where) for w in words if w)


def _code(word: str, where: str) -> str:
    from svcdoctor.checks.choosing import why_unknown

    why = why_unknown(word.upper())
    if why is not None:
        raise SvcdoctorError(f"{where}: {why}")
    return word.upper()


def _level(text: str, where: str) -> Severity:
    from svcdoctor.model.finding import Severity

    try:
        return Severity(text.strip().lower())
    except ValueError:
        raise SvcdoctorError(f"{where}: {text!r} is none of error, warning, info") from None


class _Configured:
    """What a configuration file says, as far as it can be understood."""

    def __init__(self) -> None:
        self.select: tuple[str, ...] = ()
        self.ignore: tuple[str, ...] = ()
        self.severities: dict[str, Severity] = {}
        self.problems: list[Problem] = []
        self.notes: tuple[str, ...] = ()

    def read(self, path: Path, text: str, table: dict[str, Any], section: str) -> None:
        """Takes over what a table says; each thing that cannot be understood becomes a problem with its line."""

        def problem(key: str, message: str) -> None:
            self.problems.append(Problem(message, Place(str(path), line_of(text, section, key))))

        for key, value in table.items():
            if key not in KEYS:
                problem(key, f"unknown key {key!r}; a configuration may have {', '.join(KEYS)}")
                continue
            if key == "severity":
                if not isinstance(value, dict):
                    problem(key, "severity is a table: OBJ025 = 'info'")
                    continue
                for word, level in value.items():
                    try:
                        self.severities[_code(word, "severity")] = _level(str(level), f"severity of {word}")
                    except SvcdoctorError as e:
                        problem(word, e.message)
                continue
            if isinstance(value, str):
                value = value.split(",")
            if not isinstance(value, list) or not all(isinstance(w, str) for w in value):
                problem(key, f"{key} is a list of codes: ['OBJ025']")
                continue
            found: list[str] = []
            for word in value:
                try:
                    found += _codes([word], key)
                except SvcdoctorError as e:
                    problem(key, e.message)
            if key == "select" and value and not found:
                # Nothing that was selected exists: to select everything, or nothing, would be a guess.
                raise SvcdoctorError(f"{path}: select names no code that exists")
            setattr(self, key, tuple(found))


def _configured(folder: Path) -> _Configured:
    """The configuration that holds for a folder: the nearest one upwards, within its repository.

    Raises SvcdoctorError for one that cannot be read.
    """
    found = _Configured()
    for place in (folder, *folder.parents):
        for name, section in ((OWN_FILE, ""), (SHARED_FILE, "tool.svcdoctor")):
            path = place / name
            if not path.is_file():
                continue
            text = text_of(path)
            if section and "svcdoctor" not in text:
                continue  # another tool's file; it says nothing to this one
            table: Any = parsed(text, path)
            for key in section.split(".") if section else ():
                table = table.get(key) if isinstance(table, dict) else None
            if table is None:
                continue
            if not isinstance(table, dict):
                raise SvcdoctorError(f"{path}: {section} is no table")
            shown = path.relative_to(folder) if place == folder else path
            found.read(shown, text, table, section)
            found.notes = (f"configuration: {shown}",)
            return found
        if (place / ".git").exists():
            break
    return found


def _baseline(path: Path) -> frozenset[str]:
    """The fingerprints of an earlier answer. Raises SvcdoctorError for what is none."""
    from svcdoctor.checks.choosing import fingerprints

    try:
        with path.open("rb") as f:
            data = f.read(MAX_BASELINE + 1)
    except OSError as e:
        raise SvcdoctorError(f"--baseline {path}: {e.strerror}") from None
    if len(data) > MAX_BASELINE:
        raise SvcdoctorError(f"--baseline {path}: more than {MAX_BASELINE >> 20} MiB")
    try:
        return fingerprints(data)
    except ValueError as e:
        raise SvcdoctorError(f"--baseline {path}: no answer of svcdoctor check -o json: {e}") from None
