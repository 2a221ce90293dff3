"""Reports of a node in a log: written, read, cut, grown too large, forged."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import pytest

from svcdoctor.model.nodefacts import Dump, NodeFacts
from svcdoctor.sources import reportform
from svcdoctor.sources.dumpnames import COLLECTED, DUMPS
from svcdoctor.sources.nodedumps import node_facts
from svcdoctor.sources.reportform import NotWhole, Unreadable, lines_of, read_report, report_lines

TIME = datetime(2026, 11, 21, 0, 37, tzinfo=UTC)
LIMIT = 1 << 20
HELD = {
    "iptables-save.txt": b"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.96.0.1/32 -j RETURN\nCOMMIT\n",
    "ip6tables-save.txt": b"*nat\n-A PREROUTING -d fd00:96::1/128 -j RETURN\nCOMMIT\n",
    "ip-addr.json": b'[{"ifname":"eth0","addr_info":[{"local":"10.9.0.1"},{"local":"fd00:9::1"}]}]',
    "kube-proxy-mode.txt": b"iptables",
    "conntrack.txt": b"tcp 6 \xff\xfe not UTF-8\n",
}


def facts(more: Mapping[str, bytes] = {}) -> NodeFacts:
    dumps = {name: Dump("here", data) for name, data in (HELD | dict(more)).items()}
    return node_facts("elsewhere", dumps, {"ipset.txt": "no program ipset"})


def packed(body: bytes) -> bytes:
    text = base64.b64encode(body)
    return text + f"\nsvcdoctor-node-facts/1 lines=1 sha256={hashlib.sha256(text).hexdigest()}\n".encode()


def test_what_is_written_is_read() -> None:
    log = report_lines(facts(), TIME, 60.0)
    report = read_report("n1", log, LIMIT)
    assert {name: dump.data for name, dump in report.facts.raw.items()} == HELD
    assert report.facts.name == "n1", "whose node it is says the API server, not the report"
    assert report.facts.raw["conntrack.txt"].where == "node n1: conntrack -L -f ipv4"
    assert report.facts.missing == {"ipset.txt": "no program ipset"}
    assert report.facts.addresses == ("10.9.0.1", "fd00:9::1")
    assert report.facts.proxy is not None and report.facts.proxy.mode == "iptables"
    assert (report.time, report.every) == (TIME, 60.0)
    assert log.isascii() and max(map(len, log.splitlines())) < 16 << 10, "runtimes cut longer lines"


def test_the_last_line_says_how_many_are_needed() -> None:
    noise = random.Random(7).randbytes(100_000)
    log = b"an older line\n" + report_lines(facts({"nft.json": b"{}", "ip-neigh.json": noise}), TIME, 60.0)
    lines = log.splitlines(keepends=True)
    count = lines_of(lines[-1])
    assert count == len(lines) - 1 > 10
    report = read_report("n1", b"".join(lines[-count:]), LIMIT)
    assert report.facts.raw["ip-neigh.json"].data == noise
    assert lines_of(lines[0]) is None
    assert lines_of(b"svcdoctor-node-facts/2 lines=1 sha256=" + b"0" * 64) is None, "another version's"


@pytest.mark.parametrize(
    ("cut", "problem"),
    [
        (lambda lines: [], "does not end with a report"),
        (lambda lines: lines[:-1], "does not end with a report"),
        (lambda lines: lines[1:], "no whole report"),
        (lambda lines: [*lines[:-1], b"Traceback\n", lines[-1]], "no whole report"),
        (lambda lines: [*lines, lines[0]], "does not end with a report"),
    ],
)
def test_half_a_report_is_none(cut, problem) -> None:  # type: ignore[no-untyped-def]
    noise = random.Random(7).randbytes(20_000)
    lines = report_lines(facts({"ip-neigh.json": noise}), TIME, 60.0).splitlines(keepends=True)
    with pytest.raises(NotWhole, match=problem):
        read_report("n1", b"".join(cut(lines)), LIMIT)


def test_of_two_reports_the_newest_is_read() -> None:
    old, new = (facts({"sysctl.txt": b"net.ipv4.ip_forward = %d\n" % on}) for on in (0, 1))
    log = report_lines(old, TIME, 60.0) + report_lines(new, TIME, 60.0)
    assert read_report("n1", log, LIMIT).facts.raw["sysctl.txt"].data.endswith(b"1\n")


def test_what_does_not_fit_into_a_log_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reportform, "MOST", 65_000)
    draw = random.Random(7)
    large, larger, rules = (draw.randbytes(size) for size in (20_000, 30_000, 25_000))
    log = report_lines(
        facts({"conntrack.txt": larger, "ip-neigh.json": large, "nft.json": rules}), TIME, 60.0
    )
    assert len(log) < 65_000
    report = read_report("n1", log, LIMIT)
    assert "left out" in report.facts.missing["conntrack.txt"]
    assert report.facts.raw["ip-neigh.json"].data == large, "the largest goes first"
    everything = facts({"nft.json": draw.randbytes(100_000)})
    report = read_report("n1", report_lines(everything, TIME, 60.0), LIMIT)
    assert {"nft.json", "iptables-save.txt"} <= report.facts.raw.keys(), "what verdicts rest on always stays"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"no msgpack", "cannot be read"),
        (msgspec.msgpack.encode({"time": TIME, "every": 1.0}), "missing required field"),
        (
            msgspec.msgpack.encode(
                {"time": TIME, "every": 1.0, "missing": {}, "dumps": {"nft.json": b"not compressed"}}
            ),
            "cannot be read",
        ),
        (
            msgspec.msgpack.encode(
                {
                    "time": TIME,
                    "every": 1.0,
                    "missing": {},
                    "dumps": {"nft.json": zlib.compress(bytes(LIMIT + 1))},
                }
            ),
            "more than 1,048,576 bytes",
        ),
    ],
)
def test_what_is_no_report(body: bytes, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem):
        read_report("n1", packed(body), LIMIT)


def test_only_dumps_that_are_ever_collected_are_taken() -> None:
    """Their names become files when a snapshot is saved."""
    dumps = {"../../etc/cron.d/x": zlib.compress(b"x"), "nft.json": zlib.compress(b'{"nftables": []}')}
    body = {"time": TIME, "every": 1.0, "missing": {"/etc/passwd": "why"}, "dumps": dumps}
    report = read_report("n1", packed(msgspec.msgpack.encode(body)), LIMIT)
    assert report.facts.dumps == ("nft.json",)
    assert report.facts.missing == {}
    assert {one.name for one in COLLECTED} <= DUMPS.keys()


def test_a_dump_that_is_not_what_its_name_says_is_missing() -> None:
    report = read_report("n1", report_lines(facts(), TIME, 0.0), LIMIT)
    assert "ip-addr.json" in report.facts.dumps
    held = msgspec.msgpack.encode(
        {"time": TIME, "every": 0.0, "missing": {}, "dumps": {"ip-addr.json": zlib.compress(b"{")}}
    )
    report = read_report("n1", packed(held), LIMIT)
    assert report.facts.dumps == ()
    assert "ip-addr.json" in report.facts.missing
