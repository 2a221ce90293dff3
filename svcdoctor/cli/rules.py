"""``svcdoctor rules``: parse, evaluate, render."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import FailOn, FailOnOption, SnapshotOption
from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import NodeFactsFlags
from svcdoctor.cli.nodefacts import node_facts as node_facts_options
from svcdoctor.cli.opening import open_source
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.model.audit import Audit
    from svcdoctor.model.service import Service
    from svcdoctor.model.snapshot import Snapshot
    from svcdoctor.sources.connection import Connection

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


@app.callback()
def rules() -> None:
    """Say what a node's packet rules do: with one packet, for a Service, or against the API."""


class EvalOutput(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"


class State(StrEnum):
    NEW = "new"
    ESTABLISHED = "established"


@app.command("eval")
def evaluate(
    packet: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SRC DST:PORT[/PROTO]",
            help="Who sends, and to where: 192.0.2.7 10.96.0.10:53/udp, fd00::1 [fd00::2]:80.",
            show_default=False,
        ),
    ] = None,
    rules: Annotated[
        list[Path] | None,
        typer.Option(
            "--rules",
            help="The node's rules: iptables-save, ip6tables-save, nft -j list ruleset, ipset save, "
            "ipvsadm -Sn; may be repeated.",
            show_default=False,
            readable=False,  # reading it says better what is wrong
        ),
    ] = None,
    addr: Annotated[
        Path | None,
        typer.Option("--addr", help="The node's addresses: ip -j addr.", show_default=False, readable=False),
    ] = None,
    route: Annotated[
        list[Path] | None,
        typer.Option(
            "--route",
            help="The node's routes: ip -j route, ip -j -6 route; may be repeated.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    node_ip: Annotated[
        list[str] | None,
        typer.Option("--node-ip", help="An address of the node; may be repeated.", show_default=False),
    ] = None,
    in_interface: Annotated[
        str | None,
        typer.Option("--in-interface", help="The interface by which it comes in.", show_default=False),
    ] = None,
    sport: Annotated[
        int | None,
        typer.Option("--sport", min=0, max=65535, help="The source port.", show_default=False),
    ] = None,
    ct_state: Annotated[
        State, typer.Option("--ct-state", help="The connection's state in conntrack.")
    ] = State.NEW,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            help='Packets as JSON lines (file or -): {"id", "src", "dst", "dport", "proto"}.',
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        EvalOutput, typer.Option("-o", "--output", help="Format of the answer.")
    ] = EvalOutput.TERMINAL,
) -> None:
    """Say where a packet goes by a dump of rules, and which rules decide it.

    Works on any Linux rule dump. A packet whose source is an address of the node starts on the node; any other
    comes in by an interface. What is not modelled is unknown, never passed.

    Exit codes: 0 answered; 2 bad usage or unreadable input; 3 an outcome is unknown.
    """
    from svcdoctor.dataplane.answers import Question, answer, answers
    from svcdoctor.sources.rulefiles import read_node

    if not rules:
        raise SvcdoctorError("name the node's rules: --rules FILE (iptables-save or nft -j list ruleset)")
    if (batch is None) == (not packet):
        raise SvcdoctorError("name one packet (SRC DST:PORT) or --batch FILE")
    if batch == "-" and Path("-") in rules:
        raise SvcdoctorError("--rules - and --batch - cannot both read standard input")
    asked = _asked(packet) if packet else None
    node = read_node(rules, addr, route or [], node_ip or [])
    if asked is None:
        write = sys.stdout.buffer.write
        for line in answers(node, _lines(batch or "")):
            write(line)
        sys.stdout.buffer.flush()
        return
    source, target, protocol, port = asked
    question = Question(source, target, port, protocol, None, sport, in_interface, str(ct_state))
    found = answer(node, question)
    if output is EvalOutput.JSON:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        from svcdoctor.report.packets import as_text

        print(as_text(found, packet or []), end="")
    if any(o["verdict"] == "unknown" for o in found["outcomes"]):
        raise typer.Exit(3)


def _lines(batch: str) -> Iterator[bytes]:
    """The lines of ``--batch``. Raises SvcdoctorError."""
    try:
        with nullcontext(sys.stdin.buffer) if batch == "-" else Path(batch).open("rb") as lines:
            yield from lines
    except OSError as e:
        raise SvcdoctorError(f"{batch}: {e.strerror}") from None


def _asked(words: list[str]) -> tuple[str, str, str, int | None]:
    """``SRC DST:PORT[/PROTO]``, as source, destination, protocol, port. Raises SvcdoctorError."""
    from svcdoctor.model.snapshot import canonical_or_none
    from svcdoctor.path.batch import parse_address

    if len(words) != 2:
        raise SvcdoctorError(
            f"say SRC DST:PORT[/PROTO], such as 192.0.2.7 10.96.0.10:53/udp (got {len(words)} words)"
        )
    source = canonical_or_none(words[0].strip("[]"))
    if source is None:
        raise SvcdoctorError(f"{words[0]!r} is no source address")
    target, _, protocol = words[1].partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol in ("icmp", "icmpv6", "ipv6-icmp"):
        destination = canonical_or_none(target.strip("[]"))
        if destination is None:
            raise SvcdoctorError(f"{target!r} is no destination address")
        return source, destination, protocol, None
    ip, port = parse_address(target)
    return source, ip, protocol, port


