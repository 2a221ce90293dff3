"""What a DNS message says to a query: answers, failures, and what is no answer at all."""

from itertools import pairwise

import dns.flags
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lying_dns import answered

from svcdoctor.model.lookup import Met
from svcdoctor.probe.dns.messages import CHAIN, NotTheAnswer, query, said

NAME = "web.default.svc.cluster.local"


def to(*sets, name=NAME, rtype="A", **more):
    return said(answered(query(name, rtype, 7), *sets, **more), NAME, "A", 7)


@pytest.mark.parametrize(
    ("sets", "more", "met", "data"),
    [
        ([(NAME + ".", 5, "IN", "A", "10.0.0.1", "10.0.0.2")], {}, Met.DATA, {"10.0.0.1", "10.0.0.2"}),
        ([], {}, Met.NODATA, set()),
        ([], {"rcode": dns.rcode.NXDOMAIN}, Met.NXDOMAIN, set()),
        ([], {"rcode": dns.rcode.SERVFAIL}, Met.SERVFAIL, set()),
        ([], {"rcode": dns.rcode.REFUSED}, Met.REFUSED, set()),
        ([], {"rcode": dns.rcode.NOTIMP}, Met.SERVFAIL, set()),
        # An empty answer of a server that neither has the zone nor recurses: glibc asks the next one.
        ([], {"flags": 0}, Met.REFUSED, set()),
        # The name of an upper-case query is the same name.
        ([(NAME.upper() + ".", 5, "IN", "A", "10.0.0.1")], {}, Met.DATA, {"10.0.0.1"}),
        # Records of somebody else are no data.
        ([("other.example.", 5, "IN", "A", "10.0.0.1")], {}, Met.NODATA, set()),
    ],
)  # fmt: skip
def test_what_an_answer_says(sets, more, met, data):
    found = to(*sets, **more)
    assert (found.met, set(found.data)) == (met, data)


def test_ipv6_data_is_read_too():
    wire = answered(query(NAME, "AAAA", 9), (NAME + ".", 5, "IN", "AAAA", "fd00::1"))
    assert said(wire, NAME, "AAAA", 9).data == ("fd00::1",)


def test_aliases_are_followed_to_the_data():
    found = to((NAME + ".", 5, "IN", "CNAME", "a.example."), ("a.example.", 5, "IN", "A", "192.0.2.1"))
    assert (found.met, found.data) == (Met.DATA, ("CNAME a.example.", "192.0.2.1"))
    assert to((NAME + ".", 5, "IN", "CNAME", "a.example.")).met is Met.NODATA


def test_aliases_that_lead_back_are_a_loop():
    found = to((NAME + ".", 5, "IN", "CNAME", "a.example."), ("a.example.", 5, "IN", "CNAME", NAME + "."))
    assert found.met is Met.GARBLED
    assert "loop" in found.detail


def test_too_many_aliases_are_not_followed():
    names = [NAME, *(f"a{n}.example" for n in range(CHAIN + 5))]
    found = to(*((f"{a}.", 5, "IN", "CNAME", f"{b}.") for a, b in pairwise(names)))
    assert found.met is Met.GARBLED
    assert str(CHAIN) in found.detail


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"", "0 bytes"),
        (b"hello", "5 bytes"),
        (query(NAME, "A", 7), "a query in the place"),
        (answered(query(NAME, "A", 8)), "another query (id 8, not 7)"),
        (answered(query("other.example", "A", 7)), "another question (other.example. A)"),
        (answered(query(NAME, "AAAA", 7)), "another question"),
        (answered(query(NAME, "A", 7))[:20], "no DNS message"),
        (b"\0\7\x80\0" + b"\xff" * 60, "no DNS message"),
    ],
)
def test_what_is_no_answer_says_why(wire, why):
    with pytest.raises(NotTheAnswer) as raised:
        said(wire, NAME, "A", 7)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_answer_cut_in_the_middle_of_a_record_is_truncated():
    wire = bytearray(
        answered(query(NAME, "A", 7), (NAME + ".", 5, "IN", "A", "10.0.0.1"), flags=dns.flags.TC)
    )
    assert said(bytes(wire[:-2]), NAME, "A", 7).truncated


@given(st.binary(max_size=600))
def test_no_bytes_do_harm(junk):
    wire = b"\0\7" + junk
    try:
        found = said(wire, NAME, "A", 7)
    except NotTheAnswer as e:
        assert len(str(e)) < 200
    else:
        assert found.met in set(Met)
