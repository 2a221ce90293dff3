"""``svcdoctor cleanup``: list, ask, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import ask
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@connected
def cleanup(
    connection: Connection,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="All namespaces; the default without -n.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete what svcdoctor left behind in a cluster: the short-lived pods that it makes.

    They are found by their labels. A run that is under way elsewhere uses such pods too.

    Exit codes: 0 nothing is left; 2 not confirmed; 3 they could not be listed or deleted.
    """
    from svcdoctor.sources.connection import open_connection
    from svcdoctor.sources.leftovers import delete_pod, left_pods
    from svcdoctor.sources.live import LiveSource

    source = LiveSource(open_connection(connection))
    pods = left_pods(source, None if all_namespaces else connection.namespace or None)
    if not pods:
        print("nothing is left")
        return
    for pod in pods:
        print(f"pod {pod.namespace}/{pod.name} on node {pod.spec.node_name}: {pod.status.phase or 'new'}")
    if not yes:
        ask(f"Delete {'this pod' if len(pods) == 1 else f'these {len(pods)} pods'}", "--yes")
    problems = [f"pod {pod.namespace}/{pod.name}: {why}" for pod in pods if (why := delete_pod(source, pod))]
    print(f"deleted: {len(pods) - len(problems)}")
    if problems:
        raise SvcdoctorError(f"not deleted: {'; '.join(problems)}", 3)
