"""``svcdoctor watch`` as a program, in lines and in JSON, against the lab's API server and applications on loopback."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from forward_command import Running
from watch_world import LEAVING, NET, NOT, READY, WatchWorld

BIN = Path(sys.executable).parent


@pytest.fixture
def world():
    made = WatchWorld()
    made.set(w1=READY, w2=READY)
    yield made
    made.close()


@pytest.fixture
def environment(world, tmp_path):
    def make(user="admin", **more):
        kept = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), **more}
        return kept | {"KUBECONFIG": str(world.kubeconfig(tmp_path / f"kubeconfig-{user}", user))}

    return make


@pytest.fixture
def watch(environment, tmp_path):
    """``watch("svc/web", …)`` starts the command; events are its lines of ``-o json``."""
    with contextlib.ExitStack() as stack:

        def start(*words, user="admin"):
            running = Running(["svcdoctor", "watch", *words], environment(user), tmp_path)
            stack.callback(running.close)
            return running

        yield start


def begun(running):
    def going():
        return len(running.out) >= 2 and any("watching" in line for line in running.out)

    running.until(lambda: going() or running.process.poll() is not None)
    assert running.process.poll() is None, running.said
    return running


def of(running, kind, **fields):
    return [e for e in running.events if e.get("type") == kind and fields.items() <= e.items()]


def at(event, field="time"):
    return datetime.fromisoformat(event[field]).timestamp()


def running_state(running, change):
    """Whether a pod's last event says what it was changed to."""
    words = {READY: "ready", NOT: "notReady", LEAVING: "terminating"}

    def told(name):
        events = of(running, "endpoint", endpoint=f"truth/{name}")
        return events and events[-1]["now"] == words[change[name]]

    return told


def summary(running):
    assert running.events[-1]["kind"] == "WatchSummary"
    return running.events[-1]


def spans(subject, since):
    """Its spells, in seconds after a moment."""
    return [(at(s, "start") - since, None if s["end"] is None else at(s, "end") - since) for s in subject]


def test_what_was_unavailable_in_lines(watch, world):
    """Without being asked to, nothing is sent."""
    world.serve("w1", "w2", "svc")
    running = begun(watch("svc/web"))
    assert "nothing is sent to it" in running.out[0]
    assert running.out[1].endswith("Service available; 2 of 2 endpoints ready")
    world.change(w1=NOT)
    running.until(lambda: any(f"pod/w1: ready -> not ready ({NET}.1.1, n1)" in line for line in running.out))
    running.until(lambda: any("OBJ006" in line for line in running.out))
    world.change(w1=READY)
    running.until(lambda: any("OBJ006 gone: " in line for line in running.out))
    assert world.connections == 0
    assert running.end() == 1
    text = "\n".join(running.out)
    assert "\n  available all the time\n  fewest ready endpoints: 1, at " in text
    assert "\n  pod/w1: n1, ready at the end\n    unavailable " in text
    assert "\n  and 1 endpoint without a change\n" in text
    assert "\nfindings\n  OBJ006 warning: " in text
    assert running.err == []


def test_times_are_right(watch, world):
    """Each spell begins and ends within a second of what was done; here it is much less."""
    running = begun(watch("web", "-o", "json"))
    started = time.time()
    done = []
    for change in ({"w1": NOT, "w2": NOT}, {"w1": READY}, {"w2": READY}, {"w2": LEAVING}):
        world.change(**change)
        done.append(time.time() - started)
        running.until(lambda c=change: all(map(running_state(running, c), c)))
        time.sleep(0.2)
    assert running.end() == 1
    ended = summary(running)
    off, w1, w2, _ = done
    assert spans(ended["unavailable"], started) == [pytest.approx((off, w1), abs=0.8)]
    endpoints = {e["name"]: spans(e["unavailable"], started) for e in ended["endpoints"]}
    assert endpoints["truth/w1"] == [pytest.approx((off, w1), abs=0.8)]
    assert endpoints["truth/w2"] == [pytest.approx((off, w2), abs=0.8)]
    assert ended["exitCode"] == 1 and ended["fewestReady"]["endpoints"] == 0


