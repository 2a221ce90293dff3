"""The Services that a node's rules name, against what the API of the same recorded clusters says."""

import json
import tarfile
from functools import cache
from pathlib import Path

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import Dump
from svcdoctor.node.chainnames import ServicePortName, iptables_hash
from svcdoctor.node.namedservices import NFT, RULES, RuledPort, ruled_names, ruled_ports

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"
MODES = ("iptables", "nftables")
NODES = ("node1", "node2", "node3")
# Their endpoints hang on the node, by a traffic policy or by hints, which tell rules from slices.
BY_NODE = {"itp-local", "itp-etp-local", "samenode", "samezone"}


@cache
def capture(mode):
    """Each node's dumps of rules, and the objects by kind."""
    dumps, objects = {node: {} for node in NODES}, {}
    with tarfile.open(CAPTURES / f"{mode}.tar.gz") as archive:
        for member in archive:
            parts = member.name.split("/")
            if len(parts) == 4 and parts[3] in RULES:
                dumps[parts[2]][parts[3]] = Dump(member.name, archive.extractfile(member).read())
            elif len(parts) == 3 and parts[1] == "cluster" and member.isfile():
                objects[parts[2]] = json.load(archive.extractfile(member))["items"]
    return dumps, objects


def with_address(objects):
    """The Services that rules know: those with a cluster IP."""
    return {
        (s["metadata"]["namespace"], s["metadata"]["name"]): s["spec"]
        for s in objects["svc.json"]
        if s["spec"].get("clusterIP") not in (None, "", "None")
        and "service.kubernetes.io/service-proxy-name" not in s["metadata"].get("labels", {})
    }


def used(objects, namespace, name):
    """Service port → its endpoints as kube-proxy uses them: those that are ready, else those that still serve."""
    found = {}
    for s in objects["endpointslices.json"]:
        labels = s["metadata"].get("labels", {})
        if (s["metadata"]["namespace"], labels.get("kubernetes.io/service-name")) != (namespace, name):
            continue
        for port in s["ports"] or ():
            for endpoint in s["endpoints"] or ():
                conditions = endpoint["conditions"]
                rank = 1 if conditions.get("ready") else 2 if conditions.get("serving") else 3
                where = found.setdefault(port["name"], {}).setdefault(rank, set())
                where.update((ip, port["port"]) for ip in endpoint["addresses"])
    return {port: ranks.get(1) or ranks.get(2) or set() for port, ranks in found.items()}


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("mode", MODES)
def test_a_real_node_s_rules_name_every_service_with_its_ports_and_endpoints(mode, node):
    dumps, objects = capture(mode)
    services = with_address(objects)
    assert ruled_names(dumps[node]) == services.keys()
    several = 0
    for (namespace, name), spec in services.items():
        found = ruled_ports(dumps[node], namespace, name)
        assert {(p.name.port, p.number, p.name.protocol.upper()) for p in found} == {
            (p.get("name", ""), p["port"], p["protocol"]) for p in spec["ports"]
        }
        expected = used(objects, namespace, name)
        for port in found:
            endpoints = set(port.endpoints)
            assert len(endpoints) == len(port.endpoints)
            if name in BY_NODE:
                assert endpoints <= expected[port.name.port]
            else:
                assert endpoints == expected.get(port.name.port, set()), (name, port)
                several += len(endpoints) > 1
    assert several > 20


@pytest.mark.parametrize("mode", MODES)
def test_both_families_are_there_ipv4_first(mode):
    dumps, _ = capture(mode)
    [port] = ruled_ports(dumps["node2"], "truth", "dual")
    families = [":" in ip for ip, _ in port.endpoints]
    assert families == [False] * 3 + [True] * 3
    [port] = ruled_ports(dumps["node2"], "truth", "v6only")
    assert [":" in ip for ip, _ in port.endpoints] == [True] * 3


def test_what_the_rules_do_not_know():
    dumps, _ = capture("iptables")
    for namespace, name in (("truth", "headless"), ("default", "web-clusterip"), ("truth", "web-cluster")):
        assert ruled_ports(dumps["node1"], namespace, name) == ()
    assert ruled_names({}) == set()
    assert ruled_names({NFT: Dump("nft.json", b'{"nftables": []}')}) == set()
    with pytest.raises(SvcdoctorError, match=r"^nft\.json: "):
        ruled_names({NFT: Dump("nft.json", b"table ip nat {\n")})


def test_comments_that_large_clusters_leave_out_are_not_needed():
    """With many endpoints kube-proxy writes no comments in the rules of endpoints."""
    dumps, _ = capture("iptables")
    name = "iptables-save.txt"
    text = dumps["node1"][name].data
    lines = []
    for line in text.splitlines(keepends=True):
        if line.startswith((b"-A KUBE-SEP-", b"-A KUBE-SVC-")) and b'-m comment --comment "' in line:
            before, _, rest = line.partition(b'-m comment --comment "')
            line = before + rest.partition(b'" ')[2]
        lines.append(line)
    bare = b"".join(lines)
    assert b"-A KUBE-SEP-" in bare and len(bare) < len(text)
    assert ruled_ports({name: Dump(name, bare)}, "truth", "web-clusterip") == ruled_ports(
        {name: Dump(name, text)}, "truth", "web-clusterip"
    )


@pytest.mark.parametrize("hash_", ["", "old"])
def test_a_port_without_a_name(hash_):
    port = ServicePortName("default", "web", "", "tcp")
    chain = f"KUBE-SVC-{iptables_hash(port, old=bool(hash_))}"
    comment = f'-m comment --comment "default/web{":" if hash_ else ""} cluster IP"'
    end = "KUBE-SEP-AAAAAAAAAAAAAAAA"
    text = f"""*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:{chain} - [0:0]
:{end} - [0:0]
[3:180] -A KUBE-SERVICES -d 10.96.0.9/32 -p tcp {comment} -m tcp --dport 80 -j {chain}
[3:180] -A {chain} -j {end}
[3:180] -A {end} -p tcp -m tcp -j DNAT --to-destination 10.244.0.9:8080
COMMIT
"""
    found = ruled_ports({"iptables-save.txt": Dump("s", text.encode())}, "default", "web")
    assert found == (RuledPort(port, 80, (("10.244.0.9", 8080),)),)
