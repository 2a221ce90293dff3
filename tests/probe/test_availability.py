"""Spells of unavailability out of states, compared with a second by second account of the same states."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.probe.watch.availability import KEPT, Availability, Spell, State

A, U, N, W = State.AVAILABLE, State.UNAVAILABLE, State.UNKNOWN, State.AWAY


def noted(*changes):
    made = Availability()
    for at, state in changes:
        made.note(at, state, f"why {at}")
    return made


def spans(spells):
    return [(s.start, s.end) for s in spells]


def test_from_when_to_when():
    seen = noted((0, A), (5, U), (8, A), (10, U))
    assert seen.when_unavailable() == (Spell(5, 8, "why 5"), Spell(10, None, "why 10"))
    assert [s.seconds(12) for s in seen.when_unavailable()] == [3, 2]
    assert seen.when_unknown() == ()


def test_what_is_not_known_is_not_unavailable():
    seen = noted((0, U), (5, N), (8, U), (9, A), (11, N))
    assert spans(seen.when_unavailable()) == [(0, 5), (8, 9)]
    assert spans(seen.when_unknown()) == [(5, 8), (11, None)]


def test_who_leaves_missed_nothing_and_who_comes_back_did():
    assert noted((0, W), (3, A), (5, W)).when_unavailable() == ()
    assert spans(noted((0, W), (3, A), (5, W), (7, A)).when_unavailable()) == [(5, 7)]
    assert spans(noted((0, A), (4, U), (5, W), (7, A)).when_unavailable()) == [(4, 7)]
    assert spans(noted((0, A), (5, W), (7, U), (9, A)).when_unavailable()) == [(5, 9)]
    assert spans(noted((0, A), (5, W), (7, U)).when_unavailable()) == [(5, None)]
    away_and_unknown = noted((0, A), (1, W), (2, N), (4, W), (5, A))
    assert spans(away_and_unknown.when_unavailable()) == [(1, 2), (4, 5)]


def test_the_same_again_is_nothing_new():
    seen = Availability()
    assert [seen.note(at, state) for at, state in [(0, A), (1, A), (2, U), (3, U), (4, A)]] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_a_time_that_comes_late_counts_as_now():
    seen = noted((0, A), (5, U), (3, A))
    assert seen.when_unavailable() == ()
    assert seen.since == 5


def test_what_is_kept_is_bounded_and_all_is_counted():
    seen = Availability()
    for n in range(3 * KEPT):
        seen.note(2 * n, U)
        seen.note(2 * n + 1, A)
    assert len(seen.when_unavailable()) == KEPT
    assert (seen.unavailable.count, seen.unavailable.total) == (3 * KEPT, 3 * KEPT)
    assert seen.when_unavailable()[-1].start == 6 * KEPT - 2


# Whole seconds, so that an account second by second is exact.
CHANGES = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(list(State))), max_size=30)


def seconds_of(steps, end):
    """The state in each second, by the last change before it."""
    states = []
    for n, (at, state) in enumerate(steps):
        until = steps[n + 1][0] if n + 1 < len(steps) else end
        states += [state] * (until - at)
    return states


def unavailable_seconds(states):
    """Those with state unavailable, and those away between two times of being here."""
    here = [n for n, s in enumerate(states) if s in (A, U)]
    found = {n for n, s in enumerate(states) if s is U}
    if here:
        found |= {n for n in range(here[0], here[-1]) if states[n] is W}
    return found


@given(CHANGES, st.integers(0, 5))
def test_the_spells_are_the_seconds(changes, tail):
    steps, at = [], 0
    for pause, state in changes:
        steps.append((at, state))
        at += pause + 1  # a change that takes no time is not seen by either account
    end = at + tail
    states = seconds_of(steps, end)
    seen = Availability()
    for when, state in steps:
        seen.note(when, state)
    for found, expected in (
        (seen.when_unavailable(), unavailable_seconds(states)),
        (seen.when_unknown(), {n for n, s in enumerate(states) if s is N}),
    ):
        told = [set(range(s.start, end if s.end is None else s.end)) for s in found]
        assert set().union(*told) == expected
        assert sum(map(len, told)) == len(expected)
        for one, other in pairwise(found):
            assert one.end is not None and one.end < other.start, "in order, and never touching"


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(list(State))), max_size=40))
def test_any_times_in_any_order(changes):
    """Also where they go back: spells are in order, do not overlap and take time."""
    seen = Availability()
    for at, state in changes:
        seen.note(at, state)
    for found in (seen.when_unavailable(), seen.when_unknown()):
        ends = [0.0]
        for spell in found:
            assert spell.start >= ends[-1]
            assert spell.end is None or spell.end > spell.start
            ends.append(float("inf") if spell.end is None else spell.end)
