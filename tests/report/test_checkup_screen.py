"""A checkup on the terminal: what stands where, at any width, in any encoding, however much there is."""

from __future__ import annotations

import dataclasses
import re

import pytest
from checkups import ALL_SORTS, HOSTILE, NO_POD, NOTHING, ROWS, SOUND, hostile, large, obeyed, screen
from msgspec.structs import replace
from rich.cells import cell_len

from svcdoctor.model.checkup import Checkup, Reported
from svcdoctor.model.trace import Verdict

CHECKUPS = {"all sorts": ALL_SORTS, "sound": SOUND, "nothing": NOTHING, "hostile": hostile()}


def test_the_parts_in_their_order() -> None:
    text = screen(ALL_SORTS)
    marks = [
        "checked namespace shop: 5 Services, 1 Ingress, 1 NetworkPolicy",
        "✘ broken    Service web",
        "! degraded  Service api",
        "? unknown   Service murky",
        "and 3 sound",
        "OBJ002 error: Selector matches no pod  Service/shop/web",
        "  at ./deploy/web.yaml:12 (spec.selector)",
        "    No pod carries all labels of the selector.",
        "  - evidence number 1",
        "    and 2 more",
        "    kubectl -n shop patch svc web -p",
        "OBJ032 error",
        "NOD009 warning",
        "  affects Ingress/shop/front, Service/shop/api, Service/shop/s0,",
        "and 6 more",
        "RUL021 info",
        "problem: deploy/bad.yaml:3: not YAML",
        "not known, and needed for a verdict: Pod (namespace shop)",
        "note: configuration: svcdoctor.toml",
        "suppressed: 2 ignored (2 RUL021)",
        "suppressed: 1 ignored by an annotation (1 OBJ025)",
        "suppressed: 1 known from the baseline (1 OBJ013)",
        "basis: the API's objects; node rules not evaluated",
    ]
    at = 0
    for mark in marks:
        at = text.index(mark, at) + 1
    last = " ".join(text.splitlines()[-2:])
    assert re.sub(r"\s+", " ", last) == (
        "✘ 7 objects: 1 broken, 2 degraded, 1 unknown, 3 sound; "
        "2 errors, 1 warning, 1 info, 4 suppressed, 2 problems."
    )
    assert "evidence number 5" not in text and "snat" not in text
    assert "Ingress (namespace shop)" not in text  # said of all namespaces already


def test_verbose_leaves_nothing_out() -> None:
    text = screen(ALL_SORTS, 120, verbose=True)
    for part in (
        "healthy",
        "Service outside",
        "evidence number 6",
        "snat",
        "Service/shop/s8",
        "89:30089→8080/TCP",
    ):
        assert part in text
    assert "with -v" not in text


@pytest.mark.parametrize(
    ("checkup", "last"),
    [
        (SOUND, "✔ 2 objects: all sound; no finding."),
        (replace(SOUND, rows=SOUND.rows[:1]), "✔ 1 object: sound; no finding."),
        (NOTHING, "✔ namespace empty: nothing to check; no finding."),
        (replace(SOUND, rows=(ROWS[2],)), "? 1 object: 1 unknown; no finding."),
        (replace(SOUND, findings=ALL_SORTS.findings[3:]), "✔ 2 objects: all sound; 1 info."),
        (replace(SOUND, problems=ALL_SORTS.problems[:1]), "! 2 objects: all sound; no finding, 1 problem."),
    ],
)
def test_the_last_line_is_the_answer_in_plain_words(checkup: Checkup, last: str) -> None:
    assert screen(checkup).splitlines()[-1] == last


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("name", CHECKUPS)
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_the_screen(name: str, width: int, verbose: bool) -> None:
    # A fix's words are never broken, and a hostile one is a single long word: without fixes here.
    told = tuple(replace(r, finding=replace(r.finding, fix="")) for r in CHECKUPS[name].findings)
    unknowns = tuple(dataclasses.replace(u, grant="") for u in CHECKUPS[name].unknowns)
    text = screen(replace(CHECKUPS[name], findings=told, unknowns=unknowns), width, verbose=verbose)
    assert [line for line in text.splitlines() if cell_len(line) > width] == []


def test_the_same_words_in_ascii_and_without_colour() -> None:
    unicode, ascii_ = screen(ALL_SORTS, 200), screen(ALL_SORTS, 200, encoding="ascii")
    assert ascii_.isascii() and "80->8080/TCP" in ascii_ and "xx broken" in ascii_
    coloured = screen(ALL_SORTS, 200, force_terminal=True, color_system="standard")
    assert coloured != unicode
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == unicode
    signs = str.maketrans({"✔": "o", "✘": "x", "→": "-"})
    letters = re.sub(r"[^a-zA-Z]", "", unicode.translate(signs)).replace("x", "")
    assert letters == re.sub(r"[^a-zA-Z]", "", ascii_).replace("x", "")


@pytest.mark.parametrize("verbose", [False, True])
def test_nothing_that_others_wrote_reaches_the_terminal_as_more_than_text(verbose: bool) -> None:
    text = screen(hostile(), 120, verbose=verbose)
    assert not obeyed(text)
    assert "[red]not markup[/red] :smile:" in text
    assert text.count("OBJ013 error") == len(HOSTILE)


def test_a_thousand_broken_objects_are_a_screen_of_rows_and_a_line_for_each_cause() -> None:
    text = screen(large(1_000), 120)
    lines = text.splitlines()
    assert sum(line.startswith("✘ broken") for line in lines) == 40
    assert "and 960 broken more; all with -v" in lines
    assert sum(line.startswith("OBJ002 error") for line in lines) == 1_000
    assert text.count("  fix:") == 10
    assert len(lines) < 2_200


def test_one_cause_names_the_first_few_it_affects_and_counts_the_rest() -> None:
    names = tuple(f"Service/shop/s{i}" for i in range(5_000))
    told = Checkup("all namespaces", ROWS[:1], (Reported(NO_POD, names),))
    text = " ".join(screen(told, 200).split())
    assert f"affects {', '.join(names[:5])} and 4995 more" in text


def test_only_wrong_objects_are_in_the_table_and_the_worst_come_first() -> None:
    verdicts = [Verdict.UNKNOWN, Verdict.HEALTHY, Verdict.DEGRADED, Verdict.BROKEN]
    rows = tuple(replace(ROWS[0], name=f"n{i}", verdict=v) for i, v in enumerate(verdicts))
    lines = screen(Checkup("x", rows), 120).splitlines()
    assert [line.split()[3] for line in lines[2:5]] == ["n3", "n2", "n0"]
    assert lines[5] == "and 1 sound"


def test_namespaces_are_told_where_there_are_several() -> None:
    other = replace(ROWS[4], namespace="pay")
    assert "Service pay/web" in screen(Checkup("all namespaces", (ROWS[4], other)), 120)
    assert "Service web" in screen(Checkup("all namespaces", (ROWS[4],)), 120)
