"""A rule of iptables-save taken apart: its own tests, its matches and its target, each with its options.

Options are not unique (``--mark`` is of mark and of connmark), so each belongs to the latest match or target
before it that has one of that name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from svcdoctor.dataplane.iptablesoptions import MATCHES, TARGETS, WITHOUT_EFFECT, Options

_WORD = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")

# A rule's own tests, with the name that stands for each; the rest (-m, -j, -g) makes sections.
_OWN = {
    "s": "s",
    "source": "s",
    "src": "s",
    "d": "d",
    "destination": "d",
    "dst": "d",
    "p": "p",
    "protocol": "p",
}
_OWN |= {
    "proto": "p",
    "i": "i",
    "in-interface": "i",
    "o": "o",
    "out-interface": "o",
    "f": "f",
    "fragment": "f",
}
_BEGINS = {"-m": "m", "--match": "m", "-j": "j", "--jump": "j", "-g": "g", "--goto": "g"}


class Option(NamedTuple):
    """``! --dport 80`` is ``("dport", True, ("80",))``."""

    name: str
    negated: bool
    values: tuple[str, ...]


class Section:
    """A match or a target with its options. ``known`` is ``None`` for one that is not modelled."""

    __slots__ = ("known", "name", "options")

    def __init__(self, name: str, known: Options | None) -> None:
        self.name = name
        self.known = known
        self.options: list[Option] = []


class RuleWords:
    """A rule in words. ``goto``: the target is a chain that does not come back here."""

    __slots__ = ("goto", "matches", "own", "target")

    def __init__(self) -> None:
        self.own: list[Option] = []
        self.matches: list[Section] = []
        self.target: Section | None = None
        self.goto = False


class _Quoted(str):
    """A word that stood in quotes, so that it is no option whatever it says."""


def words(text: str) -> list[str]:
    """The words of a rule. Quotes are taken off; raises ValueError when one is not closed."""
    if '"' not in text:
        return text.split()
    parts = text.split('"')
    if "\\" in text or len(parts) % 2 == 0:
        return _with_escapes(text)
    found = parts[0].split()
    for i in range(1, len(parts), 2):
        before, after = parts[i - 1], parts[i + 1]
        if before[-1:].strip() or after[:1].strip():  # a quote within a word
            return _with_escapes(text)
        found.append(_Quoted(parts[i]))
        found += after.split()
    return found


def _with_escapes(text: str) -> list[str]:
    found: list[str] = []
    at = 0
    for match in _WORD.finditer(text):
        if text[at : match.start()].strip():
            break
        at = match.end()
        word = match[0]
        found.append(_Quoted(_QUOTED.sub(_unquoted, word)) if '"' in word else word)
    if text[at:].strip():
        raise ValueError("a quote is not closed")
    return found


def _unquoted(match: re.Match[str]) -> str:
    return _ESCAPED.sub(r"\1", match[1])


def rule_words(text: str) -> RuleWords:
    """What a rule says, after its ``-A CHAIN``. Raises ValueError for a text that cannot be taken apart."""
    rule = RuleWords()
    rest = words(text)
    rest.reverse()  # the next word is the last one
    sections: list[Section] = []
    negated = False
    while rest:
        word = rest.pop()
        if _is_not(word):
            negated = True
            continue
        begins = _begins(word)
        if begins is not None:
            _begin(rule, sections, begins, _next(rest, word), rest)
        elif word.startswith("[unsupported"):
            sections.append(Section(word.strip("[]"), None))  # iptables-nft's word for what it cannot show
            rule.matches.append(sections[-1])
            _skip(rest)
        else:
            name = word.lstrip("-")
            own = _OWN.get(name) if word.startswith("-") else None
            if own is not None and not (word.startswith("--") and _section(sections, name)):
                values, negated = _values(rest, 0 if own == "f" else 1, negated, word)
                rule.own.append(Option(own, negated, values))
            else:
                section = _section(sections, name) or _implied(rule, sections, name)
                if section is None or section.known is None or not word.startswith("--"):
                    raise ValueError(f"{word} is of no match or target that the rule names")
                values, negated = _values(rest, section.known[name], negated, word)
                section.options.append(Option(name, negated, values))
        negated = False
    return rule


def _begin(rule: RuleWords, sections: list[Section], begins: str, name: str, rest: list[str]) -> None:
    if begins == "m":
        section = Section(name, MATCHES.get(name))
        rule.matches.append(section)
    else:
        section = Section(name, {} if name in WITHOUT_EFFECT else TARGETS.get(name))
        rule.target = section
        rule.goto = begins == "g"
    sections.append(section)
    if section.known is None or name in WITHOUT_EFFECT:
        _skip(rest)


def _section(sections: list[Section], option: str) -> Section | None:
    """The latest section that has this option."""
    for section in reversed(sections):
        if section.known is not None and option in section.known:
            return section
    return None


def _implied(rule: RuleWords, sections: list[Section], option: str) -> Section | None:
    """The match that ``-p tcp`` brings with it."""
    for own in rule.own:
        if own.name == "p" and not own.negated and option in MATCHES.get(own.values[0], {}):
            section = Section(own.values[0], MATCHES[own.values[0]])
            rule.matches.append(section)
            sections.append(section)
            return section
    return None


def _values(rest: list[str], number: int, negated: bool, option: str) -> tuple[tuple[str, ...], bool]:
    """The words after an option. Old dumps have the ``!`` after the option instead of before it."""
    if number and rest and _is_not(rest[-1]):
        rest.pop()
        negated = True
    if number == 1:
        return (_next(rest, option),), negated
    return tuple(_next(rest, option) for _ in range(number)), negated


def _next(rest: list[str], option: str) -> str:
    if not rest:
        raise ValueError(f"nothing follows {option}")
    return rest.pop()


def _skip(rest: list[str]) -> None:
    """Leave out the words of something that is not modelled, up to the next match or the target."""
    while rest and _begins(rest[-1]) is None:
        rest.pop()


def _is_not(word: str) -> bool:
    return word == "!" and not isinstance(word, _Quoted)


def _begins(word: str) -> str | None:
    """Whether a match (m), a jump (j) or a goto (g) begins with this word."""
    return None if isinstance(word, _Quoted) else _BEGINS.get(word)
