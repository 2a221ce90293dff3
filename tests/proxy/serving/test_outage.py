"""The API server is away for an hour, of time that the test has in its hand."""

import threading

import pytest
from served_world import (
    NODE,
    OPTIONS,
    as_json,
    endpoint,
    endpoint_slice,
    node,
    service,
    turn_until,
)

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.store import ObjectStore
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.choosing import Selection
from svcdoctor.proxy.serving.store import Store
from svcdoctor.proxy.serving.watches import Watches
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.watching import MAX_PAUSE, Watcher

HOUR = 3600.0


class Hours:
    """The time of one watch: it passes in pauses alone, and those only as far as they are let."""

    def __init__(self):
        self.now = 0.0
        self.until = 0.0
        self.pauses = []
        self.over = threading.Event()

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        while self.now + seconds > self.until and not self.over.wait(0.005):
            pass
        self.now += seconds


@pytest.fixture
def api():
    objects = [service(), endpoint_slice(endpoint("10.1.0.1")), node()]
    with ApiServer(ObjectStore([*map(as_json, objects)])) as server:
        yield server


def ips(store):
    return [b.ip for port in store.ports for b in port.cluster]


def test_the_last_state_holds_for_an_hour_and_what_was_missed_is_caught_up(api, tmp_path):
    path = tmp_path / "kubeconfig"
    api.write_kubeconfig(path, "admin", namespace="shop")
    times, told, applied = [], [], []

    def watcher(*args, **more):
        times.append(Hours())
        return Watcher(*args, **more, clock=times[-1].clock, sleep=times[-1].sleep, draw=lambda: 0.5)

    loop, store = Loop(), Store(OPTIONS)
    session = open_connection(Connection(kubeconfig=path))
    watches = Watches(
        loop,
        session,
        Selection("shop", "cart"),
        NODE,
        store,
        False,
        changed=lambda: applied.append(store.changes()),
        tell=told.append,
        failed=lambda error: told.append(error.message),
        watcher=watcher,
    )
    try:
        watches.start()
        turn_until(loop, lambda: ips(store) == ["10.1.0.1"])
        api.halt()
        seen = len(applied)
        for hour in times:
            hour.until = HOUR
        turn_until(loop, lambda: all(hour.now > HOUR - MAX_PAUSE for hour in times), 30)
        assert ips(store) == ["10.1.0.1"]
        assert [change for change in applied[seen:] if change.put or change.removed] == []
        [line] = told
        assert line.endswith("what was served last goes on being served")
        for hour in times:
            assert max(hour.pauses) <= MAX_PAUSE
            assert HOUR / MAX_PAUSE <= len(hour.pauses) <= HOUR / MAX_PAUSE + 10
        api.store.update(as_json(endpoint_slice(endpoint("10.1.0.7"))))
        api.start()
        for hour in times:
            hour.until += 2 * MAX_PAUSE
        turn_until(loop, lambda: ips(store) == ["10.1.0.7"])
        turn_until(loop, lambda: told[1:] == ["the API server tells of changes again"])
        api.store.update(as_json(endpoint_slice(endpoint("10.1.0.8"))))
        turn_until(loop, lambda: ips(store) == ["10.1.0.8"])
    finally:
        for hour in times:
            hour.over.set()
        watches.close()
        session.close()
        loop.turn(0)
        loop.free()
