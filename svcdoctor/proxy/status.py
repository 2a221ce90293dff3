"""How the forwards stand: what a table on the terminal and a scrape of metrics show."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.proxy.arguments import ForwardTarget, PortRequest
from svcdoctor.proxy.listener import Address
from svcdoctor.proxy.tally import Counts


@dataclass(frozen=True, slots=True)
class PortStatus:
    """A local port and what it leads to. ``remote`` is the pod's port, 0 while there is no pod; ``pod`` is set where
    the port is for that one only. The port of a SOCKS proxy leads to many targets, each a status of its own."""

    addresses: tuple[Address, ...]
    namespace: str
    target: ForwardTarget
    request: PortRequest
    remote: int
    pod: str
    ready: int
    counts: Counts
    socks: bool = False


@dataclass(frozen=True, slots=True)
class ForwardStatus:
    """All of them. ``refused`` are clients of the SOCKS proxy that got no connection because of what they asked."""

    ports: tuple[PortStatus, ...]
    socks: tuple[Address, ...]
    refused: int
    tunnels_lost: int
