"""Packets asked of one node: a JSON line in, a JSON line out, and the same for one packet.

A question is ``{"id", "src", "dst", "dport", "proto"}`` with optional ``sport``, ``inInterface``, ``ctState`` and
``mark``. A packet whose source is an address of the node starts on the node. A line that is no question is
answered with an ``error``, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from svcdoctor.dataplane.hooks import Fate, Node, Outcome
from svcdoctor.dataplane.packet import STATES, Packet, address_text, endpoint_text, packet
from svcdoctor.dataplane.routing import is_loopback
from svcdoctor.model.errors import SvcdoctorError

MAX_LINE = 65536


class Question(msgspec.Struct, rename="camel"):
    src: str
    dst: str
    dport: int | None = None
    proto: str = "tcp"
    id: int | str | None = None
    sport: int | None = None
    in_interface: str | None = None
    ct_state: str = "new"
    mark: int = 0


def packet_of(question: Question) -> Packet:
    """The Packet that is asked about. Raises SvcdoctorError saying which field is wrong."""
    try:
        asked = packet(question.src, question.dst, question.dport, question.proto, question.sport)
    except ValueError as e:
        raise SvcdoctorError(str(e)) from None
    for name, port in (("dport", question.dport), ("sport", question.sport)):
        if port is not None and not 0 <= port < 65536:
            raise SvcdoctorError(f"{name} {port} is no port (0 to 65535)")
    state = STATES.get(question.ct_state.lower())
    if state is None:
        raise SvcdoctorError(f"ctState {question.ct_state!r} is none of {', '.join(STATES)}")
    if not 0 <= question.mark < 1 << 32:
        raise SvcdoctorError(f"mark {question.mark} does not fit into 32 bits")
    asked.state = state
    asked.iif = question.in_interface
    asked.mark = question.mark
    return asked


def ask(node: Node, asked: Packet) -> list[Outcome]:
    """Every way the packet goes: from the node itself when its source is the node's, else from outside."""
    if asked.iif is None and node.is_local(asked.family, asked.src):
        return node.send(asked)
    return node.receive(asked)


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome as the JSON contract has it.

    ``verdict`` is ``none`` where no rule took the packet: it goes on to its own destination.
    """
    live = outcome.packet
    verdicts = {Fate.DROPPED: "drop", Fate.REJECTED: "reject", Fate.UNKNOWN: "unknown"}
    verdict = verdicts.get(outcome.fate) or (
        "dnat" if outcome.translated else "accept" if outcome.accepted else "none"
    )
    answer: dict[str, Any] = {
        "verdict": verdict,
        "to": endpoint_text(live.family, live.dst, live.dport) if outcome.translated else None,
        "probability": live.probability,
        "masquerade": live.masquerade or live.snat is not None,
        "rules": [str(rule) for rule in outcome.rules],
    }
    if live.snat is not None:
        answer["from"] = endpoint_text(live.family, live.snat[0], live.snat[1])
    elif live.masquerade and live.src != live.original_src:
        answer["from"] = address_text(live.family, live.src)
    if outcome.fate is Fate.LOCAL:
        answer["local"] = True
    elif outcome.route is not None and outcome.route.oif is not None:
        answer["outInterface"] = outcome.route.oif
    if outcome.reason:
        answer["reason"] = outcome.reason
    return answer


def answer(node: Node, question: Question) -> dict[str, Any]:
    """The answer to one question. Raises SvcdoctorError for a packet that cannot be."""
    asked = packet_of(question)
    if is_loopback(asked.family, asked.src) and asked.iif not in (None, "lo"):
        raise SvcdoctorError(f"{question.src} cannot come in by {asked.iif}")
    return {"id": question.id, "outcomes": [outcome_json(o) for o in ask(node, asked)]}


def answers(node: Node, lines: Iterable[bytes]) -> Iterator[bytes]:
    """An answer line (with its newline) for every question line that is not blank, in order."""
    decoder = msgspec.json.Decoder(Question)
    encode = msgspec.json.Encoder().encode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        identity: int | str | None = None
        try:
            if len(line) > MAX_LINE:
                raise SvcdoctorError(f"longer than {MAX_LINE} bytes")
            question = decoder.decode(line)
            identity = question.id
            yield encode(answer(node, question)) + b"\n"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, SvcdoctorError) as e:
            yield encode({"id": identity, "error": f"line {number}: {e}"}) + b"\n"
