"""Pods by their addresses, which are read from their real network namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from piping import Namespaces
from test_netns import OLD, STATIC, UID, Node, Pods

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy import netns_find
from svcdoctor.proxy.netns_find import PodFinder, node_root

ADDRESSES = (
    "ip link set lo up",
    "ip addr add 10.9.9.{0}/32 dev lo",
    "ip addr add fd00:9::{0}/128 dev lo nodad",
)


@pytest.fixture
def pods(tmp_path: Path, namespaces: Namespaces) -> Iterator[Pods]:
    made = Pods(Node(tmp_path), namespaces)
    yield made
    made.close()


def add(pods: Pods, name: str, uid: str, number: int) -> int:
    """A pod with an address of each family."""
    pods.add(name, uid, setup=tuple(line.format(number) for line in ADDRESSES))
    pid = next(p for p in pods.node.finder.processes(uid))
    network(pods.node, pid, pid)
    return pid


def network(node: Node, pid: int, of: int | str) -> None:
    (node.root / "proc" / str(pid) / "net").symlink_to(f"/proc/{of}/net")


def test_pods_by_their_addresses(pods: Pods) -> None:
    add(pods, "web", UID, 1)
    add(pods, "db-0", OLD, 2)
    node = pods.node
    node.logs("kube-system", "agent", STATIC)
    node.process(
        70, f"0::/kubepods.slice/kubepods-pod{STATIC}.slice/x.scope\n", 1
    )  # in the node's own namespace
    network(node, 70, "self")
    node.process(71, "0::/init.scope\n", 1)
    node.process(72, f"0::/kubepods/pod{UID}/4f\n", 1, namespace=None)  # it ends just now
    assert node.finder.by_address() == {
        "10.9.9.1": ("default", "web"),
        "fd00:9::1": ("default", "web"),
        "10.9.9.2": ("default", "db-0"),
        "fd00:9::2": ("default", "db-0"),
    }
    assert node.finder.addresses("default", "web") == ("10.9.9.1", "fd00:9::1")
    with pytest.raises(SvcdoctorError, match="run svcdoctor on the pod's node"):
        node.finder.addresses("default", "elsewhere")


def test_a_later_process_with_a_namespace_of_its_own_takes_nothing_away(
    pods: Pods, namespaces: Namespaces
) -> None:
    add(pods, "web", UID, 1)
    nested = namespaces.add("ip link set lo up", "ip addr add 172.17.0.1/16 dev lo")
    pods.node.process(nested, f"0::/kubepods/pod{UID}/4f/docker\n", 9, f"/proc/{nested}/ns/net")
    network(pods.node, nested, nested)
    assert pods.node.finder.by_address()["10.9.9.1"] == ("default", "web")
    assert pods.node.finder.addresses("default", "web") == ("10.9.9.1", "fd00:9::1")


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert PodFinder(tmp_path).by_address() == {}


def test_the_node_s_files_below_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns_find, "_LOGS", f"var/log/pods-{os.getpid()}")
    monkeypatch.setattr(netns_find, "MOUNTED", tmp_path)
    assert node_root() == Path("/")
    (tmp_path / netns_find._LOGS).mkdir(parents=True)
    assert node_root() == tmp_path
