"""A node's tracked connections: ``conntrack -L`` (conntrack(8)), also with ``-o extended``, and /proc/net/nf_conntrack.

An entry has two tuples: the packet as the client sends it, and the answer as it comes back. Where they do not
mirror each other, an address was translated. Entries are made one by one while the dump is read, so that a table of
millions needs no more memory than its dump.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.snapshot import canonical
from svcdoctor.node.lines import numbered

LONGEST = 4096  # characters of a line; an entry's has a few hundred

_SHOWN = re.compile(r"conntrack v[\d.]+ \(conntrack-tools\): \d+ flow entries have been shown\.")
# Offloaded entries have no timeout; the words before a tuple are a state (ESTABLISHED) or GRE's own timeouts.
_ENTRY = re.compile(
    r"(?:ipv[46] +\d+ +)?[a-z][a-z0-9-]* +(\d{1,3})(?: +(\d+))?(?: +[A-Z][A-Z0-9_]*)?"
    r"(?: +[a-z_]+=\d+,?)* +src=(\S+) +dst=(\S+)(?: +sport=(\d{1,5}) +dport=(\d{1,5}))?"
    r"((?: +(?!src=)[a-z-]+=\S+)*)( +\[UNREPLIED\])?"
    r" +src=(\S+) +dst=(\S+)(?: +sport=(\d{1,5}) +dport=(\d{1,5}))?"
    r"((?: +(?!src=)[a-z-]+=\S*| +\[[^\]]*\])*)",
    re.ASCII,
)
_ZONE = re.compile(r" zone(?:-orig|-reply)?=(\d+)", re.ASCII)
_FLAG = re.compile(r" \[([A-Z_]+)\]")


class Tuple(msgspec.Struct, frozen=True, gc=False):
    """One direction of a connection. Ports are ``None`` for protocols that have none."""

    src: str
    dst: str
    sport: int | None
    dport: int | None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One tracked connection. ``proto`` is the protocol's number, ``zones`` those that are not 0.

    ``seconds`` are left until it is forgotten, ``None`` where the line does not say. ``flags`` are ``UNREPLIED``,
    ``ASSURED``, ``OFFLOAD`` and ``HW_OFFLOAD``.
    """

    family: int
    proto: int
    seconds: int | None
    original: Tuple
    reply: Tuple
    flags: frozenset[str]
    zones: frozenset[int]
    line: str

    @property
    def text(self) -> str:
        """The line with single spaces."""
        return " ".join(self.line.split())

    @property
    def unreplied(self) -> bool:
        return "UNREPLIED" in self.flags

    @property
    def translated(self) -> bool:
        """Whether the destination was translated: the answer comes from elsewhere than the packet was sent to."""
        return (self.reply.src, self.reply.sport) != (self.original.dst, self.original.dport)


def read_conntrack(data: bytes, where: str) -> Iterator[Entry]:
    """The entries in the dump's order, each when it is asked for. Raises SvcdoctorError naming the line."""
    for number, line in numbered(data, where, "conntrack -L"):
        if _SHOWN.fullmatch(line):
            continue
        try:
            entry = _entry(line)
        except ValueError:
            raise SvcdoctorError(
                f"{where} line {number}: not a line of conntrack -L: {line.strip()[:80]!r}"
            ) from None
        yield entry


def _entry(line: str) -> Entry:
    match = _ENTRY.fullmatch(line) if len(line) <= LONGEST else None
    if match is None:
        raise ValueError(line)
    proto, seconds, src, dst, sport, dport, before, unreplied, rsrc, rdst, rsport, rdport, after = (
        match.groups()
    )
    if (sport is None) != (rsport is None):
        raise ValueError(line)
    original = Tuple(canonical(src), canonical(dst), _port(sport), _port(dport))
    reply = Tuple(canonical(rsrc), canonical(rdst), _port(rsport), _port(rdport))
    flags = set(_FLAG.findall(after)) if "[" in after else set()
    if unreplied:
        flags.add("UNREPLIED")
    zones = _ZONE.findall(before + after) if " zone" in line else ()
    return Entry(
        6 if ":" in original.src else 4,
        int(proto),
        int(seconds) if seconds is not None else None,
        original,
        reply,
        frozenset(flags),
        frozenset(zone for digits in zones if (zone := int(digits))),
        line,
    )


def _port(digits: str | None) -> int | None:
    if digits is None:
        return None
    port = int(digits)
    if port > 65535:
        raise ValueError(digits)
    return port
