"""``getent`` of glibc, which is what pods have at hand: which types it asks for, and in which order."""

import pytest
from named_server import SERVER4, SERVER6, named_server

from svcdoctor.dns.expansion import Libc, Reply, Status, walk
from svcdoctor.dns.resolvconf import parse

ZONES = {
    "both.test": "* A 10.1.1.1\n* AAAA fd00:10:1::1\n",
    "four.test": "* A 10.1.1.1\n",
    "none.test": "here TXT nothing\n",
    ".": "here TXT nothing\n",
}
CONF = f"search none.test four.test both.test\nnameserver {SERVER4}\noptions ndots:2\n"
DUAL = (SERVER4, SERVER6)


def truth(question):
    zone = next((z for z in ZONES if question.name.endswith(f".{z}")), None)
    if zone == "both.test" or (zone, question.rtype) == ("four.test", "A"):
        return Reply(Status.DATA, ("10.1.1.1",) if question.rtype == "A" else ("fd00:10:1::1",))
    return Reply(Status.NODATA if zone == "four.test" else Status.NXDOMAIN)


def predicted(name, *rounds):
    """The queries of look-ups one after the other, each only when the one before found nothing; whether one did."""
    sent = []
    for rtypes in rounds:
        found = walk(name, parse(CONF), Libc.GLIBC, truth, rtypes)
        sent += [(q.name, q.rtype) for q in found.sent]
        if found.addresses:
            return sent, True
    return sent, False


@pytest.fixture(scope="module", params=[DUAL, (SERVER4,)], ids=["dual", "v4"])
def server(tmp_path_factory, request):
    with named_server(tmp_path_factory.mktemp("getent"), ZONES, request.param, request.param) as running:
        running.run("sysctl", "-q", "-w", "net.ipv6.conf.dns0.accept_dad=0")
        if len(request.param) == 1:
            running.run("ip", "-6", "addr", "flush", "dev", "dns0")  # the link-local one: it counts too
        yield running, len(request.param) == 2


@pytest.mark.parametrize("name", ["web", "a.b.four.test", "a.b.none.test"])
@pytest.mark.parametrize(
    ("database", "dual", "single"),
    [
        ("ahosts", [("A", "AAAA")], [("A",)]),  # AI_ADDRCONFIG: only what the pod has an address of
        ("ahostsv4", [("A",)], [("A",)]),
        ("hosts", [("AAAA",), ("A",)], [("AAAA",), ("A",)]),
    ],
)
def test_getent_asks_what_was_predicted(server, database, dual, single, name):
    running, both = server
    before = len(running.queries())
    done = running.run("getent", database, name, resolv_conf=CONF)
    asked = [(q.name, q.rtype) for q in running.queries()[before:]]
    foreseen, found = predicted(name, *(dual if both else single))
    assert asked == foreseen
    assert (done.returncode == 0) == found


def test_a_link_local_address_counts_as_one(tmp_path):
    with named_server(tmp_path, ZONES, (SERVER4, "fe80::53/64"), (SERVER4,)) as running:
        running.run("getent", "ahosts", "x.both.test.", resolv_conf=CONF)
        assert {q.rtype for q in running.queries()} == {"A", "AAAA"}
