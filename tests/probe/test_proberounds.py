"""Probing again and again, with real sockets on loopback."""

import contextlib
import socket
import threading
import time

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Met, Place, PlaceKind, Sample
from svcdoctor.probe.here import Here
from svcdoctor.probe.watch.rounds import RATE, ProbeRounds, pace
from svcdoctor.probe.watch.target import ProbeTarget, TargetName


def target(port, ip="127.0.0.1", pod="p"):
    return TargetName(pod, "endpoint", ip, port)


@pytest.fixture(params=["127.0.0.1", "::1"])
def listening(request):
    """A port that accepts, and how often it did."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        times = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()
                    times.append(time.monotonic())

        thread = threading.Thread(target=accept)
        thread.start()
        yield target(server.getsockname()[1], request.param), times
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


class Told:
    def __init__(self, origin=None, interval=0.05):
        self.samples = []
        self.rounds = ProbeRounds(origin or Here(), interval, lambda *told: self.samples.append(told))

    def __enter__(self):
        self.rounds.start()
        return self

    def __exit__(self, *error):
        self.rounds.close()
        assert not self.rounds._thread.is_alive()

    def until(self, true):
        end = time.monotonic() + 10
        while not true():
            assert time.monotonic() < end, self.samples[-5:]
            time.sleep(0.01)

    def met(self, target):
        return [sample.met for _, name, sample in self.samples if name == target]


def test_once_every_interval(listening):
    target, times = listening
    with Told(interval=0.1) as told:
        told.rounds.targets = (target,)
        began = time.time()
        told.until(lambda: len(told.samples) >= 6)
    assert len(times) <= len(told.samples) + 1
    assert times[5] - times[0] > 0.4
    assert {sample.met for _, _, sample in told.samples} == {Met.ANSWERED}
    sent = [at for at, _, _ in told.samples]
    assert sent == sorted(sent) and began - 0.2 < sent[0] < began + 2


def test_who_is_silent_delays_no_other_one(listening):
    """A port whose queue is full lets a connection wait until the try is given up."""
    target_, _ = listening
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        silent = target(full.getsockname()[1])
        with Told() as told:
            told.rounds.targets = (silent, target_)
            told.until(lambda: len(told.met(target_)) >= 20)
            assert told.met(silent) == []
            told.until(lambda: told.met(silent))
        assert told.met(silent)[0] is Met.TIMEOUT
        assert len(told.met(silent)) == 1


def test_targets_come_and_go(listening):
    first, _ = listening
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        other = target(bound.getsockname()[1])
        with Told() as told:
            told.until(lambda: told.rounds._thread.is_alive())
            told.rounds.targets = (first,)
            told.until(lambda: len(told.met(first)) >= 2)
            told.rounds.targets = (other,)
            told.until(lambda: len(told.met(other)) >= 2)
            count = len(told.met(first))
            told.until(lambda: len(told.met(other)) >= 5)
    assert len(told.met(first)) <= count + 1
    assert set(told.met(other)) == {Met.REFUSED}


class Nowhere:
    place = Place(PlaceKind.HERE)

    async def observe(self, aims, order, tell):
        raise SvcdoctorError("nothing can be tried from here", 3)


def test_a_place_that_nothing_can_be_tried_from():
    with Told(Nowhere()) as told:
        told.rounds.targets = (target(1), target(2))
        told.until(lambda: len(told.samples) >= 6)
    assert {(s.met, s.detail) for _, _, s in told.samples} == {(Met.ERROR, "nothing can be tried from here")}


def test_many_targets_are_tried_less_often():
    assert pace(1.0, 10) == 1.0
    assert pace(1.0, 1000) == 1000 / RATE == 10.0
    assert pace(60.0, 1000) == 60.0


def test_latencies_by_nearest_rank():
    held = ProbeTarget(target(80))
    assert held.latency is None
    for n in range(100, 0, -1):
        held.note(n, Sample(Met.ANSWERED, 9.0, connect=n / 1000))
    held.note(101, Sample(Met.TIMEOUT, 2.0))
    latency = held.latency
    assert (latency.p50, latency.p90, latency.p99, latency.max) == (0.05, 0.09, 0.099, 0.1)
    assert (held.sent, held.failed) == (101, 1)
    assert list(held.history)[-2:] == [0.001, None]
