"""The signs of the terminal report, and what stands for them where the encoding has no such characters."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Status, Verdict

STYLE = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red", Status.UNKNOWN: "magenta"}
OF_VERDICT = {
    Verdict.HEALTHY: Status.OK,
    Verdict.DEGRADED: Status.WARN,
    Verdict.BROKEN: Status.FAIL,
    Verdict.UNKNOWN: Status.UNKNOWN,
}
SEVERITY_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Marks and lines. Those of a set are equally wide: marks among each other, the four rails too."""

    ok: str
    warn: str
    fail: str
    unknown: str
    start: str
    fork: str
    last: str
    rail: str
    down: str

    def mark(self, status: Status) -> str:
        return {
            Status.OK: self.ok,
            Status.WARN: self.warn,
            Status.FAIL: self.fail,
            Status.UNKNOWN: self.unknown,
        }[status]


UNICODE = Glyphs("✔", "!", "✘", "?", "╭─ ", "├─ ", "╰─ ", "│  ", "▼")
ASCII = Glyphs("ok", "!!", "xx", "??", "+- ", "+- ", "+- ", "|  ", "v")


def glyphs_for(encoding: str) -> Glyphs:
    """The drawn set where ``encoding`` has all of its characters, plain ASCII elsewhere."""
    try:
        "✔✘╭─├╰│▼".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE
