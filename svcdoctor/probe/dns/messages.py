"""DNS messages: the query of a question, and what an answer says, however it lies.

Theory. Whatever comes back is somebody else's: a datagram counts as the answer only if it is a response with the
query's id and question, as resolvers judge it; anything else is said in a line and waited past. Aliases are followed
inside the one message, each name once.

Specification: RFC 1035 sections 4.1 and 7.3, RFC 5452 section 9.1
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from svcdoctor.model.lookup import Met

CHAIN = 16
"""Aliases that are followed."""

MOST = 256
"""Records that are kept of one answer."""

_MET = {dns.rcode.NXDOMAIN: Met.NXDOMAIN, dns.rcode.REFUSED: Met.REFUSED}


class NotTheAnswer(Exception):
    """What came is no answer to the query; the text says why."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says: ``data`` as in ``Reply``."""

    met: Met
    data: tuple[str, ...]
    truncated: bool
    detail: str


def query(name: str, rtype: str, number: int) -> bytes:
    """A recursive query as the C libraries send it: without EDNS, so that 512 bytes are the limit over UDP."""
    asked = dns.message.make_query(f"{name}.", rtype, use_edns=False)
    asked.id = number
    return asked.to_wire()


def said(wire: bytes, name: str, rtype: str, number: int) -> Said:
    """What the message says to that query. Raises NotTheAnswer."""
    if len(wire) < 12:
        raise NotTheAnswer(f"{len(wire)} bytes that are no DNS message")
    got = int.from_bytes(wire[:2])
    if got != number:
        raise NotTheAnswer(f"an answer to another query (id {got}, not {number})")
    try:
        message = dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError) as e:
        if wire[2] & 0x82 == 0x82:  # QR and TC: some servers cut in the middle of a record
            return Said(Met.NODATA, (), True, "")
        raise NotTheAnswer(f"bytes that are no DNS message ({type(e).__name__})") from None
    if not message.flags & dns.flags.QR:
        raise NotTheAnswer("a query in the place of an answer")
    asked = dns.name.from_text(f"{name}.")
    kind = dns.rdatatype.from_text(rtype)
    [question] = message.question if len(message.question) == 1 else [None]
    if question is None or question.name != asked or question.rdtype != kind:
        shown = (
            "no question" if question is None else f"{question.name} {dns.rdatatype.to_text(question.rdtype)}"
        )
        raise NotTheAnswer(f"an answer to another question ({_short(shown)})")
    truncated = bool(message.flags & dns.flags.TC)
    code = message.rcode()
    if code != dns.rcode.NOERROR:
        met = _MET.get(code, Met.SERVFAIL)
        return Said(
            met,
            (),
            truncated,
            "" if code in (*_MET, dns.rcode.SERVFAIL) else f"code {dns.rcode.to_text(code)}",
        )
    data, problem = _followed(message, asked, kind)
    if problem:
        return Said(Met.GARBLED, data, truncated, problem)
    if any(not d.startswith("CNAME ") for d in data):
        return Said(Met.DATA, data, truncated, "")
    if not (data or truncated or message.additional or message.flags & (dns.flags.AA | dns.flags.RA)):
        # glibc asks the next server then: this one neither has the name nor looks for it (res_send.c).
        return Said(Met.REFUSED, (), False, "an empty answer of a server that does not recurse")
    return Said(Met.NODATA, data, truncated, "")


def _followed(
    message: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> tuple[tuple[str, ...], str]:
    """Aliases and then data, from the asked name on, and what is wrong with the chain."""
    sets = {(r.name, r.rdtype): r for r in message.answer if r.rdclass == dns.rdataclass.IN}
    found: list[str] = []
    seen = {name}
    while (name, kind) not in sets:
        alias = sets.get((name, dns.rdatatype.CNAME))
        if alias is None or not len(alias):
            return tuple(found), ""
        name = next(iter(alias)).target
        found.append(f"CNAME {name.to_text()}")
        if name in seen:
            return tuple(found[:MOST]), f"the aliases lead back to {_short(name.to_text())}: a loop"
        seen.add(name)
        if len(seen) > CHAIN:
            return tuple(found), f"more than {CHAIN} aliases in a row"
    for record in list(sets[name, kind])[:MOST]:
        found.append(record.to_text())
    return tuple(found), ""


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
