"""The places in a cluster that probes start from: a pod that is there, and one that is made for it.

Whatever is run or made there, a person is asked first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Place, PlaceKind
from svcdoctor.model.pod import Pod
from svcdoctor.probe.inshell import PROCESSES, InShell
from svcdoctor.sources.execnode import runner
from svcdoctor.sources.ownpods import NotStarted, OwnPods
from svcdoctor.sources.podexec import Container, Streams
from svcdoctor.sources.podmanifest import SECONDS, Purpose, probe_pod
from svcdoctor.sources.session import ApiSession

IMAGE = "busybox:1.37"
"""Has sh, nc and wget: enough for TCP and HTTP. One with Python can do everything."""

OWN_PROCESSES = 32
"""Workers of sh in a pod of our own."""

Confirm = Callable[[str], None]
"""Asks a person whether to go on. Raises SvcdoctorError where the answer is no, or nobody can be asked."""


def in_pod(session: ApiSession, pod: Pod, confirm: Confirm, container: str = "") -> InShell:
    """An origin in a running pod, by exec; in its first container where none is named. Raises SvcdoctorError."""
    name = f"{pod.namespace}/{pod.name}"
    if pod.status.phase != "Running" or pod.terminating:
        phase = "Terminating" if pod.terminating else pod.status.phase or "not running"
        raise SvcdoctorError(f"no probe from pod {name}: it is {phase}")
    containers = [c.name for c in pod.serving_containers]
    if container and container not in containers:
        raise SvcdoctorError(f"pod {name} has no container {container}; it has {', '.join(containers)}")
    confirm(
        f"Run connection attempts in pod {name}, with the programs that it has (python3, or sh and curl, nc …)"
    )
    streams = Streams()
    run = runner(session, Container(pod.namespace, pod.name, container or containers[0]), streams)
    return InShell(Place(PlaceKind.POD, name), run, streams.end, PROCESSES)


@dataclass(frozen=True, slots=True)
class NewPod:
    """A pod to be made. On ``node``, or anywhere where that is empty; with ``host_network`` it stands for the node
    itself. ``warn`` hears of a pod that is left behind."""

    namespace: str
    confirm: Confirm
    node: str = ""
    host_network: bool = False
    image: str = IMAGE
    warn: Callable[[str], None] = field(default=lambda line: None)

    @property
    def place(self) -> Place:
        """As reports name it."""
        if self.host_network:
            return Place(PlaceKind.NODE, self.node)
        return Place(PlaceKind.NEW_POD, f"{self.namespace} on {self.node}" if self.node else self.namespace)

    @property
    def question(self) -> str:
        """What a person is asked."""
        network = "on the node's network" if self.host_network else "on the pods' network"
        return (
            f"Make a pod in namespace {self.namespace}{f' on node {self.node}' if self.node else ''}\n"
            f"  image: {self.image}\n"
            f"  {network}, without privileges; deleted at the end, and ended after {SECONDS} seconds in any case\n"
            "Go on"
        )


@contextlib.contextmanager
def new_pod(session: ApiSession, asked: NewPod) -> Iterator[InShell]:
    """An origin in a pod that exists until the end of the block. Raises SvcdoctorError."""
    asked.confirm(asked.question)
    streams = Streams()
    pods = OwnPods(session, asked.namespace, Purpose.PROBE, streams)
    try:
        with pods, _running(pods, asked) as container:
            run = runner(session, container, streams)
            yield InShell(asked.place, run, streams.end, OWN_PROCESSES)
    finally:
        if pods.left:
            asked.warn(
                f"not deleted: {', '.join(pods.left)}; svcdoctor cleanup -n {asked.namespace} finds and deletes it"
            )


@contextlib.contextmanager
def _running(pods: OwnPods, asked: NewPod) -> Iterator[Container]:
    def made(name: str) -> dict[str, object]:
        return probe_pod(name, asked.namespace, asked.node, asked.image, host_network=asked.host_network)

    try:
        with pods.started(made) as container:
            yield container
    except NotStarted as e:
        raise SvcdoctorError(f"no probe from {asked.place}: {e.reason}", 3) from None
