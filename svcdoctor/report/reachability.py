"""The results of ``test``: for people, as a table, as JSON, and as JUnit for CI systems."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from svcdoctor.model.reachability import TestResult, TestRun, TestState
from svcdoctor.model.trace import Status
from svcdoctor.path.jsonform import API_VERSION
from svcdoctor.report.junit import Case, Suite, Told, junit_xml
from svcdoctor.report.layout import Lines, Pen, under, words
from svcdoctor.report.tables import plain
from svcdoctor.report.wording import counted

_STATUS = {
    TestState.PASSED: Status.OK,
    TestState.FAILED: Status.FAIL,
    TestState.UNKNOWN: Status.UNKNOWN,
}
_HEADERS = ("TEST", "RESULT", "FROM", "TO", "EXPECTED", "GOT", "CODE")


def render(run: TestRun, console: Console) -> None:
    """A line for each test, the cause of each that did not pass, and the count."""
    pen = Pen.of(console, False, "")
    for result in run.results:
        for line in _lines(pen, result):
            console.print(line)
    console.print(Text(summary(run)))


def summary(run: TestRun) -> str:
    """``4 tests: 2 passed, 1 failed, 1 unknown``."""
    counts = ", ".join(f"{n} {state}" for state in TestState if (n := run.count(state)))
    return f"{counted(len(run.results), 'test')}: {counts}"


def _lines(pen: Pen, result: TestResult) -> Lines:
    way = f"  {result.client} → {result.target}"
    found = pen.wrap(words(pen.mark(_STATUS[result.state]), " ", (result.name, "bold"), (way, "dim")), 2)
    if result.state is TestState.PASSED:
        return found
    inner = pen.narrower(4)
    told = [f"expected {result.expected}, got {result.got}"]
    told += [f"{result.code}: {result.why}" if result.code else result.why] if result.why else []
    told.append(f"{result.place.file} line {result.place.line}")
    for line in told:
        found += under(inner.wrap(words(line)), "    ", "    ")
    return found


def table(run: TestRun) -> str:
    """A row for each test, and a newline at the end."""
    rows = [
        [r.name, str(r.state), r.client, r.target, r.expected, r.got, r.code] for r in run.results
    ]  # fmt: skip
    return plain(_HEADERS, rows)


def run_json(run: TestRun) -> dict[str, Any]:
    """All results, ready for JSON."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ReachabilityResult",
        "source": run.source,
        "exitCode": run.exit_code,
        "passed": run.count(TestState.PASSED),
        "failed": run.count(TestState.FAILED),
        "unknown": run.count(TestState.UNKNOWN),
        "tests": [
            {
                "name": r.name,
                "file": r.place.file,
                "line": r.place.line,
                "from": r.client,
                "to": r.target,
                "result": r.state,
                "expected": r.expected,
                "got": r.got,
                "code": r.code or None,
                "why": r.why or None,
                "basis": r.basis,
                "seconds": round(r.seconds, 3),
            }
            for r in run.results
        ],
    }


def junit(run: TestRun) -> str:
    """JUnit's XML: a suite for each file; what could not be determined is an error."""
    files = dict.fromkeys(r.place.file for r in run.results)
    return junit_xml(
        Suite(file, [_case(result) for result in run.results if result.place.file == file]) for file in files
    )


def _case(result: TestResult) -> Case:
    name, classname = result.name, result.place.file
    if result.state is TestState.PASSED:
        return Case(classname, name)
    message = f"expected {result.expected}, got {result.got}"
    text = f"{result.place.file} line {result.place.line}: {result.client} -> {result.target}\n{result.why}"
    told = Told(result.code or str(result.state), message, text)
    failed = result.state is TestState.FAILED
    return Case(classname, name, failure=told if failed else None, error=None if failed else told)
