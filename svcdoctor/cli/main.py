"""The entry point: one program, alone (``svcdoctor``) or as a kubectl plugin (``kubectl svcdoctor``).

Commands are imported when they are called, so that ``--help`` costs no more than Typer itself.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from svcdoctor import __version__
from svcdoctor.cli.streams import fit_streams
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.report.printable import revealed

# Name: module, and the first line of the command's help, which a test holds equal.
COMMANDS: dict[str, tuple[str, str]] = {
    "trace": ("svcdoctor.cli.trace", "Show a request's whole way through a Service, and why it breaks."),
    "check": (
        "svcdoctor.cli.check",
        "Check all Services, Ingresses, routes and policies at once, and group what is wrong by its root cause.",
    ),
    "lint": (
        "svcdoctor.cli.lint",
        "Check manifests alone: what the API server would reject, and what would not work if it took them.",
    ),
    "wait": (
        "svcdoctor.cli.wait",
        "Wait until a Service is really usable, and say what it still waits for.",
    ),
    "test": (
        "svcdoctor.cli.reachability",
        "Test who reaches what, as expectations in a file: on manifests, a snapshot, or live.",
    ),
    "dns": (
        "svcdoctor.cli.dns",
        "Say what a name comes to for a pod: the queries in their order, their answers, and what each should be.",
    ),
    "snapshot": (
        "svcdoctor.cli.snapshot",
        "Save what a cluster's Services rest on, or look into a saved one.",
    ),
    "forward": (
        "svcdoctor.cli.forward",
        "Forward local ports to pods, over their restarts and rollouts.",
    ),
    "proxy": (
        "svcdoctor.cli.proxy",
        "Forward for a Service yourself where kube-proxy does not: in user space, or with rules of svcdoctor's own.",
    ),
    "watch": (
        "svcdoctor.cli.watch",
        "Watch a Service's endpoints, findings and, with --probe, its answers; say at the end what was unavailable.",
    ),
    "capture": (
        "svcdoctor.cli.capture",
        "Capture a Service's packets on this node, and join each connection's legs before and after NAT.",
    ),
    "rules": (
        "svcdoctor.cli.rules",
        "Say what a node's packet rules do: with one packet, for a Service, or against the API.",
    ),
    "diff": (
        "svcdoctor.cli.diff",
        "Compare two snapshots: what changed on a Service's way, and which findings came or went.",
    ),
    "explain": (
        "svcdoctor.cli.explain",
        "Explain a finding's code: what it means, how to see it by hand, how to fix it.",
    ),
    "codes": ("svcdoctor.cli.codes", "List every code that a finding can have."),
    "auth": (
        "svcdoctor.cli.auth",
        "Say which features you may use on a cluster, and what to grant for the others.",
    ),
    "bug-report": (
        "svcdoctor.cli.bugreport",
        "Pack what a bug report needs, anonymised: the snapshot that an answer rests on, the answer, and versions.",
    ),
    "cleanup": (
        "svcdoctor.cli.cleanup",
        "Delete what svcdoctor left behind in a cluster: the short-lived pods that it makes.",
    ),
    "completion": (
        "svcdoctor.cli.completion",
        "Print the script that has a shell complete svcdoctor's commands, flags, names and ports.",
    ),
    "lab": (
        "svcdoctor.cli.lab",
        "A real Service network on this machine, or a saved cluster's API: to learn and to test.",
    ),
}

_HELP = ("-h", "--help")

INTERRUPTED = 130  # 128 + SIGINT, as shells count it

NOTE_FOR_PLUGIN = (
    "As a kubectl plugin, kubectl's own flags come after the plugin's name: kubectl svcdoctor trace svc/web "
    "--context prod. Put before it, kubectl itself fails."
)

_KUBECTL_FLAGS = (
    "--as", "--as-group", "--as-uid", "--certificate-authority", "--client-certificate", "--client-key",
    "--cluster", "--context", "--insecure-skip-tls-verify", "--kubeconfig", "--namespace",
    "--request-timeout", "--server", "--tls-server-name", "--token", "--user", "-n", "-s",
)  # fmt: skip


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command, with the user's own defaults; whoever asks for help, or a shell that completes, needs none."""
        name, command, words = super().resolve_command(ctx, args)
        if name is not None and not ctx.resilient_parsing and not {*_HELP} & {*words}:
            from svcdoctor.cli.defaults import default_map, takes_defaults, user_defaults

            if takes_defaults(command) and (defaults := user_defaults()):
                ctx.default_map = {name: default_map(command, words, defaults)}
        return name, command, words

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


app = typer.Typer(
    cls=LazyGroup,
    help="The doctor for Kubernetes Service networking: where a request goes, and why it does not arrive.",
    epilog=NOTE_FOR_PLUGIN,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": list(_HELP)},
)


def _show_version(value: bool) -> None:
    if value:
        print(f"svcdoctor {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The doctor for Kubernetes Service networking: where a request goes, and why it does not arrive."""


def program_name() -> str:
    """How the user called the program: kubectl runs plugins as ``kubectl-svcdoctor``."""
    called = sys.argv[0].replace("\\", "/").rpartition("/")[2]
    return "kubectl svcdoctor" if called.startswith("kubectl-") else "svcdoctor"


def main() -> None:
    """Runs the command line and ends the process with its exit code (see docs/architecture.md)."""
    name = program_name()
    for stream, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream) is None:  # the shell closed it (>&-)
            setattr(sys, stream, Path(os.devnull).open(mode))  # noqa: SIM115 (for as long as the process)
    fit_streams()
    try:
        first = sys.argv[1].partition("=")[0] if len(sys.argv) > 1 else ""
        if first in _KUBECTL_FLAGS:
            raise SvcdoctorError(f"{first} comes after the command: {name} trace svc/NAME {first} …")
        _run(name)
    except SvcdoctorError as e:
        _end(f"{name}: error: {e.message}", e.exit_code)
    except BrokenPipeError:
        _abandon_stdout()  # the reader has gone (| head): nothing is wrong
        raise SystemExit(0) from None
    except OSError as e:
        _abandon_stdout()
        _end(f"{name}: error: {e.filename + ': ' if e.filename else ''}{e.strerror or e}", 2)


def _abandon_stdout() -> None:
    """What could not be written is dropped: Python would complain a second time while flushing at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _chosen(name: str) -> list[str]:
    """What was chosen on the terminal by who said nothing; nothing where nobody can choose."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if not terminal or sys.platform == "win32":  # whose console has no modes to set
        return []
    from svcdoctor.cli.picking import pick

    return pick(name)


def _run(name: str) -> None:
    try:
        app(sys.argv[1:] or _chosen(name), prog_name=name)
    except SystemExit as e:
        if e.code == INTERRUPTED:
            # Everything has been cleaned up by now; a request under way on a thread is not waited for.
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        if isinstance(e.__context__, BrokenPipeError):
            raise e.__context__ from None
        sys.stdout.flush()  # a full disk shows here, where it can still be said
        raise


def _end(message: str, code: int) -> None:
    print(" ".join(revealed(message).split("\n")), file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
