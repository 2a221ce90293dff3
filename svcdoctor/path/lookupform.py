"""The JSON contract of a Lookup, as plain dicts and lists."""

from __future__ import annotations

from typing import Any

from svcdoctor.model.lookup import Lookup, Query, Reply, Resolution
from svcdoctor.path.jsonform import API_VERSION, finding_json, unknown_json


def lookup_json(answer: Lookup) -> dict[str, Any]:
    """The whole answer, ready for JSON."""
    resolver, whole = answer.resolver, answer.whole
    return {
        "apiVersion": API_VERSION,
        "kind": "Lookup",
        "verdict": answer.verdict,
        "name": answer.name,
        "client": {"kind": "pod", "name": answer.client or None, "namespace": answer.namespace},
        "domain": answer.domain,
        "basis": answer.basis,
        "server": answer.server or None,
        "resolver": {
            "basis": resolver.basis,
            "source": resolver.source,
            "nameservers": list(resolver.nameservers),
            "search": list(resolver.search),
            "options": list(resolver.options),
            "ignored": list(resolver.ignored),
        },
        "resolutions": [_resolution(r) for r in answer.resolutions],
        "records": [_query(q) for q in answer.records],
        "whole": None
        if whole is None
        else {
            "command": whole.command,
            "addresses": list(whole.addresses),
            "seconds": _seconds(whole.seconds),
            "error": whole.error or None,
        },
        "findings": [finding_json(f) for f in answer.findings],
        "unknowns": [unknown_json(u) for u in answer.unknowns],
        "notes": list(answer.notes),
    }


def _resolution(resolution: Resolution) -> dict[str, Any]:
    return {
        "libc": resolution.libc,
        "queries": [_query(q) for q in resolution.queries],
        "addresses": list(resolution.addresses),
        "name": resolution.name,
        "error": resolution.error,
        "waited": _seconds(resolution.waited),
    }


def _query(query: Query) -> dict[str, Any]:
    return {
        "name": query.name,
        "type": query.rtype,
        "nameserver": query.nameserver,
        "step": query.step,
        "reply": _reply(query.reply),
        "expected": _reply(query.expected),
        "wrong": query.wrong,
    }


def _reply(reply: Reply) -> dict[str, Any]:
    return {
        "met": reply.met,
        "data": list(reply.data),
        "seconds": None if reply.seconds is None else _seconds(reply.seconds),
        "transport": reply.transport or None,
        "truncated": reply.truncated,
        "detail": reply.detail,
    }


def _seconds(seconds: float) -> float:
    return round(seconds, 6)
