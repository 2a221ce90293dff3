"""Every form of a checkup: nothing is lost in any, hostile text breaks none, many findings take no minutes."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
import yaml
from checkups import ALL_SORTS, HOSTILE, NOTHING, SOUND, hostile, large, obeyed
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt
from msgspec.structs import replace

from svcdoctor.cli.outputs import Format, Output, write
from svcdoctor.model.checkup import By, Checkup
from svcdoctor.report.checkupjson import checkup_json
from svcdoctor.report.checkupmarkdown import markdown
from svcdoctor.report.checkuptables import table
from svcdoctor.report.machine import form_as_json, form_as_yaml, schema

CHECKUPS = {"all sorts": ALL_SORTS, "sound": SOUND, "nothing": NOTHING, "hostile": hostile()}
VALIDATOR = Draft202012Validator(schema())


def written(checkup: Checkup, form: Format, capsys: pytest.CaptureFixture[str]) -> str:
    write(checkup, (Output(form),), fail_on="error", color="never", verbose=False)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.mark.parametrize("form", Format)
def test_every_finding_is_in_every_form(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    text = written(ALL_SORTS, form, capsys)
    for reported in ALL_SORTS.findings:
        code, first = reported.finding.code, reported.finding.subjects[0]
        assert code in text
        assert first in text
    assert text.endswith("\n")


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("name", CHECKUPS)
def test_the_same_facts_are_the_same_bytes(
    name: str, form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    first = written(CHECKUPS[name], form, capsys)
    assert written(CHECKUPS[name], form, capsys) == first
    assert not re.search(r"\b20\d\d-\d\d-\d\d", first)


@pytest.mark.parametrize("form", [f for f in Format if f is not Format.TERMINAL])
def test_ten_thousand_findings_take_seconds(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    checkup = large(2_000 if form is Format.YAML else 10_000)
    start = time.process_time()
    text = written(checkup, form, capsys)
    assert time.process_time() - start < 8
    if form is not Format.MARKDOWN:
        last = checkup.findings[-2].finding.subjects[0]
        assert text.count("OBJ002") >= len(checkup.rows) and last in text


@pytest.mark.parametrize("name", CHECKUPS)
def test_json_and_yaml_are_the_contract(name: str) -> None:
    form = checkup_json(CHECKUPS[name])
    text = form_as_json(form)
    document = json.loads(text)
    assert list(VALIDATOR.iter_errors(document)) == []
    assert Draft202012Validator(schema()["$defs"]["checkup"] | {"$defs": schema()["$defs"]}).is_valid(
        document
    )
    assert text.isascii()
    assert yaml.safe_load(form_as_yaml(form)) == document
    assert list(document) == list(form)


def test_the_enumerations_of_the_contract_are_the_models() -> None:
    assert schema()["$defs"]["suppressedFinding"]["properties"]["by"]["enum"] == list(By)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rows", 0, "verdict"), "fine"),
        (("rows", 0, "endpoints", "ready"), -1),
        (("rows", 0, "codes"), "OBJ002"),
        (("findings", 0, "severity"), "fatal"),
        (("findings", 0, "new"), "yes"),
        (("findings", 0, "place", "line"), 0),
        (("findings", 0, "fingerprint"), "short"),
        (("findings", 0, "subjects"), None),
        (("suppressed", 0, "by"), "chance"),
        (("problems", 0, "message"), None),
        (("scope",), None),
    ],
)
def test_the_contract_refuses_what_is_not_one(path: tuple[str | int, ...], value: object) -> None:
    document = json.loads(form_as_json(checkup_json(ALL_SORTS)))
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert not VALIDATOR.is_valid(document)


def test_a_baseline_finds_its_fingerprints_again() -> None:
    found = json.loads(form_as_json(checkup_json(ALL_SORTS)))["findings"]
    assert [f["fingerprint"] for f in found] == [r.fingerprint for r in ALL_SORTS.findings]
    assert [f["field"] for f in found] == [r.finding.field for r in ALL_SORTS.findings]


def test_the_tables_have_a_row_for_each_thing() -> None:
    parts = table(ALL_SORTS).split("\n\n")
    heads = [re.split(r"\s{2,}", p.splitlines()[0])[0] for p in parts]
    assert heads == ["VERDICT", "CODE", "CODE", "WHERE", "NOT KNOWN"]
    assert [len(p.splitlines()) - 1 for p in parts] == [7, 4, 4, 2, 4]
    rows = [re.split(r"\s{2,}", line) for line in parts[0].splitlines()[1:]]
    assert [r[0] for r in rows] == [
        "broken",
        "degraded",
        "degraded",
        "unknown",
        "healthy",
        "healthy",
        "healthy",
    ]
    assert rows[1][1:] == ["Service", "shop", "api", "ClusterIP", "80→8080/TCP", "2/3", "NOD009,RUL021"]
    assert rows[3][4:] == ["-", "-", "-", "-"]
    assert re.split(r"\s{2,}", parts[1].splitlines()[1]) == [
        "OBJ002",
        "error",
        "Service/shop/web",
        "1",
        "./deploy/web.yaml:12 (spec.selector)",
        "Selector matches no pod",
    ]
    assert table(NOTHING) == "namespace empty: nothing to check\n"


def test_no_hostile_text_breaks_a_row_of_a_table() -> None:
    text = table(hostile())
    assert not obeyed(text)
    counts = [len(p.splitlines()) - 1 for p in text.removesuffix("\n").split("\n\n")]
    assert counts == [len(HOSTILE)] * 5


def tokens_of(text: str) -> list[Any]:
    """As GitHub's Markdown reads it, with tables and HTML."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)


