"""Workers of a run, real processes: told what to serve, started again, counted, drained."""

import os
import signal
import socket
import sys
import time

import pytest
from served_world import ask, connected, greeting, served, with_backends


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_all_workers_serve_what_is_put(runs, ip):
    run = runs(wanted=3)
    port = served(ip=ip)
    run.put(port)
    assert len(set(run.pids)) == 3
    answers = {ask(port)[0] for _ in range(60)}
    assert answers == set(run.pids)
    assert ask(port)[1] == [str(port.cluster[0])]


def test_changes_reach_workers_and_what_is_removed_is_listened_for_no_longer(runs):
    run = runs()
    cart, shop = served("cart"), served("shop")
    run.put(cart, shop)
    with connected(cart) as kept:
        assert greeting(kept)[1] == ["10.0.0.1:8080"]
        cart = with_backends(cart, "10.0.0.7")
        run.put(cart)
        assert ask(cart)[1] == ["10.0.0.7:8080"]
        before = run.holds
        run.workers.remove([cart.key])
        run.until(lambda: run.holds > before)
        with pytest.raises(ConnectionRefusedError):
            connected(cart)
        kept.sendall(b"still there\n")
        assert kept.recv(100) == b"still there\n"
    assert ask(shop)
    run.put(cart, whole=True)
    assert ask(cart)
    with pytest.raises(ConnectionRefusedError):
        connected(shop)


def test_a_worker_that_is_killed_is_started_again_and_serves_everything(runs):
    run = runs()
    port = served()
    run.put(port)
    before = run.pids
    run.put(with_backends(port, "10.0.0.9"))
    os.kill(before[0], signal.SIGKILL)
    run.until(lambda: len(run.pids) == 2 and before[0] not in run.pids)
    run.until(lambda: {ask(port)[0] for _ in range(20)} == set(run.pids))
    assert {tuple(ask(port)[1]) for _ in range(20)} == {("10.0.0.9:8080",)}
    assert run.notes == [f"worker {before[0]} is lost: it was ended by SIGKILL; another one is started"]


def test_workers_that_end_again_and_again_are_started_after_longer_and_longer_pauses(runs):
    run = runs(wanted=1)
    run.put(served())
    started = time.monotonic()
    for _ in range(3):
        (pid,) = run.pids
        os.kill(pid, signal.SIGKILL)
        run.until(lambda pid=pid: run.pids not in ((), (pid,)))
    assert time.monotonic() - started > 0.1 + 0.2 + 0.4


def test_a_program_that_cannot_begin_is_given_up_with_its_own_words(runs):
    run = runs(wanted=1, access_log="broken")
    run.until(lambda: run.errors)
    (error,) = run.errors
    assert error.message == "no worker can be started: it ended with exit code 1 (this worker is broken)"
    assert error.exit_code == 3


def test_a_program_that_does_not_exist_is_named(runs):
    run = runs(wanted=1, program=("/nowhere/worker",))
    assert [e.message for e in run.errors] == [
        "no worker can be started: /nowhere/worker: No such file or directory"
    ]


def test_a_worker_that_says_what_is_not_understood_is_ended(runs):
    code = (
        "import socket, sys, time\n"
        "s = socket.socket(fileno=int(sys.argv[1]))\n"
        "c, _ = s.accept(); c.sendall(b'HTTP/1.1 200 OK'); time.sleep(60)"
    )
    run = runs(wanted=1, program=(sys.executable, "-c", code))
    run.until(lambda: run.errors)
    assert "it says what is not understood" in run.errors[0].message


def test_a_port_that_cannot_be_served_is_told_once_and_when_it_can(runs):
    run = runs()
    port = served()
    listen = port.listens[0]
    with socket.create_server((listen.ip, listen.port)):
        run.put(port)
        assert run.notes == [f"{port.key}: {listen}: Address already in use"]
        assert run.workers.unserved == {port.key: f"{listen}: Address already in use"}
    run.workers.remove([port.key])
    assert run.workers.unserved == {}
    run.put(port)
    assert ask(port)


def test_counts_are_the_sums_of_all_workers_also_of_those_that_have_ended(runs):
    run = runs()
    port = served()
    run.put(port)
    asked = 20
    for _ in range(asked):
        ask(port)

    def count():
        found = []
        run.workers.count(found.append)
        run.until(lambda: found)
        (held,) = found[0].ports
        (endpoint,) = held.endpoints
        return endpoint.connections

    run.until(lambda: count() == asked)
    before = run.pids
    os.kill(before[0], signal.SIGKILL)
    run.until(lambda: len(run.pids) == 2 and before[0] not in run.pids)
    assert count() == asked


def test_a_worker_that_does_not_answer_does_not_hold_up_the_counts(runs, monkeypatch):
    monkeypatch.setattr("svcdoctor.proxy.serving.asking.COUNT_SECONDS", 0.5)
    run = runs()
    port = served()
    run.put(port)
    pid = run.pids[0]
    os.kill(pid, signal.SIGSTOP)
    found = []
    started = time.monotonic()
    run.workers.count(found.append)
    run.until(lambda: found)
    assert 0.4 < time.monotonic() - started < 5
    os.kill(pid, signal.SIGCONT)


def test_a_drain_waits_for_connections_and_takes_no_new_ones(runs):
    run = runs()
    port = served()
    run.put(port)
    ended = []
    with connected(port) as kept:
        greeting(kept)
        run.workers.drain(lambda: ended.append(True))
        run.until(lambda: len(run.directory.workers()) == 1)
        with pytest.raises(ConnectionRefusedError):
            connected(port)
        kept.sendall(b"still there\n")
        assert kept.recv(100) == b"still there\n"
        assert not ended
    run.until(lambda: ended)
    assert run.directory.workers() == []


def test_a_drain_that_takes_too_long_is_ended(runs, monkeypatch):
    monkeypatch.setattr("svcdoctor.proxy.serving.attached.KILL_SECONDS", 0.3)
    run = runs(drain_seconds=0.1)
    port = served()
    run.put(port)
    with connected(port) as kept:
        greeting(kept)
        ended = []
        run.workers.drain(lambda: ended.append(True))
        run.until(lambda: ended, seconds=3)


def test_more_than_fits_a_message_is_refused_in_a_line(runs, monkeypatch):
    monkeypatch.setattr("svcdoctor.proxy.serving.wire.MAX_FRAME", 1000)
    run = runs(wanted=1)
    run.workers.put([served(f"service{n}", port=1) for n in range(50)])
    assert run.errors[0].message.startswith("too much is to be served: a message of 0 MiB")
