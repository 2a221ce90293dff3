"""Documents as tests read them: fenced blocks, and in a ``console`` block each command with what it prints.

A block of commands begins with ```` ```console ````. A line ``$ …`` is a command, lines ``> …`` after it continue it,
and all others are what it prints. ``client$ …`` is one in the lab, in a shell of ``svcdoctor lab shell --in client``.
``…`` on a line of its own stands for any lines, within a line for anything with the blanks around it. The words after
``console`` say how it is run:

    exit=1                     how the last command of the block ends; every other one ends with 0
    cluster=fixtures/nodeport  the kubeconfig leads to an API server over these objects

Any other block with ``file=NAME`` is that file for the commands after it. A ``sh`` block has no output; the test that
runs its commands is named by ``tested=PATH::TEST``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
ANY = "…"
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ANYTHING = re.compile(f" *{ANY} *")
_PROMPT = re.compile(r"([a-z][\w./-]*)?\$ ")
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")


def _pattern(line: str) -> str:
    """What the lines are that a line of a document stands for."""
    if line.strip() == ANY:
        return r"(?:[^\n]*\n)*?"
    return r"[^\n]*?".join(map(re.escape, _ANYTHING.split(line))) + "\n"


@dataclass(frozen=True)
class Step:
    """One command, its lines as they stand there, and the lines that it is to print. ``place`` is where in the lab."""

    lines: tuple[str, ...]
    printed: tuple[str, ...]

    @property
    def place(self) -> str:
        return self.lines[0].partition("$")[0]

    @property
    def command(self) -> str:
        return "\n".join([self.lines[0].partition("$ ")[2], *(line[2:] for line in self.lines[1:])])

    def agrees(self, output: str) -> bool:
        """Whether this was printed, blanks at the ends of lines aside."""
        wanted = "".join(map(_pattern, self.printed))
        return re.fullmatch(wanted, "".join(f"{line}\n" for line in shown(output))) is not None


@dataclass(frozen=True)
class Block:
    """One fenced block. ``start`` and ``end`` are where its text is in the document's, ``line`` where it begins."""

    language: str
    words: dict[str, str]
    text: str
    line: int
    start: int
    end: int

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The commands of a ``console`` block."""
        found: list[tuple[list[str], list[str]]] = []
        for line in self.text.splitlines():
            if _PROMPT.match(line):
                found.append(([line], []))
            elif line.startswith("> ") and found and not found[-1][1]:
                found[-1][0].append(line)
            else:
                found[-1][1].append(line)
        return tuple(Step(tuple(lines), tuple(printed)) for lines, printed in found)


def shown(output: str) -> list[str]:
    """Lines as they stand in a document."""
    return [line.rstrip() for line in output.splitlines()]


def blocks(text: str, *languages: str) -> Iterator[Block]:
    """The fenced blocks of a document in these languages, all for none."""
    for found in _FENCE.finditer(text):
        if not languages or found[1] in languages:
            words = dict(word.partition("=")[::2] for word in found[2].split())
            line = text.count("\n", 0, found.start()) + 1
            yield Block(found[1], words, found[3], line, found.start(3), found.end(3))


def section(text: str, heading: str) -> str:
    """The part of a document under the ``##`` heading."""
    return next(part for part in text.split("\n## ")[1:] if part.splitlines()[0] == heading)


def shell_lines(text: str) -> list[str]:
    """The commands of all ``sh`` blocks, a line each."""
    return [line for block in blocks(text, "sh") for line in block.text.splitlines() if line]


def inline(text: str) -> list[str]:
    """What is set as code within sentences and tables."""
    return _INLINE.findall(_FENCE.sub("", text))


def functions(file: Path) -> set[str]:
    """The names of a module's functions, its tests among them."""
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def anchors(text: str) -> set[str]:
    """The anchors that a reader's page has for the headings."""
    lines = [line.lstrip("#").strip() for line in _FENCE.sub("", text).splitlines() if _HEADING.match(line)]
    return {re.sub(r"[^\w\- ]", "", line.replace("`", "").lower()).replace(" ", "-") for line in lines}
