"""``svcdoctor wait`` as a program, against the lab's API server and applications on loopback."""

import contextlib
import copy
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from answers import fits
from forward_command import Running
from forward_world import Here
from screen import Screen
from watch_world import CLUSTER_IP, NAMESPACE, NOT, PORT, READY, WatchWorld, address

from svcdoctor.lab.net.controller import KINDS
from svcdoctor.model.waiting import WaitFor
from svcdoctor.path.target import parse_service
from svcdoctor.probe.waiting.run import Waiting, WaitRun
from svcdoctor.report.waiting import wait_json
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.live import LiveSource

BIN = Path(sys.executable).parent
POD, SERVICE, SLICE = (KINDS[kind] for kind in ("Pod", "Service", "EndpointSlice"))
SOON = 1.0
"""Seconds from a change until the command has ended, on a machine that has nothing else to do."""

PATIENCE = 8.0
"""The same on one that has."""


@pytest.fixture
def world():
    made = WatchWorld(runtime=Here())
    made.set(w1=NOT, w2=NOT)
    yield made
    made.close()


@pytest.fixture
def environment(world, tmp_path):
    def make(user="admin"):
        kept = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "COLUMNS": "200"}
        return kept | {"KUBECONFIG": str(world.kubeconfig(tmp_path / f"kubeconfig-{user}", user))}

    return make


@pytest.fixture
def wait(environment, tmp_path):
    """``wait("svc/web", …)`` starts the command."""
    with contextlib.ExitStack() as stack:

        def start(*words, user="admin"):
            running = Running(["svcdoctor", "wait", *words], environment(user), tmp_path)
            stack.callback(running.close)
            return running

        yield start


@pytest.fixture
def looked(world, tmp_path):
    """``looked("svc/web", …)``: the JSON answer of one look, or of waiting in vain, within this process."""

    def look(text, what=WaitFor.READY, seconds=0.0):
        config = world.kubeconfig(tmp_path / "kubeconfig")
        live = LiveSource(open_connection(Connection(kubeconfig=config)))
        asked = Waiting(what, parse_service(text, live.namespace), seconds)
        found = json.loads(json.dumps(wait_json(WaitRun(live, asked, lambda *told: None).run())))
        fits(found)
        return found

    return look


def looking(world, running):
    """Wait until it has looked at the Service: it lists what it does not watch."""

    def listed():
        return any("/ingresses" in request.path for request in world.server.requests)

    running.until(lambda: listed() or running.process.poll() is not None)
    assert running.process.poll() is None, running.said
    time.sleep(0.3)


def ended(running, changed):
    """The seconds from a change until the command ended well."""
    assert running.wait() == 0, running.out + running.err
    return time.monotonic() - changed


def answer(running, code):
    assert running.wait() == code, running.out + running.err
    assert running.out, running.err
    found = json.loads("\n".join(running.out))
    fits(found)
    assert (found["kind"], found["exitCode"]) == ("WaitResult", code)
    return found


def changed(world, resource, name, edit):
    """Edit an object of the store."""
    obj = copy.deepcopy(world.store.get(resource, NAMESPACE, name))
    del obj["metadata"]["resourceVersion"]
    edit(obj)
    world.store.update(obj)


# --- ready


def test_it_returns_within_a_second_of_becoming_ready(wait, world, record_property):
    """The middle one of three times: other programs run here, too. On a busy machine it may take twice as long as it
    takes to start the command, look and end."""
    took = []
    for _ in range(3):
        running = wait("svc/web")
        looking(world, running)
        at = time.monotonic()
        world.change(w1=READY)
        took.append(ended(running, at))
        world.change(w1=NOT)
        world.server.requests.clear()
    record_property("seconds", took)
    world.change(w1=READY)
    at = time.monotonic()
    whole = ended(wait("svc/web"), at)
    assert sorted(took)[1] < max(SOON, 2 * whole), (took, whole)
    assert len(running.out) == 1 and running.out[0].startswith("service/web is ready after ")
    assert running.out[0].endswith(": 1 of 2 endpoints ready")
    assert running.err == []