def test_a_rollout_is_no_outage(watch, world):
    running = begun(watch("svc/web:main", "-o", "json", "--seconds", "30"))
    steps = [{"w3": NOT}, {"w3": READY}, {"w1": LEAVING}]
    for number, step in enumerate(steps):
        world.change(**step)
        running.until(lambda n=number: len(of(running, "endpoint")) >= 3 + n)
    world.set(w2=READY, w3=READY)
    running.until(lambda: of(running, "endpoint", endpoint="truth/w1", now="gone"))
    assert [(e["was"], e["now"]) for e in of(running, "endpoint", endpoint="truth/w3")] == [
        (None, "starting"),
        ("starting", "ready"),
    ]
    assert running.end(signal.SIGTERM) == 0
    w1, w3 = (
        next(e for e in summary(running)["endpoints"] if e["name"] == n) for n in ("truth/w1", "truth/w3")
    )
    assert w1["left"] and not w1["came"] and w3["came"] and not w3["left"]


# --- probes


def test_an_application_that_ends_while_its_endpoint_is_ready(watch, world):
    world.serve("w1", "w2", "svc")
    running = begun(watch("svc/web", "--probe", "--interval", "0.1", "-o", "json"))
    running.until(lambda: len(of(running, "probe", now="answered")) == 3)
    started = time.time()
    world.stop("w1")
    running.until(lambda: of(running, "probe", now="refused"))
    stopped = time.time() - started
    world.serve("w1")
    running.until(lambda: of(running, "probe", was="refused", now="answered"))
    served = time.time() - started
    world.stop("svc")
    [down] = running.until(lambda: of(running, "service", now="unavailable"))
    assert down["reason"] == "no entry answers"
    assert world.connections >= 4, "one for each at first, and w1 once more"
    assert running.end() == 1
    ended = summary(running)
    w1, w2 = sorted(ended["endpoints"], key=lambda e: e["name"])
    [(start, end)] = spans(w1["unavailable"], started)
    assert -0.5 < start <= stopped and stopped - 0.5 <= end <= served
    assert w1["unavailable"][0]["reason"] == f"{NET}.1.1:28080 refused"
    assert w2["unavailable"] == [] and len(ended["unavailable"]) == 1
    [entry] = ended["entries"]
    assert (entry["name"], entry["state"]) == (f"clusterIP {NET}.2.1:28080", "unavailable")
    [probes] = w2["probes"]
    assert probes["failed"] == 0 and 0 < probes["latency"]["p50"] <= probes["latency"]["max"] < 1


# --- what cannot be watched


MISTAKES = [
    (["svc/nope"], 1, "no service/nope in namespace truth"),
    (["ingress/web"], 2, "ingress/web is no Service; say svc/NAME or svc/NAME:PORT"),
    (["svc/away"], 2, "it is a DNS name for db.example.com"),
    (["svc/web:https"], 2, "service/web has no port https; it has 28080 (main)"),
    (["svc/web", "--server", "https://127.0.0.1:1", "--token", "t"], 3, "127.0.0.1:1"),
]


def test_mistakes(watch):
    for (words, code, said), running in [(case, watch(*case[0])) for case in MISTAKES]:
        assert running.wait() == code, words
        assert len(running.err) == 1 and said in running.said
        assert running.said.startswith("svcdoctor: error: ")
        assert running.out == []


def test_numbers_that_cannot_be_meant(watch):
    wrong = (["--interval", "0"], ["--seconds", "nan"])
    for words, running in [(words, watch("svc/web", *words)) for words in wrong]:
        assert running.wait() == 2, words


GRANT = (
    "verbs list and watch on {what} in namespace truth: kubectl create role svcdoctor-{name} "
    "--verb=get,list,watch --resource={what} -n truth && kubectl create rolebinding svcdoctor-{name} "
    "--role=svcdoctor-{name} --user={user} -n truth"
)


