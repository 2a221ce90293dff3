"""Endpoints that refuse, or never answer: another one is tried, they are passed by, and tried again later."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from working import Named, WorkerProcess, ask, blackhole, connect, free_port, lines, served, until

from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.serving.backoff import FIRST_PAUSE, LONGEST_PAUSE, TRIAL, Backoff
from svcdoctor.proxy.serving.served import Backend

Start = Callable[..., WorkerProcess]
Serve = Callable[[Any], Any]
A, B = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80)


@pytest.fixture
def workers(lent: Start) -> Start:
    return lent


def dead(host: str) -> Backend:
    return Backend(host, free_port(host), "default/dead", "node")


def test_an_endpoint_that_refuses_is_left_before_the_client_notices(
    workers: Start, servers: Serve, host: str
) -> None:
    a, gone = servers(Named("a", host)), dead(host)
    port = served(gone, a.backend, gone, host=host, balance=BalancerPolicy.ROUND_ROBIN)
    worker = workers()
    worker.control.put(port)
    began = time.monotonic()
    assert [ask(port) for _ in range(20)] == ["a"] * 20
    assert time.monotonic() - began < 0.9  # less than its first pause
    counted = worker.control.endpoint(port.key, str(gone))
    assert counted is not None
    assert (counted.failed, counted.connections, counted.active) == (1, 0, 0)
    # Bytes that the client sent meanwhile are not lost.
    with connect(port) as sock:
        sock.sendall(b"hello")
        assert sock.recv(1) == b"a"
        assert sock.recv(10) == b"hello"


def test_an_endpoint_that_comes_back_is_tried_again(workers: Start, servers: Serve) -> None:
    a, b = servers(Named("a")), Named("b")
    _, number = b.backend.ip, b.backend.port
    port = served(a.backend, b.backend, balance=BalancerPolicy.ROUND_ROBIN)
    workers().control.put(port)
    assert {ask(port) for _ in range(4)} == {"a", "b"}
    b.close()
    assert [ask(port) for _ in range(6)] == ["a"] * 6
    b = servers(Named("b", port=number))
    until(lambda: ask(port) == "b", 5)
    assert {ask(port) for _ in range(4)} == {"a", "b"}


def test_an_endpoint_that_never_answers_is_left_after_a_moment(
    workers: Start, servers: Serve, host: str
) -> None:
    a = servers(Named("a", host))
    with blackhole(host) as silent:
        port = served(silent, a.backend, host=host, balance=BalancerPolicy.ROUND_ROBIN)
        worker = workers()
        worker.control.put(port)
        began = time.monotonic()
        assert ask(port) == "a"
        assert 0.4 < time.monotonic() - began < 2
        began = time.monotonic()
        assert [ask(port) for _ in range(10)] == ["a"] * 10  # it is passed by
        assert time.monotonic() - began < 0.4
        counted = worker.control.endpoint(port.key, str(silent))
        assert counted is not None
        assert counted.failed == 1


def test_where_all_refuse_the_client_is_reset_and_every_one_was_asked(
    workers: Start, servers: Serve, host: str, tmp_path: Any
) -> None:
    ends = [dead(host) for _ in range(3)]
    port = served(*ends, host=host)
    worker = workers(access_log=str(tmp_path / "log"))
    worker.control.put(port)
    for count in (1, 2):  # that they failed before keeps nobody from trying
        with pytest.raises(ConnectionResetError):
            ask(port)
        counted = worker.control.port(port.key)
        assert counted.unserved == count
        assert [e.failed for e in counted.endpoints] == [count] * 3
    until(lambda: len(lines(tmp_path / "log")) == 2)
    assert lines(tmp_path / "log")[0]["error"] == "no endpoint takes connections"


def test_affinity_moves_from_an_endpoint_that_refuses(workers: Start, servers: Serve) -> None:
    made = {name: Named(name) for name in "ab"}
    port = served(*(s.backend for s in made.values()), affinity_seconds=100)
    workers().control.put(port)
    first = ask(port)
    assert [ask(port) for _ in range(5)] == [first] * 5
    made.pop(first).close()
    (other,) = made.values()
    servers(other)
    assert [ask(port) for _ in range(5)] == [other.name] * 5


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_with_each_trial_and_not_with_each_client() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    assert not backoff
    assert not backoff.avoided()
    for _ in range(50):  # all of whom had begun before it failed
        backoff.failed(A)
    assert backoff.avoided() == {A}
    pause = FIRST_PAUSE
    while pause < LONGEST_PAUSE:
        clock.now += pause - 0.01
        assert backoff.avoided() == {A}
        clock.now += 0.02
        assert not backoff.avoided()
        backoff.trying(A)
        assert backoff.avoided() == {A}  # one client's trial is enough
        backoff.failed(A)
        pause = min(2 * pause, LONGEST_PAUSE)
        assert backoff.avoided() == {A}
    clock.now += pause + 0.01
    backoff.trying(A)
    backoff.worked(A)
    assert not backoff
    assert not backoff.avoided()


def test_a_trial_that_nothing_is_heard_of_does_not_keep_others_out_for_ever() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    backoff.failed(A)
    clock.now += FIRST_PAUSE + 0.01
    backoff.trying(A)
    clock.now += TRIAL + 0.01
    assert not backoff.avoided()


def test_old_failures_are_forgotten() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    for number in range(1000):
        backoff.failed(Endpoint(f"10.1.{number >> 8}.{number & 255}", 80))
    clock.now += 10_000
    backoff.failed(B)
    assert backoff.avoided() == {B}
    backoff.worked(B)
    assert not backoff


@pytest.mark.parametrize("seed", range(20))
def test_what_is_passed_by_is_what_a_list_of_pauses_says(seed: int) -> None:
    """Against a model that knows nothing of caching."""
    draw, clock = random.Random(seed), Clock()
    backoff, model = Backoff(clock), {}
    ends = [Endpoint(f"10.0.0.{n}", 80) for n in range(4)]
    for _ in range(400):
        end, what = draw.choice(ends), draw.choice(["failed", "trying", "worked", "wait", "wait"])
        known = model.get(end)  # pause, until, trial
        if what == "wait":
            clock.now += draw.choice([0.1, 0.7, 3.0])
        elif what == "worked":
            model.pop(end, None)
        elif what == "failed":
            if known is None:
                model[end] = (FIRST_PAUSE, clock.now + FIRST_PAUSE, False)
            elif known[2] or known[1] <= clock.now:
                pause = min(known[0] * 2, LONGEST_PAUSE)
                model[end] = (pause, clock.now + pause, False)
        elif known is not None and known[1] <= clock.now:
            model[end] = (known[0], clock.now + TRIAL, True)
        if what != "wait":
            getattr(backoff, what)(end)
        assert set(backoff.avoided()) == {e for e, (_, until_, _) in model.items() if until_ > clock.now}
