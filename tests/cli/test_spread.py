"""Work spread over processes: the same results in the same order, whatever becomes of a process."""

import os
import time
from pathlib import Path

import pytest

from svcdoctor.cli.spread import spread

PARTS = list(range(40))


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


@pytest.fixture
def processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    return os.getpid()


def test_results_keep_their_order_and_come_from_several_processes(processors):
    found = list(spread(lambda n: (n * n, os.getpid()), PARTS))
    assert [square for square, _ in found] == [n * n for n in PARTS]
    assert len({process for _, process in found}) == 3


def test_a_few_parts_are_not_worth_a_process(processors):
    assert set(spread(lambda n: os.getpid(), PARTS[:7])) == {processors}


def test_parts_of_a_process_that_is_killed_are_done_here(processors):
    def work(n):
        if n == 3 and os.getpid() != processors:
            os.kill(os.getpid(), 9)
        return n, "x" * 100_000

    assert [n for n, _ in spread(work, PARTS)] == PARTS


def test_an_error_reaches_the_caller(processors):
    def work(n):
        return 1 // (n - 3)

    with pytest.raises(ZeroDivisionError):
        list(spread(work, PARTS))


def test_no_process_outlives_an_interruption(processors):
    def work(n):
        if os.getpid() == processors:
            raise KeyboardInterrupt
        time.sleep(30)

    before, begun = children(), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(spread(work, PARTS))
    assert time.monotonic() - begun < 10
    assert children() == before
