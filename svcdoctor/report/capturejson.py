"""A capture for programs: one JSON object a line, of kind CaptureEvent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from svcdoctor.capture.connection import NANOSECONDS, Connection, Half, Leg, Notice, NoticeKind
from svcdoctor.capture.doors import NAMES, Doors, address_text
from svcdoctor.capture.news import News, NewsKind
from svcdoctor.capture.wording import end_text
from svcdoctor.probe.sniffing.run import Ended

_WAYS = (None, "out", "in")


def news_json(news: News, doors: Doors, interfaces: Mapping[int, str]) -> str:
    """One event as one line: ``connection`` and ``ended`` with the whole connection, ``notice`` with what happened."""
    form: dict[str, Any] = _head(str(news.kind))
    if news.kind is NewsKind.NOTICE and news.notice is not None:
        form |= {"connection": news.connection.number}
        form |= _notice(news.notice, doors, interfaces)
    else:
        form |= _connection(news.connection, doors, interfaces)
    return msgspec.json.encode(form).decode()


def summary_json(ended: Ended, written: str) -> str:
    """The last line."""
    tally = ended.tally
    form = _head("summary") | {
        "connections": tally.connections,
        "packets": ended.packets,
        "bytes": ended.octets,
        "seconds": ended.seconds,
        "endedBy": ended.reason,
        "interfaces": list(dict.fromkeys(filter(None, ended.interfaces.values()))),
        "dropped": ended.dropped,
        "undecoded": tally.undecoded + sum(ended.skipped.values()),
        "forgotten": tally.forgotten,
        "withoutConntrack": ended.apart or None,
        "cut": ended.cut or None,
        "file": written or None,
    }
    return msgspec.json.encode(form).decode()


def _head(kind: str) -> dict[str, Any]:
    return {"apiVersion": "svcdoctor/v1", "kind": "CaptureEvent", "type": kind}


def _connection(connection: Connection, doors: Doors, interfaces: Mapping[int, str]) -> dict[str, Any]:
    return {
        "connection": connection.number,
        "protocol": NAMES[connection.protocol],
        "began": connection.began / NANOSECONDS,
        "last": connection.last / NANOSECONDS,
        "answered": connection.answered / NANOSECONDS if connection.answered else None,
        "whole": connection.whole,
        "state": str(connection.state),
        "joinedBy": str(connection.join)
        if connection.join is not None and len(connection.legs) > 1
        else None,
        "legs": [_leg(leg, doors, interfaces) for leg in connection.legs],
        "retransmissions": {
            "client": _again(connection.nearest(True)),
            "server": _again(connection.nearest(False)),
        },
        "notices": [
            _notice(n, doors, interfaces)
            for n in connection.notices
            if n.kind is not NoticeKind.RETRANSMISSION
        ],
    }


def _again(half: Half) -> int:
    return half.again + half.late


def _leg(leg: Leg, doors: Doors, interfaces: Mapping[int, str]) -> dict[str, Any]:
    return {
        "source": end_text(leg.source),
        "destination": end_text(leg.destination),
        "translations": list(leg.translations),
        "role": str(leg.entered.role) if leg.entered is not None else None,
        "name": doors.names.get(leg.destination[0]),
        "interfaces": list(dict.fromkeys(filter(None, (interfaces[i] for i in leg.interfaces)))),
        "packets": leg.forward.packets,
        "bytes": leg.forward.octets,
        "packetsBack": leg.backward.packets,
        "bytesBack": leg.backward.octets,
    }


def _notice(notice: Notice, doors: Doors, interfaces: Mapping[int, str]) -> dict[str, Any]:
    ip = address_text(notice.sender)
    return {
        "what": str(notice.kind),
        "words": notice.words,
        "from": ip,
        "name": doors.names.get(ip),
        "time": notice.time / NANOSECONDS,
        "interface": interfaces[notice.point >> 2] or None,
        "way": _WAYS[notice.point & 3],
        "count": notice.count,
    }
