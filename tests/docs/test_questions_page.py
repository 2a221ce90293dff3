"""The questions' commands, and that the list at the top leads to every answer."""

import re

from documents import ROOT, anchors

QUESTIONS = "docs/questions.md"


def test_every_command_prints_what_stands_there(follow):
    assert follow(QUESTIONS) > 10


def test_the_list_leads_to_every_answer():
    text = (ROOT / QUESTIONS).read_text()
    head = text.split("\n## ")[0]
    listed = re.findall(r"\]\(#([^)]+)\)", head)
    assert len(listed) == len(set(listed)) > 30
    assert set(listed) == {a for a in anchors(text) if a != "questions"}
