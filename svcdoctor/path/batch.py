"""Many questions to one Snapshot: a JSON line in, a JSON line out.

A question is ``{"id", "from", "to": "IP:port", "protocol", "node"}``; ``node`` is the node at which a packet
from outside enters. A line that is no question is answered with an ``error``, and the rest goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import ClientSpec
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.model.trace import Basis, verdict_of
from svcdoctor.path.byrules import by_rules, placed
from svcdoctor.path.clients import parse_client, source_of
from svcdoctor.path.deliver import Packet, Source, deliver
from svcdoctor.path.jsonform import outcome_json
from svcdoctor.path.policed import policed
from svcdoctor.path.view import View

PROTOCOLS = ("TCP", "UDP", "SCTP")
MAX_LINE = 65536
_ADDRESS = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")


class Question(msgspec.Struct, rename={"from_": "from"}):
    to: str
    from_: str = "external"
    id: int | str | None = None
    protocol: str = "TCP"
    node: str | None = None


def answers(snapshot: Snapshot, lines: Iterable[bytes], namespace: str = "default") -> Iterator[bytes]:
    """An answer line (with its newline) for every question line that is not blank, in order."""
    view = View(snapshot)
    world = view.world
    sources: dict[tuple[str, int], Source] = {}
    specs: dict[str, ClientSpec] = {}
    question = msgspec.json.Decoder(Question)
    encode = msgspec.json.Encoder().encode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        identity: int | str | None = None
        try:
            if len(line) > MAX_LINE:
                raise SvcdoctorError(f"longer than {MAX_LINE} bytes")
            asked = question.decode(line)
            identity = asked.id
            if asked.protocol not in PROTOCOLS:
                raise SvcdoctorError(f"protocol {asked.protocol!r} is none of {', '.join(PROTOCOLS)}")
            ip, port = parse_address(asked.to)
            family = 6 if ":" in ip else 4
            source = sources.get((asked.from_, family))
            if source is None:
                spec = specs.setdefault(asked.from_, parse_client(asked.from_))
                source = sources[asked.from_, family] = source_of(view, spec, namespace, family)
            if asked.node is not None and asked.node not in snapshot.node_names and snapshot.node_names:
                raise SvcdoctorError(f"no node {asked.node!r}")
            packet = Packet(source, ip, port, asked.protocol, asked.node)
            delivery = deliver(world, packet)
            if world.hosts.names:
                delivery = by_rules(world, placed(world, packet, delivery), delivery) or delivery
            delivery = policed(view, packet, delivery)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, SvcdoctorError) as e:
            yield encode({"id": identity, "error": f"line {number}: {e}"}) + b"\n"
            continue
        answer = {
            "id": asked.id,
            "verdict": verdict_of(o.status for o in delivery.outcomes),
            "outcomes": [outcome_json(o) for o in delivery.outcomes],
            "basis": Basis.RULES if delivery.ends else Basis.OBJECTS,
        }
        yield encode(answer) + b"\n"


def parse_address(text: str) -> tuple[str, int]:
    """``10.0.0.1:80`` or ``[fd00::1]:80``. Raises SvcdoctorError."""
    found = _ADDRESS.fullmatch(text)
    ip = canonical_or_none(found[1] or found[2]) if found else None
    port = int(found[3]) if found else 0
    if ip is None or not 0 < port < 65536:
        raise SvcdoctorError(f"{text!r} is no address with a port, such as 10.96.0.1:80 or [fd00::1]:80")
    return ip, port
