"""``svcdoctor dns``: parse, look up, ask, render."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import SnapshotOption
from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import NodeFactsFlags, ask
from svcdoctor.cli.opening import open_source
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.checks.diagnose import Source
    from svcdoctor.checks.lookups import Looked
    from svcdoctor.model.lookup import Lookup
    from svcdoctor.path.dnssetting import NameQuestion
    from svcdoctor.path.lookup import Observed
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

DEBUG_IMAGE = "alpine:3.22"


class Ask(StrEnum):
    """The values of --ask."""

    EXEC = "exec"
    DEBUG = "debug"
    HERE = "here"
    TUNNEL = "tunnel"


class Output(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"


@app.command()
@connected
def dns(
    connection: Connection,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|svc/NAME|IP", help="The name as a program asks for it, or a Service."),
    ],
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Who asks: pod/[NAMESPACE/]NAME.", show_default=False),
    ] = None,
    ask_: Annotated[
        Ask | None,
        typer.Option(
            "--ask",
            help="Ask for real: exec (in the pod, with its getent), debug (in a debug container of the pod), here "
            "(from this machine), tunnel (a CoreDNS pod, through the API server). Without it: predicted.",
            show_default=False,
        ),
    ] = None,
    dns_server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="IP[:PORT]",
            help="Ask this DNS server from here. (The API server's address is -s.)",
            show_default=False,
        ),
    ] = None,
    debug_image: Annotated[
        str, typer.Option("--debug-image", help="Image of the debug container: one with cat and getent.")
    ] = DEBUG_IMAGE,
    yes: Annotated[bool, typer.Option("--yes", help="Add the debug container without asking.")] = False,
    snapshot: SnapshotOption = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="Format of the answer.")] = Output.TERMINAL,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show all evidence and fixes.")] = False,
) -> None:
    """Say what a name comes to for a pod: the queries in their order, their answers, and what each should be.

    Without --ask or --server nothing is sent: the answer is predicted from the API's objects.

    Exit codes: 0 found; 1 not found, or a finding of severity error; 2 bad usage or unreadable input; 3 could not be
    determined.
    """
    from svcdoctor.checks.lookups import exit_code, lookup

    if ask_ is not None and dns_server is not None and ask_ is not Ask.HERE:
        raise SvcdoctorError(f"--server asks from here; leave --ask {ask_} out")
    if snapshot is not None and ask_ in (Ask.EXEC, Ask.DEBUG, Ask.TUNNEL):
        raise SvcdoctorError(f"--ask {ask_} needs the cluster itself; leave --snapshot out")
    server = parse_server(dns_server) if dns_server is not None else None
    source, namespace = open_source(connection, snapshot, None, NodeFactsFlags(), ())
    if ask_ is Ask.HERE and from_ is None and not connection.namespace:
        namespace = _own_namespace() or namespace
    question = _question(name, from_, namespace)
    looked = lookup(source, question)
    if ask_ is not None or server is not None:
        observed = _observed(source, looked, ask_, server, debug_image, yes)
        looked = lookup(source, question, observed, looked.snapshot)
    _render(looked.lookup, output, verbose)
    raise typer.Exit(exit_code(looked.lookup, "error"))


def _question(text: str, from_: str | None, namespace: str) -> NameQuestion:
    """The question that the words make. Raises SvcdoctorError."""
    from svcdoctor.dns.names import ascii_name
    from svcdoctor.model.snapshot import canonical_or_none
    from svcdoctor.model.trace import ClientKind
    from svcdoctor.path.clients import parse_client
    from svcdoctor.path.dnssetting import NameQuestion

    pod = None
    if from_ is not None:
        client = parse_client(from_)
        if client.kind is not ClientKind.POD or client.name is None:
            raise SvcdoctorError(f"--from {from_}: say pod/[NAMESPACE/]NAME")
        pod = (client.namespace or namespace, client.name)
    kind, slash, rest = text.partition("/")
    if slash:
        if kind not in ("svc", "service", "services") or not rest or "/" in rest:
            raise SvcdoctorError(f"{text!r}: say a DNS name, svc/NAME or an IP address")
        return NameQuestion("", namespace, (namespace, rest), pod)
    ip = canonical_or_none(text.strip("[]"))
    if ip is not None:
        return NameQuestion(f"{ipaddress.ip_address(ip).reverse_pointer}.", namespace, None, pod)
    return NameQuestion(ascii_name(text), namespace, None, pod)


def _own_namespace() -> str | None:
    """The namespace of the pod that this is, ``None`` on other machines."""
    from svcdoctor.probe.dns.ways import own_conf

    own = own_conf()
    return own[1] if own is not None else None


def parse_server(text: str) -> tuple[str, int]:
    """``IP``, ``IP:PORT`` or ``[IP]:PORT``. Raises SvcdoctorError."""
    from svcdoctor.model.snapshot import canonical_or_none

    if "://" in text:
        raise SvcdoctorError(
            f"--server {text}: here it is a DNS server, IP[:PORT]; the API server's address is -s {text}"
        )
    ip = canonical_or_none(text.strip("[]"))
    if ip is not None:
        return ip, 53
    host, _, port = text.rpartition(":")
    ip = canonical_or_none(host.strip("[]"))
    if ip is None or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SvcdoctorError(f"--server {text}: say IP, IP:PORT or [IP]:PORT")
    return ip, int(port)


def _observed(
    source: Source, looked: Looked, ask_: Ask | None, server: tuple[str, int] | None, image: str, yes: bool
) -> Observed:
    """Asks in the way that was chosen. Raises SvcdoctorError."""
    from svcdoctor.probe.dns import ways
    from svcdoctor.sources.live import LiveSource

    setting = looked.setting
    if server is not None:
        return ways.of_server(setting, *server)
    if ask_ is Ask.HERE:
        own = ways.own_conf()
        same = own is not None and own[1] == setting.pod.namespace
        return ways.from_here(setting, own[0] if own is not None and same else None)
    assert isinstance(source, LiveSource)
    if ask_ is Ask.TUNNEL:
        return ways.by_tunnel(setting, source.session)
    if setting.question.pod is None:
        raise SvcdoctorError(f"--ask {ask_}: say in which pod with --from pod/NAME")
    if ask_ is Ask.EXEC:
        from svcdoctor.probe.dns.pod import NoPrograms

        try:
            return ways.in_pod(setting, source.session)
        except NoPrograms as e:
            if not yes:
                ask(f"{e.message}. {_debug_question(looked, image)}", "--ask debug --yes")
            yes = True
    if not yes:
        ask(_debug_question(looked, image), "--yes")
    from svcdoctor.probe.dns.debugcontainer import debug_container

    pod = setting.pod
    return ways.in_pod(
        setting, source.session, debug_container(source.session, pod.namespace, pod.name, image)
    )


def _debug_question(looked: Looked, image: str) -> str:
    from svcdoctor.probe.dns.debugcontainer import SECONDS

    pod = looked.setting.pod
    return (
        f"Add a debug container to pod {pod.namespace}/{pod.name} (image {image})\n"
        f"  it ends after {SECONDS} seconds; its entry stays in the pod until the pod is deleted\nGo on"
    )


def _render(answer: Lookup, output: Output, verbose: bool) -> None:
    if output is Output.JSON:
        from svcdoctor.path.lookupform import lookup_json
        from svcdoctor.report.machine import form_as_json

        print(form_as_json(lookup_json(answer)), end="")
        return
    from rich.console import Console

    from svcdoctor.report.dns import render

    render(answer, Console(highlight=False, soft_wrap=False), verbose=verbose)
