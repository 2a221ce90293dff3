"""Foreign text made safe to print: names, messages and annotations that someone else wrote.

Theory. A terminal obeys control characters, and a reader trusts the order of what is seen. So control
characters (C0, C1 with CSI, DEL), direction overrides and other invisible formatting are left out, and line
breaks become spaces: what remains is text and nothing else. Markup of rich or Markdown is not the business
of this module; the renderers never parse text as markup.
"""

from __future__ import annotations

import unicodedata

_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co"})
_BREAKS = frozenset("\n\r\t\v\f\x1c\x1d\x1e\x85\u2028\u2029")


# What stands for signs that an encoding lacks, in ASCII.
_SPELLED = {
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("‘’‚", "'"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("╭├╰", "+"),
    "─": "-",
    "│": "|",
    "▼": "v",
    "·": ".",
    "≠": "!=",
    "→": "->",
    "←": "<-",
    "…": "...",
    "×": "x",
    "✔": "ok",
    "✘": "xx",
    "µ": "u",
    "•": "*",
    "\xa0": " ",
}


def printable(text: str) -> str:
    """``text`` on one line, without anything that a terminal would obey or a reader could not see."""
    if text.isascii() and text.isprintable():
        return text
    spaced = "".join(" " if c in _BREAKS else c for c in text)
    return "".join(c for c in spaced if unicodedata.category(c) not in _DROPPED)


def printable_lines(text: str) -> tuple[str, ...]:
    """The lines of ``text``, each printable; blank ones at the end are left out."""
    return tuple(printable(line.replace("\t", "    ")) for line in text.rstrip().splitlines())


def revealed(text: str) -> str:
    """``text`` with everything that cannot be seen written out: ``\\x1b``, ``\\u202e``. Lines stay lines.

    For files that machines read on, and people after them: nothing is lost, nothing is obeyed.
    """
    if text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def spelled(text: str) -> str:
    """``text`` in ASCII: other signs for its signs where there are any, and ``?`` for the rest."""
    return "".join(c if c.isascii() else _SPELLED.get(c, "?") for c in text)
