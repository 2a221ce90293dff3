"""The loop: edges, timers, calls from elsewhere, and descriptors that are closed in the middle of a turn."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from svcdoctor.proxy.loop import BROKEN, ENDED, Loop


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[bool, bool, int]] = []

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        self.events.append((bool(readable), bool(writable), hangup & (BROKEN | ENDED)))


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.free()


def test_readiness_is_told_once_and_again_to_a_new_handler(loop: Loop) -> None:
    left, right = socket.socketpair()
    with left, right:
        first, second = Heard(), Heard()
        right.sendall(b"bytes")
        loop.watch(left.fileno(), first)
        loop.turn(0)
        loop.turn(0)
        assert first.events == [(True, True, 0)]
        loop.watch(left.fileno(), second)
        loop.turn(0)
        assert second.events == [(True, True, 0)]
        right.shutdown(socket.SHUT_WR)
        loop.turn(0)
        assert second.events[1:] == [(True, True, ENDED)]
        assert len(first.events) == 1


def test_a_descriptor_that_changes_hands_while_its_event_is_told_misses_nothing(loop: Loop) -> None:
    left, right = socket.socketpair()
    with left, right:
        heir = Heard()

        class Leaves(Heard):
            def on_event(self, readable: int, writable: int, hangup: int) -> None:
                super().on_event(readable, writable, hangup)
                loop.watch(left.fileno(), heir)
                right.sendall(b"more")  # after the kernel was asked

        first = Leaves()
        right.sendall(b"bytes")
        loop.watch(left.fileno(), first)
        loop.turn(0)
        assert (first.events, heir.events) == ([(True, True, 0)], [(True, True, 0)])
        loop.turn(0)
        assert heir.events[1:] == [(True, True, 0)]
        assert len(first.events) == 1


def test_a_descriptor_closed_in_a_turn_is_not_given_away_in_it(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    for left, right in pairs:
        right.sendall(b"x")
        left.setblocking(False)
    fds = [left.detach() for left, _right in pairs]
    heard: list[int] = []

    class ClosesBoth:
        def on_event(self, readable: int, writable: int, hangup: int) -> None:
            heard.append(1)
            for fd in fds:
                loop.close(fd)
            new = os.open(os.devnull, os.O_RDONLY)
            assert new not in fds
            os.close(new)

    for fd in fds:
        loop.watch(fd, ClosesBoth())
    loop.turn(0)
    assert heard == [1]
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)
    for _left, right in pairs:
        right.close()


def test_timers_fire_in_order_by_the_clock_that_was_given() -> None:
    now = [100.0]
    loop = Loop(lambda: now[0])
    fired: list[str] = []
    loop.call_later(3, lambda: fired.append("c"))
    loop.call_later(1, lambda: fired.append("a"))
    cancelled = loop.call_later(2, lambda: fired.append("no"))
    loop.call_later(1, lambda: fired.append("b"))
    cancelled.cancel()
    loop.turn(0)
    assert fired == []
    now[0] = 101.0
    loop.turn(0)
    assert fired == ["a", "b"]
    now[0] = 110.0
    loop.turn(0)
    assert fired == ["a", "b", "c"]
    cancelled.cancel()
    loop.free()


def test_cancelled_timers_do_not_pile_up(loop: Loop) -> None:
    kept = [loop.call_later(1000, lambda: None) for _ in range(10)]
    for _ in range(10_000):
        loop.call_later(1000, lambda: None).cancel()
    assert len(loop._timers) < 200
    assert all(timer.callback for timer in kept)


def test_a_timer_ends_the_wait(loop: Loop) -> None:
    fired: list[float] = []
    begin = time.monotonic()
    loop.call_later(0.05, lambda: fired.append(time.monotonic() - begin))
    while not fired:
        loop.turn(5)
    assert 0.05 <= fired[0] < 1


def test_another_thread_ends_the_wait(loop: Loop) -> None:
    called: list[threading.Thread] = []
    thread = threading.Thread(
        target=lambda: (
            time.sleep(0.05),
            loop.call_soon_threadsafe(lambda: called.append(threading.current_thread())),
            loop.call_soon_threadsafe(loop.stop),
        )
    )
    thread.start()
    loop.run()
    thread.join()
    assert called == [threading.current_thread()]


def test_a_signal_handler_may_stop_it(loop: Loop) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: loop.stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        loop.run()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_is_called_soon_does_not_keep_events_waiting(loop: Loop) -> None:
    left, right = socket.socketpair()
    heard = Heard()
    rounds: list[int] = []

    def again() -> None:
        rounds.append(1)
        loop.call_soon(again)

    with left, right:
        loop.watch(left.fileno(), heard)
        loop.turn(0)
        again()
        right.sendall(b"x")
        loop.turn()
        loop.turn()
        assert len(rounds) == 3
        assert heard.events[-1][0]
