"""Connections that carry many requests, and packets that belong to none."""

import re
from functools import cache
from pathlib import Path

import pytest
from twins import found, objects, one

from svcdoctor.checks.connections import invalid_dropped
from svcdoctor.checks.registry import Case
from svcdoctor.dataplane.hosts import Host
from svcdoctor.model.nodefacts import Dump
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import (
    Basis,
    Client,
    ClientKind,
    Entry,
    EntryKind,
    Outcome,
    Result,
    SourceSeen,
    TargetView,
    Trace,
    Verdict,
)
from svcdoctor.model.trace import Path as Way
from svcdoctor.path.view import View
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.nodedumps import node_facts

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"


def port(**fields):
    return {"port": 50051, "protocol": "TCP", "targetPort": "grpc"} | fields


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (port(name="grpc"), True),
        (port(name="grpc-api"), True),
        (port(name="h2c"), True),
        (port(name="http2-web"), True),
        (port(name="GRPC"), True),
        (port(name="api", appProtocol="grpc"), True),
        (port(name="api", appProtocol="kubernetes.io/h2c"), True),
        (port(name="grpc", appProtocol="http"), False),
        (port(name="grpcapi"), False),
        (port(name="grpc-web"), False),
        (port(name="http"), False),
        (port(name=""), False),
        (port(name="api", appProtocol="kubernetes.io/ws"), False),
    ],
)
def test_which_ports_carry_many_requests_in_one_connection(fields, told):
    held = objects("OBJ035", "broken")
    one(held, "Service", "ranker")["spec"]["ports"] = [fields]
    own = {"port": 50051, "protocol": "TCP", "name": fields["name"]}
    one(held, "EndpointSlice", "ranker")["ports"] = [own]
    findings = found("OBJ035", held)
    assert [f.severity.value for f in findings] == ["info"] * told
    for f in findings:
        assert f.field == "spec.ports[0]." + ("appProtocol" if "appProtocol" in fields else "name")
        assert "ranker-headless.search:50051" in f.fix


def test_udp_is_no_connection():
    held = objects("OBJ035", "broken")
    one(held, "Service", "ranker")["spec"]["ports"][0]["protocol"] = "UDP"
    one(held, "EndpointSlice", "ranker")["ports"][0]["protocol"] = "UDP"
    assert found("OBJ035", held) == []


def test_one_ready_endpoint_has_nothing_to_share():
    held = objects("OBJ035", "broken")
    for endpoint in one(held, "EndpointSlice", "ranker")["endpoints"][1:]:
        endpoint["conditions"] = {"ready": False}
    assert found("OBJ035", held) == []


def test_a_mesh_balances_requests():
    held = objects("OBJ035", "broken")
    for o in held:
        if o["kind"] == "Pod" and o["metadata"]["namespace"] == "search":
            o["spec"]["initContainers"] = [{"name": "istio-proxy", "restartPolicy": "Always"}]
    assert found("OBJ035", held) == []


# --- RUL015: the counters of a real node


@cache
def capture():
    return read_snapshot(CAPTURES / "iptables.tar.gz")


def counted(packets, octets, established=100_000, name="iptables-save-counters.txt"):
    """The capture with these counts at node2's rule for INVALID packets, which there dropped none."""
    held = capture()
    facts = dict(held.node_facts)
    raw = {k: v for k, v in facts["node2"].raw.items() if not k.startswith("iptables-save")}
    text = facts["node2"].raw["iptables-save-counters.txt"].data.decode()
    text, changed = re.subn(r"\[\d+:\d+\](?= -A KUBE-FORWARD .*INVALID)", f"[{packets}:{octets}]", text)
    assert changed == 1
    text = re.sub(
        r"\[\d+:\d+\](?= -A KUBE-FORWARD .*ESTABLISHED)", f"[{established}:{established * 80}]", text
    )
    raw[name] = Dump(f"node2/{name}", text.encode())
    facts = {"node2": node_facts("node2", raw)}
    return Snapshot({k: held.of(k) for k in held.facts}, held.facts, facts, source=held.source)


