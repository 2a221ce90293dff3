"""A node's IPVS services: ``ipvsadm -Sn`` and ``ipvsadm -Ln`` (ipvsadm(8))."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.lines import numbered

PROTOCOLS = {"-t": 6, "-u": 17, "TCP": 6, "UDP": 17, "SCTP": 132, "--tcp-service": 6, "--udp-service": 17}
PROTOCOLS |= {"--sctp-service": 132}
_LIST_REAL = re.compile(r"^\s*->\s+(\S+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s*$")
_LIST_SERVICE = re.compile(r"^(TCP|UDP|SCTP|FWM)\s+(\S+)\s*(.*)$")
_METHODS = {"-m": "masq", "-g": "route", "-i": "tunnel"}


@dataclass(frozen=True, slots=True)
class RealServer:
    """One server behind a virtual one. A weight of 0 gets no new connections."""

    address: int
    port: int
    weight: int
    method: str = "masq"


@dataclass(slots=True)
class VirtualServer:
    """One virtual service: by address, protocol and port, or by a firewall mark."""

    family: int
    protocol: int
    address: int
    port: int
    mark: int = 0
    scheduler: str = "wlc"
    persistent: int = 0  # seconds for which a client keeps its server
    real: list[RealServer] = field(default_factory=list)


def read_ipvs(data: bytes, where: str) -> tuple[VirtualServer, ...]:
    """The virtual servers with their real ones. Raises SvcdoctorError naming the line."""
    found: list[VirtualServer] = []
    for number, line in numbered(data, where, "ipvsadm -Sn"):
        if line.startswith(("IP Virtual Server", "Prot LocalAddress", "  -> RemoteAddress")):
            continue
        try:
            words = line.split()
            if words[0] == "-A":
                found.append(_saved_service(words[1:]))
            elif words[0] == "-a":
                found[-1].real.append(_saved_real(words[1:]))
            elif match := _LIST_REAL.match(line):
                address, port = _endpoint(match[1])
                method = {"Masq": "masq", "Route": "route", "Tunnel": "tunnel"}.get(
                    match[2], match[2].lower()
                )
                found[-1].real.append(RealServer(address, port, int(match[3]), method))
            elif match := _LIST_SERVICE.match(line):
                found.append(_listed_service(match[1], match[2], match[3].split()))
            else:
                raise ValueError(line)
        except (ValueError, IndexError, KeyError):
            raise SvcdoctorError(
                f"{where} line {number}: not a line of ipvsadm: {line.strip()[:80]!r}"
            ) from None
    return tuple(found)


def _endpoint(text: str) -> tuple[int, int]:
    address, _, port = text.rpartition(":")
    return int(ip_address(address.strip("[]"))), int(port)


def _saved_service(words: list[str]) -> VirtualServer:
    options = _options(words[2:])
    scheduler, persistent = options.get("-s", "wlc"), int(options.get("-p", "0") or 360)
    if words[0] in ("-f", "--fwmark-service"):
        family = 6 if "-6" in words else 4
        return VirtualServer(family, 0, 0, 0, int(words[1]), scheduler, persistent)
    address, port = _endpoint(words[1])
    family = 6 if words[1].startswith("[") else 4
    protocol = PROTOCOLS.get(words[0], 132 if words[0] == "--sctp-service" else 0)
    if not protocol:
        raise ValueError(words[0])
    return VirtualServer(family, protocol, address, port, 0, scheduler, persistent if "-p" in options else 0)


def _saved_real(words: list[str]) -> RealServer:
    options = _options(words[2:])
    address, port = _endpoint(options["-r"])
    method = next((name for flag, name in _METHODS.items() if flag in words), "route")
    return RealServer(address, port, int(options.get("-w", "1")), method)


def _options(words: list[str]) -> dict[str, str]:
    """Flags with the word behind each; a flag without one has an empty value."""
    found: dict[str, str] = {}
    for i, word in enumerate(words):
        if word.startswith("-"):
            following = words[i + 1] if i + 1 < len(words) else ""
            found[word] = "" if following.startswith("-") else following
    return found


def _listed_service(protocol: str, name: str, words: list[str]) -> VirtualServer:
    persistent = int(words[words.index("persistent") + 1]) if "persistent" in words else 0
    scheduler = words[0] if words else "wlc"
    if protocol == "FWM":
        return VirtualServer(6 if "IPv6" in words else 4, 0, 0, 0, int(name), scheduler, persistent)
    address, port = _endpoint(name)
    family = 6 if name.startswith("[") else 4
    return VirtualServer(family, PROTOCOLS[protocol], address, port, 0, scheduler, persistent)
