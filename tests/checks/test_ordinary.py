"""What is left out as ordinary: the full trace with every check finds nothing there, in whatever cluster."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ordinary_world import SHAPES, changed, snapshot_of, sound_cluster

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.checks.ordinary import Ordinary
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Verdict
from svcdoctor.path.world import World
from svcdoctor.sources.archive import read_snapshot

FIXTURES = Path(__file__).parents[2] / "fixtures"


def held_against_the_full_answer(snapshot):
    """How many Services were left out; each of them is sound to the full trace."""
    ordinary = Ordinary(World(snapshot))
    left_out = [s for s in snapshot.services if ordinary(s)]
    for s in left_out:
        answer = answer_once(snapshot, Request(ObjectTarget("Service", s.name, s.namespace)), s.namespace)
        assert answer.findings == (), (s.name, answer.findings)
        assert answer.verdict is Verdict.HEALTHY, s.name
        assert not answer.needs
    return len(left_out)


def test_ordinary_services_are_known_as_such():
    # Else nothing would be gained, and the property below would hold for nothing.
    assert held_against_the_full_answer(snapshot_of(sound_cluster())) == len(SHAPES)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_whatever_is_changed_nothing_is_overlooked(seed, times):
    chance = random.Random(seed)
    objects = sound_cluster()
    for _ in range(times):
        objects = changed(objects, chance)
    try:
        snapshot = snapshot_of(objects)
        held_against_the_full_answer(snapshot)
    except SvcdoctorError:
        return  # the change made something that is no object, which reading says


@pytest.mark.parametrize(
    "path", sorted((FIXTURES / "faults").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_no_fault_of_the_fixtures_is_overlooked(path):
    held_against_the_full_answer(read_snapshot(path))


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_no_fault_of_the_captures_is_overlooked(mode):
    held = read_snapshot(FIXTURES / "captures" / f"{mode}.tar.gz")
    kinds = {k: held.of(k) for k in held.facts}
    held_against_the_full_answer(Snapshot(kinds, held.facts))


def test_where_nodes_rules_are_held_nothing_is_left_out():
    held = read_snapshot(FIXTURES / "captures" / "iptables.tar.gz")
    assert held_against_the_full_answer(held) == 0
