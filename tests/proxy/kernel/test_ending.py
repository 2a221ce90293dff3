"""What becomes of established connections when the rules go: where nothing else on the node uses NAT, and where it
does."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Iterator

import pytest
from kernel_run import Run
from kernel_world import CLUSTER_IP, PODS, KernelWorld, ask, drop, inside, listing, run, served

from svcdoctor.proxy.kernel import apply
from svcdoctor.proxy.kernel.conntrack import living
from svcdoctor.proxy.kernel.ending import others_translate

FAMILIES = (4, 6)
IPS = {4: "ip", 6: "ip6"}


def also_nat(family: int) -> str:
    """A table of somebody else's with a rule of NAT."""
    text = drop("postrouting", family, PODS[family]["b"])
    return text.replace("type filter", "type nat").replace("drop", "masquerade").replace("inet", IPS[family])


@contextlib.contextmanager
def connection(node: KernelWorld, family: int) -> Iterator[socket.socket]:
    """Of the client's, through the cluster IP."""
    with inside(node.client):
        sock = socket.create_connection((CLUSTER_IP[family], 80), 3)
    with sock:
        sock.settimeout(3)
        assert sock.recv(100)
        assert echoes(sock)
        yield sock


def echoes(sock: socket.socket) -> bool:
    try:
        sock.sendall(b"still there")
        return sock.recv(100) == b"still there"
    except (TimeoutError, ConnectionError):
        return False


def turn_until(it: Run, ended: list[bool], seconds: float = 5.0) -> float:
    """How long it takes until the plane has ended."""
    began = time.monotonic()
    while not ended:
        assert time.monotonic() - began < seconds, it.notes
        it.loop.turn(0.05)
    return time.monotonic() - began


@pytest.mark.parametrize("family", FAMILIES)
def test_a_drain_keeps_what_is_translated_until_the_last_one_ends(node: KernelWorld, family: int) -> None:
    ended: list[bool] = []
    with inside(node.node), Run(drain=20) as it:
        it.put(served(family, cluster="ab"))
        with connection(node, family) as sock:
            assert living(family) == 1
            assert living(10 - family) == 0
            it.plane.drain(lambda: ended.append(True))
            it.turn()
            assert it.notes == [
                "the rules are removed: no new connections; those that live (1) have up to 20 s to end, for no other "
                "rule of this node uses NAT, without which the kernel translates nothing; the next signal cuts them off"
            ]
            assert apply.installed() == (IPS[family],)
            assert "dnat" not in listing() and listing().count("chain") == 1
            for _ in range(3):
                assert echoes(sock)
                it.loop.turn(0.3)
            with inside(node.client):
                assert ask(CLUSTER_IP[family], seconds=0.3) in ("timeout", "refused")
            assert not ended
        turn_until(it, ended)
        assert apply.installed() == ()
        assert len(it.notes) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_after_the_time_of_a_drain_they_are_cut_off_and_counted(node: KernelWorld, family: int) -> None:
    ended: list[bool] = []
    with inside(node.node), Run(drain=1) as it:
        it.put(served(family, cluster="a"))
        with connection(node, family) as one, connection(node, family) as other:
            it.plane.drain(lambda: ended.append(True))
            assert 0.9 < turn_until(it, ended) < 3
            assert apply.installed() == ()
            assert it.notes[1:] == [
                "connections that were cut off: 2; no rule of this node uses NAT any more, so the kernel does not "
                "translate them"
            ]
            for sock in (one, other):
                sock.settimeout(0.5)
                assert not echoes(sock)


def test_the_second_signal_cuts_them_off_at_once(node: KernelWorld) -> None:
    ended: list[bool] = []
    with inside(node.node), Run(drain=60) as it:
        it.put(served(cluster="a"))
        with connection(node, 4) as sock:
            it.plane.drain(lambda: ended.append(True))
            it.turn()
            it.plane.stop(lambda: None)
            assert turn_until(it, ended) < 1
            assert apply.installed() == ()
            assert "cut off: 1;" in it.notes[-1]
            sock.settimeout(0.5)
            assert not echoes(sock)


