"""A node's interfaces with their addresses: ``ip -j addr`` and ``ip -j -d link`` (ip-address(8), ip-link(8))."""

from __future__ import annotations

from dataclasses import dataclass
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
    """An interface. ``kind`` is ``bridge``, ``veth``, ``vxlan`` …, empty where the dump does not say."""

    name: str
    up: bool
    kind: str = ""
    master: str = ""
    addresses: tuple[Address, ...] = ()


def read_links(data: bytes, where: str) -> tuple[Link, ...]:
    """Every interface of ``ip -j addr`` or ``ip -j link``. Raises SvcdoctorError for anything else."""
    try:
        entries = msgspec.json.decode(data)
        return tuple(_link(e) for e in entries if e)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise SvcdoctorError(f"{where}: not the output of ip -j addr: {e}") from None
    except (TypeError, KeyError, AttributeError, ValueError):
        raise SvcdoctorError(f"{where}: not the output of ip -j addr") from None


def _link(entry: dict[str, Any]) -> Link:
    info = entry.get("linkinfo") or {}
    return Link(
        entry["ifname"],
        "UP" in entry.get("flags", ()),
        info.get("info_kind", ""),
        entry.get("master", ""),
        tuple(_address(a) for a in entry.get("addr_info") or () if "local" in a),
    )


def _address(entry: dict[str, Any]) -> Address:
    ip = ip_address(entry["local"])
    secondary = bool(entry.get("secondary")) or "secondary" in entry.get("flags", ())
    return Address(ip.version, int(ip), int(entry["prefixlen"]), entry.get("scope", "global"), secondary)
