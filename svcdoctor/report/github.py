"""A checkup as GitHub's workflow commands: annotations in a run's log, at file and line where there is one.

GitHub shows a step's first ten of each level, so the worst come first; a message is escaped after the workflow
commands' own rules, in which a property also escapes what separates properties.
"""

from __future__ import annotations

from svcdoctor.model.checkup import Checkup, Place, Problem, Reported
from svcdoctor.model.finding import Severity
from svcdoctor.report.checkupwords import file_of, place_words, subject, summary, suppressed_words, whole
from svcdoctor.report.printable import revealed

_COMMAND = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def workflow_commands(checkup: Checkup) -> str:
    """A line for each finding, problem and lacking fact, then how it went in words, for who reads the log."""
    lines = [_finding(r) for r in checkup.findings]
    lines += [_problem(p) for p in checkup.problems]
    lines += [
        _command("warning", None, "svcdoctor: could not be determined", f"{u.fact}: {u.reason}\n{u.grant}")
        for u in checkup.unknowns
        if u.required
    ]
    lines += [f"suppressed: {words}" for words in suppressed_words(checkup.suppressed)]
    if checkup.rows:  # without rows the summary names the scope, which is not ours
        lines.append(summary(checkup))
    return "".join(f"{line}\n" for line in lines)


def _finding(r: Reported) -> str:
    title = f"{r.finding.code} {r.finding.title}: {subject(r)}"
    return _command(_COMMAND[r.finding.severity], r.place, title, whole(r))


def _problem(p: Problem) -> str:
    text = p.message
    if p.place is not None and not file_of(p.place):  # a line of standard input
        text = f"{place_words(p.place)}: {text}"
    return _command("error", p.place, "svcdoctor: problem", text)


def _command(level: str, place: Place | None, title: str, message: str) -> str:
    properties = []
    file = file_of(place)
    if place is not None and file:
        properties += [f"file={_property(file)}", f"line={place.line}"]
    properties.append(f"title={_property(title)}")
    return f"::{level} {','.join(properties)}::{_data(message.rstrip())}"


def _data(text: str) -> str:
    return revealed(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
