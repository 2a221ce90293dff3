"""The options that say how facts of nodes are gathered, for every command that can use them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Any

from svcdoctor.cli.connected import Flags, bundled
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.model.snapshot import Snapshot
    from svcdoctor.sources.live import LiveSource
    from svcdoctor.sources.nodeways import Planned

# What ends a program whose terminal is closed, or that somebody kills. Windows has no SIGHUP.
_ENDING = tuple(s for s in signal.Signals if s.name in ("SIGHUP", "SIGTERM"))


class From(StrEnum):
    """The values of --node-facts."""

    NONE = "none"
    LOCAL = "local"
    EXEC = "exec"
    PODS = "pods"
    DAEMONSET = "daemonset"


_FLAGS: Flags = {
    "node_facts": (
        From | None,
        ("--node-facts", "--nodes-from"),
        "Read nodes' rules: local (this machine, as root), exec (in kube-proxy's pods), pods (short-lived pods), "
        "daemonset (what its pods report in their logs).",
    ),
    "node_facts_image": (
        str | None,
        ("--node-facts-image",),
        "Image of the pods; the node's kube-proxy image by default.",
    ),
    "node_facts_namespace": (
        str | None,
        ("--node-facts-namespace",),
        "Namespace of the pods; kube-system by default, svcdoctor for a DaemonSet's.",
    ),
    "yes": (bool, ("--yes",), "Make pods, and run commands in pods, without asking."),
}


@dataclass(frozen=True, slots=True)
class NodeFactsFlags:
    """What the command line says about facts of nodes."""

    way: From = From.NONE
    image: str = ""
    namespace: str = ""
    yes: bool = False

    def check_live(self, offline: bool) -> None:
        """Raises SvcdoctorError where nodes are to be asked though no cluster is."""
        if offline and self.way is not From.NONE:
            raise SvcdoctorError(
                f"--node-facts {self.way} asks a cluster's nodes; leave --snapshot and -f out"
            )

    def collected(self, source: LiveSource, nodes: tuple[str, ...]) -> Snapshot:
        """A Snapshot with the facts of nodes, of all where none are named, and else what was read on the way."""
        from svcdoctor.sources import nodeways

        snapshot = source.snapshot()
        if self.way is From.NONE:
            return snapshot
        asked = nodeways.NodeWay(
            nodeways.Way(self.way),
            nodes,
            self.image,
            self.namespace,
            confirm=lambda planned: None if self.yes else ask(_question(planned), "--yes"),
            warn=lambda line: print(f"warning: {line}", file=sys.stderr),
        )
        with ended_by_signals():
            return nodeways.with_node_facts(source, snapshot, asked, progress)


def node_facts(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options of --node-facts; the command takes them as ``node_facts``."""

    def made(said: dict[str, Any]) -> NodeFactsFlags:
        return NodeFactsFlags(
            said["node_facts"] or From.NONE,
            said["node_facts_image"] or "",
            said["node_facts_namespace"] or "",
            said["yes"],
        )

    return bundled(function, "node_facts", _FLAGS, made)


def progress(line: str) -> None:
    """Tells a person, not a log, how far it has got."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


def ask(question: str, flag: str) -> None:
    """Asks on the terminal. Raises SvcdoctorError where the answer is not yes, or nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise SvcdoctorError(
            f"{' '.join(question.split())}? Nobody can be asked without a terminal: add {flag}"
        )
    print(f"{question}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise SvcdoctorError("the answer was not yes: nothing was changed")


def _question(planned: Planned) -> str:
    from svcdoctor.sources.podmanifest import CAPABILITIES, SECONDS

    names = list(planned.images)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    pods = "one pod" if len(names) == 1 else f"{len(names)} pods"
    return (
        f"Make {pods} in namespace {planned.namespace}, for node{'s' if len(names) > 1 else ''} {shown}\n"
        f"  image: {', '.join(sorted(set(planned.images.values())))}\n"
        f"  on the node's network, with the capabilities {' and '.join(CAPABILITIES)}; deleted at the end, and "
        f"ended after {SECONDS} seconds in any case\nGo on"
    )


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets these signals end the command as Ctrl-C does, so that pods are deleted first; ignored ones stay so."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)  # as shells count it

    before = {s: handler for s in _ENDING if (handler := signal.getsignal(s)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