@pytest.mark.parametrize("family", FAMILIES)
def test_where_other_rules_use_nat_all_go_on_without_any_table(node: KernelWorld, family: int) -> None:
    ended: list[bool] = []
    with inside(node.node), Run(drain=60) as it:
        run("nft", "-f", "-", text=also_nat(family))
        assert others_translate(IPS[family])
        assert not others_translate(IPS[10 - family])
        it.put(served(family, cluster="a"))
        with connection(node, family) as sock:
            it.plane.drain(lambda: ended.append(True))
            assert turn_until(it, ended) < 1
            assert apply.installed() == ()
            assert it.notes == [
                "the rules are removed: no new connections; those that live (1) go on, for other rules of this node "
                "use NAT, too"
            ]
            assert echoes(sock)


def test_a_chain_of_others_without_rules_does_not_count(node: KernelWorld) -> None:
    """It hooks NAT, but nothing would ask conntrack any more."""
    with inside(node.node), Run(drain=20) as it:
        run("nft", "add table ip idle; add chain ip idle c { type nat hook postrouting priority 100 ; }")
        it.put(served(cluster="a"))
        with connection(node, 4) as sock:
            it.plane.drain(lambda: None)
            it.turn()
            assert apply.installed() == ("ip",)
            assert echoes(sock)


def test_iptables_own_nat_counts_as_well(node: KernelWorld) -> None:
    program = shutil.which("iptables-legacy")
    with inside(node.node), contextlib.ExitStack() as stack:
        if program is None:
            pytest.skip("there is no iptables-legacy")
        assert not others_translate("ip")
        try:
            run(program, "-t", "nat", "-L", "-n")
        except AssertionError as e:
            pytest.skip(f"this kernel has none of iptables' own tables: {e}")
        assert not others_translate("ip"), "a table without rules"
        run(program, "-t", "nat", "-A", "POSTROUTING", "-d", PODS[4]["b"], "-j", "MASQUERADE")
        stack.callback(run, program, "-t", "nat", "-F")
        assert others_translate("ip")
        with Run() as it:
            it.put(served(cluster="a"))
            with connection(node, 4) as sock:
                it.plane.stop(lambda: None)
                assert apply.installed() == ()
                assert echoes(sock)


def test_without_connections_it_ends_at_once(node: KernelWorld) -> None:
    ended: list[bool] = []
    with inside(node.node), Run(drain=60) as it:
        it.put(served(cluster="a"))
        it.plane.drain(lambda: ended.append(True))
        assert turn_until(it, ended) < 1
        assert it.notes == ["the rules are removed: no new connections, and none was left"]
        assert apply.installed() == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_outlives_the_last_service_of_its_family(node: KernelWorld, family: int) -> None:
    with inside(node.node), Run() as it:
        it.put(served(family, cluster="a"), served(10 - family, cluster="a"))
        with connection(node, family) as sock:
            it.plane.remove([f"shop/web:80/TCP/{family}"])
            it.turn()
            assert echoes(sock)
            it.put(served(family, cluster="b"), whole=False)
            assert echoes(sock)
            with inside(node.client):
                assert ask(CLUSTER_IP[family]).startswith("b ")
        assert it.notes == []


def test_datagrams_that_were_answered_keep_nobody_waiting(node: KernelWorld) -> None:
    ended: list[bool] = []
    with inside(node.node), Run(drain=60) as it:
        it.put(served(protocol="UDP", cluster="a"))
        with inside(node.client):
            assert ask(CLUSTER_IP[4], 80, "UDP").startswith("a ")
        it.plane.drain(lambda: ended.append(True))
        assert turn_until(it, ended) < 1
        assert it.notes == ["the rules are removed: no new connections, and none was left"]
