"""``snapshot show``: what is there, what is missing, and the command that adds it."""

from __future__ import annotations

from pathlib import Path

from svcdoctor.model.facts import Kind, Known, Scope, Unknown
from svcdoctor.model.nodefacts import NodeFacts, ProxySettings
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.contents import Contents, KindRow, describe, lines

CAPTURE = Path(__file__).parents[2] / "fixtures" / "captures" / "nftables.tar.gz"


def row(contents: Contents, kind: Kind) -> KindRow:
    return next(r for r in contents.kinds if r.kind is kind)


def test_a_real_capture() -> None:
    contents = describe(read_snapshot(CAPTURE))
    assert [r.kind for r in contents.kinds] == list(Kind)
    assert row(contents, Kind.SERVICE) == KindRow(Kind.SERVICE, 43, True)
    jobs = row(contents, Kind.JOB)
    assert not jobs.known
    assert jobs.command.startswith("kubectl get jobs.batch -A -o json")
    assert [(n.name, n.mode) for n in contents.nodes] == [(f"node{i}", "nftables") for i in (1, 2, 3)]
    assert not any(n.missing for n in contents.nodes)
    text = lines(contents)
    assert text[0].split() == ["Service", "43", "known"]
    assert not any("missing" in line for line in text)


def test_what_is_known_in_part_or_not_at_all() -> None:
    facts: dict[Kind, tuple[Known | Unknown, ...]] = {
        Kind.POD: (Known(Scope("shop")), Unknown("forbidden", "grant it", Scope("pay"))),
        Kind.NODE: (Unknown("forbidden"),),
        Kind.SERVICE: (Known(Scope("shop")),),
        Kind.JOB: (Known(),),
    }
    contents = describe(Snapshot({}, facts))
    assert row(contents, Kind.POD) == KindRow(
        Kind.POD, 0, False, ("namespace shop",), "forbidden (namespace pay)", "grant it"
    )
    assert row(contents, Kind.NODE).command == "kubectl get nodes -o json > cluster/nodes.json"
    assert row(contents, Kind.SERVICE).reason == "no more was asked for"
    assert row(contents, Kind.INGRESS).reason == "never asked for"
    assert row(contents, Kind.JOB) == KindRow(Kind.JOB, 0, True)
    text = "\n".join(lines(contents))
    assert "unknown: known for namespace shop; forbidden (namespace pay); to add it: grant it" in text


def test_a_node_lacks_what_its_mode_needs() -> None:
    facts = {
        "a": NodeFacts(
            "a", ProxySettings("iptables"), dumps=("iptables-save.txt", "kube-proxy-configz.json")
        ),
        "b": NodeFacts("b", dumps=("nft.json",)),
    }
    contents = describe(Snapshot({}, {}, facts), {"c": ()})
    a, b, c = contents.nodes
    missing = {name for name, _ in a.missing}
    assert {"ip6tables-save.txt", "ip-addr.json", "sysctl.txt"} <= missing
    assert not missing & {"nft.json", "ipvsadm.txt", "kube-proxy-mode.txt", "conntrack.txt"}
    assert dict(a.missing)["ip-addr.json"] == "ip -j addr"
    assert {"iptables-save.txt", "ipvsadm.txt"} <= {name for name, _ in b.missing}
    assert c.dumps == ()
    text = lines(contents)
    assert "node a (iptables): iptables-save.txt, kube-proxy-configz.json" in text
    assert "node c: no dumps" in text
    assert text[-1].startswith("1 node has no dumps: ")
