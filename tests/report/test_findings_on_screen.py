"""Findings on the terminal: order, evidence, and fixes that can be copied."""

from __future__ import annotations

import shlex

import pytest
from msgspec.structs import replace
from report_cluster import OBJ002, RUL021, cluster, screen, traced, with_findings

from svcdoctor.report.commands import fix_lines

BROKEN = traced(cluster(pods=0))


def test_findings_keep_their_order_and_stand_before_the_ways() -> None:
    second = replace(OBJ002, code="OBJ008", title="a consequence")
    text = screen(with_findings(BROKEN, OBJ002, second, RUL021))
    assert text.index("OBJ002 error") < text.index("OBJ008 error") < text.index("RUL021 info")
    assert text.index("RUL021 info") < text.index("any pod")


def test_the_decisive_evidence_stands_first_and_all_of_it_with_v() -> None:
    told = with_findings(BROKEN, OBJ002)
    text = screen(told)
    assert "- evidence number 4" in text
    assert "evidence number 5" not in text
    assert "and 2 more" in text
    everything = screen(told, verbose=True)
    assert "- evidence number 6" in everything
    assert OBJ002.explanation in everything


def test_what_is_worth_knowing_only_takes_a_line() -> None:
    text = screen(with_findings(BROKEN, RUL021))
    assert "RUL021 info: the application sees a node's address  Service/shop/web" in text
    assert "snat" not in text
    assert "- snat" in screen(with_findings(BROKEN, RUL021), verbose=True)


def test_after_three_findings_the_others_are_titles() -> None:
    many = [replace(OBJ002, code=f"OBJ10{i}", fix=f"kubectl do {i}") for i in range(5)]
    text = screen(with_findings(BROKEN, *many))
    assert [f"OBJ10{i} error" in text for i in range(5)] == [True] * 5
    assert [f"kubectl do {i}" in text for i in range(5)] == [True, True, True, False, False]
    assert "all evidence and fixes with -v" in text


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_command_that_is_copied_from_the_screen_runs_as_it_was_meant(width: int) -> None:
    lines = screen(with_findings(BROKEN, OBJ002), width).splitlines()
    at = lines.index("  fix:") + 1
    end = lines.index("", at)
    copied = "\n".join(lines[at:end])
    assert shlex.split(copied.replace("\\\n", "")) == shlex.split(OBJ002.fix)
    for line in lines[at:end]:
        assert len(line) <= width or "{" in line


@pytest.mark.parametrize(
    ("fix", "shown"),
    [
        ("kubectl get pods", ["kubectl get pods"]),
        ("kubectl label pod web 'a b=c d' --x", ["kubectl label \\", "  pod web \\", "  'a b=c d' --x"]),
        ("remove the label from the Service", ["remove the label", "from the Service"]),
        ("spec:\n  selector:\n    app: web\n\n", ["spec:", "  selector:", "    app: web"]),
        ("kubectl exec it's not closed", ["kubectl exec it's not closed"]),
        ("  kubectl get pods -o wide", ["  kubectl get \\", "    pods -o wide"]),
        ("kubectl get\x1b[31m", ["kubectl get[31m"]),
        ("", []),
    ],
)
def test_fixes_are_broken_where_a_shell_or_a_sentence_goes_on(fix: str, shown: list[str]) -> None:
    assert fix_lines(fix, 18) == shown