def test_what_is_ready_is_not_waited_for(wait, world):
    world.change(w1=READY, w2=READY)
    running = wait("web:main", "--timeout", "0", "-o", "json")
    found = answer(running, 0)
    assert (found["result"], found["how"], found["lacking"]) == ("met", "2 of 2 endpoints ready", [])
    assert found["seconds"] < PATIENCE


def test_on_time_out_it_names_the_pod_the_probe_and_what_it_said(wait, looked, world):
    def probed(pod):
        container = pod["spec"]["containers"][0]
        container["readinessProbe"] = {"httpGet": {"path": "/healthz", "port": "web"}}
        pod["status"]["containerStatuses"] = [{"name": "app", "ready": False}]

    def fails_to_pull(pod):
        waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "i:1"'}
        pod["status"] |= {
            "phase": "Pending",
            "containerStatuses": [{"name": "app", "state": {"waiting": waiting}}],
        }

    changed(world, POD, "w1", probed)
    changed(world, POD, "w2", fails_to_pull)
    for number, said in enumerate(
        ("Readiness probe failed: HTTP probe failed with statuscode: 500", "… 503")
    ):
        world.store.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"w1.{number}", "namespace": NAMESPACE},
                "involvedObject": {"kind": "Pod", "namespace": NAMESPACE, "name": "w1"},
                "reason": "Unhealthy",
                "message": said,
                "type": "Warning",
                "lastTimestamp": f"2026-11-21T00:00:0{number}Z",
            }
        )
    text = wait("svc/web", "--timeout", "1500ms")
    found = looked("svc/web", seconds=1.0)
    assert 1.0 <= found["seconds"] < 1.5
    assert (found["result"], found["lacking"][0]) == ("timedOut", "no endpoint is ready")
    one, two = found["pods"]
    assert one == {
        "name": "truth/w1",
        "node": "n1",
        "reason": "running, not ready",
        "containers": ["app"],
        "readinessProbes": [{"container": "app", "action": "httpGet", "port": "web"}],
        "message": "Unhealthy: … 503",
    }
    assert (two["reason"], two["message"]) == ("ImagePullBackOff", 'Back-off pulling image "i:1"')
    assert {"OBJ006", "OBJ008"} <= {f["code"] for f in found["findings"]}
    assert text.wait() == 1
    shown = "\n".join(text.out)
    assert "service/web is not ready after 1.5 s; waited for\n  - no endpoint is ready\n" in shown
    assert (
        "pod/w1 on n1: running, not ready; container app waits for its readiness probe, httpGet on port web"
        in shown
    )
    assert "Unhealthy: … 503" in shown and "OBJ006" in shown


def test_each_port_needs_an_endpoint_unless_one_is_named(looked, world):
    world.change(w1=READY)

    def two_ports(service):
        service["spec"]["ports"].append({"name": "more", "port": 81, "targetPort": "more", "protocol": "TCP"})

    changed(world, SERVICE, "web", two_ports)
    assert looked("svc/web")["lacking"][0] == "no endpoint is ready for port more"
    one = looked("svc/web:28080")
    assert (one["port"], one["result"]) == ("28080", "met")
    other = looked("svc/web:https")
    assert other["lacking"] == ["the Service has no port https; it has 28080 (main), 81 (more)"]


def test_a_service_that_does_not_exist_yet_and_near_names(wait, looked, world):
    world.change(w1=READY)
    service = world.store.get(SERVICE, NAMESPACE, "web")
    world.delete_service()
    world.store.create(
        {
            **service,
            "metadata": {"name": "web-api", "namespace": NAMESPACE},
            "spec": {**service["spec"], "clusterIP": ""},
        }
    )
    running = wait("svc/web")
    found = looked("svc/webapi")
    assert found["lacking"] == ["there is no Service webapi in namespace truth"]
    [finding] = found["findings"]
    assert finding["code"] == "OBJ001" and "near names in truth: web-api" in finding["evidence"]
    time.sleep(1.0)
    assert running.process.poll() is None
    at = time.monotonic()
    world.store.create({**service, "metadata": {"name": "web", "namespace": NAMESPACE}})
    assert ended(running, at) < PATIENCE


