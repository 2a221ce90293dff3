"""Which nodes are asked, in which pods, and what a Snapshot says of those that could not be."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import pod, role_binding

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podruntime import Call, PodRuntime
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import Object
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.base import Meta
from svcdoctor.model.cluster import Node, NodeAddress, NodeStatus
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources import nodeways
from svcdoctor.sources.collecting import Limits
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.live import LiveSource
from svcdoctor.sources.localnode import this_node
from svcdoctor.sources.nodeways import NodeWay, Planned, PreparedSource, Way, with_node_facts


def node(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def proxy(name: str, on: str, image: str = "kube-proxy:v1", phase: str = "Running", **labels: str) -> Object:
    made = pod("kube-system", name, **labels)
    made["spec"] = {
        "nodeName": on,
        "containers": [{"name": "sidecar", "image": "x"}, {"name": "kube-proxy", "image": image}],
    }
    return made | {"status": {"phase": phase}}


class Echo(PodRuntime):
    """Answers every command with the pod and container that it was asked in."""

    def execute(self, call: Call) -> int:
        call.stdout(f"{call.pod}/{call.container}".encode())
        return 0


Ask = Callable[..., Snapshot]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    servers: list[ApiServer] = []

    def asked(*objects: Object, way: Way = Way.EXEC, user: str = "admin", **more: Any) -> Snapshot:
        roles = [
            *role_binding("alice", "kube-system", "pods", "pods/exec"),
            *role_binding("bob", "shop", "pods"),
        ]
        users = (ADMIN, User("alice"), User("bob"))
        server = ApiServer(ObjectStore([*objects, *roles]), users=users, runtime=Echo())
        server.start()
        servers.append(server)
        server.write_kubeconfig(tmp_path / "config", user)
        source = LiveSource(open_connection(Connection(kubeconfig=tmp_path / "config")))
        limits = Limits(command=10, node=60)
        return with_node_facts(
            source, source.snapshot(), NodeWay(way, limits=limits, **more), lambda line: None
        )

    yield asked
    for server in servers:
        server.stop()


def said(snapshot: Snapshot, name: str) -> str:
    """What the node's rules were read from, or why not."""
    facts = snapshot.node_facts[name]
    if "iptables-save.txt" in facts.raw:
        return facts.raw["iptables-save.txt"].data.decode()
    return facts.missing["iptables-save.txt"]


def test_kube_proxys_pods_are_found_by_label_and_by_name(ask: Ask) -> None:
    held = ask(
        *(node(f"n{i}") for i in range(1, 6)),
        proxy("kp-1", "n1", **{"k8s-app": "kube-proxy"}),
        proxy("rke2-proxy", "n2", component="kube-proxy"),
        proxy("kube-proxy-gke-n3", "n3"),
        proxy("old", "n4", phase="Failed", **{"k8s-app": "kube-proxy"}),
        proxy("new", "n4", **{"k8s-app": "kube-proxy"}),
        proxy("kube-proxy-starting", "n5", phase="Pending"),
        pod("kube-system", "other"),
    )
    assert said(held, "n1") == "kp-1/kube-proxy"
    assert said(held, "n2") == "rke2-proxy/kube-proxy"
    assert said(held, "n3") == "kube-proxy-gke-n3/kube-proxy"
    assert said(held, "n4") == "new/kube-proxy"
    assert said(held, "n5").startswith(
        "its kube-proxy pod kube-proxy-starting is Pending; use --node-facts local"
    )
    assert held.warnings == (f"node n5: no facts: {said(held, 'n5')}",)


def test_nodes_with_another_system_have_no_rules_of_this_kind(ask: Ask) -> None:
    held = ask(node("win", **{"kubernetes.io/os": "windows"}), node("n1"), proxy("kube-proxy-1", "n1"))
    assert list(held.node_facts) == ["n1"]


