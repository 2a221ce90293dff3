"""The queries of a lookup as they are really sent: together, again when they are lost, and never twice for nothing."""

import time

import dns.rcode
from lying_dns import LyingServer, answered, kind_of

from svcdoctor.dns.expansion import Status, walk
from svcdoctor.dns.question import Reply as Heard
from svcdoctor.dns.resolvconf import Libc, ResolvConf
from svcdoctor.model.lookup import Met
from svcdoctor.probe.dns.asking import Server
from svcdoctor.probe.dns.resolver import Asker

NAME = "web.default.svc.cluster.local"
DATA = {"A": "10.96.7.7", "AAAA": "fd00:10:96::77"}
CONF = ResolvConf(("192.0.2.53",), ("default.svc.cluster.local", "svc.cluster.local"), ndots=5, timeout=1)


def asker_of(server, conf=CONF):
    return Asker(conf, lambda nameserver: Server(server.ip, server.port))


def walked(asker, libc, conf=CONF, name="web"):
    ask = asker.asking(libc)
    replies = []

    def answer(question):
        reply = ask(question)
        replies.append(reply)
        status = {Met.TIMEOUT: Status.TIMEOUT, Met.NXDOMAIN: Status.NXDOMAIN, Met.DATA: Status.DATA}[
            reply.met
        ]
        return Heard(status, reply.addresses)

    return walk(name, conf, libc, answer), replies


def right(wire):
    return answered(wire, (f"{NAME}.", 5, "IN", kind_of(wire), DATA[kind_of(wire)]))


def test_a_second_lookup_sends_nothing():
    with LyingServer(lambda wire: [right(wire)]) as server:
        asker = asker_of(server)
        first, replies = walked(asker, Libc.GLIBC)
        again, told = walked(asker, Libc.GLIBC)
        musl, _ = walked(asker, Libc.MUSL)
    assert set(first.addresses) == set(DATA.values()) == set(again.addresses) == set(musl.addresses)
    assert replies == told
    assert sorted(map(kind_of, server.log)) == ["A", "AAAA"]


def test_a_lost_query_is_seen_to_be_answered_the_second_time():
    lost = []

    def once(wire):
        if kind_of(wire) == "AAAA" and not lost:
            lost.append(wire)
            return []
        return [right(wire)]

    with LyingServer(once) as server:
        found, replies = walked(asker_of(server), Libc.GLIBC)
    assert [(q.rtype, r.met) for q, r in zip(found.sent, replies, strict=True)] == [
        ("A", Met.DATA),
        ("AAAA", Met.TIMEOUT),
        ("A", Met.DATA),
        ("AAAA", Met.DATA),
    ]
    assert len(server.log) == 4
    assert set(found.addresses) == set(DATA.values())


def test_a_silent_server_is_waited_for_once():
    with LyingServer() as server:
        asker = asker_of(server)
        start = time.monotonic()
        found, _ = walked(asker, Libc.GLIBC)
        first = time.monotonic() - start
        walked(asker, Libc.MUSL)
        both = time.monotonic() - start
    assert found.error == "EAI_AGAIN"
    # Two names (the first of the list, and the name itself), two attempts of a second, both types at once.
    assert 3.9 < first < 7
    assert both - first < 2
    assert len(server.log) == 8


def test_a_resolver_that_asks_one_after_the_other():
    conf = ResolvConf(CONF.nameservers, CONF.search, ndots=5, timeout=1, single_request=True)
    with LyingServer(lambda wire: [answered(wire, rcode=dns.rcode.NXDOMAIN)]) as server:
        found, _ = walked(asker_of(server, conf), Libc.GLIBC, conf)
    assert [kind_of(w) for w in server.log] == [q.rtype for q in found.sent]
    assert found.error == "EAI_NONAME"