def test_a_service_that_is_deleted_and_made_again(wait, world):
    """The slices of the one that is gone do not count for the new one."""

    def owned(uid):
        return lambda o: o["metadata"].update(
            ownerReferences=[
                {"apiVersion": "v1", "kind": "Service", "name": "web", "uid": uid, "controller": True}
            ]
        )

    running = wait("svc/web")
    looking(world, running)
    changed(world, SLICE, "web-1", owned("old"))
    service = world.store.get(SERVICE, NAMESPACE, "web")
    world.delete_service()
    time.sleep(0.2)
    world.store.create({**service, "metadata": {"name": "web", "namespace": NAMESPACE, "uid": "new"}})
    changed(world, SLICE, "web-1", lambda o: o["endpoints"][0]["conditions"].update(ready=True))
    changed(world, POD, "w1", lambda o: o["status"]["conditions"][0].update(status="True"))
    time.sleep(1.0)
    assert running.process.poll() is None, running.out
    at = time.monotonic()
    changed(world, SLICE, "web-1", owned("new"))
    assert ended(running, at) < PATIENCE


def test_a_selector_that_matches_nothing(wait, looked, world):
    """The finding names the near miss; when it is mended the wait is over."""
    world.change(w1=READY)
    changed(world, SERVICE, "web", lambda o: o["spec"].update(selector={"app": "wep"}))
    changed(world, SLICE, "web-1", lambda o: o.update(endpoints=[]))
    running = wait("svc/web")
    [finding] = looked("svc/web")["findings"]
    assert finding["code"] == "OBJ002" and '"app":"web"' in finding["fix"]
    changed(world, SERVICE, "web", lambda o: o["spec"].update(selector={"app": "web"}))
    at = time.monotonic()
    world.set(w1=READY)
    assert ended(running, at) < PATIENCE


def deployment(world, generation, **status):
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app"}]}}
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": NAMESPACE, "generation": generation},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        "status": status,
    }
    write = world.store.create if generation == 1 else world.store.update
    write(obj)


def test_pods_of_an_older_template_are_not_what_was_deployed(wait, looked, world):
    world.change(w1=READY, w2=READY)
    deployment(world, 1, observedGeneration=1, replicas=2, updatedReplicas=2)
    assert looked("svc/web")["result"] == "met"
    deployment(world, 2, observedGeneration=1, replicas=2, updatedReplicas=2)
    running = wait("svc/web", "--timeout", "20s")
    for observed, replicas, updated, words in [
        (1, 2, 2, "its controller has not seen the newest change yet"),
        (2, 2, 1, "1 of 2 pods are of its newest template"),
        (2, 3, 2, "pods of an older template are still there (1)"),
    ]:
        deployment(world, 2, observedGeneration=observed, replicas=replicas, updatedReplicas=updated)
        assert looked("svc/web")["lacking"] == [f"deployment/web: {words}"]
    looking(world, running)
    at = time.monotonic()
    deployment(world, 2, observedGeneration=2, replicas=2, updatedReplicas=2)
    assert ended(running, at) < PATIENCE


def test_headless_services(looked, world):
    changed(world, SERVICE, "web", lambda o: o["spec"].update(clusterIP="None", clusterIPs=["None"]))
    assert looked("svc/web")["lacking"][0] == "no endpoint is ready"
    world.change(w1=READY)
    assert looked("svc/web")["result"] == "met"
    world.serve("w1")
    reached = looked("svc/web", WaitFor.REACHABLE)
    assert reached["how"] == f"connected to pod truth/w1 {address('w1')}:{PORT}"


# --- reachable


def test_reachable_is_a_connection_that_was_made(wait, looked, world):
    world.change(w1=READY)
    failed = looked("svc/web", WaitFor.REACHABLE)
    assert "refused" in failed["lacking"][0] and "through the API server" in failed["lacking"][0]
    running = wait("svc/web", "--for", "reachable")
    looking(world, running)
    at = time.monotonic()
    world.serve("svc")
    assert ended(running, at) < PATIENCE
    assert f": connected to clusterIP {CLUSTER_IP}:{PORT}" in running.out[0]


