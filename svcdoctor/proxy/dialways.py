"""``--dial``: the ways to pods, and which of them is the shortest that works from here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.dial_netns import NamespaceDialer
from svcdoctor.proxy.dialing import Nearest
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.netns import SUPPORTED
from svcdoctor.proxy.netns_find import PodFinder
from svcdoctor.proxy.reach import ByConnection, Way
from svcdoctor.proxy.reachtunnel import ByTunnel
from svcdoctor.proxy.tunnels import Tunnels
from svcdoctor.sources.forwarding import ForwardOpener
from svcdoctor.sources.session import ApiSession


class Dial(Enum):
    """How pods are reached."""

    AUTO = "auto"
    TUNNEL = "tunnel"
    DIRECT = "direct"
    NETNS = "netns"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A way, and in words how it reaches pods. ``on_node``: pods of this node are found without the API too.
    ``close`` releases what the way holds."""

    way: Way
    reached_by: str
    on_node: bool
    close: Callable[[], None]


def choose(
    loop: Loop,
    dial: Dial,
    session: ApiSession | SvcdoctorError,
    finder: PodFinder,
    environ: Mapping[str, str],
    tunnel_lost: Callable[[str, str], None],
) -> Chosen:
    """The way that ``dial`` stands for. Raises SvcdoctorError that stands in for the session where it needs one."""
    here = SUPPORTED and finder.logs.is_dir() and os.geteuid() == 0
    if dial is Dial.NETNS or (dial is Dial.AUTO and here):
        return _on_node(loop, finder)
    if isinstance(session, SvcdoctorError):
        raise session
    if dial is Dial.DIRECT or (dial is Dial.AUTO and "KUBERNETES_SERVICE_HOST" in environ):
        direct = ByConnection(loop, DirectDialer(loop))
        return Chosen(direct, "directly, by their addresses", False, direct.close)
    tunnel = ByTunnel(loop, Tunnels(loop, ForwardOpener(session).open, tunnel_lost))
    return Chosen(tunnel, "through the API server", False, tunnel.close)


def _on_node(loop: Loop, finder: PodFinder) -> Chosen:
    namespaces = NamespaceDialer(loop, finder.namespace)

    def is_here(endpoint: Endpoint) -> bool:
        with contextlib.suppress(SvcdoctorError):
            finder.namespace(endpoint.namespace, endpoint.pod)
            return True
        return False

    way = ByConnection(loop, Nearest(namespaces, is_here, DirectDialer(loop)))

    def close() -> None:
        namespaces.close()
        way.close()

    return Chosen(way, "in their network namespaces on this node, elsewhere by their addresses", True, close)
