"""The options of ``trace --probe``: whether real requests are sent, how many, and how large."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from svcdoctor.cli.connected import Flags, bundled
from svcdoctor.cli.nodefacts import ask, ended_by_signals, progress
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.checks.diagnose import Source
    from svcdoctor.model.request import Request
    from svcdoctor.model.trace import Trace

MOST_REQUESTS = 1000  # to one entry
MOST_BYTES = 1 << 20

_FLAGS: Flags = {
    "probe": (
        bool,
        ("--probe",),
        "Send real requests: to each entry and endpoint, from here or from --from, and through tunnels.",
    ),
    "count": (int | None, ("--count",), "Requests to each entry; 20 by default."),
    "payload_size": (
        int | None,
        ("--payload-size",),
        "Send requests of so many bytes too: small ones pass and large ones hang where an MTU is wrong.",
    ),
    "probe_image": (
        str | None,
        ("--probe-image",),
        "Image of the pod that --from node/NAME makes where nothing on the node can probe; busybox by default.",
    ),
    "probe_namespace": (str | None, ("--probe-namespace",), "Namespace of that pod; kube-system by default."),
}


@dataclass(frozen=True, slots=True)
class ProbeFlags:
    """What the command line says about probes."""

    wanted: bool = False
    count: int | None = None
    payload_size: int | None = None
    image: str = ""
    namespace: str = ""

    def check(self, offline: str) -> None:
        """Raises SvcdoctorError for what cannot be meant. ``offline`` is the option that leaves the cluster out."""
        if not self.wanted:
            for flag, value in (("--count", self.count), ("--payload-size", self.payload_size)):
                if value is not None:
                    raise SvcdoctorError(f"{flag} is for requests that are sent: add --probe")
            return
        if offline:
            raise SvcdoctorError(f"--probe sends requests to a live cluster; leave {offline} out")
        if self.count is not None and not 1 <= self.count <= MOST_REQUESTS:
            raise SvcdoctorError(f"--count {self.count}: say 1 to {MOST_REQUESTS}")
        if self.payload_size is not None and not 1 <= self.payload_size <= MOST_BYTES:
            raise SvcdoctorError(f"--payload-size {self.payload_size}: say 1 to {MOST_BYTES} bytes")

    def answer(self, source: Source, request: Request, namespace: str, yes: bool) -> Trace:
        """The answer with observed traffic beside what was predicted. Raises SvcdoctorError."""
        from svcdoctor.probe import evidence
        from svcdoctor.probe.askers import Permitted
        from svcdoctor.sources.live import LiveSource
        from svcdoctor.sources.nodeways import PreparedSource

        assert isinstance(source, LiveSource | PreparedSource)  # as check() has seen to

        def confirm(question: str) -> None:
            if not yes:
                ask(question, "--yes")

        def warn(line: str) -> None:
            print(f"warning: {line}", file=sys.stderr)

        permitted = Permitted(confirm, self.image, self.namespace, warn)
        asked = evidence.Asked(permitted, self.count or evidence.COUNT, self.payload_size or 0, progress)
        with ended_by_signals():
            return evidence.observed_trace(source, request, namespace, asked)


def probing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options of --probe; the command takes them as ``probing``."""

    def made(said: dict[str, Any]) -> ProbeFlags:
        return ProbeFlags(
            said["probe"],
            said["count"],
            said["payload_size"],
            said["probe_image"] or "",
            said["probe_namespace"] or "",
        )

    return bundled(function, "probing", _FLAGS, made)
