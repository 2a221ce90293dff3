"""Packets that follow each other through a node's last hooks meet what each of them alone would meet."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from svcdoctor.dataplane import hooks
from svcdoctor.dataplane.hosts import Host
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import Dump
from svcdoctor.path.audit import Auditor, places
from svcdoctor.path.world import World
from svcdoctor.sources.archive import read_snapshot

SAVE = "iptables-save-counters.txt"
CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"


@pytest.fixture(scope="module")
def world():
    return World(read_snapshot(CAPTURES / "iptables.tar.gz"))


def rules_that_look(world, draw):
    """Rules of somebody's that look at the destination, now or before NAT, of a few packets each."""
    several = [
        s
        for s in world.snapshot.of(Kind.ENDPOINT_SLICE)
        if len(s.endpoints or ()) > 2 and s.address_type == "IPv4"
    ]
    endpoints = sorted({address for s in several for e in s.endpoints for address in e.addresses})
    services = sorted(
        {ip for s in world.snapshot.services for ip in s.cluster_ips if ":" not in ip and ip != "None"}
    )
    tests = [
        lambda: f"-d {draw.choice(endpoints)}/32",
        lambda: f"-d {draw.choice(endpoints)}/{draw.choice((24, 30, 31))}",
        lambda: f"! -d {draw.choice(endpoints)}/30",
        lambda: f"-p tcp -m tcp --dport {draw.choice((80, 8080, 9376))}",
        lambda: f"-m conntrack --ctorigdst {draw.choice(services)}",
        lambda: f"-p tcp -m conntrack --ctorigdstport {draw.choice((80, 443, 8080))}",
        lambda: (
            f"-m mark --mark {draw.choice(('0x4000/0x4000', '0x0/0x4000'))} -d {draw.choice(endpoints)}/26"
        ),
    ]
    targets = {
        "FORWARD": ("DROP", "ACCEPT", "REJECT", "MARK --set-xmark 0x1/0x1"),
        "POSTROUTING": ("MASQUERADE",),
    }
    return [
        f"-A {chain} {draw.choice(tests)()} -j {draw.choice(targets[chain])}"
        for chain in ("FORWARD", "FORWARD", "POSTROUTING")
    ]


def with_rules(dump, rules):
    """The dump with each rule as the first of its chain."""
    lines, table = [], ""
    of = {"FORWARD": "*filter", "POSTROUTING": "*nat"}
    missing = list(rules)
    for line in dump.data.decode().splitlines():
        table = line if line.startswith("*") else table
        if line.startswith("-A") or line == "COMMIT":
            lines += [r for r in missing if of[r.split()[1]] == table]
            missing = [r for r in missing if of[r.split()[1]] != table]
        lines.append(line)
    assert not missing
    return Dump(dump.where, ("\n".join(lines) + "\n").encode())


def met(world, node, name):
    """What every packet to every frontend met, in order."""
    return [
        (
            place.address, place.port, client, o.fate, o.reason, o.rules_text, o.packet.probability,
            o.packet.src, o.packet.dst, o.packet.dport, o.packet.mark, o.packet.ctstatus, o.packet.masquerade,
        )
        for place in places(world, name, node)
        for client, outcomes in Auditor(world, name, node).outcomes(place)
        for o in map(_Texts, outcomes)
    ]  # fmt: skip


class _Texts:
    def __init__(self, outcome):
        self.fate, self.reason, self.packet = outcome.fate, outcome.reason, outcome.packet
        self.rules_text = tuple(map(str, outcome.rules))


@pytest.mark.parametrize("seed", range(32))
def test_sharing_changes_no_outcome(world, monkeypatch, seed):
    name = world.hosts.names[0]
    facts = world.snapshot.node_facts[name]
    rules = rules_that_look(world, random.Random(seed)) if seed else []
    save = with_rules(facts.raw[SAVE], rules)
    raw = {k: v for k, v in facts.raw.items() if "iptables-save" not in k} | {SAVE: save}
    facts = replace(facts, raw=raw)
    shared = Host(facts).node
    followed = []
    follow = hooks._Way.follow
    monkeypatch.setattr(hooks._Way, "follow", lambda *a: followed.append(1) or follow(*a))
    found = met(world, shared, name)
    assert followed and len({m[8] for m in found}) > 10
    monkeypatch.setattr(hooks, "SCOUTS", 0)
    alone = Host(facts).node
    before = len(followed)
    assert met(world, alone, name) == found, rules
    assert len(followed) == before
