"""Changes while clients connect: nothing that was, and nothing that comes, is lost."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
from kernel_run import Run
from kernel_world import (
    CLUSTER_IP,
    PODS,
    KernelWorld,
    drop,
    inside,
    run,
    served,
)

FAMILIES = (4, 6)


STREAM = """
import json, socket, sys, time
end = time.monotonic() + float(sys.argv[3])
met, failed = {}, []
print("begins", flush=True)
while time.monotonic() < end:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as c:
            name = c.recv(100).decode().split()[0]
        met[name] = met.get(name, 0) + 1
    except OSError as e:
        failed.append(str(e))
print(json.dumps([met, failed]), flush=True)
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_no_connection_is_lost_while_endpoints_change(node: KernelWorld, family: int) -> None:
    """Clients connect as fast as they can while endpoints come and go, as in a rolling restart."""
    orders = ("ab", "abc", "bc", "c", "ca", "cab", "b")
    with inside(node.node), Run() as it:
        it.put(served(family, cluster="abc"))
        with inside(node.client):
            words = (sys.executable, "-c", STREAM, CLUSTER_IP[family], "80", "1.5")
            clients = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(2)]
        changes = 0
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == b"begins\n"
        while any(client.poll() is None for client in clients):
            it.put(served(family, cluster=orders[changes % len(orders)]), whole=False)
            changes += 1
        made = 0
        for client in clients:
            assert client.stdout is not None
            met, failed = json.loads(client.stdout.read())
            client.stdout.close()
            assert failed == []
            assert set(met) == {"a", "b", "c"}
            made += sum(met.values())
        assert changes >= 10
        assert made >= 100
        assert (it.held, it.errors) == (changes + 1, [])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_established_connection_survives_changes_and_the_end(node: KernelWorld, family: int) -> None:
    keeper = (
        drop("postrouting", family, PODS[family]["b"])
        .replace("type filter", "type nat")
        .replace("drop", "masquerade")
    )
    with inside(node.node):
        run("nft", "-f", "-", text=keeper)  # as on every node, something else masquerades, too
        with Run() as it:
            it.put(served(family, cluster="a"))
            with inside(node.client):
                sock = socket.create_connection((CLUSTER_IP[family], 80), 3)
            with sock:
                assert sock.recv(100).startswith(b"a ")
                for cluster in ("b", "bc", ""):
                    it.put(served(family, cluster=cluster), whole=False)
                    sock.sendall(b"still there")
                    assert sock.recv(100) == b"still there"
                it.plane.remove([f"shop/web:80/TCP/{family}"])
                it.turn()
                it.plane.stop(lambda: None)
                sock.sendall(b"and after")
                assert sock.recv(100) == b"and after"


@pytest.mark.parametrize("family", FAMILIES)
def test_udp_flows_follow_the_endpoints(node: KernelWorld, family: int) -> None:
    """A client that sends from one port all the time: before there are rules, with them, and after a change."""
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    with inside(node.client), socket.socket(kind, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((CLUSTER_IP[family], 80))
        with inside(node.node), Run() as it:
            run(
                "nft",
                "-f",
                "-",
                text="table inet t {\nchain c {\ntype filter hook forward priority 0;\nct state new counter\n}\n}\n",
            )
            sock.send(b"nobody yet")
            for cluster in ("a", "b", "c"):
                it.put(served(family, "UDP", cluster))
                sock.send(b"who")
                assert sock.recv(100).decode().split()[0] == cluster
            assert it.notes == []