def test_markdown_is_tables_then_details_that_fold_out() -> None:
    text = markdown(ALL_SORTS)
    tokens = tokens_of(text)
    assert text.startswith("## svcdoctor: 7 objects: 1 broken, 2 degraded, 1 unknown, 3 sound; 2 errors")
    assert [t.type for t in tokens].count("table_open") == 2
    cells = [t.content for i, t in enumerate(tokens) if i and tokens[i - 1].type == "td_open"]
    assert len(cells) == 4 * 8 + 4 * 6
    blocks = [t.content for t in tokens if t.type == "html_block"]
    assert sum("<details>" in b for b in blocks) == sum("</details>" in b for b in blocks) == 4
    assert next(t.content for t in tokens if t.type == "fence").startswith("kubectl -n shop patch svc web")
    assert "Suppressed: 2 ignored (2 RUL021)" in text
    assert "Problem: deploy/bad.yaml:3: not YAML" in text
    assert "fine" not in " ".join(cells)


def test_no_hostile_text_is_markup_in_markdown() -> None:
    tokens = tokens_of(markdown(hostile()))
    types = [t.type for t in tokens]
    assert types.count("table_open") == 2 and types.count("tr_open") == 2 * (len(HOSTILE) + 1)
    assert types.count("heading_open") == 1
    assert types.count("fence") == len(HOSTILE)
    inner = [c for t in tokens if t.children for c in t.children]
    assert not {c.type for c in inner} - {"text", "softbreak", "text_special"}
    html = "".join(t.content for t in tokens if t.type == "html_block")
    assert set(re.findall(r"</?(\w+)", html)) == {"details", "summary"}
    assert "@everyone" not in html
    assert not obeyed("".join(c.content for c in inner) + html)


def test_markdown_stays_within_a_job_summary() -> None:
    text = markdown(large(10_000))
    assert len(text.encode()) < 1 << 20
    assert "And 9,500 more objects." in text and "And 9,501 more findings." in text
    assert re.search(r"Evidence and fixes of [\d,]+ more are left out", text)
    wide = tuple(
        replace(r, finding=replace(r.finding, evidence=("x" * 5_000,) * 50)) for r in large(300).findings
    )
    assert len(markdown(Checkup("x", (), wide)).encode()) < 1 << 20
