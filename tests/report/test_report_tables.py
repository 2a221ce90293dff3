"""Tables: a row per outcome and per finding, for shells and for Markdown."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from report_cluster import FORBIDDEN, OBJ002, RUL021, cluster, traced, with_findings

from svcdoctor.report.tables import render

LOCAL = with_findings(traced(cluster(policy="Local")), OBJ002, RUL021)


def rows(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in text.splitlines()]


def test_a_row_for_each_outcome_with_the_columns_of_the_question() -> None:
    outcomes, findings = render(LOCAL, "table").split("\n\n")
    table = rows(outcomes)
    assert table[0] == [
        "CLIENT",
        "ENTRY",
        "ADDRESS",
        "SERVICE PORT",
        "RESULT",
        "SHARE",
        "BACKEND",
        "POD ADDRESS",
        "NODE",
    ]
    assert len(table) == 1 + sum(len(p.outcomes) for p in LOCAL.paths)
    assert table[1] == [
        "pod",
        "clusterIP",
        "10.96.0.7:80",
        "http:80",
        "delivered",
        "33.3%",
        "web-0",
        "10.0.0.1:8080",
        "node-0",
    ]
    assert table[-1] == [
        "external",
        "nodePort/node-3",
        "192.168.0.4:30080",
        "http:80",
        "dropped",
        "100%",
        "-",
        "-",
        "-",
    ]
    assert rows(findings)[0] == ["CODE", "SEVERITY", "SUBJECT", "TITLE"]
    assert rows(findings)[1] == ["OBJ002", "error", "Service/shop/web", "the selector matches no pod"]
    assert rows(findings)[2][0] == "RUL021"


def test_wide_adds_columns() -> None:
    outcomes, findings = render(LOCAL, "wide").split("\n\n")
    table = rows(outcomes)
    assert table[0][9:] == ["SOURCE SEEN", "REASON", "CODE"]
    assert table[-1][9:] == [
        "unknown",
        "externalTrafficPolicy Local and no endpoint on node-3",
        "RUL009",
    ]
    assert rows(findings)[0][4:] == ["FIX"]
    assert rows(findings)[1][4] == OBJ002.fix


def test_ipv6_addresses_stand_in_brackets() -> None:
    text = render(traced(cluster(dual=True)), "table")
    assert "[fd00:96::7]:80" in text
    assert "[fd00:10::1]:8080" in text


@pytest.mark.parametrize("style", ["table", "wide", "markdown"])
def test_no_line_ends_in_spaces_and_nothing_of_others_breaks_a_row(style: str) -> None:
    evil = replace(OBJ002, title="a\nb\x1b[31m|c", fix="one\ntwo")
    told = with_findings(traced(cluster()), evil)
    text = render(told, style)  # type: ignore[arg-type]
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert "a b[31m|c" in text.replace("\\", "")


def test_without_a_way_the_tables_say_so() -> None:
    absent = traced(cluster(), "svc/other")
    assert render(absent, "table") == "No way was found to Service/shop/other.\n"
    assert render(with_findings(absent, OBJ002), "table").startswith("CODE")
    assert "No way was found." in render(absent, "markdown")


def test_markdown_has_the_verdict_as_its_heading_and_escapes_what_others_wrote() -> None:
    evil = replace(OBJ002, title="a|b\n<img src=x> `c` [d](e) *f* @all & ```")
    told = replace(
        with_findings(traced(cluster(policy="Local")), evil), unknowns=(FORBIDDEN,), notes=("x|y",)
    )
    text = render(told, "markdown")
    lines = text.splitlines()
    assert lines[0] == "## ! degraded: Service/shop/web"
    assert lines[2] == "1 of 5 ways fails."
    assert r"a\|b \<img src=x\> \`c\` \[d\](e) \*f\* &#64;all &amp; \`\`\`" in text
    assert "<img" not in text.replace(r"\<", "")
    cells = [len(re.split(r"(?<!\\)\|", line)) for line in lines if line.startswith("| OBJ002")]
    assert cells == [6]
    assert f"```sh\n{OBJ002.fix}\n```" in text
    assert "- Not known: Pod (namespace shop) (pods is forbidden)" in text
    assert r"- Note: x\|y" in text
    assert lines[-1] == "Basis: the API's objects; node rules not evaluated."


def test_a_fence_is_longer_than_any_backticks_in_the_fix() -> None:
    told = with_findings(traced(cluster()), replace(OBJ002, fix="echo ````"))
    assert "`````sh\necho ````\n`````\n" in render(told, "markdown")
