"""docs/comparison.md: each claim about svcdoctor names a test that there is, and the page has a date."""

import re

from documents import ROOT, functions

PAGE = (ROOT / "docs" / "comparison.md").read_text()
HELD = re.compile(r'^\[([\w-]+)\]: \.\./(tests/\S+\.py) "(test_\w+)"$', re.MULTILINE)


def test_each_claim_about_svcdoctor_names_a_test():
    compared = PAGE.split("\n## Diagnosis")[1]
    claims = [line for line in compared.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    assert len(claims) > 25
    for line in claims:
        what, own = [cell.strip() for cell in line.strip("|").split("|")[:2]]
        if what in ("starts from", "needs in the cluster", "way") and "][" not in own:
            continue  # what it is, which the page's own commands show
        assert re.search(r"\]\[[\w-]+\]", own), f"no test is named for {what!r}: {own}"


def test_the_tests_that_it_names_are_there():
    named = {label: (file, test) for label, file, test in HELD.findall(PAGE)}
    used = set(re.findall(r"\]\[([\w-]+)\]", PAGE))
    assert used == set(named), used ^ set(named)
    for file, test in named.values():
        assert test in functions(ROOT / file), f"{file} has no {test}"


def test_it_is_dated_and_says_what_was_looked_at():
    head = PAGE.split("\n## ")[0]
    assert re.search(r"As of \w+ 20\d\d", head)
    for tool in ("kubectl", "krelay", "KubeSkoop", "popeye", "k8sgpt"):
        assert re.search(rf"{tool} v?\d", head), tool
