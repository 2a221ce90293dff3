"""``svcdoctor lab``: parse and serve."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from svcdoctor.model.errors import SvcdoctorError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@app.callback()
def lab() -> None:
    """A real Service network on this machine, or a saved cluster's API: to learn and to test."""


@app.command()
def api(
    snapshot: Annotated[
        Path, typer.Option("--snapshot", help="A folder or archive of dumps (kubectl get … -o json).")
    ],
    kubeconfig: Annotated[
        Path, typer.Option("--kubeconfig", help="Where to write the kubeconfig; removed at the end.")
    ] = Path("svcdoctor-lab.kubeconfig"),
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 chooses one.")
    ] = 0,
) -> None:
    """Serve the objects of a snapshot over the Kubernetes API on this machine, until Ctrl-C.

    The real kubectl works against it: KUBECONFIG=svcdoctor-lab.kubeconfig kubectl get svc -A
    """
    from svcdoctor.lab.apiserver import ApiServer
    from svcdoctor.lab.serving import serve
    from svcdoctor.lab.store import ObjectStore
    from svcdoctor.sources.files import raw_objects

    store = ObjectStore(raw_objects(snapshot))
    if not len(store):
        raise SvcdoctorError(f"{snapshot}: no Kubernetes objects that this server serves")

    def announce(server: ApiServer) -> None:
        print(f"Serving {len(store)} objects of {snapshot} at {server.url}")
        print(f"export KUBECONFIG={kubeconfig.absolute()}", flush=True)

    serve(ApiServer(store, port=port), kubeconfig, announce)


class Mode(StrEnum):
    IPTABLES = "iptables"
    LEGACY = "iptables-legacy"
    NFTABLES = "nftables"


@app.command()
def up(
    mode: Annotated[
        Mode, typer.Option("--mode", help="How the nodes' Service rules are made.")
    ] = Mode.IPTABLES,
) -> None:
    """Start three nodes, their pods and a client as network namespaces, with rules, DNS and an API server.

    Linux, as root or not. Nothing of this machine's own network is touched.
    """
    from svcdoctor.lab.net.command import up as start

    start(str(mode))
    print(f"the lab is up ({mode} mode): svcdoctor lab shell -- kubectl svcdoctor trace svc/bq-api-service-1")


@app.command()
def status() -> None:
    """Say what is up, and what is broken."""
    from svcdoctor.lab.net.control import Client

    held = Client().ask("status")
    print(f"mode: {held['mode']}")
    print(f"broken: {', '.join(held['broken']) or 'nothing'}")
    for name, address in held["nodes"].items():
        print(f"node {name}: {address}")
    print(f"shells: {' '.join(held['spaces'])}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def shell(
    command: Annotated[
        list[str] | None, typer.Argument(help="The command; a shell by default.", show_default=False)
    ] = None,
    where: Annotated[
        str, typer.Option("--in", help="client, a node's name, or pod/[NAMESPACE/]NAME.")
    ] = "client",
) -> None:
    """Run a command in the lab: as the client outside, on a node, or in a pod. Ends with its exit code."""
    from svcdoctor.lab.net.command import enter

    raise typer.Exit(enter(where, command or []))


@app.command("break")
def break_(
    code: Annotated[
        str | None,
        typer.Argument(
            help="The fault's code, or api; without one all are listed.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Inject a fault of the catalogue, for real; or stop the API server, as when the control plane is down.

    After "lab break api" kubectl is refused, and the nodes and pods work on: on a node,
    svcdoctor forward --dial netns still reaches its pods and Services. "lab fix" starts it again.
    """
    if code is None:
        from svcdoctor.lab.net.faults import FAULTS, OUTAGES

        for fault in FAULTS.values():
            print(f"{fault.code}  {fault.title}")
        for word, outage in OUTAGES.items():
            print(f"{word.lower():6}  {outage.title}")
        return
    from svcdoctor.lab.net.control import Client

    done = Client().ask("break", code=code.upper())
    print(f"{done['code']}: {done['title']}")


@app.command()
def fix() -> None:
    """Undo the fault."""
    from svcdoctor.lab.net.control import Client

    fixed = Client().ask("fix")["fixed"]
    print(f"fixed: {', '.join(fixed)}" if fixed else "nothing was broken")


@app.command()
def down() -> None:
    """End the lab; nothing of it is left."""
    from svcdoctor.lab.net.command import down as end

    end()
    print("the lab is down")
