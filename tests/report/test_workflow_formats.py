"""GitHub's workflow commands and GitLab's code quality, read back as their systems read them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from checkups import ALL_SORTS, HOSTILE, NOTHING, SOUND, hostile, large
from msgspec.structs import replace

from svcdoctor.model.checkup import Checkup, Place, Problem, Reported
from svcdoctor.report.github import workflow_commands
from svcdoctor.report.gitlab import code_quality
from svcdoctor.report.machine import form_as_json
from svcdoctor.report.printable import revealed

COMMAND = re.compile(r"::(\w+) ([^:]*)::(.*)")


def unescaped(text: str, *, prop: bool) -> str:
    """As the runner does it: the data's three, a property's five, the percent sign last."""
    for shown, meant in (("%0D", "\r"), ("%0A", "\n"), *((("%3A", ":"), ("%2C", ",")) if prop else ())):
        text = text.replace(shown, meant)
    return text.replace("%25", "%")


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """What the runner understands of a log: the lines that begin with ``::``."""
    found = []
    for line in text.split("\n"):
        if match := COMMAND.fullmatch(line):
            pairs = (p.partition("=")[::2] for p in match[2].split(","))
            properties = {k: unescaped(v, prop=True) for k, v in pairs}
            found.append((match[1], properties, unescaped(match[3], prop=False)))
        else:
            assert not line.startswith("::")
    return found


def test_annotations_stand_at_their_file_and_line() -> None:
    text = workflow_commands(ALL_SORTS)
    found = commands(text)
    assert [level for level, _, _ in found] == [
        "error",
        "error",
        "warning",
        "notice",
        "error",
        "error",
        "warning",
    ]
    assert found[0][1] == {
        "file": "deploy/web.yaml",
        "line": "12",
        "title": "OBJ002 Selector matches no pod: Service/shop/web",
    }
    assert "evidence number 6\n" in found[0][2]
    assert list(found[2][1]) == ["title"]
    assert found[4][1]["line"] == "3"
    assert found[6][2].startswith("Pod (namespace shop): pods is forbidden")
    rest = [line for line in text.splitlines() if not line.startswith("::")]
    assert rest[0] == "suppressed: 2 ignored (2 RUL021)"
    assert rest[-1].startswith("7 objects: 1 broken")


def test_a_problem_of_standard_input_says_its_line() -> None:
    problem = Problem("not YAML", Place("-", 11))
    ((_, properties, message),) = commands(workflow_commands(Checkup("x", (), problems=(problem,))))
    assert message == "-:11: not YAML" and list(properties) == ["title"]


def test_nothing_wrong_is_no_command() -> None:
    assert workflow_commands(SOUND) == "2 objects: all sound; no finding.\n"
    assert commands(workflow_commands(NOTHING)) == []


def test_no_hostile_text_becomes_a_command_or_a_property() -> None:
    text = workflow_commands(hostile())
    found = commands(text)
    assert len(found) == 3 * len(HOSTILE)
    assert {level for level, _, _ in found} == {"error", "warning"}
    assert {key for _, properties, _ in found for key in properties} == {"file", "line", "title"}
    assert all(c.isprintable() or c == "\n" for c in text)
    for told, (_, properties, message) in zip(HOSTILE, found, strict=False):
        assert revealed(told) in properties["title"]
        assert revealed(told) in message


def entries(checkup: Checkup) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(form_as_json(code_quality(checkup)))
    return found


@pytest.mark.parametrize("checkup", [ALL_SORTS, SOUND, NOTHING, hostile(), large(500)])
def test_every_entry_has_what_gitlab_asks_for(checkup: Checkup) -> None:
    found = entries(checkup)
    assert len(found) == len(checkup.findings) + len(checkup.problems)
    for entry in found:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert entry["description"] and "\n" not in entry["description"]
        assert entry["location"]["path"] and not entry["location"]["path"].startswith("./")
        assert entry["location"]["lines"]["begin"] >= 1
    assert len({e["fingerprint"] for e in found}) == len(found)


def test_an_entry_stands_at_its_file_or_at_its_subject() -> None:
    found = entries(ALL_SORTS)
    assert found[0] == {
        "description": "OBJ002 Selector matches no pod: Service/shop/web. No pod carries all labels of the selector.",
        "check_name": "OBJ002",
        "fingerprint": ALL_SORTS.findings[0].fingerprint,
        "severity": "critical",
        "location": {"path": "deploy/web.yaml", "lines": {"begin": 12}},
    }
    assert found[2]["location"] == {"path": "Node/worker-1", "lines": {"begin": 1}}
    assert [e["severity"] for e in found] == ["critical", "critical", "major", "info", "major", "major"]


def test_findings_alike_keep_fingerprints_of_their_own() -> None:
    finding = ALL_SORTS.findings[0].finding
    alike = tuple(Reported(replace(finding, fix=f"other {i}")) for i in range(3))
    marks = [e["fingerprint"] for e in entries(Checkup("x", (), alike))]
    assert len(set(marks)) == 3 and marks[0] == alike[0].fingerprint
