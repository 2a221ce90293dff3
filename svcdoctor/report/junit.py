"""JUnit's XML, as Jenkins, GitLab and others read it: suites of cases, each with what became of it.

Without times and dates, which a reader may leave out: two reports of the same facts are the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from svcdoctor.report.printable import revealed


@dataclass(frozen=True, slots=True)
class Told:
    """Why a case did not pass: a word for its sort, one line, and the whole text."""

    type: str
    message: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One case; ``error`` is for what could not be looked at, ``skipped`` says in a line why it was not."""

    classname: str
    name: str
    failure: Told | None = None
    error: Told | None = None
    skipped: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """Cases under one name."""

    name: str
    cases: Sequence[Case]


def junit_xml(suites: Iterable[Suite]) -> str:
    """The document, ASCII only; what XML cannot hold is written out (``\\x1b``)."""
    root = ET.Element("testsuites", name="svcdoctor")
    total = {"tests": 0, "failures": 0, "errors": 0}
    for suite in suites:
        counts = {
            "tests": len(suite.cases),
            "failures": sum(c.failure is not None for c in suite.cases),
            "errors": sum(c.error is not None for c in suite.cases),
        }
        skipped = sum(bool(c.skipped) for c in suite.cases)
        texts = {k: str(v) for k, v in (counts | {"skipped": skipped}).items()}
        element = ET.SubElement(root, "testsuite", {"name": _line(suite.name), **texts})
        for case in suite.cases:
            _add(element, case)
        total = {k: v + counts[k] for k, v in total.items()}
    root.attrib.update({k: str(v) for k, v in total.items()})
    ET.indent(root)
    body = ET.tostring(root, encoding="us-ascii").decode()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _add(suite: ET.Element, case: Case) -> None:
    names = {"classname": _line(case.classname), "name": _line(case.name)}
    element = ET.SubElement(suite, "testcase", names)
    for tag, told in (("failure", case.failure), ("error", case.error)):
        if told is not None:
            child = ET.SubElement(element, tag, message=_line(told.message), type=_line(told.type))
            child.text = revealed(told.text or told.message)
    if case.skipped:
        ET.SubElement(element, "skipped", message=_line(case.skipped))
    if case.output:
        ET.SubElement(element, "system-out").text = revealed(case.output)


def _line(text: str) -> str:
    return " ".join(revealed(text).split())
