"""Short-lived pods on nodes: what is asked for, what is used, and that they are gone whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podprocess import not_executable, run_process
from svcdoctor.lab.podruntime import Call, NotStarted, PodRuntime, status_of
from svcdoctor.lab.podsecurity import LABEL
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.sources import ownpods
from svcdoctor.sources.collecting import Limits
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.nodepods import NodePods
from svcdoctor.sources.podexec import Streams
from svcdoctor.sources.podmanifest import CAPABILITIES, LABELS, PURPOSE, SECONDS

LIMITS = Limits(command=10, node=30)
RUNNING: Object = {"running": {}}
NO_PROGRAM: Object = {"terminated": {"exitCode": 128, "reason": "StartError"}}


class Kubelet(PodRuntime):
    """Brings each container of a pod into the state that a test wants; only cat is in the image."""

    def __init__(self, **states: Object) -> None:
        self.states = states
        self.made: list[Object] = []
        self.deleted_names: list[str] = []
        self.calls: list[Call] = []
        self.hang = threading.Event()
        self.extra: Object = {}

    def created(self, pod: Object) -> Object:
        self.made.append(pod)
        return status_of(pod, self.states) | self.extra

    def deleted(self, pod: Object) -> None:
        self.deleted_names.append(pod["metadata"]["name"])

    def execute(self, call: Call) -> int:
        self.calls.append(call)
        if self.hang.is_set():
            return run_process(call, ("sleep", "60"))
        if call.arguments[0] != "cat":
            raise NotStarted(not_executable(call.arguments[0]))
        return run_process(call, call.arguments)


Serve = Callable[..., tuple[ApiServer, NodePods]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    servers: list[ApiServer] = []

    def start(kubelet: Kubelet, user: str = "admin", level: str = "privileged") -> tuple[ApiServer, NodePods]:
        namespace = {"name": "diag", "labels": {LABEL: level}}
        objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": namespace}]
        server = ApiServer(ObjectStore(objects), users=(ADMIN, User("carol")), runtime=kubelet)
        server.start()
        servers.append(server)
        server.write_kubeconfig(tmp_path / "config", user)
        session = open_connection(Connection(kubeconfig=tmp_path / "config"))
        return server, NodePods(session, "diag", LIMITS, Streams())

    yield start
    for server in servers:
        server.stop()


def left(server: ApiServer) -> list[str]:
    return [pod["metadata"]["name"] for pod in server.store.list_page(PODS).items]


def reason(facts: NodeFacts) -> str:
    assert not facts.dumps
    assert len(set(facts.missing.values())) == 1
    return facts.missing["nft.json"]


def test_a_pod_is_made_used_and_deleted(serve: Serve) -> None:
    kubelet = Kubelet(sleep=RUNNING, nft=RUNNING)
    server, pods = serve(kubelet)
    with pods:
        facts = pods.facts("n1", "registry/kube-proxy:v1")
        assert left(server) == [], "as soon as it has what it wants"
    assert facts.dumps == tuple(sorted(n for n in facts.dumps if n.startswith("proc-net")))
    assert facts.raw["proc-net-fib_trie.txt"].data
    assert facts.missing["nft.json"] == "the image of container sleep has no program nft"
    assert {call.container for call in kubelet.calls} == {"sleep"}
    (pod,) = kubelet.made
    assert pod["metadata"]["labels"] == {**LABELS, PURPOSE: "node-facts"}
    assert pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "svcdoctor"
    spec = pod["spec"]
    assert (spec["nodeName"], spec["hostNetwork"], spec["restartPolicy"]) == ("n1", True, "Never")
    assert spec["activeDeadlineSeconds"] == SECONDS == 120
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert not {"hostPID", "hostIPC", "volumes"} & spec.keys()
    for container in spec["containers"]:
        assert container["image"] == "registry/kube-proxy:v1"
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"], "add": list(CAPABILITIES)}
        assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
        assert context["readOnlyRootFilesystem"] is True


def test_the_container_that_runs_is_used(serve: Serve) -> None:
    kubelet = Kubelet(sleep=NO_PROGRAM, nft=RUNNING)
    _, pods = serve(kubelet)
    with pods:
        assert pods.facts("n1", "stripped:1").dumps
    assert {call.container for call in kubelet.calls} == {"nft"}


@pytest.mark.parametrize(
    ("states", "extra", "problem"),
    [
        (
            {"sleep": NO_PROGRAM, "nft": NO_PROGRAM},
            {},
            "does not run: Failed container sleep: StartError (exit code 128)",
        ),
        (
            {"sleep": {"waiting": {"reason": "ErrImagePull", "message": "no such image x"}}, "nft": RUNNING},
            {"containerStatuses": [{"name": "sleep", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
            "ErrImagePull",
        ),
        (
            {},
            {"phase": "Failed", "reason": "OutOfpods", "message": "too many pods"},
            "OutOfpods too many pods",
        ),
    ],
)
def test_a_pod_that_will_not_run(serve: Serve, states: Any, extra: Object, problem: str) -> None:
    kubelet = Kubelet(**states)
    kubelet.extra = extra
    server, pods = serve(kubelet)
    with pods:
        assert problem in reason(pods.facts("n1", "x"))
    assert left(server) == []


def test_a_pod_that_does_not_start_in_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownpods, "START_SECONDS", 1.0)
    server, pods = serve(Kubelet(sleep={"waiting": {"reason": "ContainerCreating"}}))
    with pods:
        said = reason(pods.facts("n1", "x"))
    assert "did not start within 1 s: Pending ContainerCreating; see whether its kubelet" in said
    assert left(server) == []


def test_pod_security_is_explained_and_met_once(serve: Serve) -> None:
    server, pods = serve(Kubelet(), level="baseline")
    with pods:
        said = reason(pods.facts("n1", "x"))
        assert reason(pods.facts("n2", "x")) == said
    assert 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true), non-default' in said
    assert "pod-security.kubernetes.io/enforce=privileged" in said
    assert "--node-facts-namespace svcdoctor" in said
    assert server.requests.count("/api/v1/namespaces/diag/pods", method="POST") == 1


def test_who_may_not_make_pods_is_told_what_to_grant(serve: Serve) -> None:
    _, pods = serve(Kubelet(), user="carol")
    with pods:
        said = reason(pods.facts("n1", "x"))
    assert 'User "carol" cannot create resource "pods"' in said
    assert (
        "kubectl create role svcdoctor-node-facts --verb=create,get,delete --resource=pods,pods/exec" in said
    )
    assert "--user=carol -n diag" in said


def test_an_interruption_leaves_no_pod(serve: Serve) -> None:
    kubelet = Kubelet(sleep=RUNNING)
    kubelet.hang.set()
    server, pods = serve(kubelet)
    streams = pods._streams
    with pods:
        thread = threading.Thread(target=pods.facts, args=("n1", "x"))
        thread.start()
        deadline = time.monotonic() + 10
        while not kubelet.calls and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left(server) == list(pods.left) != []
        streams.end()
        thread.join(10)
        assert not thread.is_alive()
    assert left(server) == []
    assert pods.left == ()


def test_what_could_not_be_deleted_is_named(serve: Serve) -> None:
    server, pods = serve(Kubelet(sleep=RUNNING))
    with pods:
        pods._note()
        (name,) = pods.left
        server.faults.forbid("pods")
    assert pods.left == (name,)
    assert name.startswith("svcdoctor-node-facts-")
