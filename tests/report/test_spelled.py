"""Text in an encoding that lacks some of its signs: other signs, the same styles, no line wider than it may be."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from svcdoctor.report.layout import Pen, encodable
from svcdoctor.report.printable import spelled


def test_signs_have_others_in_ascii() -> None:
    assert spelled("a → b … ≠ × “c” – ✔ 日") == 'a -> b ... != x "c" - ok ?'
    assert spelled("plain") == "plain"


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "é→ x"), ("latin-1", "é-> x"), ("ascii", "?-> x"), ("no-such", "?-> x")]
)
def test_only_what_the_encoding_lacks_is_spelled_and_styles_stay_where_they_were(
    encoding: str, shown: str
) -> None:
    text = encodable(Text.assemble("é", "→", (" x", "bold")), encoding)
    assert text.plain == shown
    assert [text.plain[s.start : s.end] for s in text.spans if s.style == "bold"] == [" x"]


def test_lines_are_wrapped_as_they_are_written() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    pen = Pen.of(Console(file=file, width=20), False, "")
    lines = pen.wrap(Text("→ " * 40), 2)
    assert len(lines) > 5
    assert all(line.plain.isascii() and line.cell_len <= 20 for line in lines)