def way(result, code=None):
    outcome = Outcome(result, 1.0, None, SourceSeen.CLIENT, reason="", code=code)
    entry = Entry(EntryKind.CLUSTER_IP, "node2", "10.96.1.1", 80, "TCP")
    return Way(Client(ClientKind.POD), entry, None, Verdict.UNKNOWN, Basis.RULES, (), (outcome,))


def dropped(snapshot, result=Result.DELIVERED, code=None):
    target = TargetView("Service", "truth", "udp")
    trace = Trace(Verdict.UNKNOWN, target, (way(result, code),), services=(("truth", "udp"),))
    return list(invalid_dropped(Case(View(snapshot), trace)))


@pytest.mark.parametrize(
    ("packets", "octets", "result", "code", "severity"),
    [
        (0, 0, Result.DROPPED, None, None),
        (99, 99 * 60, Result.DROPPED, None, None),
        (500, 500 * 60, Result.DROPPED, None, "info"),
        (500, 500 * 60, Result.DROPPED, "RUL011", "info"),
        (500, 500 * 60, Result.DROPPED, "RUL009", None),
        (500, 500 * 60, Result.REFUSED, None, None),
        (500, 500 * 60, Result.DELIVERED, None, None),
        (500, 500 * 52, Result.DROPPED, None, None),  # late ACKs
        (500, 500 * 40, Result.DROPPED, None, None),  # late RSTs
        (20_000, 20_000 * 60, Result.DELIVERED, None, "warning"),
        (20_000, 20_000 * 40, Result.DELIVERED, None, "warning"),
    ],
)
def test_counters_of_invalid_packets(packets, octets, result, code, severity):
    found = dropped(counted(packets, octets), result, code)
    assert [r.severity.value if r.severity else "warning" for r in found] == ([severity] if severity else [])
    for raised in found:
        assert raised.subjects == ("Service/truth/udp", "Node/node2")
        assert f"node2 dropped {packets} packets" in raised.evidence[0]
        assert "--ctstate INVALID" in raised.evidence[1]
        assert ("SYN-ACK" in " ".join(raised.evidence)) is (octets == packets * 60)


def test_a_dump_without_counters_says_nothing():
    held = counted(20_000, 20_000 * 60)
    facts = held.node_facts["node2"]
    name = "iptables-save-counters.txt"
    bare = re.sub(rb"(?m)^\[\d+:\d+\] ", b"", facts.raw[name].data)
    raw = dict(facts.raw) | {name: Dump(f"node2/{name}", bare)}
    assert Host(node_facts("node2", raw)).invalid_drops == ()


NFT = """{"nftables": [
{"metainfo": {"version": "1.0.9", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "guard", "handle": 1}},
{"chain": {"family": "inet", "table": "guard", "name": "forward", "handle": 2, "type": "filter", "hook": "forward",
  "prio": 0, "policy": "accept"}},
{"rule": {"family": "inet", "table": "guard", "chain": "forward", "handle": 3, "expr": [
  {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}},
  {"counter": {"packets": 9000, "bytes": 900000}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "guard", "chain": "forward", "handle": 4, "expr": [
  {"match": {"op": "OP", "left": {"ct": {"key": "state"}}, "right": "invalid"}},
  {"counter": {"packets": 1000, "bytes": 60000}}, {"drop": null}]}}]}"""


@pytest.mark.parametrize(("operator", "counts"), [("in", True), ("!=", False)])
def test_counters_of_nftables(operator, counts):
    facts = node_facts("n", {"nft.json": Dump("n/nft.json", NFT.replace("OP", operator).encode())})
    drops = Host(facts).invalid_drops
    assert [(d.packets, d.size, d.share, d.answers) for d in drops] == (
        [(1000, 60.0, 0.1, True)] if counts else []
    )
