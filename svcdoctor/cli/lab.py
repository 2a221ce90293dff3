"""``svcdoctor lab``: parse and serve."""

from __future__ import annotations

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
    """Serve a saved cluster over the Kubernetes API, to learn and to test."""


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
