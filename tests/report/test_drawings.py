"""Drawings in the languages of others: SVG by an XML parser, dot by Graphviz, and nothing in them is obeyed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from xml.etree import ElementTree as ET

import drawn_ways
import pytest
from checkups import obeyed

from svcdoctor.model.trace import Trace
from svcdoctor.report.drawing.charting import charts
from svcdoctor.report.drawing.dot import dot
from svcdoctor.report.drawing.layout import lay_out
from svcdoctor.report.drawing.measure import CODE, NAME, PROSE, width, wrapped
from svcdoctor.report.drawing.mermaid import mermaid
from svcdoctor.report.drawing.palette import DARK, LIGHT, STATUSES
from svcdoctor.report.drawing.svg import svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trace]:
    return {
        "healthy": drawn_ways.node_port(),
        "typo": drawn_ways.typo(),
        "stale": drawn_ways.stale(tmp_path_factory.mktemp("stale")),
        "name": drawn_ways.lost_name(),
        "local": drawn_ways.local(),
        "crowd": drawn_ways.crowd(),
        "hostile": drawn_ways.hostile(),
    }


NAMES = ("healthy", "typo", "stale", "name", "local", "crowd", "hostile")


def texts(trace: Trace) -> str:
    root = ET.fromstring(svg(trace))
    return "\n".join("".join(t.itertext()) for t in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_xml_without_script_or_anything_from_outside(answers: dict[str, Trace], name: str) -> None:
    root = ET.fromstring(svg(answers[name]))
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {
            "svg", "title", "desc", "style", "rect", "g", "circle", "path", "text",
        }  # fmt: skip
        assert not [a for a in element.attrib if a.startswith("on") or a.endswith("href") or a == "style"]
    assert "url(" not in svg(answers[name]) and "@import" not in svg(answers[name])
    assert root.find(f"{SVG}title") is not None and root.get("role") == "img"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stands_outside_its_sheet_or_on_another_box(answers: dict[str, Trace], name: str) -> None:
    for chart in charts(answers[name]):
        sheet = lay_out(chart)
        for i, one in enumerate(sheet.placed):
            assert one.x >= 0 and one.x + one.width <= sheet.width
            assert one.y >= 0 and one.y + one.height <= sheet.height
            for run in one.setting.runs:
                assert run.x + width(run.text, run.kind) <= one.width and run.y <= one.height
            for other in sheet.placed[:i]:
                apart = one.x >= other.x + other.width or other.x >= one.x + one.width
                assert apart or one.y >= other.y + other.height or other.y >= one.y + one.height
        assert sheet.width < 1700


def test_the_drawing_of_each_fault_says_what_and_how_to_mend_it(answers: dict[str, Trace]) -> None:
    for name, code in (("typo", "OBJ002"), ("stale", "RUL004"), ("name", "DNS011"), ("local", "RUL009")):
        shown = texts(answers[name])
        finding = next(f for f in answers[name].findings if f.code == code)
        assert f"{code}\n" in shown
        flat = re.sub(r"[\s\\]+", "", shown)
        assert re.sub(r"\s+", "", finding.title) in flat
        assert re.sub(r"[\s\\]+", "", finding.fix) in flat


def test_what_a_reader_cannot_see_or_a_browser_obeys_is_not_in_it(answers: dict[str, Trace]) -> None:
    for write in (svg, mermaid, dot):
        assert not obeyed(write(answers["hostile"]))
    for write in (svg, mermaid):
        assert "<img" not in write(answers["hostile"])


@pytest.mark.parametrize("name", NAMES)
def test_dot_is_drawn_by_graphviz(answers: dict[str, Trace], name: str) -> None:
    if shutil.which("dot") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("Graphviz's dot is not installed")
    text = dot(answers[name])
    done = subprocess.run(
        ["dot", "-Tplain"], input=text, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    drawn = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("node ")]
    boxes = [box.key for chart in charts(answers[name]) for box in chart.boxes]
    remarks = [remark.key for chart in charts(answers[name]) for _, remark in chart.remarks]
    assert sorted(drawn) == sorted(boxes + remarks)


MERMAID = re.compile(
    r"""
    flowchart[ ]LR | [ ]+end | [ ]+direction[ ]LR
    | [ ]+subgraph[ ]g\d+\["TEXT"\]
    | [ ]+[cesdr]\d+(\["TEXT"\] | \(\["TEXT"\]\) | \{\{"TEXT"\}\})(:::(warn|fail|unknown))?
    | [ ]+[cesdr]\d+[ ](-->|-\.->|-\.-x|-\.-)(\|"TEXT"\|)?[ ][cesdr]\d+
    | [ ]+linkStyle[ ]\d+[ ]stroke:\#\w{6},stroke-width:2px
    | [ ]+classDef[ ]\w+[ ]fill:\#\w{6},stroke:\#\w{6},stroke-width:2px,color:\#\w{6}
    """.replace("TEXT", r"([^\"\#&<>`%;\\]|\#\d+;|<br/>)*"),
    re.VERBOSE,
)


@pytest.mark.parametrize("name", NAMES)
def test_mermaid_is_written_in_a_few_forms_with_every_word_between_quotes(
    answers: dict[str, Trace], name: str
) -> None:
    lines = mermaid(answers[name]).splitlines()
    assert [line for line in lines if not MERMAID.fullmatch(line)] == []
    links = [line for line in lines if re.match(r" +\w+ -", line)]
    for number, colour in (
        m.groups() for line in lines if (m := re.match(r" +linkStyle (\d+) stroke:(.{7})", line))
    ):
        assert "-.-" in links[int(number)] and colour in LIGHT.values()
    drawn = charts(answers[name])
    assert len(links) == sum(len(c.edges) + len(c.remarks) for c in drawn)


def test_text_is_broken_where_it_may_be_and_nothing_is_lost() -> None:
    for kind in (NAME, PROSE, CODE):
        for text in (
            "a-long-name-of-a-pod-7d4f8b9c6-x2k9p",
            "some words, and some more words",
            "x" * 99,
            "漢字" * 30,
        ):
            lines = wrapped(text, kind, 100)
            assert max(width(line, kind) for line in lines) <= 100
            assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrapped("  indented", CODE, 200) == ["  indented"]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_asks_for(colours: dict[str, str]) -> None:
    grounds = ["ground", "paper", "sunk", *(f"{s}-tint" for s in STATUSES)]
    for text in ("ink", "soft", "link"):
        for ground in grounds:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for status in STATUSES:
        for ground in ("ground", "paper", "sunk", f"{status}-tint"):
            assert contrast(colours[status], colours[ground]) >= 4.5, (status, ground)
    for ground in ("ground", "paper"):
        assert contrast(colours["edge"], colours[ground]) >= 3
