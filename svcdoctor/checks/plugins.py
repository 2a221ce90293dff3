"""Checks of other packages: what installed packages name in the entry point group ``svcdoctor.checks``.

Theory. An entry point names a module whose import registers checks, or a callable that does (docs/plugins.md). A
package is taken whole or not at all, and what it does wrong is said in the answer: it never ends a run, and never
touches the findings of others. Where no package has the group, nothing is imported to find that out.

What may live here: finding, holding and guarding such packages. No check.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from svcdoctor.checks.registry import REGISTRY, Case, Check, CheckFunction, Raised
from svcdoctor.model.finding import Severity

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "svcdoctor.checks"
OWN = frozenset({"OBJ", "DNS", "RUL", "NOD", "EXT", "OBS"})
_CODE = re.compile(r"([A-Z]{2,8})[0-9]{3}")

PACKAGES: dict[str, str] = {}
"""The package of each code that is not svcdoctor's own."""


@cache
def loaded() -> tuple[str, ...]:
    """Registers the installed packages' checks, once. Says of each package that is left out why, on one line."""
    if not _any_installed():
        return ()
    from importlib.metadata import entry_points

    from svcdoctor.checks import families  # noqa: F401  (svcdoctor's own come first: their codes are taken)

    found = sorted(entry_points(group=GROUP), key=lambda e: (_package(e), e.name, e.value))
    return tuple(problem for entry in found if (problem := _load(entry)))


def _any_installed() -> bool:
    """Whether any installed package has the group: a look into files that costs a fiftieth of importlib.metadata."""
    wanted = f"[{GROUP}]".encode()
    for folder in map(Path, dict.fromkeys(sys.path)):
        try:
            installed = [p for p in folder.iterdir() if p.suffix in (".dist-info", ".egg-info")]
        except OSError:
            continue  # no folder: what is in archives is not looked at
        for path in installed:
            try:
                if wanted in (path / "entry_points.txt").read_bytes():
                    return True
            except OSError:
                continue  # it has no entry points
    return False


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.name


def _load(entry: EntryPoint) -> str:
    """Registers one package's checks; empty, or why it is left out."""
    package = _package(entry)
    before = dict(REGISTRY)
    try:
        named = entry.load()
        if callable(named):
            named()
        wrong = _wrong(before)
    except (Exception, SystemExit) as e:  # whatever the package does while it is imported
        wrong = _one_line(e)
    if wrong:
        REGISTRY.clear()
        REGISTRY.update(before)
        return f"the checks of package {package} are left out: {wrong}"
    for code in [code for code in REGISTRY if code not in before]:
        REGISTRY[code] = replace(REGISTRY[code], run=_guarded(REGISTRY[code], package))
        PACKAGES[code] = package
    return ""


def _wrong(before: dict[str, Check]) -> str:
    """What is wrong with what a package registered; empty where nothing is."""
    if any(REGISTRY.get(code) is not check for code, check in before.items()):
        return "it changes checks that are not its own"
    new = [check for code, check in REGISTRY.items() if code not in before]
    if not new:
        return "it registers no check"
    return next((wrong for check in new if (wrong := _wrong_check(check))), "")


def _wrong_check(check: Check) -> str:
    code = _CODE.fullmatch(check.code) if isinstance(check.code, str) else None
    if code is None:
        return f"{check.code!r} is no code: 2 to 8 capital letters and 3 digits, such as ACME001"
    if code[1] in OWN:
        return f"code {check.code} begins with {code[1]}, which is svcdoctor's own"
    texts = (check.title, check.meaning, check.look, check.mend, *check.links, *check.explains)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return f"{check.code}: title, meaning, look, mend, links and explains are texts that say something"
    severity: object = check.severity
    if not isinstance(severity, Severity):
        return f"{check.code}: the severity is not one of svcdoctor.model.finding.Severity"
    return ""


def _guarded(check: Check, package: str) -> CheckFunction:
    """The check, in which whatever goes wrong is a fact that could not be determined, and no finding."""
    first: dict[tuple[str, str, int], str] = {}  # one text for each place: the same fault is said once

    def run(case: Case) -> Iterator[Raised]:
        try:
            found = [_held(raised) for raised in check.run(case)]
        except Exception as e:
            last = traceback.extract_tb(e.__traceback__)[-1]
            place = (type(e).__name__, last.filename, last.lineno or 0)
            reason = first.setdefault(
                place, f"{_one_line(e)} ({Path(last.filename).name}, line {last.lineno})"
            )
            case.view.lacks(f"{check.code} of {package}", reason, f"mend or remove the package {package}")
            return
        yield from found

    return run


def _held(raised: object) -> Raised:
    """What a check yielded. Raises TypeError for what is no sound Raised."""
    if not isinstance(raised, Raised):
        raise TypeError(f"a check yields Raised, not {type(raised).__name__}")
    for name, texts in (("subjects", raised.subjects), ("evidence", raised.evidence)):
        if not isinstance(texts, tuple) or not all(isinstance(t, str) for t in texts):
            raise TypeError(f"{name} of Raised is a tuple of texts")
    if not raised.subjects:
        raise TypeError("a Raised without subjects")
    if not all(isinstance(text, str) for text in (raised.explanation, raised.fix, raised.field)):
        raise TypeError("explanation, fix and field of Raised are texts")
    if not isinstance(raised.severity, Severity | None):
        raise TypeError("the severity of Raised is a Severity or None")
    return raised


def _one_line(e: BaseException) -> str:
    return " ".join(f"{type(e).__name__}: {e}".split())[:300]
