"""A lookup, for people: the verdict, the causes, and the queries in their order with what each meets and should."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from svcdoctor.model.lookup import ANSWERS, Lookup, Met, Query, Reply, Resolution
from svcdoctor.model.trace import Basis, Status
from svcdoctor.report.findings import findings_lines
from svcdoctor.report.glyphs import OF_VERDICT, STYLE
from svcdoctor.report.layout import Lines, Pen, encodable, stand_in, words
from svcdoctor.report.terminal import notes_lines, unknowns_lines

SHOWN = 4  # addresses of one answer

_WORDS = {
    Met.NODATA: "nothing of this type",
    Met.NXDOMAIN: "no such name",
    Met.SERVFAIL: "server failure",
    Met.REFUSED: "refused by the server",
    Met.TIMEOUT: "no answer",
    Met.UNREACHABLE: "cannot be reached",
    Met.GARBLED: "no valid answer",
    Met.NOTHING: "nothing found",
    Met.OUTSIDE: "whoever serves it outside decides",
}
_ERRORS = {
    "EAI_NONAME": "not found",
    "EAI_NODATA": "found, but without an address",
    "EAI_AGAIN": "no answer from DNS",
    "EAI_FAIL": "DNS fails",
}


def render(answer: Lookup, console: Console, *, verbose: bool) -> None:
    """Prints the lookup to the console."""
    pen = Pen.of(console, verbose, answer.namespace)
    for line in report_lines(pen, answer):
        console.print(encodable(line, console.encoding), soft_wrap=True)


def report_lines(pen: Pen, answer: Lookup) -> Lines:
    """The whole report."""
    parts = [
        _headline(pen, answer) + _whole(pen, answer),
        findings_lines(pen, answer.findings),
        *_resolutions(pen, answer),
        _records(pen, answer),
        _resolver(pen, answer),
        unknowns_lines(pen, answer.unknowns),
        notes_lines(pen, answer.notes),
        pen.wrap(words((_basis(answer), "dim")), 2),
    ]
    found: Lines = []
    for part in filter(None, parts):
        if found:
            found.append(Text())
        found += part
    return found


def _headline(pen: Pen, answer: Lookup) -> Lines:
    status = OF_VERDICT[answer.verdict]
    who = f"pod {answer.client}" if answer.client else f"a pod of namespace {answer.namespace}"
    text = Text.assemble(pen.mark(status), " ", (str(answer.verdict), f"bold {STYLE[status]}"), "  ")
    text.append_text(words((answer.name, "bold"), f"  for {who}: "))
    if answer.whole is not None:
        got = _some(answer.whole.addresses) or answer.whole.error
    else:
        first = answer.resolutions[0]
        got = _ERRORS.get(first.error, first.error) if first.error else _some(first.addresses)
    text.append_text(words(got or "whoever serves it outside decides"))
    return pen.wrap(text, 2)


def _whole(pen: Pen, answer: Lookup) -> Lines:
    whole = answer.whole
    if whole is None:
        return []
    return pen.wrap(words((f"  {whole.command} in the pod: {whole.seconds * 1000:.0f} ms", "dim")), 4)


def _resolutions(pen: Pen, answer: Lookup) -> list[Lines]:
    """The list of each library; one that asks what the other asks is only said to."""
    found: list[Lines] = []
    drawn: dict[tuple[tuple[str, str, Met], ...], str] = {}
    for resolution in answer.resolutions:
        form = tuple(sorted((q.name, q.rtype, q.reply.met) for q in resolution.queries))
        if form in drawn:
            found.append(pen.wrap(words((f"{resolution.libc} asks the same as {drawn[form]}", "dim")), 2))
            continue
        drawn[form] = resolution.libc
        found.append(_resolution(pen, answer, resolution))
    return found


def _resolution(pen: Pen, answer: Lookup, resolution: Resolution) -> Lines:
    asked = any(q.reply.seconds is not None for q in resolution.queries)
    verb = "asked" if asked else "asks" if answer.basis is Basis.OBSERVED else "would ask"
    found = pen.wrap(words((f"{resolution.libc} {verb}, in this order:", "bold")))
    many = len({q.nameserver for q in resolution.queries}) > 1
    rows = _rows(pen, resolution.queries, many)
    inner = pen.narrower(2)
    found += [stand_in(line, 2) for lines in inner.columns(rows) for line in lines]
    if resolution.waited:
        waits = "waited" if asked else "waits"
        found += pen.wrap(
            words((f"  {waits} {resolution.waited:.3g} s for answers that did not come", "yellow")), 2
        )
    return found


def _rows(pen: Pen, queries: tuple[Query, ...], many: bool) -> list[list[Text]]:
    """A row for each query; those of one round that meet the same are one. The round's number is on its first."""
    found: list[list[Text]] = []
    before: Query | None = None
    for query in queries:
        number = str(query.step + 1) if before is None or before.step != query.step else ""
        if before is not None and _alike(before, query):
            found[-1][1] = words(f"{found[-1][1].plain} {query.rtype}")
        else:
            found.append(_row(pen, query, many, number))
        before = query
    return found