class AuditOutput(StrEnum):
    TERMINAL = "terminal"
    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"
    YAML = "yaml"


@app.command()
@node_facts_options
@connected
def audit(
    connection: Connection,
    node_facts: NodeFactsFlags,
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="[svc/NAME…]", help="Only these Services.", show_default=False),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="The Services of every namespace.")
    ] = False,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", help="Only this node; may be repeated.", show_default=False),
    ] = None,
    snapshot: SnapshotOption = None,
    output: Annotated[
        AuditOutput, typer.Option("-o", "--output", help="Format of the answer.")
    ] = AuditOutput.TERMINAL,
    fail_on: FailOnOption = FailOn.ERROR,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show all evidence and fixes.")] = False,
) -> None:
    """Compare every Service's rules on every node with what the API demands.

    Exit codes: 0 the rules do what the API demands; 1 a finding of severity error; 2 bad usage or unreadable
    input; 3 a node's rules are not known.
    """
    from svcdoctor.checks.audit import audit as compare
    from svcdoctor.checks.audit import exit_code
    from svcdoctor.cli.spread import spread

    held, namespace = _held(connection, snapshot, node_facts, node or [])
    chosen = _chosen(held, services or [], namespace, all_namespaces)
    answer = compare(held, chosen, _nodes(held, node or []), spread)
    _print_audit(answer, output, verbose)
    raise typer.Exit(exit_code(answer, str(fail_on)))


@app.command()
@node_facts_options
@connected
def show(
    connection: Connection,
    node_facts: NodeFactsFlags,
    service: Annotated[str, typer.Argument(metavar="svc/NAME", help="The Service.")],
    node: Annotated[str, typer.Option("--node", help="The node whose rules are shown.")],
    snapshot: SnapshotOption = None,
) -> None:
    """Show a Service's own rules on a node as the tree that its packets take.

    Exit codes: 0 shown; 1 no such Service; 2 bad usage or unreadable input; 3 the node's rules are not known.
    """
    from rich.console import Console

    from svcdoctor.path.ruletree import trees
    from svcdoctor.path.world import World
    from svcdoctor.report.ruletree import render

    held, namespace = _held(connection, snapshot, node_facts, [node])
    name = _service_name(service, namespace)
    found = held.service(*name)
    if found is None:
        raise SvcdoctorError(f"no Service {name[1]} in namespace {name[0]}", 1)
    _nodes(held, [node])
    world = World(held)
    if world.hosts.node(node) is None:
        raise SvcdoctorError(f"the rules of {node} are not known: {world.hosts.why(node)}", 3)
    shown = trees(world, node, found)
    if not shown:
        raise SvcdoctorError(f"svc/{name[1]} needs no rules on a node ({found.type})")
    render(shown, Console(highlight=False, soft_wrap=False))


def _held(
    connection: Connection, path: Path | None, flags: NodeFactsFlags, nodes: list[str]
) -> tuple[Snapshot, str]:
    """The whole cluster with its nodes' facts, and the namespace that completes short names."""
    from svcdoctor.checks.diagnose import whole

    source, namespace = open_source(connection, path, None, flags, tuple(nodes))
    return whole(source), namespace


def _service_name(text: str, namespace: str) -> tuple[str, str]:
    """``svc/NAME``, ``service/NAME`` or ``NAME``, with ``NAMESPACE/`` before the name where it has one."""
    words = text.split("/")
    if words[0] in ("svc", "service", "services") and len(words) > 1:
        words = words[1:]
    if not all(words) or len(words) > 2:
        raise SvcdoctorError(f"{text!r}: say svc/NAME")
    return (words[0], words[1]) if len(words) == 2 else (namespace, words[0])


def _chosen(
    held: Snapshot, services: list[str], namespace: str, everywhere: bool
) -> Callable[[Service], bool]:
    """Which Services are meant. Raises SvcdoctorError for one that does not exist."""
    if not services:
        return (lambda s: True) if everywhere else (lambda s: s.namespace == namespace)
    names = {_service_name(s, namespace) for s in services}
    for name in sorted(names):
        if held.service(*name) is None:
            raise SvcdoctorError(f"no Service {name[1]} in namespace {name[0]}", 1)
    return lambda s: (s.namespace, s.name) in names


def _nodes(held: Snapshot, names: list[str]) -> list[str]:
    known = {*held.node_names, *held.node_facts}
    for name in names:
        if known and name not in known:
            raise SvcdoctorError(f"--node {name}: no such node (there are {', '.join(sorted(known)[:8])})")
    return names


def _print_audit(answer: Audit, output: AuditOutput, verbose: bool) -> None:
    from svcdoctor.path.jsonform import audit_json

    if output is AuditOutput.TERMINAL:
        from rich.console import Console

        from svcdoctor.report.auditing import render

        render(answer, Console(highlight=False, soft_wrap=False), verbose=verbose)
    elif output in (AuditOutput.TABLE, AuditOutput.MARKDOWN):
        from svcdoctor.report.auditing import table

        print(table(answer, output is AuditOutput.MARKDOWN), end="")
    else:
        from svcdoctor.report.machine import form_as_json, form_as_yaml

        write = form_as_json if output is AuditOutput.JSON else form_as_yaml
        print(write(audit_json(answer)), end="")
