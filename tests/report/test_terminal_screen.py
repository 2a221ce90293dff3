"""The terminal report as a whole: order, widths, encodings, colour, what is not known."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from report_cluster import (
    EXTERNAL_NAME,
    FORBIDDEN,
    HEADLESS,
    INGRESS,
    OBJ002,
    OPTIONAL,
    RUL021,
    cluster,
    screen,
    traced,
    with_findings,
)
from rich.cells import cell_len

from svcdoctor.model.trace import Trace, Verdict

LONG = "w" * 90

TRACES = {
    "nodePort": traced(cluster()),
    "local": traced(cluster(policy="Local")),
    "local, many": traced(cluster(40, 90, policy="Local")),
    "pending balancer": traced(cluster(kind="LoadBalancer")),
    "dual": traced(cluster(dual=True, more=INGRESS)),
    "no endpoint": traced(cluster(pods=0)),
    "undeclared": traced(cluster(undeclared=(0, 2))),
    "headless": traced(cluster(service=HEADLESS)),
    "ExternalName": traced(cluster(service=EXTERNAL_NAME)),
    "pod": traced(cluster(), "pod/web-1"),
    "ingress": traced(cluster(more=INGRESS), "ingress/front"),
    "wrong port": traced(cluster(), "[fd00:96::7]:81"),
    "absent": traced(cluster(), "svc/other"),
    "large": traced(cluster(100, 200)),
}


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", TRACES)
def test_no_line_is_wider_than_the_screen(name: str, width: int) -> None:
    for verbose in (False, True):
        told = replace(
            with_findings(TRACES[name], replace(OBJ002, fix=""), RUL021),
            unknowns=(FORBIDDEN, OPTIONAL),
            notes=("a note that is long enough to be wrapped on every narrow screen " * 2,),
        )
        lines = screen(told, width, verbose=verbose).splitlines()
        assert len(lines) > 5
        assert [line for line in lines if cell_len(line) > width] == []


@pytest.mark.parametrize("name", TRACES)
def test_an_ascii_console_gets_ascii_and_the_same_facts(name: str) -> None:
    trace = TRACES[name]
    text = screen(trace, encoding="ascii")
    assert text.isascii()
    assert f"{trace.verdict}" in text.splitlines()[0]
    drawn = screen(trace)
    numbers = r"\d+\.\d+\.\d+\.\d+:\d+|\[[0-9a-f:]+\]:\d+"
    assert re.findall(numbers, text) == re.findall(numbers, drawn)


def test_the_sign_of_the_verdict_is_more_than_colour() -> None:
    signs = {v: screen(replace(TRACES["nodePort"], verdict=v)).splitlines()[0].split()[:2] for v in Verdict}
    assert signs == {
        Verdict.HEALTHY: ["✔", "healthy"],
        Verdict.DEGRADED: ["!", "degraded"],
        Verdict.BROKEN: ["✘", "broken"],
        Verdict.UNKNOWN: ["?", "unknown"],
    }


def test_colour_only_where_the_console_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = TRACES["local"]
    coloured = screen(trace, force_terminal=True, color_system="standard")
    assert "\x1b[" in coloured
    assert "\x1b" not in screen(trace)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == screen(trace)
    monkeypatch.setenv("NO_COLOR", "1")
    without = screen(trace, force_terminal=True, color_system="standard")
    assert not re.search(r"\x1b\[[\d;]*3[0-7]", without)


def test_the_parts_stand_in_the_order_of_their_weight() -> None:
    trace = replace(
        with_findings(TRACES["no endpoint"], OBJ002), unknowns=(OPTIONAL, FORBIDDEN), notes=("a note",)
    )
    text = screen(trace)
    places = [
        text.index(part)
        for part in (
            "✘ broken  Service shop/web  all 5 ways fail",
            "OBJ002 error",
            "client outside the cluster",
            "needed for a verdict: Pod (namespace shop): pods is forbidden",
            "kubectl create role x",
            "not known: Ingress (namespace shop)",
            "note: a note",
            "basis: the API's objects; node rules not evaluated",
        )
    ]
    assert places == sorted(places)
    assert text.splitlines()[-1].startswith("basis:")
    assert "kubectl get ingresses" not in text
    assert "kubectl get ingresses" in screen(trace, verbose=True)


def test_a_target_that_was_not_found_says_so() -> None:
    lines = screen(TRACES["absent"]).splitlines()
    assert lines[0] == "? unknown  Service shop/other  no way was found"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nodePort", "all 5 ways arrive"),
        ("local", "1 of 5 ways fails"),
        ("no endpoint", "all 5 ways fail"),
        ("undeclared", "all 5 ways degraded"),
        ("headless", "Service shop/web"),
    ],
)
def test_the_headline_counts_the_ways(name: str, said: str) -> None:
    assert screen(TRACES[name]).splitlines()[0].endswith(said)


def renamed(trace: Trace, name: str) -> Trace:
    """The trace with all its backends' pods called ``name``."""
    paths = tuple(
        replace(
            p,
            outcomes=tuple(
                replace(o, backend=replace(o.backend, pod=f"shop/{name}") if o.backend else None)
                for o in p.outcomes
            ),
        )
        for p in trace.paths
    )
    return replace(trace, paths=paths)


def test_markup_and_control_characters_of_others_are_only_text() -> None:
    evil = "[red]pod[/red] [link=http://x]\x1b[31m\x9b2J\u202egnp.exe\x07:warning:"
    told = replace(
        with_findings(renamed(TRACES["nodePort"], evil), replace(OBJ002, title=evil, evidence=(evil,))),
        notes=(evil,),
    )
    for verbose in (False, True):
        text = screen(told, 200, verbose=verbose)
        literal = "[red]pod[/red] [link=http://x][31m2Jgnp.exe:warning:"
        assert text.count(literal) >= 6
        assert not set("\x1b\x9b\u202e\x07") & set(text)


def test_a_name_that_is_too_wide_is_folded_not_cut() -> None:
    text = screen(renamed(TRACES["nodePort"], LONG), 60)
    assert text.count("w") - text.count("web") >= 3 * 90
    assert "…" not in text


def test_wide_characters_count_as_two_columns() -> None:
    told = replace(TRACES["nodePort"], notes=("漢字" * 60,))
    assert max(cell_len(line) for line in screen(told, 60).splitlines()) <= 60
    assert "漢" not in screen(told, encoding="latin-1")


def test_verbose_tells_every_hop_with_its_detail() -> None:
    trace = TRACES["local"]
    text = " ".join(screen(trace, 100, verbose=True).split())
    for path in trace.paths:
        for hop in path.hops:
            assert hop.title in text
            assert " ".join(hop.detail.split()) in text
