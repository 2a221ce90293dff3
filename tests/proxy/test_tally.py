"""Counts of what became of clients."""

from __future__ import annotations

from svcdoctor.proxy import tally
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.forwarding import Began, Ended, Event, Missed
from svcdoctor.proxy.reach import GONE
from svcdoctor.proxy.tally import Tally, Traffic

CLIENT = ("127.0.0.1", 50000)
A = Endpoint("10.0.0.1", 80, "shop", "a")
B = Endpoint("fd00::2", 80, "shop", "b")
ADDRESS = Endpoint("192.0.2.7", 80)


def test_counts() -> None:
    now, told = 100.0, list[Event]()
    counted = Tally(lambda: now, told.append)
    events: list[Event] = [
        *[Began(CLIENT, 8080)] * 6,
        Missed(CLIENT, 8080, A, "connection refused"),
        Ended(CLIENT, 8080, B, 10, 200, ""),
        Ended(CLIENT, 8080, B, 1, 2, GONE),
        Ended(CLIENT, 8080, None, 0, 0, "no pod is ready"),
        Ended(CLIENT, 8080, ADDRESS, 3, 4, "connection reset by peer"),
    ]
    for event in events:
        counted(event)
    now = 107.5
    found = counted.counts([(A, 1000, 0), (B, 100, 100), (B, 100, 100)])
    assert told == events
    assert (found.accepted, found.live, found.failed, found.retried) == (6, 2, 2, 1)
    assert found.pods == {"a": Traffic(1000, 0), "b": Traffic(211, 402), "192.0.2.7": Traffic(3, 4)}
    assert found.total == Traffic(1214, 406)
    assert (found.error, found.since) == ("192.0.2.7: connection reset by peer", 7.5)


def test_nothing_has_happened() -> None:
    found = Tally(lambda: 5.0, lambda event: None).counts(())
    assert (found.accepted, found.live, found.failed, found.retried, found.pods) == (0, 0, 0, 0, {})
    assert (found.total, found.error) == (Traffic(), "")


def test_pods_of_long_ago_are_left_out_of_the_parts_but_not_of_the_sum() -> None:
    counted = Tally(lambda: 0.0, lambda event: None)
    for number in range(tally.MOST_PODS + 50):
        counted(Began(CLIENT, 8080))
        counted(Ended(CLIENT, 8080, Endpoint("10.0.0.1", 80, "shop", f"web-{number}"), 1, 2, ""))
        counted(Began(CLIENT, 8080))
        counted(Ended(CLIENT, 8080, A, 1, 2, ""))  # one that is used all the time
    found = counted.counts(())
    assert len(found.pods) == tally.MOST_PODS
    assert found.pods["a"] == Traffic(306, 612)
    assert "web-0" not in found.pods and "web-305" in found.pods
    assert found.total == Traffic(612, 1224)
