"""Every code of the catalogue has a broken cluster that raises it before all others, and a near miss that does not.

The table of all cases is printed, and kept in docs/codes-cases.md; after a change it is written anew by
``WRITE_CODES_CASES=1 pytest tests/checks/test_every_code.py``.
"""

import os
from functools import cache
from pathlib import Path

import cases_dns
import cases_nodes
import cases_objects
import cases_others
import cases_outside
import cases_rules
import pytest
from codecases import FIXTURE, CodeCase
from codepages import example, example_of, put_example
from faultpairs import CODES as PAIRS
from faultpairs import ask, question

from svcdoctor.checks.registry import REGISTRY

TABLE = Path(__file__).parents[2] / "docs" / "codes-cases.md"
WRITE = "WRITE_CODES_CASES"
COUNTS = {"OBJ": 35, "DNS": 12, "RUL": 23, "NOD": 15, "EXT": 14, "OBS": 1}
CATALOGUE = [f"{family}{n:03}" for family, last in COUNTS.items() for n in range(1, last + 1)]


def pair(code):
    return CodeCase(
        code,
        FIXTURE,
        question(code)["why"].rstrip("."),
        lambda: ask(code, "broken"),
        "the same cluster with that one thing mended",
        lambda: ask(code, "healthy"),
    )


FAMILIES = (cases_objects, cases_dns, cases_rules, cases_nodes, cases_others, cases_outside)
CASES = sorted(
    [*map(pair, PAIRS), *(case for family in FAMILIES for case in family.CASES)],
    key=lambda case: list(COUNTS).index(case.code[:3]) * 1000 + int(case.code[3:]),
)


@cache
def findings(number):
    """What is found in the broken cluster of a case, and in its twin."""
    return CASES[number].broken().findings, CASES[number].sound().findings


def result(number):
    """What the case shows, in words: the same ones wherever it shows what it should."""
    code = CASES[number].code
    broken, twin = ([f.code for f in found] for found in findings(number))
    first = "raised first" if broken[:1] == [code] else f"raised: {', '.join(broken) or 'nothing'}"
    return f"{first}, and {'raised' if code in twin else 'not'} by the twin"


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{c.code}-{c.how.split()[0]}" for c in CASES])
def test_the_broken_cluster_raises_the_code_first_and_its_near_miss_does_not(number):
    code = CASES[number].code
    broken, twin = findings(number)
    assert [f.code for f in broken][:1] == [code], [(f.code, f.subjects, f.evidence) for f in broken]
    assert code not in {f.code for f in twin}, [f.evidence for f in twin if f.code == code]
    first = broken[0]
    assert first.subjects and first.evidence and first.explanation and first.fix


def test_the_registry_holds_the_catalogue_and_nothing_else_of_its_families():
    own = [code for code in REGISTRY if code[:3] in COUNTS]
    missing, unknown = sorted(set(CATALOGUE) - set(own)), sorted(set(own) - set(CATALOGUE))
    assert not missing, f"no check has the codes {', '.join(missing)}"
    assert not unknown, f"not in the catalogue: {', '.join(unknown)}"


def test_every_code_has_a_case():
    missing = [code for code in CATALOGUE if code not in {case.code for case in CASES}]
    assert not missing, f"no case for {', '.join(missing)}"


def test_a_page_without_a_trace_has_the_finding_of_its_case():
    """The pages of the others show what trace prints: tests/docs/test_code_pages.py."""
    wrong = []
    for code in [code for code in CATALOGUE if code not in PAIRS]:
        number = next(n for n, case in enumerate(CASES) if case.code == code)
        text = example(CASES[number].case, findings(number)[0][0])
        if os.environ.get(WRITE):
            put_example(code, text)
        if example_of(code) != text:
            wrong.append(code)
    assert not wrong, f"{WRITE}=1 pytest {Path(__file__).name} writes them anew: {wrong}"


def test_the_table_of_cases_is_the_one_in_the_docs(capsys):
    rows = ["| code | title | case | near miss | made of | result |", "|---|---|---|---|---|---|"]
    for number, case in enumerate(CASES):
        title = REGISTRY[case.code].title
        rows.append(f"| {case.code} | {title} | {case.case} | {case.twin} | {case.how} | {result(number)} |")
    text = f"{HEAD}\n{chr(10).join(rows)}\n"
    with capsys.disabled():
        print("", *rows, sep="\n")
    if os.environ.get(WRITE):
        TABLE.write_text(text)
    held = TABLE.read_text() if TABLE.exists() else ""
    changed = [row for row in text.splitlines() if row not in held.splitlines()]
    assert text == held, f"{WRITE}=1 pytest {Path(__file__).name} writes it anew; changed rows: {changed[:5]}"


HEAD = f"""# A case for every code

Written by `tests/checks/test_every_code.py`, which asks each of these clusters as a user would (`trace svc/NAME`, the
DNS codes as `dns NAME` does): the broken one must raise the code before all others, its near miss must not raise it.
Real captures are those in `fixtures/captures`, changed in one place; probes and answers are planted as real requests
and nameservers would have made them. After a change: `{WRITE}=1 pytest tests/checks/test_every_code.py`.
"""