def _alike(one: Query, other: Query) -> bool:
    """Whether two queries of one round can be told in one row."""
    if (one.step, one.name, one.nameserver) != (other.step, other.name, other.nameserver) or other.reply.data:
        return False
    same = (one.reply.met, one.reply.detail, one.wrong) == (other.reply.met, other.reply.detail, other.wrong)
    return same and status_of(one) == status_of(other)


def _records(pen: Pen, answer: Lookup) -> Lines:
    if not answer.records:
        return []
    found = pen.wrap(words(("records that the Service must have:", "bold")))
    rows = [
        _row(pen, q, False, "") for q in answer.records
    ]  # numbered by nobody: their order does not matter
    return found + [stand_in(line, 2) for lines in pen.narrower(2).columns(rows) for line in lines]


def _row(pen: Pen, query: Query, server: bool, number: str) -> list[Text]:
    status = status_of(query)
    reply = query.reply
    took = f"{reply.seconds * 1000:.1f} ms" if reply.seconds is not None else ""
    if reply.seconds is not None and reply.transport not in ("UDP", ""):
        took += f" {reply.transport}"
    says = Text.assemble(pen.mark(status), " ")
    says.append_text(words(_says(reply, whole=pen.verbose or status is not Status.OK)))
    should = _should(query, status)
    if should:
        says.append_text(words((f"; {should}", STYLE[Status.FAIL])))
    cells = [words((number, "dim")), words(query.rtype), words(query.name)]
    if server:
        cells.append(words((query.nameserver, "dim")))
    return [*cells, words((took, "dim")), says]


def status_of(query: Query) -> Status:
    """How the answer compares with what it should be."""
    met, should = query.reply.met, query.expected.met
    if query.wrong or (met not in ANSWERS and met not in (Met.OUTSIDE, Met.NOTHING)):
        return Status.FAIL
    if met is Met.OUTSIDE or (should is Met.OUTSIDE and met is not Met.DATA):
        return Status.UNKNOWN
    if (met is Met.DATA) != (should is Met.DATA) and should is not Met.OUTSIDE:
        return Status.FAIL
    return Status.OK


def _says(reply: Reply, *, whole: bool) -> str:
    text = _some(reply.data) if reply.data else _WORDS.get(reply.met, str(reply.met))
    return f"{text} ({reply.detail})" if reply.detail and (whole or reply.truncated) else text


def _should(query: Query, status: Status) -> str:
    """What the answer must be, where it is not."""
    should = query.expected
    failed = query.reply.met not in ANSWERS and should.met is not Met.DATA
    if status is not Status.FAIL or should.met is Met.OUTSIDE or failed:
        return ""
    return f"must be {_some(should.data) if should.data else _WORDS[should.met]}"


def _some(data: tuple[str, ...]) -> str:
    more = f" and {len(data) - SHOWN} more" if len(data) > SHOWN else ""
    return ", ".join(data[:SHOWN]) + more


def _resolver(pen: Pen, answer: Lookup) -> Lines:
    resolver = answer.resolver
    found = pen.wrap(words(("resolv.conf", "bold"), f", {resolver.source}:"), 2)
    lines = [f"nameserver {n}" for n in resolver.nameservers]
    if resolver.search:
        lines.append(f"search {' '.join(resolver.search)}")
    if resolver.options:
        lines.append(f"options {' '.join(resolver.options)}")
    inner = pen.narrower(2)
    for line in lines:
        found += [stand_in(part, 2) for part in inner.wrap(words(line), 2)]
    for line in resolver.ignored:
        found += [stand_in(part, 2) for part in inner.wrap(words((f"not obeyed: {line}", "yellow")), 2)]
    return found


def _basis(answer: Lookup) -> str:
    if answer.basis is Basis.OBSERVED:
        return f"basis: observed, {answer.server}; compared with the API's objects"
    hint = "--ask exec asks in the pod" if answer.client else "--from pod/NAME --ask exec asks in a pod"
    return f"basis: predicted from the API's objects, nothing was sent; {hint}"
