"""The ways to pods: which one is taken, and that it leads there."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from piping import Namespaces
from test_dialing import wait
from test_netns import UID, Node, Pods, heard

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.dialways import Chosen, Dial, choose
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.netns_find import PodFinder
from svcdoctor.proxy.reach import ByConnection
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.session import ApiSession

NONE = SvcdoctorError("no kubeconfig found")
IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.free()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def session() -> Iterator[ApiSession]:
    made = open_connection(Connection(server="https://127.0.0.1:1"))
    yield made
    made.close()


def chosen(
    loop: Loop, dial: Dial, session: ApiSession | SvcdoctorError, root: Path, **environ: str
) -> Chosen:
    return choose(loop, dial, session, PodFinder(root), environ, lambda pod, why: None)


def test_auto_takes_the_shortest(loop: Loop, session: ApiSession, node: Node) -> None:
    nowhere = node.root / "nowhere"
    ways = [
        chosen(loop, Dial.AUTO, session, nowhere),
        chosen(loop, Dial.AUTO, session, nowhere, **IN_CLUSTER),
        chosen(loop, Dial.TUNNEL, session, node.root, **IN_CLUSTER),
        chosen(loop, Dial.DIRECT, session, node.root),
    ]
    assert [w.reached_by.split(",")[0] for w in ways] == [
        "through the API server",
        "directly",
        "through the API server",
        "directly",
    ]
    assert not any(w.on_node for w in ways)
    on_node = chosen(loop, Dial.AUTO, session, node.root)
    assert on_node.on_node is (os.geteuid() == 0)
    for way in (*ways, on_node):
        way.close()


def test_only_on_a_node_it_goes_without_a_session(loop: Loop, node: Node) -> None:
    for dial in (Dial.TUNNEL, Dial.DIRECT, Dial.AUTO):
        with pytest.raises(SvcdoctorError) as told:
            chosen(loop, dial, NONE, node.root / "nowhere")
        assert told.value is NONE
    for dial in (Dial.NETNS, Dial.AUTO) if os.geteuid() == 0 else (Dial.NETNS,):
        way = chosen(loop, dial, NONE, node.root)
        assert way.on_node
        way.close()


def test_pods_of_this_node_by_their_namespace_and_others_by_their_address(
    loop: Loop, node: Node, namespaces: Namespaces
) -> None:
    pods = Pods(node, namespaces)
    pods.add("web", UID, "127.0.0.1")
    way = chosen(loop, Dial.NETNS, NONE, node.root)
    assert isinstance(way.way, ByConnection)  # which carries datagrams too
    dialer = way.way.dialer
    fd = wait(loop, dialer.dial, Endpoint("192.0.2.1", 8080, "default", "web"))
    assert isinstance(fd, int), fd
    assert heard(loop, fd) == "127.0.0.1 saw 127.0.0.1"
    with socket.create_server(("127.0.0.1", 0)) as server:
        for pod in ("", "elsewhere"):
            fd = wait(loop, dialer.dial, Endpoint("127.0.0.1", server.getsockname()[1], "default", pod))
            assert isinstance(fd, int), fd
            loop.close(fd)
    fd = wait(loop, dialer.dial_udp, Endpoint("127.0.0.1", 9, "default", "elsewhere"))
    assert isinstance(fd, int), fd
    loop.close(fd)
    way.close()
    pods.close()


def test_what_has_no_address_is_not_this_machine(loop: Loop, session: ApiSession, tmp_path: Path) -> None:
    way = chosen(loop, Dial.DIRECT, session, tmp_path)
    assert isinstance(way.way, ByConnection)
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = Endpoint("", server.getsockname()[1], "default", "pending")
        for dial in (way.way.dialer.dial, way.way.dialer.dial_udp):
            result = wait(loop, dial, endpoint)
            assert isinstance(result, OSError)
            assert (result.errno, result.strerror) == (errno.EADDRNOTAVAIL, "it has no address yet")
    way.close()
