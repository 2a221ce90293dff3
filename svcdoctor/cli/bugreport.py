"""``svcdoctor bug-report``: ask, anonymise, ask again, pack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import SnapshotOption
from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import NodeFactsFlags, node_facts, progress
from svcdoctor.cli.opening import open_source
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.checks.diagnose import Source
    from svcdoctor.model.facts import Need
    from svcdoctor.model.snapshot import Snapshot
    from svcdoctor.report.bugreport import Answer, Comparison
    from svcdoctor.sources.anonymize import Dumps
    from svcdoctor.sources.anonymousrequest import Question
    from svcdoctor.sources.connection import Connection
    from svcdoctor.sources.writing import Written

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command("bug-report")
@node_facts
@connected
def bug_report(
    connection: Connection,
    node_facts: NodeFactsFlags,
    target: Annotated[
        str | None,
        typer.Argument(
            help="What trace was asked: svc/NAME, HOST:PORT, … Without it everything in the namespace is checked.",
            show_default=False,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="Who asks: external[/IP], node/NAME or pod/[NAMESPACE/]NAME.", show_default=False
        ),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Without a target: check all namespaces.")
    ] = False,
    snapshot: SnapshotOption = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            help="The archive to write, ending in .tar.gz.",
            show_default="svcdoctor-bug-report-TIME.tar.gz",
        ),
    ] = None,
) -> None:
    """Pack what a bug report needs, anonymised: the snapshot that an answer rests on, the answer, and versions.

    Names, namespaces, labels, host names and addresses are replaced, the same by the same everywhere, and no map of
    them is kept; there are no Secrets and no logs in it, and of environment and arguments only settings such as
    BIND=127.0.0.1. The question is asked again of what is packed: svcdoctor says whether the findings are the same.
    Nothing is sent anywhere: look into the archive, and then decide. svcdoctor trace --snapshot reads it.

    Exit codes: 0 written; 1 no such Service; 2 bad usage, or it cannot be written; 3 the cluster cannot be asked.
    """
    from svcdoctor.cli.versions import versions
    from svcdoctor.model.request import Request
    from svcdoctor.path.clients import parse_client
    from svcdoctor.path.target import parse_target
    from svcdoctor.sources.anonymousrequest import Question
    from svcdoctor.sources.archive import node_dumps

    if target is None and from_ is not None:
        raise SvcdoctorError("--from asks about a target: name one (svc/NAME, HOST:PORT …)")
    if all_namespaces and (target is not None or connection.namespace):
        raise SvcdoctorError("-A excludes a target and -n")
    path = to or Path(f"svcdoctor-bug-report-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    if not path.name.endswith((".tar.gz", ".tgz")):
        raise SvcdoctorError(f"--to {path}: the archive's name ends in .tar.gz")
    source, own = open_source(connection, snapshot, None, node_facts, ())
    question = Question(None, None if all_namespaces else own)
    if target is not None:
        client = parse_client(from_) if from_ else None
        question = Question(Request(parse_target(target, own, client), client), own)
    packed = pack(
        source, question, path, None if snapshot is None else node_dumps(snapshot), versions(source)
    )
    written = packed.written
    print(
        f"{written.path}: {written.objects:,} objects, {len(written.nodes)} nodes' dumps, the answer, versions; "
        f"{written.size:,} bytes"
    )
    print(
        "names, namespaces, labels, host names and addresses are replaced; nothing was sent: look into it first"
    )
    print(packed.comparison.words)
    print(f"  {' '.join(packed.command)} --snapshot {path}")


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written, the words that ask the same of it, and how that answer compares with the cluster's."""

    written: Written
    command: tuple[str, ...]
    comparison: Comparison


def pack(
    source: Source, question: Question, path: Path, dumps: Dumps | None, versions: Mapping[str, str]
) -> Packed:
    """Asks, anonymises, asks again, and writes the archive. ``dumps`` are the nodes', by default those taken just now.

    Raises SvcdoctorError.
    """
    from svcdoctor.report.bugreport import beside, command, compared
    from svcdoctor.sources.anonymize import anonymize
    from svcdoctor.sources.writing import write_snapshot

    original, held = _answered(source, question)
    result = anonymize(held, _dumps(held) if dumps is None else dumps, question)
    asked = result.question or question
    answer, _ = _answered(Held(result.snapshot), asked)
    comparison = compared(original, answer)
    words = command(asked)
    files = beside(answer, _drawn(answer), words, versions, comparison, result.left_out)
    written = write_snapshot(
        result.snapshot, path, dumps=result.dumps, left_out=result.left_out, beside=files, progress=progress
    )
    return Packed(written, words, comparison)


class Held:
    """A Snapshot as a source: nothing more can be asked."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        return snapshot


class _Kept:
    """A source that remembers the last Snapshot which it gave: what the answer rests on."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.last: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        self.last = self._source.snapshot()
        return self.last

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        self.last = self._source.refill(snapshot, needs)
        return self.last


def _answered(source: Source, question: Question) -> tuple[Answer, Snapshot]:
    """The answer, and the Snapshot that it rests on. Raises SvcdoctorError."""
    from svcdoctor.checks.checkup import checkup
    from svcdoctor.checks.diagnose import diagnosed

    if question.request is not None:
        return diagnosed(source, source.snapshot(), question.request, question.namespace or "default")
    kept = _Kept(source)
    answer = checkup(kept, question.namespace)
    return answer, kept.last or kept.snapshot()


def _dumps(snapshot: Snapshot) -> dict[str, dict[str, bytes]]:
    """The nodes' dumps that were taken just now."""
    return {
        name: {n: dump.data for n, dump in facts.raw.items()}
        for name, facts in snapshot.node_facts.items()
        if facts.raw
    }


def _drawn(answer: Answer) -> str:
    """The answer as the terminal shows it, with every detail."""
    from svcdoctor.cli.outputs import console_for
    from svcdoctor.model.checkup import Checkup
    from svcdoctor.report import checkup, terminal

    console = console_for("never", None)
    with console.capture() as captured:
        if isinstance(answer, Checkup):
            checkup.render(answer, console, verbose=True)
        else:
            terminal.render(answer, console, verbose=True)
    return captured.get()
