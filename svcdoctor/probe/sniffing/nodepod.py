"""Capturing on another node: by tcpdump in a short-lived pod on its network, of which a person is asked first.

Theory. tcpdump writes a file to its standard output, which comes back through exec when it has ended; then it is read
as any other file of tcpdump. The bounds are those of the pod's life and of what exec may bring: seconds, packets, and
the first bytes of each packet, which hold the headers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.collecting import NotRun
from svcdoctor.sources.execnode import runner
from svcdoctor.sources.ownpods import NotStarted, OwnPods
from svcdoctor.sources.podexec import Streams
from svcdoctor.sources.podmanifest import SECONDS, Purpose, capture_pod
from svcdoctor.sources.session import ApiSession

MOST_SECONDS = 60.0
"""What is left of a pod's life when it has taken long to start."""

SNAPLEN = 160
"""Bytes of each packet: headers, tunnels' too, and the beginning of what is said."""

_ROOM = 64 << 20  # bytes of the file: more than 100,000 packets of SNAPLEN
_AFTER = 10.0  # seconds for the file to come
_STOPPED = 124  # timeout(1)


@dataclass(frozen=True, slots=True)
class NodeCapture:
    """What is to be captured where. ``words`` are tcpdump's filter. ``confirm`` is asked before the pod is made, and
    raises where the answer is no; ``warn`` hears of a pod that is left behind."""

    node: str
    image: str
    namespace: str
    words: str
    packets: int
    seconds: float
    confirm: Callable[[str], None]
    warn: Callable[[str], None] = field(default=lambda line: None)

    @property
    def question(self) -> str:
        """What a person is asked."""
        return (
            f"Make a pod in namespace {self.namespace} on node {self.node}\n"
            f"  image: {self.image}\n"
            f"  on the node's network, with the capability NET_RAW; deleted at the end, and ended after {SECONDS} "
            "seconds in any case\nGo on"
        )


def node_capture(session: ApiSession, asked: NodeCapture) -> bytes:
    """The file that tcpdump wrote. Raises SvcdoctorError where there is none, and says why."""
    if asked.seconds > MOST_SECONDS:
        raise SvcdoctorError(f"a capture in a node's pod lasts up to {MOST_SECONDS:g} s: say --seconds")
    asked.confirm(asked.question)
    streams = Streams()
    pods = OwnPods(session, asked.namespace, Purpose.CAPTURE, streams)

    def made(name: str) -> dict[str, Any]:
        return capture_pod(name, asked.namespace, asked.node, asked.image)

    bounds = ("-s", str(SNAPLEN), "-c", str(asked.packets))
    seconds = f"{max(1, round(asked.seconds))}"
    command = ("timeout", seconds, "tcpdump", "-i", "any", "-n", "-U", *bounds, "-w", "-", asked.words)
    try:
        with pods, pods.started(made) as container:
            output = runner(session, container, streams)(command, asked.seconds + _AFTER, _ROOM)
    except NotStarted as e:
        raise SvcdoctorError(f"no capture on {asked.node}: {e.reason}", 3) from None
    except NotRun as e:
        raise SvcdoctorError(f"no capture on {asked.node}: {e}; name an image with tcpdump", 3) from None
    finally:
        if pods.left:
            asked.warn(
                f"not deleted: {', '.join(pods.left)}; svcdoctor cleanup -n {asked.namespace} finds and deletes it"
            )
    if output.exit_code not in (0, _STOPPED) or not output.stdout:
        said = " ".join(output.stderr.decode("utf-8", "replace").split())[-200:]
        raise SvcdoctorError(f"no capture on {asked.node}: {said or f'exit code {output.exit_code}'}", 3)
    return output.stdout
