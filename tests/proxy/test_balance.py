"""The policies: who is chosen while endpoints come and go."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.proxy.balance import (
    Balancer,
    BalancerPolicy,
    ConsistentHash,
    LeastConn,
    Policy,
    Random,
    RoundRobin,
    Sticky,
    make_policy,
)
from svcdoctor.proxy.endpoint import Endpoint

A, B, C, D = (Endpoint(ip, 80) for ip in ("10.0.0.1", "fd00::2", "10.0.0.3", "fd00::4"))


def balancer(policy: Policy, *endpoints: Endpoint) -> Balancer:
    made = Balancer(policy)
    made.update(endpoints)
    return made


def taken(made: Balancer, count: int, client: str = "192.0.2.1") -> list[Endpoint | None]:
    return [made.take(client) for _ in range(count)]


def test_round_robin_gives_each_its_turn_whoever_comes_and_goes() -> None:
    made = balancer(RoundRobin(), A, B, C)
    assert taken(made, 4) == [A, B, C, A]
    made.update([C, B, A, D])  # B and C are next, in the order that they had
    assert taken(made, 5) == [B, C, A, D, B]
    made.update([A, D])
    assert taken(made, 4) == [A, D, A, D]
    made.update([])
    assert taken(made, 1) == [None]
    made.update([B])
    assert taken(made, 2) == [B, B]


def test_least_conn_counts_what_lives_and_takes_turns_among_equals() -> None:
    made = balancer(LeastConn(), A, B, C)
    assert taken(made, 3) == [A, B, C]
    made.release(B)
    assert taken(made, 1) == [B]
    made.release(C)
    made.release(A)
    assert taken(made, 2) == [A, C]
    made.update([A, B, C, D])
    assert taken(made, 1) == [D]


def test_least_conn_remembers_connections_of_an_endpoint_that_comes_back() -> None:
    made = balancer(LeastConn(), A, B)
    taken(made, 6)
    made.update([B])
    assert made.draining == (A,)
    taken(made, 1)
    made.update([A, B])
    assert made.draining == ()
    assert (made.live(A), made.live(B)) == (3, 4)
    assert taken(made, 1) == [A]


def test_random_is_the_seed_s_and_even() -> None:
    first, second = (balancer(Random(random.Random(7)), A, B, C) for _ in range(2))
    chosen = taken(first, 3000)
    assert chosen == taken(second, 3000)
    assert all(900 < count < 1100 for count in Counter(chosen).values())
    assert len(set(chosen)) == 3


def test_sticky_keeps_a_client_where_it_was_until_that_is_gone_or_long_ago() -> None:
    now = [0.0]
    made = balancer(Sticky(RoundRobin(), lambda: now[0], seconds=60), A, B, C)
    assert taken(made, 3, "fd00::a") == [A, A, A]
    assert taken(made, 2, "192.0.2.7") == [B, B]
    now[0] = 59
    assert taken(made, 1, "fd00::a") == [A]
    now[0] = 118  # since the last one
    assert taken(made, 1, "fd00::a") == [A]
    assert taken(made, 1, "192.0.2.7") == [C]
    now[0] = 178
    assert taken(made, 1, "fd00::a") == [A]  # in its turn
    made.update([B, C])
    assert taken(made, 2, "fd00::a") == [B, B]
    made.update([A, B, C])
    assert taken(made, 1, "fd00::a") == [B]
    assert made.take("fd00::a", avoid=[B]) == C
    assert taken(made, 1, "fd00::a") == [C]


def test_sticky_forgets_the_client_that_was_not_seen_for_longest() -> None:
    made = balancer(Sticky(RoundRobin(), lambda: 0.0, most=2), A, B, C)
    assert [made.take(c) for c in ("1", "2", "1", "3")] == [A, B, A, C]
    assert made.take("1") == A
    assert made.take("2") == A  # its next turn


@pytest.mark.parametrize("name", BalancerPolicy)
def test_whatever_could_not_be_reached_is_avoided_until_none_is_left(name: BalancerPolicy) -> None:
    made = balancer(make_policy(name, 1, lambda: 0.0), A, B, C)
    tried: list[Endpoint] = []
    while (chosen := made.take("192.0.2.1", tried)) is not None:
        made.release(chosen)
        tried.append(chosen)
    assert sorted(tried, key=str) == sorted([A, B, C], key=str)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.lists(st.sampled_from([A, B, C, D]))),
        st.tuples(st.just("take"), st.sampled_from(["192.0.2.1", "fd00::a"])),
        st.tuples(st.just("release"), st.integers(0, 50)),
    )
)


@pytest.mark.parametrize("name", BalancerPolicy)
@given(steps=STEPS)
def test_only_what_is_offered_is_chosen_and_every_connection_is_counted(
    name: BalancerPolicy, steps: list[tuple[str, object]]
) -> None:
    made = Balancer(make_policy(name, 3, lambda: 0.0))
    offered: list[Endpoint] = []
    live: list[Endpoint] = []
    for step, what in steps:
        if step == "update":
            assert isinstance(what, list)
            offered = what
            made.update(offered)
        elif step == "take":
            chosen = made.take(str(what))
            assert (chosen is None) == (not offered)
            if chosen is not None:
                assert chosen in offered
                live.append(chosen)
        elif live:
            assert isinstance(what, int)
            made.release(live.pop(what % len(live)))
        assert {e: made.live(e) for e in (A, B, C, D) if made.live(e)} == dict(Counter(live))
        assert set(made.draining) == set(live) - set(offered)
        assert set(made.offered) == set(offered)


def test_a_consistent_hash_moves_only_the_clients_of_what_comes_and_goes() -> None:
    clients = [f"10.0.{n >> 8}.{n & 255}" for n in range(2000)] + [f"fd00::{n:x}" for n in range(2000)]

    def spread(*endpoints: Endpoint) -> dict[str, Endpoint | None]:
        made = balancer(ConsistentHash(), *endpoints)
        return {client: made.take(client) for client in clients}

    three = spread(A, B, C)
    assert spread(C, A, B) == three
    assert all(1100 < count < 1570 for count in Counter(three.values()).values())  # a third is 1,333
    four = spread(A, B, C, D)
    assert {four[c] for c in clients if four[c] != three[c]} == {D}
    two = spread(A, B)
    assert {three[c] for c in clients if two[c] != three[c]} == {C}


def test_balancers_that_share_their_counts_know_who_is_full() -> None:
    live: dict[Endpoint, int] = {}
    near, far = Balancer(RoundRobin(), live), Balancer(RoundRobin(), live)
    near.update([A])
    far.update([A, B])
    near.take("192.0.2.1")
    far.take("192.0.2.1")
    assert far.full(2) == near.full(2) == {A}
    assert far.take("192.0.2.1", far.full(2)) == B
    near.release(A)
    assert not far.full(2)


def test_a_random_choice_is_right_when_nearly_all_are_avoided() -> None:
    many = [Endpoint(f"10.0.0.{n}", 80) for n in range(200)]
    made = balancer(Random(random.Random(1)), *many)
    assert {made.take("192.0.2.1", many[:-2]) for _ in range(50)} == set(many[-2:])
    assert made.take("192.0.2.1", many) is None
