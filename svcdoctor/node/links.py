"""A node's interfaces: ``ip -j addr``, ``ip -j -d link`` and ``bridge -j -d link``.

Specified by ip-address(8), ip-link(8) and bridge(8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import msgspec

from svcdoctor.model.errors import SvcdoctorError


@dataclass(frozen=True, slots=True)
class Address:
    """One address of an interface, as an integer; ``family`` is 4 or 6."""

    family: int
    ip: int
    prefix: int
    scope: str = "global"
    secondary: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. ``kind`` is ``bridge``, ``veth``, ``vxlan`` …, empty where the dump does not say.

    ``hairpin`` says of a bridge's port whether frames leave it again by which they came in, ``None`` where the dump
    does not say. ``promiscuous`` interfaces hand every frame to the node as well.
    """

    name: str
    up: bool
    kind: str = ""
    master: str = ""
    addresses: tuple[Address, ...] = ()
    hairpin: bool | None = None
    promiscuous: bool = False

    def beside(self, other: Link) -> Link:
        """What this dump says of the interface, and what it leaves out as ``other`` has it from another dump."""
        return replace(
            self,
            kind=self.kind or other.kind,
            master=self.master or other.master,
            addresses=self.addresses or other.addresses,
            hairpin=other.hairpin if self.hairpin is None else self.hairpin,
            promiscuous=self.promiscuous or other.promiscuous,
        )


def read_links(data: bytes, where: str) -> tuple[Link, ...]:
    """Every interface of one of the commands. Raises SvcdoctorError for anything else."""
    try:
        entries = msgspec.json.decode(data)
        return tuple(_link(e) for e in entries if e)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise SvcdoctorError(f"{where}: not the output of ip -j or bridge -j: {e}") from None
    except (TypeError, KeyError, AttributeError, ValueError):
        raise SvcdoctorError(f"{where}: not the output of ip -j or bridge -j") from None


def _link(entry: dict[str, Any]) -> Link:
    info = entry.get("linkinfo") or {}
    port = info.get("info_slave_data") or {} if info.get("info_slave_kind") == "bridge" else entry
    hairpin = port.get("hairpin")
    if not isinstance(hairpin, bool | None):
        raise ValueError(hairpin)
    flags = entry.get("flags", ())
    return Link(
        entry["ifname"],
        "UP" in flags,
        info.get("info_kind", ""),
        entry.get("master", ""),
        tuple(_address(a) for a in entry.get("addr_info") or () if "local" in a),
        hairpin,
        "PROMISC" in flags or bool(entry.get("promiscuity")),
    )


def _address(entry: dict[str, Any]) -> Address:
    ip = ip_address(entry["local"])
    secondary = bool(entry.get("secondary")) or "secondary" in entry.get("flags", ())
    return Address(ip.version, int(ip), int(entry["prefixlen"]), entry.get("scope", "global"), secondary)
