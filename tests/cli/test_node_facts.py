"""--node-facts as a user runs it, against nodes that are real network namespaces with real rules."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from node_spaces import (
    IMAGE,
    Nodes,
    Spaces,
    check_possible,
    kube_proxy,
    nft_rules,
    node,
    nodes_made,
    rules,
    service,
    until,
)

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podsecurity import LABEL
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.store import ObjectStore
from svcdoctor.sources.archive import node_dumps, read_snapshot
from svcdoctor.sources.podmanifest import LABELS, SELECTOR

BIN = Path(sys.executable).parent

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def spaces() -> Iterator[Spaces]:
    check_possible()
    with nodes_made("n1", "n2", "n3") as made:
        yield made


def reader(user: str) -> list[Object]:
    """Rights to read everything, and to do no more."""
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}
    only = {"apiGroups": [""], "resources": ["pods", "nodes", "services"], "verbs": ["get", "list"]}
    slices = rule | {"resources": ["endpointslices", "networkpolicies", "servicecidrs"]}
    return [
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "reader"},
            "rules": [only, slices],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "User", "name": user, "apiGroup": rbac}],
        },
    ]


@pytest.fixture
def nodes(spaces: Spaces) -> Nodes:
    return Nodes(spaces)


@pytest.fixture
def server(nodes: Nodes, tmp_path: Path) -> Iterator[ApiServer]:
    guarded = {"name": "guarded", "labels": {LABEL: "baseline"}}
    objects = [
        *(node(number) for number in (1, 2, 3)),
        *(kube_proxy(number) for number in (1, 2)),
        *service(),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": guarded},
        *reader("alice"),
    ]
    nodes.store = ObjectStore(objects)
    with ApiServer(nodes.store, users=(ADMIN, User("alice")), runtime=nodes) as server:
        server.write_kubeconfig(tmp_path / "config", namespace="shop")
        yield server


@pytest.fixture
def call(run: Run, server: ApiServer, tmp_path: Path) -> Run:
    """The program as a process without a terminal."""

    def made(*words: Any, user: str = "") -> subprocess.CompletedProcess[str]:
        if user:
            server.write_kubeconfig(tmp_path / user, user, namespace="shop")
        return run(*words, kubeconfig=tmp_path / (user or "config"))

    return made


def ours(server: ApiServer) -> list[str]:
    pods = server.store.list_page(PODS).items
    return [
        p["metadata"]["name"] for p in pods if LABELS.items() <= (p["metadata"].get("labels") or {}).items()
    ]


# --- exec ---------------------------------------------------------------------------------------------


def test_exec_saves_the_rules_of_every_backend(call: Run, spaces: Spaces, tmp_path: Path) -> None:
    done = call("snapshot", "save", tmp_path / "out", "--node-facts", "exec")
    assert done.returncode == 0, done.stderr
    assert "2 nodes' dumps" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "warning: node n3: no facts: there is no kube-proxy pod on this node" in done.stderr
    dumps = node_dumps(tmp_path / "out")
    for name in ("n1", "n2"):
        for program in ("iptables-save", "ip6tables-save", "iptables-nft-save", "iptables-legacy-save"):
            real = spaces.run(name, program)
            assert rules(dumps[name][f"{program}.txt"]) == rules(real) != [], program
        assert nft_rules(dumps[name]["nft.json"]) == nft_rules(
            spaces.run(name, "nft", "-j", "list", "ruleset")
        )
    assert b"-d 10.77.0.2/32" in dumps["n2"]["iptables-legacy-save.txt"]
    assert b"-d fd00:96::2/128" in dumps["n2"]["ip6tables-save.txt"]
    facts = read_snapshot(tmp_path / "out").node_facts
    assert {"10.9.0.2", "fd00:9::2", "127.0.0.1"} <= set(facts["n2"].addresses or ())
    assert b"\nnet.ipv4.conf.eth0.rp_filter = " in dumps["n1"]["sysctl.txt"]
    assert facts["n1"].missing["ss-listen.txt"] == "the image of container kube-proxy has no program ss"
    assert not facts["n3"].dumps
    shown = call("snapshot", "show", tmp_path / "out").stdout
    assert "missing ip-addr.json: the image of container kube-proxy has no program ip" in shown
    assert "node n3: no dumps: there is no kube-proxy pod on this node" in shown


def test_exec_asks_only_the_nodes_that_are_named(call: Run, server: ApiServer, tmp_path: Path) -> None:
    done = call("snapshot", "save", tmp_path / "out", "--node-facts", "exec", "--node", "n2")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(read_snapshot(tmp_path / "out").node_facts) == ["n2"]
    bad = call("snapshot", "save", tmp_path / "bad", "--node-facts", "exec", "--node", "n9")
    assert bad.returncode == 2
    assert "--node n9: the cluster has no such node; it has n1, n2, n3" in bad.stderr


def test_a_trace_goes_on_and_notes_what_is_not_known(call: Run) -> None:
    done = call("trace", "svc/web", "--node-facts", "exec", "-o", "json")
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["paths"]
    assert any("node n3: no facts" in note for note in answer["notes"])
    assert not any(u["fact"] == "nodes/*/rules" for u in answer["unknowns"])


def test_who_may_not_exec_is_told_what_to_grant(call: Run, tmp_path: Path) -> None:
    done = call("snapshot", "save", tmp_path / "out", "--node-facts", "exec", user="alice")
    assert done.returncode == 0, done.stderr
    assert 'User "alice" cannot get resource "pods/exec"' in done.stderr
    assert (
        "kubectl create role svcdoctor-exec --verb=get,create --resource=pods/exec -n kube-system"
        in done.stderr
    )
    assert node_dumps(tmp_path / "out") == {}


def test_saved_anonymously_nothing_of_the_nodes_is_told(call: Run, tmp_path: Path) -> None:
    done = call("snapshot", "save", tmp_path / "out.tgz", "--node-facts", "exec", "--anonymize")
    assert done.returncode == 0, done.stderr
    assert "left out: proc-net-tcp.txt of node" in done.stderr
    with tarfile.open(tmp_path / "out.tgz") as tar:
        for member in tar:
            held = member.name.encode() + (tar.extractfile(member).read() if member.isfile() else b"")  # type: ignore[union-attr]
            for word in (
                b"10.9.0.",
                b"fd00:9::",
                b"10.77.0.",
                b"10.244.0.9",
                b"shop",
                b"node2",
                b"kube-proxy-1",
            ):
                assert word not in held, (word, member.name)
    assert {len(f.dumps) for f in read_snapshot(tmp_path / "out.tgz").node_facts.values()} >= {0}


@pytest.mark.parametrize("where", [("--snapshot", "fixtures/nodeport"), ("-f", "fixtures/nodeport")])
def test_without_a_cluster_there_are_no_nodes_to_ask(run: Run, where: tuple[str, str]) -> None:
    done = run("trace", "svc/web", *where, "--node-facts", "exec")
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "--node-facts exec asks a cluster's nodes; leave --snapshot and -f out"
    )


# --- pods ---------------------------------------------------------------------------------------------


def test_pods_read_every_node_and_are_gone(
    call: Run, nodes: Nodes, server: ApiServer, spaces: Spaces, tmp_path: Path
) -> None:
    done = call("snapshot", "save", tmp_path / "out", "--node-facts", "pods", "--yes")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert ours(server) == []
    assert {p["spec"]["nodeName"] for p in nodes.made} == {"n1", "n2", "n3"}
    assert {p["metadata"]["namespace"] for p in nodes.made} == {"kube-system"}
    images = {c["image"] for p in nodes.made for c in p["spec"]["containers"]}
    assert images == {"registry/kube-proxy:v1"}
    dumps = node_dumps(tmp_path / "out")
    for name in ("n1", "n2", "n3"):
        assert rules(dumps[name]["iptables-save.txt"]) == rules(spaces.run(name, "iptables-save"))
        assert nft_rules(dumps[name]["nft.json"]) == nft_rules(
            spaces.run(name, "nft", "-j", "list", "ruleset")
        )


def test_pods_of_another_image_in_another_namespace(call: Run, nodes: Nodes, tmp_path: Path) -> None:
    nodes.programs = IMAGE | {"ip", "ss", "sysctl", "bridge"}
    words = ("--node-facts-image", "tools:2", "--node-facts-namespace", "shop", "--yes", "--node", "n3")
    done = call("snapshot", "save", tmp_path / "out", "--node-facts", "pods", *words)
    assert (done.returncode, done.stderr) == (0, "")
    (made,) = nodes.made
    assert (made["metadata"]["namespace"], made["spec"]["containers"][0]["image"]) == ("shop", "tools:2")
    dumps = node_dumps(tmp_path / "out")["n3"]
    routes = json.loads(dumps["ip-route.json"]) + json.loads(dumps["ip-6-route.json"])
    assert {"10.9.0.0/24", "10.9.0.3", "fd00:9::/64", "fd00:9::3"} <= {route["dst"] for route in routes}
    assert {"local", "main"} <= {route.get("table", "main") for route in routes}
    assert json.loads(dumps["ip-rule.json"])
    assert b"net.ipv6.conf.eth0." in dumps["sysctl.txt"]


def test_without_a_terminal_pods_need_yes(call: Run, nodes: Nodes, tmp_path: Path) -> None:
    done = call("snapshot", "save", tmp_path / "out", "--node-facts", "pods")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Make 3 pods in namespace kube-system, for nodes n1, n2, n3" in done.stderr
    assert done.stderr.strip().endswith("Nobody can be asked without a terminal: add --yes")
    assert nodes.made == []
    assert not (tmp_path / "out").exists()


@contextlib.contextmanager
def on_a_terminal(*words: Any, kubeconfig: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The program with a terminal as stdin and stderr, and the terminal's other end."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "KUBECONFIG": str(kubeconfig)}
    process = subprocess.Popen(
        [BIN / "svcdoctor", *words], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, env=env
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.communicate()
        os.close(ours)


def read_until(terminal: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        piece = os.read(terminal, 4096)
        assert piece
        seen += piece
    return seen


@pytest.mark.parametrize(("answer", "code", "made"), [("n", 2, 0), ("", 2, 0), ("y", 0, 1)])
def test_on_a_terminal_somebody_is_asked(
    server: ApiServer, nodes: Nodes, tmp_path: Path, answer: str, code: int, made: int
) -> None:
    words = ("snapshot", "save", tmp_path / "out", "--node-facts", "pods", "--node", "n1")
    with on_a_terminal(*words, kubeconfig=tmp_path / "config") as (process, terminal):
        question = read_until(terminal, b"[y/N] ")
        assert (
            b"Make one pod in namespace kube-system, for node n1\r\n  image: registry/kube-proxy:v1"
            in question
        )
        assert b"NET_ADMIN and NET_RAW; deleted at the end, and ended after 120 seconds" in question
        assert nodes.made == []
        os.write(terminal, answer.encode() + b"\n")
        end = read_until(terminal, b"nothing was changed" if code else b"node n1 (1 of 1)")
        assert process.wait(30) == code, end
    assert len(nodes.made) == made
    assert ours(server) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupted_run_deletes_its_pods(
    server: ApiServer, nodes: Nodes, tmp_path: Path, number: int, code: int
) -> None:
    nodes.hanging.set()
    words = ("trace", "svc/web", "--node-facts", "pods", "--yes", "--kubeconfig", tmp_path / "config")
    process = subprocess.Popen([BIN / "svcdoctor", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert nodes.reached.wait(20)
        until(lambda: len(ours(server)) == 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert b"Traceback" not in err
    assert out == b""
    assert ours(server) == []


def test_an_interrupted_exec_does_not_wait(server: ApiServer, nodes: Nodes, tmp_path: Path) -> None:
    nodes.hanging.set()
    words = ("trace", "svc/web", "--node-facts", "exec", "--kubeconfig", tmp_path / "config")
    process = subprocess.Popen([BIN / "svcdoctor", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert nodes.reached.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


def test_a_refusal_by_pod_security_is_explained(
    call: Run, server: ApiServer, nodes: Nodes, tmp_path: Path
) -> None:
    words = ("--node-facts", "pods", "--yes", "--node-facts-namespace", "guarded")
    done = call("snapshot", "save", tmp_path / "out", *words)
    assert done.returncode == 0
    assert done.stderr.count("\n") <= 3
    assert "no facts: pods" in done.stderr
    assert 'violates PodSecurity "baseline:latest": host namespaces' in done.stderr
    assert "kubectl label namespace svcdoctor pod-security.kubernetes.io/enforce=privileged" in done.stderr
    assert "--node-facts-namespace svcdoctor" in done.stderr
    assert nodes.made == []


# --- cleanup ------------------------------------------------------------------------------------------


def leave(server: ApiServer, namespace: str, name: str) -> None:
    server.store.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": dict(LABELS)},
            "spec": {"nodeName": "n1", "containers": [{"name": "sleep", "command": ["sleep", "120"]}]},
        }
    )


def test_cleanup_deletes_what_is_left_and_nothing_else(call: Run, server: ApiServer) -> None:
    assert call("cleanup").stdout == "nothing is left\n"
    before = len(server.store)
    leave(server, "kube-system", "svcdoctor-node-facts-1")
    leave(server, "shop", "svcdoctor-node-facts-2")
    refused = call("cleanup")
    assert refused.returncode == 2
    assert refused.stderr.strip().endswith("Nobody can be asked without a terminal: add --yes")
    assert len(ours(server)) == 2
    done = call("cleanup", "-n", "shop", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pod shop/svcdoctor-node-facts-2 on node n1" in done.stdout
    assert "deleted: 1" in done.stdout
    assert ours(server) == ["svcdoctor-node-facts-1"]
    assert "deleted: 1" in call("cleanup", "-A", "--yes").stdout
    assert ours(server) == []
    assert len(server.store) == before


def test_cleanup_that_is_not_allowed(call: Run, server: ApiServer) -> None:
    leave(server, "shop", "svcdoctor-node-facts-3")
    done = call("cleanup", "--yes", user="alice")
    assert done.returncode == 3
    assert (
        'not deleted: pod shop/svcdoctor-node-facts-3: pods "svcdoctor-node-facts-3" is forbidden'
        in done.stderr
    )
    assert ours(server) == ["svcdoctor-node-facts-3"]


def test_kubectl_finds_leftovers_by_the_same_labels(server: ApiServer, tmp_path: Path) -> None:
    leave(server, "shop", "svcdoctor-node-facts-4")
    words = [
        "kubectl",
        "--kubeconfig",
        tmp_path / "config",
        "get",
        "pods",
        "-A",
        "-l",
        SELECTOR,
        "-o",
        "name",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "pod/svcdoctor-node-facts-4\n"


# --- local --------------------------------------------------------------------------------------------


@pytest.fixture
def inside(spaces: Spaces, tmp_path: Path) -> Iterator[Run]:
    """The program run in n2's namespace, where an API server of the same three nodes answers too."""
    cluster = {"apiVersion": "v1", "kind": "List", "items": [*(node(n) for n in (1, 2, 3)), *service()]}
    (tmp_path / "cluster.json").write_text(json.dumps(cluster))
    config = tmp_path / "lab.config"
    words = ("lab", "api", "--snapshot", str(tmp_path / "cluster.json"), "--kubeconfig", str(config))
    lab = subprocess.Popen(
        spaces.command("n2", str(BIN / "svcdoctor"), *words),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )

    def call(*words: Any) -> subprocess.CompletedProcess[str]:
        program = spaces.command("n2", str(BIN / "svcdoctor"), *map(str, words), "--kubeconfig", str(config))
        return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)

    try:
        until(config.exists)
        yield call
    finally:
        lab.send_signal(signal.SIGINT)
        assert lab.wait(10) == 0


