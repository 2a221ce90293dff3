"""How wide text is, and where it breaks: without the reader's fonts, so a little wider than any common one.

Lengths are CSS pixels.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Type:
    """A kind of text in a drawing: its class in the style sheet, its size, whether every character is as wide."""

    name: str
    size: float
    mono: bool
    bold: bool = False

    @property
    def leading(self) -> float:
        """From one line to the next."""
        return round(self.size * 1.42, 1)


TITLE = Type("t", 13.5, mono=False, bold=True)
PROSE = Type("p", 12.5, mono=False)
NAME = Type("n", 12.5, mono=True)
STRONG = Type("m", 13, mono=True, bold=True)
CODE = Type("k", 12, mono=True)
HEAD = Type("h", 11.5, mono=False)
CELL = Type("c", 11.5, mono=True)

MONO = 0.615  # of the size; most fonts of programmers have 0.6
_NARROW = frozenset("iljtfrI.,:;'|!()[]{}-/ \"`")
_WIDE = frozenset("mwMWQO@%&→")
_BREAK = re.compile(r"[^\s\-./:,=@_]*[\-./:,=@_]+|[^\s\-./:,=@_]+")


@lru_cache(maxsize=65536)
def width(text: str, kind: Type) -> float:
    """The room that ``text`` takes on one line, at most."""
    if kind.mono:
        cells = len(text) if text.isascii() else sum(_cells(c) for c in text)
        return cells * kind.size * MONO
    units = sum(_units(c) for c in text)
    return units * kind.size * (1.13 if kind.bold else 1.0)


def _cells(character: str) -> float:
    if unicodedata.combining(character):
        return 0
    return 1.7 if unicodedata.east_asian_width(character) in "WF" else 1


def _units(character: str) -> float:
    if character in _NARROW:
        return 0.4
    if character in _WIDE:
        return 0.97
    if character.isascii():
        return 0.7 if character.isupper() else 0.64 if character.isdecimal() else 0.6
    return _cells(character) * (1.05 if unicodedata.east_asian_width(character) in "WF" else 0.7)


def wrapped(text: str, kind: Type, room: float) -> list[str]:
    """Lines no wider than ``room``: broken at spaces, in a long word behind ``-``, ``.`` or ``/``, else anywhere."""
    if width(text, kind) <= room:
        return [text]
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if width(joined, kind) <= room:
            line = joined
            continue
        if line:
            lines.append(line)
            line = ""
        if width(word, kind) <= room:
            line = word
            continue
        for piece in _pieces(word, kind, room):
            if width(line + piece, kind) > room:
                lines.append(line)
                line = ""
            line += piece
    return [*lines, line] if line or not lines else lines


def _pieces(word: str, kind: Type, room: float) -> list[str]:
    """Parts of a word, each narrower than the room."""
    found: list[str] = []
    for part in _BREAK.findall(word):
        piece = ""
        for character in part:
            if piece and width(piece + character, kind) > room:
                found.append(piece)
                piece = ""
            piece += character
        found.append(piece)
    return found
