"""Probes through an API server: tunnels into pods, exec in pods, pods that are made for it and gone afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import probing_servers as servers
import pytest
from probing_servers import Server
from test_probe_here import free_port

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podprocess import not_executable, run_process
from svcdoctor.lab.podruntime import Call, NotStarted, PodRuntime, running, status_of
from svcdoctor.lab.podsandbox import Sandbox, sandbox_here
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Aim, Met, Observation, Place, PlaceKind, ProbeKind
from svcdoctor.model.pod import Pod
from svcdoctor.probe.places import IMAGE, NewPod, in_pod, new_pod
from svcdoctor.probe.run import probe
from svcdoctor.probe.tunnelled import Tunnelled
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.forwarding import Carrier, ForwardOpener
from svcdoctor.sources.podmanifest import PURPOSE, SECONDS, SELECTOR
from svcdoctor.sources.session import ApiSession

HTTP, UDP = ProbeKind.HTTP, ProbeKind.UDP
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


class Kubelet(PodRuntime):
    """Runs commands on this machine, and has no programs but those that are named."""

    def __init__(self) -> None:
        self.programs = {"sh", "python3"}
        self.made: list[Object] = []
        self.commands: list[tuple[str, ...]] = []
        self.states: dict[str, Object] | None = None
        self.unknown: set[str] = set()

    def created(self, pod: Object) -> Object:
        self.made.append(pod)
        return running(pod) if self.states is None else status_of(pod, self.states)

    def execute(self, call: Call) -> int:
        self.commands.append(call.arguments)
        program, *rest = call.arguments
        if program not in self.programs:
            raise NotStarted(not_executable(program))
        return run_process(call, (sys.executable if program == "python3" else program, *rest))

    def sandbox(self, namespace: str, pod: str) -> Sandbox | None:
        return None if pod in self.unknown else sandbox_here(f"{namespace}/{pod}", {})


class Cluster:
    """An API server with pod default/web, and a user who may do nothing."""

    def __init__(self, folder: Path) -> None:
        self.kubelet = Kubelet()
        self.folder = folder
        spec = {"nodeName": "n1", "containers": [{"name": "app", "image": "i:1"}]}
        self.pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
            "spec": spec,
            "status": {"phase": "Running", "podIP": "127.0.0.1"},
        }
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        users = (ADMIN, User("carol"))
        self.server = ApiServer(ObjectStore([namespace, self.pod]), users=users, runtime=self.kubelet)

    def session(self, user: str = "admin") -> ApiSession:
        path = self.folder / f"{user}.config"
        self.server.write_kubeconfig(path, user)
        return open_connection(Connection(kubeconfig=path))

    def decoded(self, **status: object) -> Pod:
        changed = self.pod | {"status": {**self.pod["status"], **status}}
        return msgspec.json.decode(msgspec.json.encode(changed), type=Pod)

    def tunnel(self, user: str = "admin") -> Tunnelled:
        return Tunnelled(ForwardOpener(self.session(user)).open)

    @property
    def left(self) -> list[str]:
        names = [pod["metadata"]["name"] for pod in self.server.store.list_page(PODS).items]
        return [name for name in names if name != "web"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    before = set(threading.enumerate())
    with made.server:
        yield made
    until = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < until:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def yes(question: str) -> None:
    assert question


def no(question: str) -> None:
    raise SvcdoctorError("the answer was not yes: nothing was changed")


def through(cluster: Cluster, *aims: Aim, seconds: float = 3.0, user: str = "admin") -> list[Observation]:
    seen = probe(aims, cluster.tunnel(user), seconds=seconds)
    assert {o.place for o in seen} == {Place(PlaceKind.TUNNEL)}
    return list(seen)


def aim(port: int, kind: ProbeKind = HTTP, pod: str = "default/web", **more: object) -> Aim:
    return Aim("10.244.1.9", port, kind, pod=pod, **more)  # type: ignore[arg-type]


# --- tunnels


def test_a_tunnel_reaches_what_listens_on_localhost_only(cluster: Cluster, tmp_path: Path) -> None:
    context = servers.server_context(tmp_path, servers.issue("x", "web.default"))
    with (
        Server(servers.page) as page,
        Server(servers.page, context=context) as secured,
        Server(servers.health(1)) as health,
        Server(servers.silent) as silent,
    ):
        seen = through(
            cluster,
            aim(page.port),
            aim(secured.port, HTTP, tls=True, host="web.default"),
            aim(health.port, ProbeKind.GRPC),
            aim(silent.port, ProbeKind.TCP),
            aim(page.port, HTTP, payload_size=300_000),
        )
    assert [dict(o.met) for o in seen] == [{Met.ANSWERED: 1}] * 5
    assert [dict(o.who) for o in seen[:2]] == [{"web-0": 1}] * 2
    assert seen[1].certificate is not None
    assert dict(seen[2].statuses) == {"SERVING": 1}


def test_what_a_tunnel_meets(cluster: Cluster) -> None:
    cluster.kubelet.unknown = {"gone"}
    with (
        Server(servers.silent) as silent,
        Server(servers.endless) as endless,
        Server(servers.closes) as closes,
    ):
        refused_tcp, refused, timeout, whole, closed, no_pod, no_name = through(
            cluster,
            aim(free_port(), ProbeKind.TCP),
            aim(free_port()),
            aim(silent.port),
            aim(endless.port),
            aim(closes.port),
            aim(80, pod="default/nobody"),
            aim(80, pod=""),
            seconds=1.5,  # a runtime waits a second before it passes on the end of a connection
        )
    for one in (refused, refused_tcp):
        assert dict(one.met) == {Met.REFUSED: 1}
        assert one.detail.endswith("in the pod: connection refused")
    assert dict(timeout.met) == {Met.TIMEOUT: 1}
    assert dict(whole.met) == {Met.ANSWERED: 1}
    assert whole.detail.startswith("the body is longer")
    assert dict(closed.met) == {Met.CLOSED: 1}
    assert (dict(no_pod.met), no_pod.detail) == ({Met.ERROR: 1}, "no pod nobody in namespace default")
    assert (dict(no_name.met), "is not known to be one's" in no_name.detail) == ({Met.ERROR: 1}, True)


def test_many_tries_share_tunnels(cluster: Cluster) -> None:
    with Server(servers.page) as server:
        (seen,) = probe([aim(server.port)], cluster.tunnel(), count=60, seconds=10)
    assert (dict(seen.met), dict(seen.who)) == ({Met.ANSWERED: 60}, {"web-0": 60})
    assert sum(r.path.endswith("/portforward") for r in cluster.server.requests) <= 2


def test_who_may_not_forward_is_told_what_to_grant(cluster: Cluster) -> None:
    (seen,) = through(cluster, aim(80), user="carol")
    assert dict(seen.met) == {Met.ERROR: 1}
    assert "kubectl create role portforward" in seen.detail


def test_udp_does_not_go_through_a_tunnel(cluster: Cluster) -> None:
    with pytest.raises(SvcdoctorError, match="port-forward carries TCP only"):
        through(cluster, aim(53, UDP))


def test_a_tunnel_that_is_still_being_opened_is_not_waited_for(cluster: Cluster) -> None:
    opener = ForwardOpener(cluster.session()).open
    slow = threading.Event()

    def opened(namespace: str, pod: str, port: int, seconds: float) -> Carrier:
        slow.wait(20)
        return opener(namespace, pod, port, seconds)

    start = time.monotonic()
    (seen,) = probe([aim(80)], Tunnelled(opened), seconds=0.3)
    assert dict(seen.met) == {Met.TIMEOUT: 1}
    assert time.monotonic() - start < 10
    slow.set()  # that nothing is left, the fixture sees to


# --- exec in a pod


def test_exec_in_a_pod(cluster: Cluster) -> None:
    asked: list[str] = []
    origin = in_pod(cluster.session(), cluster.decoded(), asked.append)
    assert asked == [
        "Run connection attempts in pod default/web, with the programs that it has (python3, or sh and curl, nc …)"
    ]
    with Server(servers.page) as server:
        good, bad = probe(
            [Aim("127.0.0.1", server.port, HTTP), Aim("127.0.0.1", free_port(), HTTP)], origin, count=5
        )
    assert good.place == Place(PlaceKind.POD, "default/web")
    assert (dict(good.met), dict(good.who)) == ({Met.ANSWERED: 5}, {"web-0": 5})
    assert dict(bad.met) == {Met.REFUSED: 5}
    assert len(cluster.kubelet.commands) == 2


def test_a_pod_that_cannot_be_entered(cluster: Cluster) -> None:
    session = cluster.session()
    with pytest.raises(SvcdoctorError, match="the answer was not yes"):
        in_pod(session, cluster.decoded(), no)
    with pytest.raises(SvcdoctorError, match="pod default/web has no container x; it has app"):
        in_pod(session, cluster.decoded(), yes, "x")
    with pytest.raises(SvcdoctorError, match="no probe from pod default/web: it is Pending"):
        in_pod(session, cluster.decoded(phase="Pending"), yes)
    carol = in_pod(cluster.session("carol"), cluster.decoded(), yes)
    with pytest.raises(SvcdoctorError, match="kubectl create role svcdoctor-exec"):
        probe([Aim("127.0.0.1", 80)], carol)
    cluster.kubelet.programs = {"cat"}
    with pytest.raises(SvcdoctorError, match="it has neither sh nor python3; use a pod that is made for it"):
        probe([Aim("127.0.0.1", 80)], in_pod(session, cluster.decoded(), yes))


# --- pods that are made for it


def test_a_pod_is_made_for_it_and_deleted(cluster: Cluster) -> None:
    asked: list[str] = []
    wanted = NewPod("default", asked.append, node="n1", host_network=True)
    with Server(servers.page) as server, new_pod(cluster.session(), wanted) as origin:
        assert len(cluster.left) == 1
        (seen,) = probe([Aim("127.0.0.1", server.port, HTTP)], origin, count=3)
    assert cluster.left == []
    assert (seen.place, seen.answered) == (Place(PlaceKind.NODE, "n1"), 3)
    (question,) = asked
    for words in ("in namespace default on node n1", IMAGE, "on the node's network", f"{SECONDS} seconds"):
        assert words in question
    (pod,) = cluster.kubelet.made
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert pod["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "svcdoctor", PURPOSE: "probe"}
    assert SELECTOR == "app.kubernetes.io/managed-by=svcdoctor"
    assert (spec["nodeName"], spec["hostNetwork"], spec["activeDeadlineSeconds"]) == ("n1", True, 120)
    context = container["securityContext"]
    assert (context["capabilities"], context["runAsNonRoot"]) == ({"drop": ["ALL"]}, True)


def test_a_pod_on_the_pods_network_is_nobodys_endpoint(cluster: Cluster) -> None:
    with new_pod(cluster.session(), NewPod("default", yes)) as origin:
        assert str(origin.place) == "newPod/default"
    (pod,) = cluster.kubelet.made
    assert not {"nodeName", "hostNetwork", "tolerations"} & pod["spec"].keys()
    assert "app" not in pod["metadata"]["labels"]


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (
            lambda c: c.kubelet.__setattr__("states", {"sleep": {"waiting": {"reason": "ErrImagePull"}}}),
            "ErrImagePull",
        ),
        (lambda c: c.server.faults.forbid("pods"), "kubectl create role svcdoctor-probe"),
    ],
)
def test_a_pod_that_does_not_start(
    cluster: Cluster, prepare: Callable[[Cluster], None], problem: str
) -> None:
    session = cluster.session()
    prepare(cluster)
    with (
        pytest.raises(SvcdoctorError, match=problem) as raised,
        new_pod(session, NewPod("default", yes, node="n1")),
    ):
        pass
    assert "\n" not in raised.value.message
    assert cluster.left == []


def test_nothing_is_made_without_a_yes(cluster: Cluster) -> None:
    with pytest.raises(SvcdoctorError, match="not yes"), new_pod(cluster.session(), NewPod("default", no)):
        pass
    assert cluster.kubelet.made == []


def test_an_error_leaves_no_pod_and_one_that_stays_is_named(cluster: Cluster) -> None:
    warned: list[str] = []
    with (
        pytest.raises(RuntimeError),
        new_pod(cluster.session(), NewPod("default", yes, warn=warned.append)),
    ):
        raise RuntimeError
    assert (cluster.left, warned) == ([], [])
    with new_pod(cluster.session(), NewPod("default", yes, warn=warned.append)):
        cluster.server.faults.forbid("pods")
    (name,) = cluster.left
    assert warned == [f"not deleted: {name}; svcdoctor cleanup -n default finds and deletes it"]


INTERRUPTED = """
import sys
from pathlib import Path
from svcdoctor.model.observed import Aim, ProbeKind
from svcdoctor.probe.places import NewPod, new_pod
from svcdoctor.probe.run import probe
from svcdoctor.sources.connection import Connection, open_connection
session = open_connection(Connection(kubeconfig=Path(sys.argv[1])))
with new_pod(session, NewPod("default", lambda question: None)) as origin:
    print("on", flush=True)
    probe([Aim("127.0.0.1", int(sys.argv[2]), ProbeKind.HTTP)] * 4, origin, seconds=60)
"""


def test_ctrl_c_leaves_no_pod_and_no_command(cluster: Cluster) -> None:
    cluster.session()
    with Server(servers.silent) as server:
        words = [sys.executable, "-c", INTERRUPTED, str(cluster.folder / "admin.config"), str(server.port)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        end = time.monotonic() + 20
        while server.accepted < 4 and time.monotonic() < end:
            time.sleep(0.02)
        assert server.accepted == 4, process.communicate(timeout=5)
        assert len(cluster.left) == 1
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == -signal.SIGINT, errors
        assert cluster.left == []
        # The command in the pod was ended with its connection: the server has nobody left to serve.
        until = time.monotonic() + 5
        while any(t.is_alive() for t in server.threads[1:]) and time.monotonic() < until:
            time.sleep(0.02)
        assert not any(t.is_alive() for t in server.threads[1:])
