"""``svcdoctor capture``: parse, capture, print."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import SnapshotOption
from svcdoctor.cli.connected import connected
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.capture.doors import Doors
    from svcdoctor.checks.diagnose import Source
    from svcdoctor.model.snapshot import Snapshot
    from svcdoctor.probe.sniffing.file import CaptureFile
    from svcdoctor.probe.sniffing.run import Ended, Limits, Open
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

PACKETS, SECONDS = 100_000, 60.0
OCTETS = 1 << 30
"""Where a live capture ends at the latest, if nothing else is said."""


class Output(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"


@app.command()
@connected
def capture(
    connection: Connection,
    target: Annotated[
        str | None,
        typer.Argument(metavar="svc/NAME[:PORT]", help="The Service.", show_default=False),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option("--node", help="The node that this must be.", show_default=False),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, help="End after so many packets.", show_default=f"{PACKETS:,}"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.1, help="End after so long.", show_default=f"{SECONDS:g}"),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(
            "-w",
            "--write",
            metavar="FILE.pcapng",
            help="Write the packets to a file for Wireshark; - is standard output.",
            show_default=False,
        ),
    ] = None,
    read: Annotated[
        str | None,
        typer.Option(
            "--read",
            metavar="FILE",
            help="A pcap or pcapng file instead of this node; - is standard input.",
            show_default=False,
        ),
    ] = None,
    capture_image: Annotated[
        str | None,
        typer.Option(
            "--capture-image",
            help="Capture in a short-lived pod on the node, with this image, which has tcpdump; asked first.",
            show_default=False,
        ),
    ] = None,
    capture_namespace: Annotated[
        str, typer.Option("--capture-namespace", help="Namespace of that pod.")
    ] = "kube-system",
    yes: Annotated[bool, typer.Option("--yes", help="Make the pod without asking.")] = False,
    snapshot: SnapshotOption = None,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="Format; json is one event a line.")
    ] = Output.TERMINAL,
) -> None:
    """Capture a Service's packets on this node, and join each connection's legs before and after NAT.

    All interfaces are sniffed with a filter of the Service's addresses and ports. It takes root, or the capabilities
    NET_RAW and NET_ADMIN, and ends with Ctrl-C or at a limit (--count, --seconds, 1 GiB). --read needs neither; there
    all connections are shown where no Service is named, and the limits are off unless they are given. With
    --capture-image a pod on the node captures the first 160 bytes of each packet, for up to 60 s, and it is shown then.

    Exit codes: 0 captured; 1 no such Service; 2 bad usage, an unreadable or cut file, or no room to write; 3 raw
    sockets not permitted, or the API server cannot be reached, or refuses.
    """
    import tempfile

    from svcdoctor.capture.doors import Doors
    from svcdoctor.probe.sniffing.run import Limits

    if target is None and (read is None or node is not None or snapshot is not None):
        raise SvcdoctorError("name the Service: svc/NAME (only --read FILE can do without)")
    if read is not None and node is not None:
        raise SvcdoctorError("--node is for a capture on this node; leave it out with --read")
    if read is not None and write is not None and _same(read, write):
        raise SvcdoctorError(f"{write}: --read and -w name the same file")
    if capture_image is not None and (read is not None or snapshot is not None):
        raise SvcdoctorError("--capture-image makes a pod in the cluster; leave --read and --snapshot out")
    doors, where = Doors(), "all connections"
    if capture_image is not None and target is not None:
        pod = _Pod(capture_image, capture_namespace, yes, count or PACKETS, seconds or SECONDS)
        with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
            doors, where = _in_pod(connection, target, node, pod, file)
            _finish(doors, where, Limits(), file.name, write, output)
        return
    if target is not None:
        doors, where = _doors(connection, snapshot, target, node, live=read is None)
    limits = Limits(count, seconds)
    if read is None:
        limits = Limits(count or PACKETS, seconds or SECONDS, OCTETS)
    _finish(doors, where, limits, read, write, output)


@dataclass(frozen=True, slots=True)
class _Pod:
    """What the command line says of a pod that captures."""

    image: str
    namespace: str
    yes: bool
    packets: int
    seconds: float


def _in_pod(
    connection: Connection, target: str, node: str | None, pod: _Pod, file: IO[bytes]
) -> tuple[Doors, str]:
    """Captures in a pod into the file; what was captured, as doors and in words. Raises SvcdoctorError."""
    from svcdoctor.capture.doorfilter import tcpdump_words
    from svcdoctor.cli.nodefacts import ask, ended_by_signals, progress
    from svcdoctor.probe.sniffing.nodepod import NodeCapture, node_capture
    from svcdoctor.probe.sniffing.target import node_there
    from svcdoctor.sources.live import LiveSource

    source, facts, doors, words = _wanted(connection, None, target, live=False)
    assert isinstance(source, LiveSource)  # there is no snapshot
    there = node_there(facts, doors, node)
    progress(f"capturing {words} on {there} for {pod.seconds:g} s")
    asked = NodeCapture(
        there,
        pod.image,
        pod.namespace,
        tcpdump_words(doors.doors),
        pod.packets,
        pod.seconds,
        confirm=lambda question: None if pod.yes else ask(question, "--yes"),
        warn=lambda line: print(f"warning: {line}", file=sys.stderr),
    )
    with ended_by_signals():
        file.write(node_capture(source.session, asked))
    file.flush()
    return doors, f"{words} on {there}"


def _finish(
    doors: Doors, where: str, limits: Limits, read: str | None, write: str | None, output: Output
) -> None:
    """Capture or read, and say what came of it. Raises SvcdoctorError."""
    from svcdoctor import __version__
    from svcdoctor.probe.sniffing.file import CaptureFile

    if write == "-" and os.isatty(sys.stdout.fileno()):
        raise SvcdoctorError("-w -: packets are not written to a terminal; name a file or a pipe")

    def opened() -> CaptureFile | None:
        """Packets come in from here on."""
        file = CaptureFile(write, doors, where, f"svcdoctor {__version__}") if write is not None else None
        if read is None:
            print(
                f"capturing {where} on all interfaces, {len(doors.doors)} addresses and ports; at most "
                f"{limits.packets:,} packets or {limits.seconds:g} s, Ctrl-C ends it",
                file=sys.stderr,
                flush=True,
            )
        return file

    ended = _run(doors, opened, limits, read, write, output)
    if ended.cut:
        raise SvcdoctorError(ended.cut)


def _run(
    doors: Doors, opened: Open, limits: Limits, read: str | None, write: str | None, output: Output
) -> Ended:
    """Capture and print, the packets to the file and the words to where it is not."""
    from svcdoctor.capture.news import News
    from svcdoctor.probe.sniffing.run import Names, Stop, capture_live, capture_read
    from svcdoctor.probe.sniffing.sniff import InterfaceNames
    from svcdoctor.report.capture import CaptureLines
    from svcdoctor.report.capturejson import news_json, summary_json

    stream = sys.stderr if write == "-" else sys.stdout
    names: Names = {} if read is not None else InterfaceNames()
    color = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
    lines = CaptureLines(doors, names, stream.encoding, color)
    at_once = read in (None, "-") or stream.isatty()

    def tell(news: News) -> None:
        said = [news_json(news, doors, names)] if output is Output.JSON else lines.lines(news)
        print(*said, sep="\n", file=stream, flush=at_once)

    with Stop() as stop:
        if read is None:
            ended = capture_live(doors, tell, opened, limits, stop, names)
        else:
            ended = capture_read(read, doors, tell, opened, limits, stop, names)
    if output is Output.JSON:
        print(summary_json(ended, write or ""), file=stream)
    else:
        print(*lines.summary(ended, write or ""), sep="\n", file=stream)
    stream.flush()
    return ended


def _doors(
    connection: Connection, snapshot: Path | None, target: str, node: str | None, live: bool
) -> tuple[Doors, str]:
    """What is captured, as doors and in words. Raises SvcdoctorError where this is not the place for it."""
    from svcdoctor.probe.sniffing.target import node_here

    _, facts, doors, words = _wanted(connection, snapshot, target, live)
    if live:
        here = node_here(facts, doors, node, f"svcdoctor capture {target} -n {words.rpartition(' ')[2]}")
        words += f" on {here}" if here else ""
    return doors, words


def _wanted(
    connection: Connection, snapshot: Path | None, target: str, live: bool
) -> tuple[Source, Snapshot, Doors, str]:
    """The Service's doors, where they are known from, and the Service in words. Raises SvcdoctorError."""
    from svcdoctor.cli.nodefacts import NodeFactsFlags
    from svcdoctor.cli.opening import open_source
    from svcdoctor.model.request import ObjectTarget
    from svcdoctor.path.target import parse_target
    from svcdoctor.probe.sniffing.target import doors_here, held

    source, namespace = open_source(connection, snapshot, None, NodeFactsFlags(), ())
    named = parse_target(target, namespace)
    if not isinstance(named, ObjectTarget) or named.kind != "Service":
        raise SvcdoctorError(f"{target} is no Service; say svc/NAME or svc/NAME:PORT")
    facts, service = held(source, named)
    doors = doors_here(facts, service, named.port, live)
    return source, facts, doors, f"svc/{service.name} of namespace {service.namespace}"


def _same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
