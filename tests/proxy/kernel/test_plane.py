"""Kernel mode as the control process has it: what is there before, while it runs, when it changes and when it ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from kernel_run import Run
from kernel_world import (
    CLUSTER_IP,
    GATEWAYS,
    PODS,
    SITE,
    KernelWorld,
    ask,
    drop,
    inside,
    listing,
    run,
    served,
)

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.kernel import apply
from svcdoctor.proxy.kernel.claim import Claim, holder
from svcdoctor.proxy.kernel.compile import compiled
from svcdoctor.proxy.kernel.portrules import MOST_ENDPOINTS
from svcdoctor.proxy.kernel.recheck import Recheck
from svcdoctor.proxy.kernel.verify import Contradiction
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.served import ServedPort

FAMILIES = (4, 6)


# --- a whole run


@pytest.mark.parametrize("family", FAMILIES)
def test_from_nothing_to_nothing(node: KernelWorld, family: int) -> None:
    foreign = "table inet other {\nchain c {\ntype nat hook prerouting priority -90;\nip daddr 10.96.9.9 drop\n}\n}\n"
    with inside(node.node):
        run("nft", "-f", "-", text=foreign)
        before = listing()
        with Run() as it:
            it.put(served(family, cluster="a"))
            assert (it.notes, it.errors, it.held) == ([], [], 1)
            with inside(node.client):
                assert ask(CLUSTER_IP[family]) == f"a {GATEWAYS[family]['a']}"
            it.put(served(family, cluster="b"), whole=False)
            assert (it.notes, it.errors, it.held) == ([], [], 2)
            with inside(node.client):
                assert ask(CLUSTER_IP[family]) == f"b {GATEWAYS[family]['b']}"
            it.plane.remove(["shop/web:80/TCP/" + str(family)])
            it.put(served(family, "UDP", "b"), whole=False)
            with inside(node.client):
                assert ask(CLUSTER_IP[family], protocol="UDP") == f"b {GATEWAYS[family]['b']}"
        assert listing() == before


def test_the_rules_of_a_run_that_was_killed_go_on_until_they_are_cleaned_up(node: KernelWorld) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import time\nfrom kernel_run import Run\nfrom kernel_world import served\n"
        "it = Run().__enter__().put(served(4, cluster='ab', affinity_seconds=60))\n"
        "print('held', it.held, *it.notes, *it.errors, flush=True)\n"
        "time.sleep(600)\n"
    )
    paths = [str(Path(__file__).parent), *(p for p in sys.path if p.endswith(("/proxy", "/dataplane")))]
    with inside(node.node):
        process = subprocess.Popen((sys.executable, "-c", script, *paths), stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"held 1\n"
            assert holder() == process.pid
            with pytest.raises(SvcdoctorError, match=f"process {process.pid} carries Services by rules"):
                Claim()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        assert holder() == 0
        with inside(node.client):
            met = ask(CLUSTER_IP[4])
            assert met.startswith(("a ", "b "))
        # The next run takes over, and remembers who had which endpoint.
        with Run() as it:
            it.put(served(4, cluster="ab", affinity_seconds=60))
            assert it.errors == []
            with inside(node.client):
                assert {ask(CLUSTER_IP[4]) for _ in range(8)} == {met}
        assert apply.installed() == ()
        run("nft", "-f", "-", text=compiled([served(4), served(6)], SITE).text)
        assert apply.cleanup() == ("ip", "ip6")
        assert apply.cleanup() == ()
        assert listing() == ""


def test_a_run_that_fails_leaves_the_rules_of_an_earlier_one(node: KernelWorld) -> None:
    with inside(node.node):
        earlier = compiled([served(4, cluster="a")], SITE).text
        run("nft", "-f", "-", text=earlier)
        before = listing()
        it = Run()
        it.plane.start()
        it.put(served(4, limit=3))
        assert "a limit of connections" in it.errors[0]
        it.plane.abandon(it.loop.stop)
        it.loop.run()
        it.loop.free()
        assert listing() == before


# --- what else is on the node


@pytest.mark.parametrize("family", FAMILIES)
def test_what_another_table_drops_is_refused_with_its_rule(node: KernelWorld, family: int) -> None:
    """Pods are not reached from outside, nor by the node itself: nothing is left that rules could do."""
    pod = PODS[family]["a"]
    foreign = drop("forward", family, pod) + drop("output", family, pod).replace("fire", "fire2")
    with inside(node.node):
        run("nft", "-f", "-", text=foreign)
        before = listing()
        with Run() as it:
            it.put(served(family, cluster="a"))
            assert len(it.errors) == 1
            assert it.errors[0].startswith(f"shop/web:80/TCP/{family}: a packet from outside to ")
            assert "is dropped by inet fire wall #1: " in it.errors[0]
            assert "policy of the house" in it.errors[0]
            assert it.errors[0].endswith("leave --mode nftables out and serve in user space")
            assert listing() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_what_another_table_drops_of_some_clients_is_told(node: KernelWorld, family: int) -> None:
    with inside(node.node):
        iif = 'iifname "eth0"'
        run("nft", "-f", "-", text=drop("forward", family, PODS[family]["a"], iif))
        with Run() as it:
            it.put(served(family, cluster="ab"))
            assert it.errors == []
            assert [note.partition(" is dropped by ")[0] for note in it.notes] == [
                f"shop/web:80/TCP/{family}: a packet from outside to {served(family).listens[0]}"
            ]
            it.put(served(family, cluster="a"), whole=False)
            assert len(it.notes) == 1  # it is told once


def test_rules_that_the_evaluator_cannot_tell_are_told(node: KernelWorld) -> None:
    with inside(node.node):
        run(
            "nft",
            "-f",
            "-",
            text="table ip x {\nchain c {\ntype filter hook prerouting priority 0;\nip dscp 7 drop\n}\n}\n",
        )
        with Run() as it:
            it.put(served(4))
            assert it.errors == []
            assert "ends where the evaluator cannot tell" in it.notes[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_kernel_lists_is_checked_after_loading(node: KernelWorld, family: int) -> None:
    rules = compiled([served(family), served(family, "UDP")], SITE)
    ip = "ip6" if family == 6 else "ip"
    found: list[str] = []
    with inside(node.node):
        apply.apply(rules.text)
        endpoint = f"[{PODS[6]['c']}]:8080" if family == 6 else f"{PODS[4]['c']}:8080"
        loop = Loop()
        for _ in range(2):
            done: list[bool] = []

            def take(_: object, contradictions: tuple[Contradiction, ...], done: list[bool] = done) -> None:
                done.append(True)
                found.extend(map(str, contradictions))

            recheck = Recheck(loop, rules, take)
            until = time.monotonic() + 30
            while not done and time.monotonic() < until:
                loop.turn(1.0)
            assert done
            recheck.close()
            if not found:  # all is well at first
                number = rules.slots[f"shop/web:80/UDP/{family}"] * 2 * MOST_ENDPOINTS + 2
                run("nft", "delete", "element", ip, "svcdoctor", "endpoints-udp-0", f"{{ {number} }}")
                run(
                    "nft",
                    "delete",
                    "rule",
                    ip,
                    "svcdoctor",
                    "service-shop/web/80/udp",
                    "handle",
                    last_rule(ip),
                )
        loop.free()
    assert found
    assert all(text.startswith(f"shop/web:80/UDP/{family}: a packet from ") for text in found)
    assert any("is sent to no endpoint" in text or f"is never sent to {endpoint}" in text for text in found)


def last_rule(ip: str) -> str:
    """The handle of the rule for packets that find no number."""
    return (
        run("nft", "-a", "list", "chain", ip, "svcdoctor", "service-shop/web/80/udp")
        .rpartition("handle ")[2]
        .split()[0]
    )


# --- kube-proxy


def kube_proxy(port: ServedPort) -> str:
    """A table as kube-proxy has it for the one cluster IP."""
    backends = [(b.ip, b.port) for b in port.cluster]
    ip = "ip6" if ":" in port.listens[0].ip else "ip"
    ends = ", ".join(f"{n} : {to} . {number}" for n, (to, number) in enumerate(backends))
    return (
        f"table {ip} kube-proxy {{\nchain services {{\ntype nat hook prerouting priority -100;\n"
        f"{ip} daddr {port.listens[0].ip} tcp dport 80 goto choose\n}}\n"
        f"chain output {{\ntype nat hook output priority -100;\n"
        f"{ip} daddr {port.listens[0].ip} tcp dport 80 goto choose\n}}\n"
        f"chain choose {{\nmeta l4proto tcp dnat {ip} to numgen random mod {len(backends)} map {{ {ends} }}\n}}\n}}\n"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_working_kube_proxy_is_not_shadowed(node: KernelWorld, family: int) -> None:
    port = served(family, cluster="ab")
    with inside(node.node):
        run("nft", "-f", "-", text=kube_proxy(port))
        before = listing()
        with Run() as it:
            it.put(port)
            assert len(it.errors) == 1
            assert it.errors[0].startswith(f"{port.key}: rules of this node, kube-proxy's, carry it")
            assert "--takeover" in it.errors[0]
            assert listing() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_with_takeover_it_is(node: KernelWorld, family: int) -> None:
    with inside(node.node):
        run("nft", "-f", "-", text=kube_proxy(served(family, cluster="ab")))
        before = listing()
        with Run(takeover=True) as it:
            it.put(served(family, cluster="ab"))
            assert it.errors == []
            it.put(served(family, cluster="c"), whole=False)
            with inside(node.client):
                assert {ask(CLUSTER_IP[family]) for _ in range(6)} == {f"c {GATEWAYS[family]['c']}"}
            it.put(served(family, cluster=""), whole=False)
            with inside(node.client):
                assert ask(CLUSTER_IP[family]) == "refused"
        assert listing() == before
        with inside(node.client):
            assert ask(CLUSTER_IP[family]).split()[0] in "ab"


def test_a_kube_proxy_that_does_not_know_all_endpoints_is(node: KernelWorld) -> None:
    with inside(node.node):
        run("nft", "-f", "-", text=kube_proxy(served(4, cluster="ab")))
        with Run() as it:
            it.put(served(4, cluster="abc"))
            assert (it.errors, it.notes, it.held) == ([], [], 1)