def test_where_nothing_leads_here_the_tunnel_counts_and_that_is_told(looked, world):
    world.change(w1=READY)
    world.runtime.pods["w1"] = {PORT: (address("w1"), PORT)}
    world.serve("w1")
    found = looked("svc/web", WaitFor.REACHABLE)
    assert found["how"].startswith(f"connected to pod truth/w1 {address('w1')}:{PORT} through the API server")
    assert "clusterIP" in found["how"] and "refused" in found["how"]


# --- what cannot be waited for


MISTAKES = [
    (
        ["svc/web", "--timeout", "soon"],
        2,
        '--timeout "soon": not a duration; say whole seconds or a number with a',
    ),
    (["svc/web", "--timeout=-1s"], 2, '--timeout "-1s": not a duration'),
    (["ingress/web"], 2, "ingress/web is no Service; say svc/NAME or svc/NAME:PORT"),
    (
        ["svc/away"],
        2,
        "it is a DNS name for db.example.com, without endpoints; only --for dns can be waited for",
    ),
    (["svc/away", "--for", "reachable"], 2, "only --for dns can be waited for"),
    (["svc/web", "--server", "10.0.0.10"], 2, "--server is the DNS server to ask: add --for dns"),
    (["svc/web", "-s", "https://127.0.0.1:1", "--token", "t"], 3, "127.0.0.1:1"),
]


def test_mistakes(wait):
    for (words, code, said), running in [(case, wait(*case[0])) for case in MISTAKES]:
        assert running.wait() == code, (words, running.said)
        assert len(running.err) == 1 and said in running.said, running.said
        assert running.said.startswith("svcdoctor: error: ")
        assert running.out == []


def test_who_may_not_read_hears_what_to_grant_at_once(wait):
    for user, missing in (("nobody", ("services", "endpointslices")), ("no-slices", ("endpointslices",))):
        running = wait("svc/web", user=user)
        assert running.wait() == 3
        assert all(f"kubectl create role svcdoctor-{name} " in running.said for name in missing)


def test_what_may_not_be_read_and_is_needed_ends_it_at_once(wait, world):
    """Who may not read pods cannot be told that they are ready, however long he waits."""
    world.change(w1=READY)
    found = answer(wait("svc/web", "-o", "json", user="no-pods"), 3)
    assert found["result"] == "unknown" and found["seconds"] < 5
    [lacking] = found["lacking"]
    assert lacking.startswith("not known: Pod (namespace truth, labels app=web) (pods is forbidden: ")
    assert any("--resource=pods -n truth" in u["grant"] for u in found["unknowns"])


# --- its ends


def test_the_api_server_goes_and_comes_back(wait, world):
    running = wait("svc/web")
    looking(world, running)
    world.server.halt()
    time.sleep(1.0)
    assert running.process.poll() is None
    world.change(w1=READY)
    world.server.start()
    assert running.wait() == 0, running.out


def test_while_nothing_is_heard_nothing_is_known(wait, world):
    running = wait("svc/web", "--timeout", "3s", "-o", "json")
    looking(world, running)
    world.server.halt()
    found = answer(running, 3)
    assert found["result"] == "unknown" and "nothing listens there" in found["lacking"][0]
    assert found["seconds"] < 4


def test_ctrl_c(wait, world):
    running = wait("svc/web")
    looking(world, running)
    at = time.monotonic()
    assert running.end(signal.SIGINT) == 130
    assert time.monotonic() - at < PATIENCE
    assert running.out == [] and "Traceback" not in running.said


def test_progress_on_a_terminal(world, environment):
    shown = Screen(["svcdoctor", "wait", "svc/web"], {**environment(), "TERM": "xterm"}, columns=100)
    try:
        shown.until(lambda: shown.line(r"^ +\d+\.\d s  no endpoint is ready \(and 1 more\)"))
        world.change(w1=READY)
        assert shown.wait() == 0
        assert shown.line("^service/web is ready after ")
    finally:
        shown.close()
