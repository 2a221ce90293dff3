"""The language of changes: each does what it says, touches nothing else, and never passes for one that did nothing."""

import json
import time

import pytest
from captured import CAPTURES
from mutations import (
    AddElement,
    AddObject,
    AppendTo,
    Copied,
    DeleteElements,
    DeleteField,
    DeleteLines,
    DeleteObject,
    DeleteRules,
    DropDump,
    DropNode,
    EditJson,
    InsertLine,
    InsertRule,
    NoNodes,
    NotDumped,
    NothingToChange,
    ReplaceInTables,
    ReplaceLines,
    SetDump,
    SetField,
    SetSysctl,
    capture,
    made,
)

from svcdoctor.model.facts import Kind
from svcdoctor.sources.archive import read_snapshot

WEB = ("Service", "truth", "web-clusterip")
SAVE = "iptables-save.txt"


@pytest.mark.parametrize("name", ["iptables", "nftables"])
def test_an_unchanged_capture_is_the_archive(name):
    read, held = read_snapshot(CAPTURES / f"{name}.tar.gz"), capture(name).snapshot
    for kind in Kind:
        assert sorted(held.of(kind), key=lambda o: (o.namespace, o.name)) == sorted(
            read.of(kind), key=lambda o: (o.namespace, o.name)
        )
        assert held.knows(kind) is read.knows(kind)
    assert held.node_facts == read.node_facts


def service(*changes):
    return capture("iptables").changed(*changes).snapshot.service("truth", "web-clusterip")


def test_fields_of_objects():
    assert service(SetField(*WEB, "spec.ports[0].targetPort", 8081)).ports[0].target == 8081
    assert service(SetField(*WEB, "spec.ports.1.targetPort", 8081)).ports[1].target == 8081
    assert service(SetField(*WEB, "metadata.labels['a.b/c']", "d")).labels["a.b/c"] == "d"
    assert service(SetField(*WEB, "metadata.annotations.a", "b")).metadata.annotations["a"] == "b"
    assert [p.name for p in service(DeleteField(*WEB, "spec.ports[0]")).ports] == ["admin"]
    assert service(DeleteField(*WEB, "spec.selector")).spec.selector is None
    assert service(AppendTo(*WEB, "spec.externalIPs", "192.0.2.1")).spec.external_ips == ("192.0.2.1",)
    both = [SetField(*WEB, "spec.type", "NodePort"), SetField(*WEB, "spec.ports[0].nodePort", 30001)]
    assert service(*both).ports[0].node_port == 30001
    assert service().ports[0].target == 8080, "the capture itself stays as it is"


def test_whole_objects():
    held = capture("iptables")
    assert service(DeleteObject(*WEB)) is None
    copied = held.changed(Copied(*WEB, "twin")).snapshot
    assert copied.service("truth", "twin").spec == copied.service("truth", "web-clusterip").spec
    data = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "coredns", "namespace": "kube-system"},
    }
    added = held.changed(AddObject(data)).snapshot
    assert len(added.of(Kind.CONFIG_MAP)) == 1 and added.knows(Kind.CONFIG_MAP)
    assert not held.snapshot.knows(Kind.CONFIG_MAP)
    assert not held.changed(NotDumped("Pod")).snapshot.knows(Kind.POD)
    assert [o.name for o in made(held.object(*WEB)).snapshot.services] == ["web-clusterip"]


def text(change, node="node2", dump=SAVE, name="iptables"):
    return capture(name).changed(change).dumps[node][dump].decode()


def test_lines_of_dumps():
    jump = "-A FORWARD -j DROP"
    assert "web-clusterip" not in text(DeleteLines("node2", SAVE, "web-clusterip"))
    assert "web-clusterip" in text(DeleteLines("node2", SAVE, "web-clusterip"), "node1")
    assert "web-clusterip" not in text(DeleteLines("*", "iptables-save*", "web-clusterip"), "node1")
    assert text(ReplaceLines("node2", SAVE, "^:FORWARD ACCEPT", ":FORWARD DROP")).count(":FORWARD DROP") == 2
    filtered = text(ReplaceLines("node2", SAVE, "^:FORWARD ACCEPT", ":FORWARD DROP", table="filter"))
    assert filtered.count(":FORWARD DROP") == 1
    lines = text(InsertLine("node2", SAVE, jump, before="^-A FORWARD")).splitlines()
    assert lines[lines.index(jump) + 1].startswith("-A FORWARD") and lines.count(jump) == 1
    lines = text(InsertLine("node2", SAVE, jump, after="^-A FORWARD")).splitlines()
    assert lines[lines.index(jump) - 1].startswith("-A FORWARD")
    assert text(InsertLine("node2", "conntrack.txt", "last"), dump="conntrack.txt").endswith("\nlast\n")
    sysctls = text(SetSysctl("node2", "net.ipv4.ip_forward", 0), dump="sysctl.txt")
    assert sysctls.count("net.ipv4.ip_forward =") == 1 and "net.ipv4.ip_forward = 0\n" in sysctls


