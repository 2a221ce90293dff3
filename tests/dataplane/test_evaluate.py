"""One base chain: the order of rules, jumps and returns, branches, and what is not known."""

import pytest
from rulebook import ACCEPT, DROP, RETURN, Plain, base, no, perhaps, to, yes

from svcdoctor.dataplane.evaluate import ACCEPTED, DROPPED, POLICY, REJECTED, TRANSLATED, UNKNOWN, run
from svcdoctor.dataplane.language import LONG, Op
from svcdoctor.dataplane.packet import DNATTED, UNTRACKED, packet


def asked(dport=80, family=4):
    return packet("192.0.2.1", "10.0.0.1", dport) if family == 4 else packet("2001:db8::1", "fd00::1", dport)


def endings(chain, live=None, **options):
    return run(base(chain, **options), live or asked())


def names(live):
    found, trail = [], live.trail
    while trail is not None:
        rule, trail = trail
        found.append(f"{rule.chain.name}#{rule.number}")
    return list(reversed(found))


def mark(value):
    def change(live):
        live.mark = value

    return (Op.CHANGE, change)


def test_the_first_matching_verdict_decides():
    book = Plain()
    chain = book.chain("IN", ([no], DROP), ([yes], ACCEPT), ([yes], DROP))
    [(how, live, _)] = endings(chain)
    assert how == ACCEPTED
    assert names(live) == ["IN#2"]


@pytest.mark.parametrize(("accepts", "how"), [(True, POLICY), (False, DROPPED)])
def test_the_policy_decides_what_no_rule_does(accepts, how):
    chain = Plain().chain("IN", ([no], ACCEPT))
    [(found, live, why)] = endings(chain, accepts=accepts)
    assert found == how
    assert ("policy DROP of t IN" in why) == (not accepts)
    assert live.trail is None


@pytest.mark.parametrize("rules", [(), (([yes], RETURN),)])
def test_an_empty_or_returning_base_chain_meets_its_policy(rules):
    chain = Plain().chain("IN", *rules)
    assert endings(chain, accepts=False)[0][0] == DROPPED
    assert endings(chain, accepts=True)[0][0] == POLICY


def test_jump_comes_back_and_goto_does_not():
    book = Plain()
    book.chain("CALLED", ([yes], [mark(7)]))
    jumping = book.chain("J", ([yes], [(Op.JUMP, "CALLED")]), ([yes], DROP))
    going = book.chain("G", ([yes], [(Op.GOTO, "CALLED")]), ([yes], DROP))
    assert endings(jumping)[0][0] == DROPPED
    [(how, live, _)] = endings(going)
    assert (how, live.mark) == (POLICY, 7)


def test_a_goto_within_a_jump_returns_to_the_rule_after_the_jump():
    book = Plain()
    book.chain("LAST", ([yes], RETURN), ([yes], DROP))
    book.chain("MIDDLE", ([yes], [(Op.GOTO, "LAST")]), ([yes], DROP))
    chain = book.chain("IN", ([yes], [(Op.JUMP, "MIDDLE")]), ([yes], ACCEPT))
    [(how, live, _)] = endings(chain)
    assert how == ACCEPTED
    assert names(live) == ["IN#2"], "chains that led to nothing leave no trace"


def test_a_jump_that_changed_the_packet_stays_in_the_trail():
    book = Plain()
    book.chain("MARK", ([yes], [mark(0x4000)]))
    chain = book.chain("IN", ([yes], [(Op.JUMP, "MARK")]), ([yes], ACCEPT))
    assert names(endings(chain)[0][1]) == ["IN#1", "MARK#1", "IN#2"]


def test_chances_are_exact_and_sum_up():
    book = Plain()
    rules = [([yes], [(Op.CHANCE, p), (Op.DNAT, (i, 8080))]) for i, p in enumerate((1 / 3, 0.5, 1.0))]
    found = endings(book.chain("SVC", *rules))
    assert [live.dst for _, live, _ in found] == [0, 1, 2]
    assert [live.probability for _, live, _ in found] == pytest.approx([1 / 3] * 3)
    assert all(how == TRANSLATED and live.ctstatus & DNATTED for how, live, _ in found)
    assert [names(live) for _, live, _ in found] == [["SVC#1"], ["SVC#2"], ["SVC#3"]]


