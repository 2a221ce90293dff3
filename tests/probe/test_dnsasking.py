"""Asking servers that answer, that do not, and that lie: bounded in time and size, and one line each."""

import time

import dns.flags
import dns.rcode
import pytest
from lying_dns import LyingServer, answered, kind_of

from svcdoctor.model.lookup import Met
from svcdoctor.probe.dns.asking import STRAYS, Server, ask

NAME = "web.default.svc.cluster.local"
DATA = {"A": "10.96.7.7", "AAAA": "fd00:10:96::77"}
TYPES = ("A", "AAAA")
LONG = 10.0  # seconds to wait, which nothing that is answered takes, on however busy a machine
SLACK = 3.0  # in which a wait of 0.4 s ends


def right(wire):
    """The answer to a query."""
    kind = kind_of(wire)
    return answered(wire, (f"{NAME}.", 5, "IN", kind, DATA[kind]))


def wrong_id(wire):
    answer = bytearray(right(wire))
    answer[0] ^= 0xFF
    return bytes(answer)


def cut(wire):
    return answered(wire, flags=dns.flags.TC | dns.flags.RA)


def framed(wire):
    return len(wire).to_bytes(2) + wire


def timed(server, seconds=0.4, types=TYPES, **more):
    start = time.monotonic()
    found = ask(Server(server.ip, server.port), NAME, types, seconds, **more)
    return found, time.monotonic() - start


@pytest.mark.parametrize("family", [4, 6])
def test_both_types_are_asked_at_once(family):
    with LyingServer(lambda wire: [right(wire)], family=family) as server:
        found, took = timed(server, LONG)
    assert {t: (r.met, r.data, r.transport) for t, r in found.items()} == {
        t: (Met.DATA, (DATA[t],), "UDP") for t in TYPES
    }
    assert all(0 < r.seconds <= took for r in found.values())
    assert took < LONG


def test_a_lost_query_is_a_timeout_and_the_other_one_is_not():
    with LyingServer(lambda wire: [right(wire)] if kind_of(wire) == "A" else []) as server:
        found, took = timed(server)
    assert (found["A"].met, found["AAAA"].met) == (Met.DATA, Met.TIMEOUT)
    assert 0.4 <= took < SLACK
    assert "no answer within" in found["AAAA"].detail


def test_lies_are_waited_past():
    with LyingServer(lambda wire: [b"junk", wrong_id(wire), wire, right(wire)]) as server:
        found, took = timed(server, LONG)
    assert {r.met for r in found.values()} == {Met.DATA}
    assert took < LONG


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (lambda wire: [wrong_id(wire)], "another query"),
        (lambda wire: [b"\0" * 40], "another query"),
        (lambda wire: [wire[:2] + b"\x80" + b"\xff" * 40], "no DNS message"),
        (lambda wire: [wire], "a query in the place"),
        (lambda wire: [b""], "0 bytes"),
    ],
)
def test_what_is_no_answer_is_said_in_a_line(lie, why):
    with LyingServer(lie) as server:
        found, took = timed(server)
    assert {r.met for r in found.values()} == {Met.GARBLED}
    assert why in found["A"].detail
    assert took < SLACK


def test_a_flood_ends_the_listening():
    with LyingServer(lambda wire: (wrong_id(wire) for _ in range(100_000))) as server:
        found, took = timed(server, LONG)
    assert {r.met for r in found.values()} == {Met.GARBLED}
    assert f"{STRAYS} such datagrams" in found["A"].detail
    assert took < LONG


@pytest.mark.parametrize("family", [4, 6])
def test_nobody_listens(family):
    with LyingServer(family=family) as server:
        pass
    found, took = timed(server, LONG)
    assert {r.met for r in found.values()} == {Met.UNREACHABLE}
    assert "nobody listens" in found["A"].detail
    assert took < LONG


@pytest.mark.parametrize("family", [4, 6])
def test_a_truncated_answer_is_asked_for_over_tcp(family):
    with LyingServer(lambda wire: [cut(wire)], lambda wire: [framed(right(wire))], family) as server:
        found, _ = timed(server)
    for kind, reply in found.items():
        assert (reply.met, reply.data, reply.transport) == (Met.DATA, (DATA[kind],), "TCP")
        assert reply.truncated
        assert "asked again over TCP" in reply.detail


@pytest.mark.parametrize(
    ("tcp", "met", "why"),
    [
        (None, Met.UNREACHABLE, "nobody listens"),
        (lambda wire: [], Met.GARBLED, "closed before"),
        (lambda wire: [framed(right(wire))[:10]], Met.GARBLED, "closed before"),
        (lambda wire: [framed(wrong_id(wire))], Met.GARBLED, "another query"),
        (lambda wire: _slowly(b"\xff\xff" + right(wire)), Met.TIMEOUT, "no whole answer"),
    ],
)
def test_tcp_that_fails_is_said_beside_the_truncation(tcp, met, why):
    with LyingServer(lambda wire: [cut(wire)], tcp) as server:
        found, took = timed(server, types=("A",))
    assert found["A"].met is met
    assert why in found["A"].detail and "truncated over UDP" in found["A"].detail
    assert took < SLACK


def _slowly(data):
    """A byte now and then, less than the length promises."""
    for byte in data[:30]:
        time.sleep(0.2)
        yield bytes([byte])


def test_a_large_answer_over_tcp_is_read_whole():
    many = [f"10.{n // 250}.{n % 250}.1" for n in range(3000)]
    answer = lambda wire: [framed(answered(wire, (f"{NAME}.", 5, "IN", "A", *many)))]  # noqa: E731
    with LyingServer(lambda wire: [cut(wire)], answer) as server:
        found, _ = timed(server, 3.0, types=("A",))
    assert found["A"].met is Met.DATA
    assert len(found["A"].data) == 256  # what is kept of it


def test_tcp_from_the_start():
    with LyingServer(tcp=lambda wire: [framed(right(wire))]) as server:
        found, _ = timed(server, types=("A",), tcp=True)
    assert (found["A"].met, found["A"].transport) == (Met.DATA, "TCP")


def test_error_codes_are_told_apart():
    codes = {"A": dns.rcode.SERVFAIL, "AAAA": dns.rcode.REFUSED}
    with LyingServer(lambda wire: [answered(wire, rcode=codes[kind_of(wire)])]) as server:
        found, _ = timed(server)
    assert (found["A"].met, found["AAAA"].met) == (Met.SERVFAIL, Met.REFUSED)