def test_local_reads_the_node_that_it_runs_on(inside: Run, spaces: Spaces, tmp_path: Path) -> None:
    done = inside("snapshot", "save", tmp_path / "out", "--node-facts", "local")
    assert (done.returncode, done.stderr) == (0, "")
    back = read_snapshot(tmp_path / "out")
    assert list(back.node_facts) == ["n2"], "found by its addresses"
    dumps = node_dumps(tmp_path / "out")["n2"]
    for name, words in {
        "iptables-save.txt": ("iptables-save",),
        "iptables-legacy-save.txt": ("iptables-legacy-save",),
        "ip6tables-nft-save.txt": ("ip6tables-nft-save",),
    }.items():
        assert rules(dumps[name]) == rules(spaces.run("n2", *words)) != []
    assert nft_rules(dumps["nft.json"]) == nft_rules(spaces.run("n2", "nft", "-j", "list", "ruleset"))
    assert json.loads(dumps["ip-rule.json"]) == json.loads(spaces.run("n2", "ip", "-j", "rule"))
    facts = back.node_facts["n2"]
    assert {"10.9.0.2", "fd00:9::2"} <= set(facts.addresses or ())
    assert any(listener.address == "127.0.0.1" for listener in facts.listeners or ())
    assert (
        "ended with" in facts.missing["kube-proxy-mode.txt"]
        or "no program" in facts.missing["kube-proxy-mode.txt"]
    )