def test_who_may_not_read_hears_what_to_grant(watch):
    slices = "endpointslices.discovery.k8s.io"
    for user, missing in (("nobody", ["services", slices]), ("no-slices", [slices])):
        running = watch("svc/web", user=user)
        assert running.wait() == 3
        assert len(running.err) == 1
        grants = [GRANT.format(what=w, name=w.partition(".")[0], user=user) for w in missing]
        assert all(grant in running.said for grant in grants)
        assert running.said.count("kubectl create role ") == len(missing)


def test_who_may_not_watch_has_lists(watch):
    running = begun(watch("svc/web", "-o", "json", user="no-watch"))
    slices = GRANT.format(what="endpointslices.discovery.k8s.io", name="endpointslices", user="no-watch")
    [told] = running.until(lambda: [e for e in of(running, "trouble") if slices in e["reason"]])
    assert told["reason"].startswith("EndpointSlice objects are listed every 5 s and not watched: ")
    assert running.end() == 0


def test_what_can_be_done_without(watch, world):
    """Pods, nodes, and a list of Services."""
    running = begun(watch("svc/web", "-o", "json", user="no-pods"))
    pods = GRANT.format(what="pods", name="pods", user="no-pods")
    running.until(lambda: any(pods in e["reason"] for e in of(running, "trouble")))
    world.change(w1=NOT)
    running.until(lambda: of(running, "endpoint", now="notReady"))
    assert running.end() == 1


# --- its ends


def test_the_api_server_restarts(watch, world):
    """What is not known is not unavailable: the pod that failed before and after it failed twice."""
    running = begun(watch("svc/web", "-o", "json"))
    world.change(w1=NOT)
    running.until(lambda: of(running, "endpoint", now="notReady"))
    halted = time.time()
    world.server.halt()
    [gap] = running.until(lambda: of(running, "changesUnknown"))
    assert at(gap, "since") - halted == pytest.approx(0, abs=0.8)
    [unknown] = of(running, "service", now="unknown")
    world.server.start()
    world.change(w2=NOT)
    back = running.until(lambda: of(running, "changesKnown"))[0]
    running.until(lambda: of(running, "service", now="unavailable"))
    assert running.end() == 1
    ended = summary(running)
    [silent] = ended["changesUnknown"]
    assert (silent["start"], silent["end"]) == (gap["since"], back["time"])
    w1 = next(e for e in ended["endpoints"] if e["name"] == "truth/w1")
    before, after = w1["unavailable"]
    assert (before["end"], after["start"]) == (gap["since"], back["time"])
    assert "nothing listens there" in unknown["reason"]


def test_after_a_gap_alone_it_is_not_determined(watch, world):
    running = begun(watch("svc/web", "-o", "json"))
    world.server.halt()
    running.until(lambda: of(running, "changesUnknown"))
    assert running.end() == 3
    assert summary(running)["exitCode"] == 3 and summary(running)["state"] == "unknown"


def test_it_ends_by_time_or_without_the_service(watch, world):
    by_time = watch("svc/web", "-o", "json", "--seconds", "0.7")
    running = begun(watch("svc/web", "-o", "json"))
    assert by_time.wait() == 0
    assert 0.7 <= summary(by_time)["seconds"] < 2
    world.delete_service()
    [gone] = running.until(lambda: of(running, "service", now="unavailable"))
    assert gone["reason"] == "there is no such Service any more"
    assert running.end(signal.SIGHUP) == 1


def test_a_reader_that_goes(environment, world, tmp_path):
    """``| head -1``: nobody reads any more."""
    command = "svcdoctor watch svc/web -o json | head -1; echo ${PIPESTATUS[0]}"
    process = subprocess.Popen(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    time.sleep(1.0)
    deadline = time.monotonic() + 20
    while process.poll() is None:  # it notices with the next event
        world.change(w1=NOT)
        world.change(w1=READY)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    out, err = process.communicate()
    assert json.loads(out.splitlines()[0])["type"] == "watching"
    assert (out.splitlines()[-1], err) == ("0", "")