def test_choices_keep_their_order_and_the_rest_of_the_rule():
    book = Plain()
    book.chain("A", ([yes], [(Op.DNAT, (1, None))]))
    book.chain("B", ([yes], DROP))
    choices = [(0.25, ((Op.JUMP, book.chains["A"]),)), (0.75, ((Op.JUMP, book.chains["B"]),))]
    chain = book.chain("IN", ([yes], [(Op.CHOOSE, lambda live: choices), (Op.ACCEPT, None)]))
    found = endings(chain)
    assert [(how, live.probability) for how, live, _ in found] == [(TRANSLATED, 0.25), (DROPPED, 0.75)]


def test_an_empty_choice_goes_on_with_the_rest_of_the_rule():
    chain = Plain().chain("IN", ([yes], [(Op.CHOOSE, lambda live: [(1.0, ())]), (Op.DROP, None)]))
    assert endings(chain)[0][0] == DROPPED


def test_when_ends_the_rule_and_not_the_chain():
    book = Plain()
    chain = book.chain("IN", ([yes], [mark(1), (Op.WHEN, (no,)), (Op.DROP, None)]), ([yes], ACCEPT))
    [(how, live, _)] = endings(chain)
    assert (how, live.mark) == (ACCEPTED, 1)


def test_reject_says_how():
    chain = Plain().chain("IN", ([yes], [(Op.REJECT, "tcp-reset")]))
    assert endings(chain)[0][::2] == (REJECTED, "tcp-reset")


def test_notrack_takes_the_packet_from_conntrack():
    chain = Plain().chain("RAW", ([yes], [(Op.NOTRACK, None)]))
    assert endings(chain)[0][1].ct == UNTRACKED


def test_what_is_not_modelled_is_unknown_and_named():
    chain = Plain().chain("IN", ([perhaps], ACCEPT), ([yes], DROP))
    [(how, live, why)] = endings(chain)
    assert (how, why) == (UNKNOWN, "module foo is not modelled")
    assert names(live) == ["IN#1"]


def test_an_unknown_test_does_not_matter_where_another_is_false():
    chain = Plain().chain("IN", ([perhaps, to(443)], ACCEPT), ([yes], DROP))
    assert endings(chain)[0][0] == DROPPED


def test_an_unknown_test_does_not_matter_where_the_rule_does_nothing():
    chain = Plain().chain("IN", ([perhaps], []), ([yes], DROP))
    assert endings(chain)[0][0] == DROPPED


@pytest.mark.parametrize("action", [(Op.UNKNOWN, "target TEE is not modelled"), (Op.WHEN, (perhaps,))])
def test_an_unknown_action_ends_the_branch_as_unknown(action):
    chain = Plain().chain("IN", ([yes], [action, (Op.ACCEPT, None)]), ([yes], DROP))
    assert endings(chain)[0][0] == UNKNOWN


def test_chains_in_a_loop_end_as_unknown():
    book = Plain()
    book.chain("A", ([yes], [(Op.JUMP, "B")]))
    book.chain("B", ([yes], [(Op.JUMP, "A")]))
    chain = book.chain("IN", ([yes], [(Op.JUMP, "A")]))
    [(how, _, why)] = endings(chain)
    assert how == UNKNOWN and "loop" in why


def test_a_goto_loop_ends_as_unknown():
    book = Plain()
    book.chain("A", ([yes], [(Op.GOTO, "A")]))
    [(how, _, why)] = endings(book.chain("IN", ([yes], [(Op.GOTO, "A")])))
    assert how == UNKNOWN and "more rules" in why


def test_too_many_branches_end_as_unknown_with_the_rest_of_the_probability():
    half = ([yes], [(Op.CHANCE, 0.5), mark(1)])
    chain = Plain().chain("IN", *[half] * 30)
    found = endings(chain)
    assert any(how == UNKNOWN for how, _, _ in found)
    assert sum(live.probability for _, live, _ in found) == pytest.approx(1.0)


@pytest.mark.parametrize("family", [4, 6])
def test_a_long_chain_is_looked_up_in_the_order_of_its_rules(family):
    book = Plain()
    target = asked(family=family).dst

    def exact(address, port):
        return lambda live: live.dst == address and live.dport == port

    rules = [([exact(target + i, 80)], DROP, (target + i, 80)) for i in range(1, 2000)]
    rules += [([exact(target, 80)], [mark(5)], (target, 80)), ([to(80)], ACCEPT, (None, 80)), ([yes], DROP)]
    assert len(rules) > LONG
    chain = book.chain("SERVICES", *rules)
    [(how, live, _)] = endings(chain, asked(family=family))
    assert (how, live.mark) == (ACCEPTED, 5)
    assert book.translated == 3, "only what the packet could match is translated"
    [(how, live, _)] = endings(chain, asked(443, family))
    assert (how, live.mark) == (DROPPED, 0)