def test_so_many_nodes_are_asked_and_the_others_say_so(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodeways, "MAX_NODES", 2)
    objects = [o for i in range(1, 5) for o in (node(f"n{i}"), proxy(f"kube-proxy-{i}", f"n{i}"))]
    held = ask(*objects)
    assert [name for name, facts in held.node_facts.items() if facts.dumps] == ["n1", "n2"]
    assert held.warnings == (
        "nodes n3, n4: no facts: only the first 200 nodes are asked; name this one with --node",
    )
    named = ask(*objects, nodes=("n4", "n3", "n4", "n1"))
    assert sorted(named.node_facts) == ["n1", "n3", "n4"]
    assert named.warnings == ()


def test_where_nodes_may_not_be_listed_those_with_kube_proxy_are_asked(ask: Ask) -> None:
    held = ask(node("n1"), node("n2"), proxy("kube-proxy-1", "n1"), user="alice")
    assert list(held.node_facts) == ["n1"]
    assert 'cannot create resource "pods/exec"' in said(held, "n1"), "her role is only to get"
    with pytest.raises(SvcdoctorError, match=r"nodes is forbidden.*name nodes with --node") as error:
        ask(node("n1"), proxy("kube-proxy-1", "n1"), user="bob")
    assert error.value.exit_code == 3
    named = ask(node("n1"), proxy("kube-proxy-1", "n1"), user="bob", nodes=("n1",))
    assert "pods is forbidden" in said(named, "n1")
    assert "grant verb list on pods in namespace kube-system" in said(named, "n1")


def test_the_image_of_pods(ask: Ask) -> None:
    planned: list[Planned] = []

    class Refused(Exception):
        pass

    def confirm(plan: Planned) -> None:
        planned.append(plan)
        raise Refused

    def plan(*objects: Object, **more: Any) -> Planned:
        with pytest.raises(Refused):
            ask(*objects, way=Way.PODS, confirm=confirm, **more)
        return planned.pop()

    two = (node("n1"), node("n2"), proxy("kube-proxy-2", "n2", "kp:v2"))
    assert plan(*two) == Planned("kube-system", {"n1": "kp:v2", "n2": "kp:v2"})
    assert plan(*two, image="tools:1", namespace="diag") == Planned(
        "diag", {"n1": "tools:1", "n2": "tools:1"}
    )
    with pytest.raises(
        SvcdoctorError, match=r"no kube-proxy pod to take an image from; name .* --node-facts-image"
    ):
        ask(node("n1"), way=Way.PODS, confirm=confirm)


def test_a_prepared_source_is_asked_when_it_is_needed(ask: Ask) -> None:
    held = ask(node("n1"), proxy("kube-proxy-1", "n1"))
    asked: list[str] = []

    class Source:
        requests = 7

        def refill(self, snapshot: Snapshot, needs: Any) -> Snapshot:
            asked.append("refill")
            return snapshot

    def prepare() -> Snapshot:
        asked.append("prepare")
        return held

    source: Any = Source()
    prepared = PreparedSource(source, prepare)
    assert asked == []
    assert prepared.refill(prepared.snapshot(), ()).node_facts == held.node_facts
    assert asked == ["prepare", "refill"]
    assert prepared.requests == 7
    assert held.merged({}, {}).node_facts == held.node_facts


def machine(name: str, *addresses: str, hostname: str = "") -> Node:
    labels = {"kubernetes.io/hostname": hostname} if hostname else {}
    status = NodeStatus(addresses=tuple(NodeAddress(type="InternalIP", address=a) for a in addresses))
    return Node(metadata=Meta(name=name, labels=labels), status=status)


def test_which_node_this_machine_is() -> None:
    host = socket.gethostname().lower()
    assert this_node(()) == host
    assert this_node((machine("a", "198.51.100.1"), machine("b", "127.0.0.1"))) == "b"
    assert this_node((machine("a", "198.51.100.1", hostname=host), machine("c", "198.51.100.2"))) == "a"
    assert this_node((machine(host), machine("c", "198.51.100.2"))) == host
    with pytest.raises(SvcdoctorError, match=r"none of the cluster's 1 nodes; run svcdoctor on a node"):
        this_node((machine("a", "198.51.100.1", "2001:db8::1"),))