def test_local_on_a_machine_that_is_no_node(call: Run, tmp_path: Path) -> None:
    done = call("snapshot", "save", tmp_path / "out", "--node-facts", "local")
    assert done.returncode == 2
    assert "has the address and name of none of the cluster's 3 nodes" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_node_that_is_named_is_believed(inside: Run, tmp_path: Path) -> None:
    done = inside("snapshot", "save", tmp_path / "out", "--node-facts", "local", "--node", "n3")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(read_snapshot(tmp_path / "out").node_facts) == ["n3"]
    two = inside(
        "snapshot", "save", tmp_path / "two", "--node-facts", "local", "--node", "n1", "--node", "n2"
    )
    assert two.returncode == 2


def test_nothing_of_a_node_is_changed(inside: Run, spaces: Spaces, tmp_path: Path) -> None:
    bare = "svcdoctor-bare"
    subprocess.run(["ip", "netns", "add", f"{bare}-{os.getpid()}"], check=True)
    try:
        spaces.names[bare] = f"{bare}-{os.getpid()}"
        code = (
            "from svcdoctor.sources.localnode import local_facts; from svcdoctor.sources.collecting import Limits;"
            "print(len(local_facts('n', Limits()).dumps))"
        )
        for _ in range(2):
            assert int(spaces.run(bare, sys.executable, "-c", code)) > 10
        assert spaces.run(bare, "nft", "list", "ruleset") == b""
        assert spaces.run(bare, "sh", "-c", "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names") == b""
    finally:
        del spaces.names[bare]
        subprocess.run(["ip", "netns", "delete", f"{bare}-{os.getpid()}"], check=True)
