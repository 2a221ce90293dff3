"""Real connections through the rules: every kind of address, policy and client, TCP and UDP, both families."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from kernel_world import (
    CLIENT,
    CLUSTER_IP,
    GATEWAYS,
    NODE,
    NODE_PORT,
    PODS,
    SITE,
    VIP,
    KernelWorld,
    ask,
    inside,
    run,
    served,
)

from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.kernel import apply
from svcdoctor.proxy.kernel.compile import compiled
from svcdoctor.proxy.serving.served import Kind, ServedPort

FAMILIES = (4, 6)
REFUSED = {"refused"}


def load(world: KernelWorld, *ports: ServedPort) -> None:
    with inside(world.node):
        apply.apply(compiled(ports, SITE).text)
        run("conntrack", "-F")


def asked(world: KernelWorld, who: str, ip: str, port: int, protocol: str, expected: set[str]) -> bool:
    """Whether the client meets all that is expected, and nothing else. ``expected`` may be names of pods alone."""
    met: set[str] = set()
    with inside(world.of(who)):
        for number in range(60):  # that one of three is not drawn happens once in 10**10
            answer = ask(ip, port, protocol)
            met.add(answer if answer in expected else answer.partition(" ")[0])
            enough = expected == REFUSED or number >= len(expected) * 2
            if not met <= expected or (met == expected and enough):
                break
    return met == expected


def unanswered(world: KernelWorld, who: str, ip: str, port: int, protocol: str = "TCP") -> bool:
    with inside(world.of(who)):
        return ask(ip, port, protocol, 0.2) == "timeout"


def kept(source: str, *pods: str) -> set[str]:
    """These pods see this address."""
    return {f"{pod} {source}" for pod in pods}


def hidden(family: int, *pods: str) -> set[str]:
    """These pods see the node."""
    return {f"{pod} {GATEWAYS[family][pod]}" for pod in pods}


def places(family: int) -> tuple[tuple[str, int, Kind], ...]:
    return (
        (CLUSTER_IP[family], 80, "clusterIP"),
        (NODE[family], NODE_PORT, "nodePort"),
        (VIP[family], 80, "loadBalancer"),
        (VIP[family] + "1", 80, "externalIP"),
    )


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("family", FAMILIES)
def test_policy_cluster(node: KernelWorld, family: int, protocol: str) -> None:
    load(node, served(family, protocol, "bc", listens=places(family)))
    for ip, port, kind in places(family):
        assert asked(node, "client", ip, port, protocol, hidden(family, "b", "c")), kind
        source = kept(PODS[family]["a"], "b", "c") if kind == "clusterIP" else hidden(family, "b", "c")
        assert asked(node, "a", ip, port, protocol, source), kind
        assert asked(node, "node", ip, port, protocol, {"b", "c"}), kind


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("family", FAMILIES)
def test_policy_local(node: KernelWorld, family: int, protocol: str) -> None:
    local = served(
        family, protocol, "abc", "b", listens=places(family), internal_local=True, external_local=True
    )
    load(node, local)
    for ip, port, kind in places(family):
        if kind == "clusterIP":
            assert asked(node, "client", ip, port, protocol, hidden(family, "b"))
            assert asked(node, "a", ip, port, protocol, kept(PODS[family]["a"], "b"))
            continue
        assert asked(node, "client", ip, port, protocol, kept(CLIENT[family], "b")), kind
        pods = kept(PODS[family]["c"], "a", "b") | hidden(family, "c")  # any endpoint, itself too
        assert asked(node, "c", ip, port, protocol, pods), kind
        assert asked(node, "node", ip, port, protocol, {"a", "b", "c"}), kind


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("family", FAMILIES)
def test_policy_local_without_an_endpoint_on_the_node(node: KernelWorld, family: int, protocol: str) -> None:
    load(
        node, served(family, protocol, "c", listens=places(family), internal_local=True, external_local=True)
    )
    for ip, port, kind in places(family):
        assert unanswered(node, "client", ip, port, protocol), kind
        if kind == "clusterIP":
            assert unanswered(node, "a", ip, port, protocol)
        else:
            assert asked(node, "a", ip, port, protocol, kept(PODS[family]["a"], "c")), kind
            assert asked(node, "node", ip, port, protocol, {"c"}), kind


@pytest.mark.parametrize(
    ("family", "protocol"), [(4, "TCP"), (4, "UDP"), (6, "UDP")]
)  # TCP waits for a second in IPv6
def test_without_endpoints_clients_are_refused(node: KernelWorld, family: int, protocol: str) -> None:
    load(node, served(family, protocol, "", listens=places(family)))
    for (ip, port, kind), who in zip(places(family), ("client", "a", "node", "client"), strict=True):
        assert asked(node, who, ip, port, protocol, REFUSED), (who, kind)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pod_reaches_itself(node: KernelWorld, family: int) -> None:
    load(node, served(family, cluster="a"))
    assert asked(node, "a", CLUSTER_IP[family], 80, "TCP", hidden(family, "a"))


@pytest.mark.parametrize("family", FAMILIES)
def test_source_ranges_guard_the_load_balancer_alone(node: KernelWorld, family: int) -> None:
    client, pods = ((f"{CLIENT[4]}/32", "10.244.1.0/24"), (f"{CLIENT[6]}/128", "fd00:244:1::/48"))[
        family == 6
    ]
    load(node, served(family, listens=places(family), sources=(client,)))
    assert asked(node, "client", VIP[family], 80, "TCP", hidden(family, "a", "b", "c"))
    assert unanswered(node, "a", VIP[family], 80)
    assert asked(node, "a", NODE[family], NODE_PORT, "TCP", hidden(family, "a", "b", "c"))
    load(node, served(family, listens=places(family), sources=(pods, pods)))
    assert unanswered(node, "client", VIP[family], 80)
    assert asked(node, "a", VIP[family], 80, "TCP", hidden(family, "a", "b", "c"))
    assert asked(node, "client", VIP[family] + "1", 80, "TCP", hidden(family, "a", "b", "c"))


@pytest.mark.parametrize(("family", "protocol"), [(4, "TCP"), (6, "UDP")])
def test_a_client_keeps_its_endpoint(node: KernelWorld, family: int, protocol: str) -> None:
    load(node, served(family, protocol, listens=places(family), affinity_seconds=1))
    for who in ("client", "c"):
        with inside(node.of(who)):
            met = {ask(CLUSTER_IP[family], 80, protocol) for _ in range(15)}
        assert len(met) == 1
        assert asked(node, who, VIP[family], 80, protocol, {met.pop().split()[0]})
    assert clients_held(node, family) == 2
    time.sleep(1.3)
    assert clients_held(node, family) == 0


def clients_held(world: KernelWorld, family: int) -> int:
    with inside(world.node):
        listed = json.loads(run("nft", "-j", "list", "table", "ip6" if family == 6 else "ip", "svcdoctor"))
    sets = (entry["set"] for entry in listed["nftables"] if "set" in entry)
    return sum(len(s.get("elem", ())) for s in sets if s["name"].startswith("affinity-"))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_address_of_the_machines_own(node: KernelWorld, family: int) -> None:
    """Whoever asks, and whatever the policy, the answer comes back through this machine."""
    for ip in (NODE[family], ("0.0.0.0", "::")[family == 6]):
        load(node, served(family, listens=((ip, 5432, "local"),), external_local=True))
        for who in ("client", "a"):
            assert asked(node, who, NODE[family], 5432, "TCP", hidden(family, "a", "b", "c"))
        assert asked(node, "client", NODE[family], 5433, "TCP", REFUSED)


@pytest.mark.parametrize("family", FAMILIES)
def test_node_ports_on_every_address(node: KernelWorld, family: int) -> None:
    anywhere = ("0.0.0.0", "::")[family == 6]
    load(node, served(family, cluster="b", listens=((anywhere, NODE_PORT, "nodePort"),)))
    assert asked(node, "client", NODE[family], NODE_PORT, "TCP", hidden(family, "b"))
    assert asked(node, "c", GATEWAYS[family]["a"], NODE_PORT, "TCP", hidden(family, "b"))
    assert asked(node, "node", ("127.0.0.1", "::1")[family == 6], NODE_PORT, "TCP", REFUSED)
    load(node, served(family, cluster="", listens=((anywhere, NODE_PORT, "nodePort"),)))
    assert asked(node, "client", NODE[family], NODE_PORT, "TCP", REFUSED)


def test_each_in_its_turn(node: KernelWorld) -> None:
    load(node, served(balance=BalancerPolicy.ROUND_ROBIN))
    with inside(node.client):
        met = Counter(ask(CLUSTER_IP[4]).split()[0] for _ in range(12))
    assert met == {"a": 4, "b": 4, "c": 4}


def test_what_is_not_served_is_left_alone(node: KernelWorld) -> None:
    load(node, served(listens=places(4)))
    assert asked(node, "client", NODE[4], NODE_PORT + 1, "TCP", REFUSED)
    assert asked(node, "client", NODE[4], NODE_PORT, "UDP", REFUSED)
    assert asked(node, "client", PODS[4]["a"], 8080, "TCP", kept(CLIENT[4], "a"))
