"""The report on the terminal: one screen that a tired person can read.

Theory. What matters most stands first: the verdict, then the causes with what repairs them, then the ways as
pictures, then what is not known, and last what all of it rests on. Status is said with signs and words;
colour only repeats it. The same facts without colour, in ASCII, at 40 columns or in a pipe lose nothing.

What may live here: the order of the parts. Each part is a module: ``findings``, ``picture``, ``hops``.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from svcdoctor.model.facts import MissingFact
from svcdoctor.model.trace import Trace
from svcdoctor.report.commands import fix_lines
from svcdoctor.report.findings import findings_lines
from svcdoctor.report.glyphs import OF_VERDICT, STYLE
from svcdoctor.report.hops import hops_lines
from svcdoctor.report.layout import Lines, Pen, encodable, stand_in, under, words
from svcdoctor.report.picture import picture_lines
from svcdoctor.report.ways import Picture, pictures
from svcdoctor.report.wording import balance, basis_words, counted

NODE_RULES = "nodes/*/rules"  # that these are not known is what the line about the basis says
PICTURES = 4  # healthy pictures that are drawn; further ones are counted


def render(trace: Trace, console: Console, *, verbose: bool) -> None:
    """Prints the trace to the console, no line wider than it (but for a command's own words)."""
    pen = Pen.of(console, verbose, trace.target.namespace)
    for part in report_lines(pen, trace):
        console.print(encodable(part, console.encoding), soft_wrap=True)


def report_lines(pen: Pen, trace: Trace) -> Lines:
    """The whole report."""
    drawn = pictures(trace.paths)
    parts = [
        _headline(pen, trace),
        findings_lines(pen, trace.findings),
        *_drawn(pen, drawn),
        unknowns_lines(pen, trace.unknowns),
        notes_lines(pen, trace.notes),
        [*_observed(pen, trace), *pen.wrap(words((f"basis: {basis_words(trace.paths)}", "dim")), 2)],
    ]
    found: Lines = []
    for part in filter(None, parts):
        if found:
            found.append(Text())
        found += part
    return found


def _headline(pen: Pen, trace: Trace) -> Lines:
    status = OF_VERDICT[trace.verdict]
    target = trace.target
    name = f"{target.namespace}/{target.name}" if target.namespace else target.name
    text = Text.assemble(pen.mark(status), " ", (str(trace.verdict), f"bold {STYLE[status]}"), "  ")
    text.append_text(words(f"{target.kind} ", (name, "bold")))
    count = balance(trace.paths) if trace.paths else "no way was found"
    text.append_text(words((f"  {count}" if count else "", "dim")))
    return pen.wrap(text, 2)


def _observed(pen: Pen, trace: Trace) -> Lines:
    text = observed_words(trace)
    return pen.wrap(words(f"observed: {text}"), 2) if text else []


def observed_words(trace: Trace) -> str:
    """How many requests were sent, and whether they met what was predicted; empty where none were."""
    seen = [p.observed for p in trace.paths if p.observed is not None]
    if not seen:
        return ""
    requests = sum(s.sent for s in seen)
    differing = sum(s.agrees is False for s in seen)
    ways = {1: "the way", 2: "both ways"}.get(len(seen), f"all {len(seen)} ways")
    text = f"as predicted on {ways}"
    if differing:
        text = f"otherwise than predicted on {differing} of {counted(len(seen), 'way')}"
    answered = "all" if all(s.answered == s.sent for s in seen) else str(sum(s.answered for s in seen))
    return f"{counted(requests, 'request')} from {seen[0].place}, {answered} answered; {text}"


def _drawn(pen: Pen, drawn: tuple[Picture, ...]) -> list[Lines]:
    found: list[Lines] = []
    healthy = 0
    left: list[Picture] = []
    for picture in drawn:
        healthy += picture.ok
        if picture.ok and healthy > PICTURES and not pen.verbose:
            left.append(picture)
            continue
        found.append(picture_lines(pen, picture))
        if pen.verbose:
            found.append(hops_lines(pen, picture))
    if left:
        ways = sum(len(p.paths) for p in left)
        ports = dict.fromkeys(_port(p) for p in left)
        text = f"and {counted(ways, 'more healthy way')} ({', '.join(filter(None, ports))}); all with -v"
        found.append(pen.wrap(words((text.replace(" ()", ""), "dim")), 2))
    return found


def _port(picture: Picture) -> str:
    port = picture.paths[0].service_port
    return "" if port is None else f"port {port.name or port.port}"


def unknowns_lines(pen: Pen, unknowns: tuple[MissingFact, ...]) -> Lines:
    """What is not known, the needed first, with what to grant."""
    found: Lines = []
    optional = [u for u in unknowns if not u.required and (pen.verbose or u.fact != NODE_RULES)]
    for fact in (u for u in unknowns if u.required):
        found += _unknown(pen, fact, "not known, and needed for a verdict")
    if pen.verbose:
        for fact in optional:
            found += _unknown(pen, fact, "not known")
    elif optional:
        names = ", ".join(u.fact for u in optional)
        found += pen.wrap(words((f"not known: {names} (why, and how to have it: -v)", "dim")), 2)
    return found


def _unknown(pen: Pen, fact: MissingFact, what: str) -> Lines:
    style = "bold magenta" if fact.required else "bold"
    found = pen.wrap(words((f"{what}: ", style), fact.fact, f": {fact.reason}"), 2)
    return found + [stand_in(Text(line), 4) for line in fix_lines(fact.grant, pen.width - 4)]


def notes_lines(pen: Pen, notes: tuple[str, ...]) -> Lines:
    """Each note, hanging."""
    found: Lines = []
    for note in notes:
        found += under(pen.narrower(6).wrap(words(note)), "note: ", "      ")
    return found