def test_whole_dumps():
    held = capture("iptables")
    assert held.changed(SetDump("node1", "ip-link.json", "[]")).dumps["node1"]["ip-link.json"] == b"[]"
    assert SAVE not in held.changed(DropDump("node1", "iptables-save*")).dumps["node1"]
    assert set(held.changed(DropNode("node1")).snapshot.node_facts) == {"node2", "node3"}
    assert not held.changed(NoNodes()).snapshot.node_facts
    nobody = held.changed(EditJson("node1", "ip-addr.json", list.clear)).snapshot.node_facts["node1"]
    assert nobody.addresses == ()


def test_elements_and_rules():
    def of(change):
        return json.dumps(json.loads(text(change, "node1", "nft.json", "nftables")), separators=(",", ":"))

    key = '"10.96.1.2","tcp",80'
    assert key not in of(DeleteElements("node1", "ip", "service-ips", key))
    assert '"daddr":"new"' in of(AddElement("node1", "ip", "service-ips", "", {"daddr": "new"}))
    rule = '{"rule":{"family":"ip","table":"kube-proxy","chain":"nat-prerouting"'
    empty = of(DeleteRules("node1", "ip", "nat-prerouting", ""))
    assert rule not in empty and rule.replace('"ip"', '"ip6"') in empty
    assert '"expr":[{"drop":null}]' in of(InsertRule("node1", "ip", "services", "", ({"drop": None},)))
    assert "10.244.1.99" in of(ReplaceInTables("node1", "ip", "service-*", "10.244.1.6", "10.244.1.99"))


@pytest.mark.parametrize(
    "change",
    [
        SetField(*WEB, "spec.type", "ClusterIP"),
        SetField(*WEB, "spec.ports[7]", {}),
        SetSysctl("node1", "net.ipv4.ip_forward", 1),
        SetField("Service", "truth", "nosuch", "spec.type", "NodePort"),
        DeleteField(*WEB, "spec.externalName"),
        DeleteObject("Service", "shop", "web"),
        DeleteLines("node2", SAVE, "no such line"),
        DeleteLines("node9", SAVE, "."),
        ReplaceLines("node2", SAVE, "MASQUERADE", "SNAT", table="raw"),
        InsertLine("node2", SAVE, "x", before="no such line"),
        DropDump("node1", "nosuch.txt"),
        DropNode("node9"),
        DeleteElements("node1", "ip", "service-ips", "10.96.99.99"),
        DeleteRules("node1", "ip", "nosuch", ""),
    ],
    ids=lambda change: type(change).__name__,
)
def test_a_change_that_changes_nothing_is_an_error(change):
    with pytest.raises(NothingToChange):
        capture("nftables" if hasattr(change, "family") else "iptables").changed(change)


def test_changes_name_what_they_touch():
    assert SetField(*WEB, "spec.type", "NodePort").touches == "Service/truth/web-clusterip"
    assert SetField("Node", "", "node1", "spec.unschedulable", True).touches == "Node/node1"
    assert DeleteLines("node2", SAVE, "x").touches == "Node/node2"
    assert AddObject(capture("iptables").object(*WEB)).touches == "Service/truth/web-clusterip"


def test_a_mutation_and_its_question_take_far_less_than_a_second():
    capture("iptables")
    begun = time.monotonic()
    for number in range(5):
        capture("iptables").changed(SetField(*WEB, "spec.ports[0].targetPort", 8100 + number)).ask(
            "svc/web-clusterip", "truth"
        )
    assert time.monotonic() - begun < 5
