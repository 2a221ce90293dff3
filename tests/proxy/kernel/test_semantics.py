"""Random Services: real packets through svcdoctor's rules, the evaluator's word on them, and kube-proxy's rules."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from oracle import Oracle, Rules
from oracle_draw import Draw
from oracle_kubeproxy import World, a_packet, a_world
from oracle_packets import OWN
from oracle_predict import Prediction, Seen, fitting, predict
from oracle_wire import Sent

from svcdoctor.lab.proxyiptables import iptables_rules
from svcdoctor.lab.proxynftables import nftables_rules
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.proxy.kernel.compile import Ruleset, compiled
from svcdoctor.proxy.kernel.site import site_of
from svcdoctor.proxy.serving.addresses import Where
from svcdoctor.proxy.serving.planned import Options, Own, planned
from svcdoctor.proxy.serving.served import ServedPort

FAMILIES = (4, 6)
PACKETS = 40
EXAMPLES = 10
EVERYTHING = Where(cluster_ips=True, node_ports=True, others=True, user_space=False)


class Case(NamedTuple):
    kube_proxy: World
    ports: tuple[ServedPort, ...]
    ruleset: Ruleset
    packets: list[Sent]


def own_of(world: World) -> Own:
    return Own("here", world.snapshot.node("here"), world.settings)


def served_ports(world: World) -> tuple[ServedPort, ...]:
    """As the control process plans them."""
    own = own_of(world)
    options = Options(EVERYTHING.listens, frozenset({"TCP", "UDP", "SCTP"}))
    found: list[ServedPort] = []
    for service in world.services:
        slices: tuple[EndpointSlice, ...] = world.snapshot.slices(service.namespace, service.name)
        found += planned(service, slices, own, options).ports.values()
    return tuple(found)


def cases(family: int) -> st.SearchStrategy[Case]:
    @st.composite
    def make(draw: Any) -> Case:
        d = Draw(draw, family)
        world = a_world(d)
        ports = served_ports(world)
        packets = [a_packet(d, world.services) for _ in range(PACKETS)]
        return Case(world, ports, compiled(ports, site_of(own_of(world))), packets)

    return make()


def each(family: int, number: int) -> Any:
    """Cases for a test, the same in every run."""

    def decorate(check: Any) -> None:
        decorated = given(cases(family))(check)
        quiet = settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        quiet(seed(number)(decorated))()

    return decorate


@pytest.mark.parametrize("family", FAMILIES)
def test_no_packet_meets_what_the_evaluator_does_not_say(oracle: Oracle, family: int) -> None:
    name = "kernel mode"
    before = oracle.compared[name]

    @each(family, 1)
    def check(case: Case) -> None:
        oracle.load(Rules(nft=case.ruleset.text))
        wrong = oracle.compare(name, case.packets)
        assert not wrong, f"{wrong[0]}\n{case.ruleset.text}"

    assert oracle.compared[name] - before > EXAMPLES * PACKETS // 2


def addressed(case: Case, sent: Sent) -> bool:
    """Whether the packet is for an address that is served."""
    wanted = (sent.proto.upper(), sent.dst, sent.dport)
    return any((p.protocol, at.ip, at.port) == wanted for p in case.ports for at in p.listens)


def alike(seen: Seen) -> Seen:
    """Without what the two may do otherwise: the mark, and how it is said that nothing listens."""
    return seen._replace(mark=0)


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_served_meets_what_kube_proxys_rules_do(oracle: Oracle, family: int, mode: str) -> None:
    """What the kernel does by svcdoctor's rules is one of the ways of kube-proxy's, and each way has its share."""
    fates: Counter[str] = Counter()

    @each(family, 2)
    def check(case: Case) -> None:
        world = case.kube_proxy
        proxy = replace(world.settings, mode=mode)
        write = nftables_rules if mode == "nftables" else iptables_rules
        text = write(world.snapshot, "here", proxy, family, OWN[family])
        rules = Rules(nft=text) if mode == "nftables" else Rules(saves=((f"nft {family}", text),))
        theirs = oracle.load(rules)
        ours = oracle.load(Rules(nft=case.ruleset.text))
        sent = oracle.numbered(p for p in case.packets if addressed(case, p))
        for one, seen in zip(sent, oracle.observe(sent), strict=True):
            expected = [p._replace(seen=alike(p.seen)) for p in predict(theirs, one)]
            if mode == "nftables":
                expected = [hidden(p, one) for p in expected]
            told = f"{one}\nseen {seen}\nexpected {expected}\n{text}\n{case.ruleset.text}"
            assert fitting(alike(seen), expected), told
            assert shares(expected) == shares(predict(ours, one)), told
            oracle.compared[f"kernel mode with kube-proxy {mode}"] += 1
            fates[seen.fate] += 1

    assert fates.total() > EXAMPLES * PACKETS // 4
    assert {"leaves", "dropped", "rejected"} <= fates.keys()


def hidden(prediction: Prediction, sent: Sent) -> Prediction:
    """What reaches its own sender is masqueraded on every node here; kube-proxy does it for pods of its own."""
    seen = prediction.seen
    if seen.fate == "leaves" and seen.dst == seen.src == sent.src:
        source = {"eth1": {4: "198.51.100.1", 6: "2001:db8:2::1"}}[seen.how][sent.family]
        return prediction._replace(seen=seen._replace(src=source, sport=-1))
    return prediction


def shares(predictions: list[Prediction]) -> dict[Seen, float]:
    found: Counter[Seen] = Counter()
    for prediction in predictions:
        found[alike(prediction.seen)] += prediction.probability
    return {seen: pytest.approx(share, abs=1e-6) for seen, share in found.items() if share}
