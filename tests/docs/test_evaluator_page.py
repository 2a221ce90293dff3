"""docs/evaluator.md: its commands run, and its lists are those of the code."""

import re

import pytest
from documents import ROOT

from svcdoctor.dataplane.iptablesoptions import MATCHES, TARGETS, WITHOUT_EFFECT
from svcdoctor.dataplane.nftstatements import STATEMENTS

PAGE = ROOT / "docs" / "evaluator.md"
LISTS = {
    "matches": MATCHES,
    "targets": TARGETS,
    "targets that change nothing about where a packet goes": WITHOUT_EFFECT,
    "statements": STATEMENTS,
}


def test_every_command_prints_what_stands_there(follow):
    assert follow("docs/evaluator.md") == 3


@pytest.mark.parametrize("name", LISTS)
def test_what_is_modelled_is_what_the_code_has(name):
    words = " ".join(PAGE.read_text().split())
    listed = re.search(rf"- {name}: ((?:`[^`]+`(?:, )?)+)", words)[1]
    assert re.findall(r"`([^`]+)`", listed) == sorted(LISTS[name])


def test_what_is_said_not_to_be_modelled_is_not():
    text = PAGE.read_text().split("**Other matches and targets**")[1].split("\n- ")[0]
    named = re.findall(r"`([^`]+)`", text)
    assert len(named) > 5
    assert not set(named) & {*MATCHES, *TARGETS, *WITHOUT_EFFECT}
