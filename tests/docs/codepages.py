"""The page of each finding's code, made of what the check says of itself, and the list of all pages.

A code with a pair in fixtures/faults shows what ``trace`` prints of the broken cluster, any other one its finding in
the case of tests/checks/test_every_code.py, which writes that part. A code that the lab can make says how. A page
holds nothing that is written by hand.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from documents import ROOT, shown
from rich.console import Console
from typer.testing import CliRunner

from svcdoctor.checks.catalogue import FAMILIES, catalogue, explained_by, family_of
from svcdoctor.checks.registry import REGISTRY, Check
from svcdoctor.cli.main import app
from svcdoctor.lab.net.faults import FAULTS
from svcdoctor.model.finding import Finding
from svcdoctor.report.findings import finding_lines
from svcdoctor.report.layout import Pen

sys.path.insert(0, str(Path(__file__).parents[1] / "checks"))
from faultpairs import CODES as PAIRS
from faultpairs import question

WIDTH = 80
PAGES = ROOT / "docs" / "codes"
EXAMPLE = "## For example"
_PROGRAMS = {
    *(
        "kubectl",
        "svcdoctor",
        "curl",
        "openssl",
        "ping",
        "grep",
        "dmesg",
        "ss",
        "ip",
        "bridge",
        "sysctl",
        "conntrack",
    ),
    *("iptables", "iptables-save", "iptables-legacy-save", "iptables-nft-save", "nft", "kube-proxy"),
}
_PROSE = re.compile(r" (?:into|and|on) ")
HEAD = """# {code}: {title}

{severity}, family {family} ({about}). [All codes](README.md) · on the command line: `svcdoctor explain {code}`
"""


def page(check: Check) -> str:
    """The whole page."""
    family = family_of(check.code)
    parts = [
        HEAD.format(
            code=check.code,
            title=check.title,
            severity=str(check.severity).capitalize(),
            family=family,
            about=FAMILIES[family],
        ),
        f"## What it means\n\n{check.meaning}\n",
        f"## How to see it\n\n{look(check.look)}",
        f"## How to mend it\n\n{check.mend}\n",
        _seen(check.code) or example_of(check.code),
        _lab(check.code),
        _codes(
            "Its consequences", "Where this is the cause, these are not reported:", sorted(check.explains)
        ),
        _codes(
            "What may be behind it", "It may itself come from:", [c.code for c in explained_by(check.code)]
        ),
        "## More\n\n" + "".join(f"- <{link}>\n" for link in check.links),
    ]
    return "\n".join(part for part in parts if part)


def look(text: str) -> str:
    """How to see it by hand: each command as code, with what to look at beside it."""
    return "".join(f"- {_seen_by(part)}\n" for part in _split(text, "; "))


def _seen_by(part: str) -> str:
    command, *notes = _split(part, " (")
    note = " (".join(notes).removesuffix(")")
    if command.split(" ")[0] not in _PROGRAMS or _PROSE.search(command):
        return part
    return f"`{command}`" + (f": {note}" if note else "")


def _split(text: str, at: str) -> list[str]:
    """The parts between ``at``, where it is neither in quotes nor in parentheses."""
    parts, begin, depth, quoted = [], 0, 0, False
    for i, letter in enumerate(text):
        if text.startswith(at, i) and not depth and not quoted and i >= begin:
            parts.append(text[begin:i])
            begin = i + len(at)
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter == "(") - (letter == ")")
    return [*parts, text[begin:]]


def _seen(code: str) -> str:
    """The pair of fixtures/faults: the question, and the answer as the terminal has it."""
    if code not in PAIRS:
        return ""
    asked = question(code)
    words = ["svcdoctor", "trace", asked["target"], "-n", asked["namespace"]]
    words += ["--from", asked["from"]] if asked.get("from") else []
    words += [word for via in asked.get("via") or () for word in ("--via", via)]
    words += ["-f" if asked.get("manifests") else "--snapshot", f"fixtures/faults/{code}/broken.yaml"]
    with contextlib.chdir(ROOT):
        done = CliRunner(env={"COLUMNS": str(WIDTH)}).invoke(app, words[1:])
    answer = "".join(f"{line}\n" for line in shown(done.output))
    ending = f" exit={done.exit_code}" if done.exit_code else ""
    return (
        f"## As trace shows it\n\n{asked['why']}\n\n```console{ending}\n$ {shlex.join(words)}\n{answer}```\n\n"
        f"`fixtures/faults/{code}/healthy.yaml` is the same cluster, mended.\n"
    )


def example(case: str, finding: Finding) -> str:
    """A finding as the terminal has it, for a code that has no pair."""
    written = io.StringIO()
    console = Console(file=written, width=WIDTH, highlight=False, force_terminal=False, no_color=True)
    for line in finding_lines(Pen.of(console, True, ""), finding, whole=True):
        console.print(line, soft_wrap=True)
    lines = "".join(f"{line}\n" for line in shown(written.getvalue()))
    return f"{EXAMPLE}\n\nIn a cluster in which this is so: {case}.\n\n```text\n{lines}```\n"


def example_of(code: str) -> str:
    """The example that stands on a page."""
    page = PAGES / f"{code}.md"
    found = re.search(rf"^{EXAMPLE}\n.*?(?=^## )", page.read_text(), re.M | re.S) if page.exists() else None
    return found[0].removesuffix("\n") if found else ""


def put_example(code: str, text: str) -> None:
    """Write an example onto its page, before what follows it."""
    page = PAGES / f"{code}.md"
    held = page.read_text()
    old = example_of(code)
    if old:
        page.write_text(held.replace(old, text))
    else:
        mend, heading, rest = held.partition("## How to mend it")
        text_of_mend, _, after = rest.partition("\n\n## ")
        page.write_text(f"{mend}{heading}{text_of_mend}\n\n{text}\n## {after}")


def _lab(code: str) -> str:
    """The fault of the lab."""
    if code not in FAULTS:
        return ""
    return f"## To try it\n\n`svcdoctor lab break {code}` makes it for real: {FAULTS[code].title}.\n"


def _codes(heading: str, words: str, codes: list[str]) -> str:
    known = [c for c in codes if c in REGISTRY]
    if not known:
        return ""
    return f"## {heading}\n\n{words}\n\n" + "".join(f"- [{c}]({c}.md): {REGISTRY[c].title}\n" for c in known)


def index() -> str:
    """The list of all pages, by family."""
    parts = [
        "# Findings\n\nA page for every code that a finding can have, written from the checks themselves. "
        "[codes-cases.md](../codes-cases.md) has a broken cluster and a near miss of each.\n"
    ]
    for family, about in FAMILIES.items():
        rows = [c for c in catalogue() if family_of(c.code) == family]
        parts.append(
            f"## {family}: {about}\n\n| code | severity | |\n|---|---|---|\n"
            + "".join(f"| [{c.code}]({c.code}.md) | {c.severity} | {c.title} |\n" for c in rows)
        )
    return "\n".join(parts)


@cache
def pages() -> dict[str, str]:
    """Every file of docs/codes by its name."""
    own = [c for c in catalogue() if family_of(c.code) in FAMILIES]
    return {"README.md": index()} | {f"{c.code}.md": page(c) for c in own}
