"""JUnit's XML, held against what Jenkins' schema of it allows (xunit-plugin, junit-10.xsd), and read by others."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import junitparser
import pytest
from checkups import ALL_SORTS, HOSTILE, NOTHING, ROWS, SOUND, hostile, large
from msgspec.structs import replace

from svcdoctor.model.checkup import Checkup
from svcdoctor.report.checkupjunit import junit
from svcdoctor.report.junit import Case, Suite, Told, junit_xml

COUNTS = {"tests", "failures", "errors"}
# Element: attributes that must be, attributes that may be too, children, whether text may stand in it.
ALLOWED: dict[str, tuple[set[str], set[str], set[str], bool]] = {
    "testsuites": (set(), {"name", "time", *COUNTS}, {"testsuite"}, False),
    "testsuite": (
        {"name", *COUNTS},
        {"group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
        False,
    ),
    "testcase": (
        {"name"},
        {"time", "classname", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
        False,
    ),
    "failure": (set(), {"type", "message"}, set(), True),
    "error": (set(), {"type", "message"}, set(), True),
    "skipped": (set(), {"type", "message"}, set(), True),
    "system-out": (set(), set(), set(), True),
}
CHECKUPS = {
    "all sorts": ALL_SORTS,
    "sound": SOUND,
    "nothing": NOTHING,
    "hostile": hostile(),
    "large": large(300),
}


def held(root: ET.Element) -> None:
    """Holds a document against ``ALLOWED``, and its counts against its cases."""
    assert root.tag == "testsuites"
    for element in root.iter():
        required, optional, children, text = ALLOWED[element.tag]
        assert required <= set(element.keys()) <= required | optional
        assert {c.tag for c in element} <= children
        assert text or not (element.text or "").strip()
        assert not (element.tail or "").strip()
    for element in (root, *root.iter("testsuite")):
        cases = list(element.iter("testcase"))
        found = {
            "tests": len(cases),
            "failures": sum(c.find("failure") is not None for c in cases),
            "errors": sum(c.find("error") is not None for c in cases),
            "skipped": sum(c.find("skipped") is not None for c in cases),
        }
        assert all(
            int(element.get(k, "-1")) == n for k, n in found.items() if k != "skipped" or k in element.attrib
        )


def cases(text: str) -> dict[str, ET.Element]:
    return {f"{c.get('classname')}.{c.get('name')}": c for c in ET.fromstring(text).iter("testcase")}


@pytest.mark.parametrize("warnings_fail", [False, True])
@pytest.mark.parametrize("name", CHECKUPS)
def test_every_document_is_what_jenkins_reads(name: str, warnings_fail: bool) -> None:
    text = junit(CHECKUPS[name], warnings_fail=warnings_fail)
    held(ET.fromstring(text))
    assert text.isascii()
    read = junitparser.JUnitXml.fromstring(text.encode())
    assert sum(len(list(suite)) for suite in read) == text.count("<testcase")


def test_a_wrong_document_is_not_held_for_right() -> None:
    text = junit(ALL_SORTS, warnings_fail=False)
    for wrong in (
        text.replace('tests="11"', 'tests="12"', 1),
        text.replace("classname=", "class=", 1),
        text.replace("system-out", "output"),
        text.replace("<testcase", "loose <testcase", 1),
    ):
        assert wrong != text
        with pytest.raises((AssertionError, KeyError)):
            held(ET.fromstring(wrong))


def test_a_case_for_each_object_with_what_became_of_it() -> None:
    found = cases(junit(ALL_SORTS, warnings_fail=False))
    names = [f"{r.kind}.{r.namespace}.{r.name}" for r in ROWS]
    assert [name for name in found if name in names] == names
    web = found["Service.shop.web"].find("failure")
    assert web is not None and web.get("type") == "OBJ002"
    assert web.get("message") == "OBJ002 Selector matches no pod: Service/shop/web"
    assert "evidence number 6" in (web.text or "") and "at ./deploy/web.yaml:12" in (web.text or "")
    api = found["Service.shop.api"]
    assert [c.tag for c in api] == ["system-out"]
    assert "NOD009" in (api[0].text or "") and "RUL021" in (api[0].text or "")
    assert "suppressed: RUL021 ignored" in (api[0].text or "")
    assert [c.tag for c in found["NetworkPolicy.shop.deny"]] == []
    murky = found["Service.shop.murky"].find("skipped")
    assert murky is not None and murky.get("message") == "could not be determined"


def test_what_was_not_itself_checked_has_a_case_too() -> None:
    found = cases(junit(ALL_SORTS, warnings_fail=False))
    rejected = found["ConfigMap.shop.settings"].find("failure")
    assert rejected is not None and rejected.get("type") == "OBJ032"
    known = found["Service.other.old"].find("skipped")
    assert known is not None and known.get("message") == "OBJ013 known from the baseline"
    problems = [c for name, c in found.items() if name.startswith("problems.")]
    assert problems[0].get("name") == "deploy/bad.yaml:3"
    assert all(c.find("error") is not None for c in problems) and len(problems) == 2


def test_warnings_fail_where_the_command_fails_for_them() -> None:
    found = cases(junit(ALL_SORTS, warnings_fail=True))
    failure = found["Service.shop.api"].find("failure")
    assert failure is not None and failure.get("type") == "NOD009"
    assert "RUL021" in (found["Service.shop.api"].findtext("system-out") or "")
    assert found["Ingress.shop.front"].find("failure") is not None


def test_a_broken_object_without_a_finding_fails() -> None:
    broken = replace(ROWS[1], verdict=ROWS[4].verdict)
    found = cases(junit(Checkup("x", (broken,)), warnings_fail=False))
    assert found["Service.shop.fine"].find("failure") is not None


def test_what_xml_cannot_hold_is_written_out_and_the_rest_survives() -> None:
    texts = {
        "\x00\x1b[31m": r"\x00\x1b[31m",
        "\u202eabc": r"\u202eabc",
        "\ud800\uffff": r"\ud800\uffff",
        "]]> & <b> \"'": "]]> & <b> \"'",
        "a\nb\tc": "a\nb\tc",
        "a\r\nb\rc": "a\nb\\rc",
        "\U0001f600 漢": "\U0001f600 漢",
    }
    for told, shown in texts.items():
        text = junit_xml([Suite(told, [Case(told, told, Told(told, told, told), output=told)])])
        case = next(ET.fromstring(text).iter("testcase"))
        assert case.findtext("failure") == case.findtext("system-out") == shown
        assert case.get("name") == " ".join(shown.split())


def test_hostile_names_stay_apart() -> None:
    found = ET.fromstring(junit(hostile(), warnings_fail=False))
    assert len(list(found.iter("failure"))) >= len(HOSTILE)
    shown = "".join(v for e in found.iter() for v in (*e.attrib.values(), e.text or "", e.tail or ""))
    assert not re.search(r"[^\n\t -~\u00a0-\U0010ffff]", shown)
