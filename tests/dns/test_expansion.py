"""Properties of the expansion that hold for every file and name; what the libraries really do is tested beside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_resolvconf import CONFS

from svcdoctor.dns.expansion import Libc, Question, Reply, Status, names, questions, walk
from svcdoctor.dns.resolvconf import ResolvConf, effective

POD = ResolvConf(("10.96.0.10",), ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"), ndots=5)
NAMES = st.from_regex(r"[a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,6}\.?", fullmatch=True)
BOTH = st.sampled_from(Libc)


@pytest.mark.parametrize("libc", Libc)
def test_an_outside_name_is_asked_four_times_by_a_pod(libc):
    assert names("www.example.com", POD, libc) == (
        "www.example.com.shop.svc.cluster.local",
        "www.example.com.svc.cluster.local",
        "www.example.com.cluster.local",
        "www.example.com",
    )
    assert len(questions("www.example.com", POD, libc)) == 8


def test_the_libraries_differ_where_a_name_has_dots_enough():
    few = ResolvConf(POD.nameservers, POD.search, ndots=1)
    assert (
        names("web.shop", few, Libc.GLIBC)[0] == "web.shop" and len(names("web.shop", few, Libc.GLIBC)) == 4
    )
    assert names("web.shop", few, Libc.MUSL) == ("web.shop",)


def test_the_second_server_of_glibc_is_waited_for():
    conf = ResolvConf(("10.0.0.1", "10.0.0.2", "10.0.0.3"), timeout=5)
    found = walk("web.", conf, Libc.GLIBC, lambda q: Reply(Status.TIMEOUT))
    assert found.waited == 2 * (5 + 10 // 3 + 20 // 3)
    assert found.error == "EAI_AGAIN" and len(found.sent) == 12


def test_a_lost_aaaa_costs_a_timeout_and_then_the_two_are_asked_one_by_one():
    """The race in conntrack: the second of two datagrams is lost, once."""
    lost = []

    def answer(question: Question) -> Reply:
        if question.rtype == "AAAA" and not lost:
            lost.append(question)
            return Reply(Status.TIMEOUT)
        return Reply(Status.DATA, ("10.1.1.1",)) if question.rtype == "A" else Reply(Status.NODATA)

    found = walk("web", POD, Libc.GLIBC, answer)
    assert found.waited == 5 and found.addresses == ("10.1.1.1",)
    assert [(q.rtype, q.step) for q in found.sent] == [("A", 0), ("AAAA", 0), ("A", 1), ("AAAA", 2)]


@given(NAMES, CONFS, BOTH)
def test_a_last_dot_is_one_name(name, conf, libc):
    plain = name.rstrip(".")
    assert names(f"{plain}.", conf, libc) in ((plain,), ())
    if effective(conf, libc).attempts:
        assert names(f"{plain}.", conf, libc) == (plain,)


@given(NAMES, CONFS, BOTH)
def test_every_name_begins_with_what_was_asked_for_and_ends_in_the_list(name, conf, libc):
    plain = name.rstrip(".")
    ends = {d.strip(".") for d in conf.search}
    for tried in names(name, conf, libc):
        assert tried == plain or tried.removeprefix(f"{plain}.") in ends
        assert len(tried) <= 253


@given(NAMES, CONFS, BOTH, st.randoms(use_true_random=False))
def test_what_is_sent_is_within_the_limits_and_ends(name, conf, libc, die):
    def answer(question: Question) -> Reply:
        status = die.choice(list(Status))
        return Reply(status, ("10.1.1.1",) if status is Status.DATA else (), die.random() < 0.2)

    found = walk(name, conf, libc, answer)
    limits = effective(conf, libc)
    assert {q.nameserver for q in found.sent} <= set(limits.nameservers)
    assert [q.step for q in found.sent] == sorted(q.step for q in found.sent)
    assert bool(found.addresses) == (found.error is None) == (found.name is not None)
    candidates = len(conf.search) + 2
    assert len(found.sent) <= candidates * 2 * 8 * 3 * 11 * 3
    assert found.waited >= 0


@given(NAMES, CONFS, BOTH)
def test_the_first_name_that_exists_ends_it(name, conf, libc):
    tried = names(name, conf, libc)
    for wanted in tried:
        found = walk(
            name,
            conf,
            libc,
            lambda q, wanted=wanted: (
                Reply(Status.DATA, ("10.1.1.1",)) if q.name == wanted else Reply(Status.NXDOMAIN)
            ),
        )
        assert found.name == wanted
        asked = tuple(dict.fromkeys(q.name for q in found.sent))
        assert asked == tried[: tried.index(wanted) + 1]


@given(st.text(max_size=300), CONFS, BOTH)
def test_any_text_is_expanded(name, conf, libc):
    walk(name, conf, libc, lambda q: Reply(Status.NODATA))
