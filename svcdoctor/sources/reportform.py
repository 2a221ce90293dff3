"""A node's facts as lines of a log: what ``snapshot node`` writes and ``--node-facts daemonset`` reads. Pure.

Theory. A container's log is all that a pod without any rights can be asked for by somebody with few. It is text; a
runtime cuts lines at 16 KiB; the kubelet begins a new file at 10 MiB (containerLogMaxSize) and shows only the newest.
So a report is compressed, written in shorter lines, and kept under ``MOST`` bytes: what no verdict rests on is left
out first, the largest before the others, and named. Its last line says how many lines belong to it and their
checksum: a reader asks for the last line, then for as many as it says, and knows whether he has one whole report.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import datetime

import msgspec

from svcdoctor.model.nodefacts import Dump, NodeFacts
from svcdoctor.sources.dumpnames import COLLECTED, DUMPS, OPTIONAL
from svcdoctor.sources.nodedumps import usable_facts

MOST = 6 << 20
"""Bytes of a report at most, so that one fits well into a log's newest file."""

_LINE = 12_000
_MARK = "svcdoctor-node-facts/1"
_END = re.compile(rb"svcdoctor-node-facts/1 lines=(\d{1,5}) sha256=([0-9a-f]{64})")
_NAMES = frozenset(one.name for one in COLLECTED)


class NotWhole(Exception):
    """These lines are not one whole report; the text says why."""


class Unreadable(NotWhole):
    """They are whole, and yet no report that this version reads: waiting does not help."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report: the facts, when they were gathered, and after how many seconds that is done again (0: never)."""

    facts: NodeFacts
    time: datetime
    every: float


class _Report(msgspec.Struct):
    time: datetime
    every: float
    dumps: dict[str, bytes]  # each compressed by itself
    missing: dict[str, str]


def report_lines(facts: NodeFacts, time: datetime, every: float) -> bytes:
    """The report as it is written to a log. ``time`` knows its time zone."""
    held = {name: zlib.compress(dump.data) for name, dump in facts.raw.items() if name in _NAMES}
    missing = dict(facts.missing)
    size = sum(map(len, held.values())) * 4 // 3
    for name in sorted(held.keys() & OPTIONAL, key=lambda n: -len(held[n])):
        if size <= MOST:
            break
        size -= len(held.pop(name)) * 4 // 3
        missing[name] = (
            f"left out: with it the report would have more than {MOST >> 20} MiB, too much for a log"
        )
    body = base64.b64encode(msgspec.msgpack.encode(_Report(time, every, held, missing)))
    lines = [body[start : start + _LINE] for start in range(0, len(body), _LINE)]
    end = f"{_MARK} lines={len(lines)} sha256={hashlib.sha256(body).hexdigest()}".encode()
    return b"".join(line + b"\n" for line in (*lines, end))


def lines_of(last: bytes) -> int | None:
    """How many lines, its own among them, the report has that ends with this line; ``None`` where none does."""
    match = _END.fullmatch(last.strip())
    return int(match[1]) + 1 if match else None


def read_report(node: str, data: bytes, limit: int) -> Report:
    """The report that ends with the last line of ``data``, as that of a node. Raises NotWhole, Unreadable.

    ``limit`` bounds the bytes of one dump. Dumps of other names than those that are ever collected are passed over.
    """
    lines = data.splitlines()
    match = _END.fullmatch(lines[-1].strip()) if lines else None
    if match is None:
        raise NotWhole("its log does not end with a report")
    body = b"".join(line.strip() for line in lines[-int(match[1]) - 1 : -1])
    if hashlib.sha256(body).hexdigest().encode() != match[2]:
        raise NotWhole(
            "its log holds no whole report: the newest one is being written, or its beginning is gone"
        )
    try:
        held = msgspec.msgpack.decode(base64.b64decode(body, validate=True), type=_Report)
        dumps = {
            name: Dump(f"node {node}: {DUMPS[name]}", _plain(data, limit))
            for name, data in held.dumps.items()
            if name in _NAMES
        }
    except (ValueError, msgspec.DecodeError, zlib.error) as e:
        raise Unreadable(f"its report cannot be read: {e}; let both be of one version of svcdoctor") from None
    missing = {name: why for name, why in held.missing.items() if name in _NAMES}
    return Report(usable_facts(node, dumps, missing), held.time, held.every)


def _plain(data: bytes, limit: int) -> bytes:
    """The bytes before their compression. Raises ValueError where they are too many, or not all there."""
    machine = zlib.decompressobj()
    plain = machine.decompress(data, limit)
    if not machine.eof:
        raise ValueError(f"a dump of more than {limit:,} bytes, or cut off")
    return plain
