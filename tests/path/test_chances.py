"""Counts against shares: false alarms are rarer than one in a million, and real contradictions are seen."""

import random

from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.path.chances import least, most, would_be_seen

TRIES = st.integers(1, 200)
SHARES = st.floats(0, 1)


@given(TRIES, SHARES)
def test_bounds_are_counts_and_in_order(tries, share):
    assert 0 <= least(tries, share) <= most(tries, share) <= tries
    assert least(tries, share) <= round(tries * share) <= most(tries, share)


@given(TRIES)
def test_what_is_certain_leaves_no_room(tries):
    assert (least(tries, 1.0), most(tries, 1.0)) == (tries, tries)
    assert (least(tries, 0.0), most(tries, 0.0)) == (0, 0)
    assert least(tries, sum([1 / 3] * 3)) == tries  # whatever the sum of thirds is


def test_drawn_counts_agree():
    draw = random.Random(5)
    for _ in range(20_000):
        tries, share = draw.randint(1, 60), draw.random()
        count = sum(draw.random() < share for _ in range(tries))
        assert least(tries, share) <= count <= most(tries, share), (tries, share, count)


def test_a_pod_of_three_is_missed_by_forty_answers_and_not_by_twenty():
    assert would_be_seen(40, 1 / 3)
    assert not would_be_seen(20, 1 / 3)
    assert would_be_seen(1, 1.0) and not would_be_seen(1000, 0.0)
