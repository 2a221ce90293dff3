"""Benchmarks of nftables rulesets, run by hand: python tests/benchmarks/nftrules.py [SERVICES ENDPOINTS]

Prints, for rulesets as kube-proxy 1.36 and 1.32 write them, the time to load one and send one packet through it
against orjson.loads of the same bytes (best of five, in turns), the peak of memory against the file's size, and
packets per second afterwards; and whether each keeps its bound.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from svcdoctor.dataplane.hooks import Node
from svcdoctor.dataplane.nftables import NftablesRules
from svcdoctor.dataplane.packet import packet
from svcdoctor.dataplane.routing import PlainRouter
from svcdoctor.dataplane.surroundings import PlainSurroundings
from svcdoctor.node.nftjson import read_nft_json

ROUNDS = 5
TABLE = {"family": "ip", "table": "kube-proxy"}
KEY = ["ipv4_addr", "inet_proto", "inet_service"]
TO_SERVICE = [
    {"payload": {"protocol": "ip", "field": "daddr"}},
    {"meta": {"key": "l4proto"}},
    {"payload": {"protocol": "th", "field": "dport"}},
]
MARK = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"meta": {"key": "mark"}}, 16384]}}}
BASES = [
    ("filter-forward", "filter", "forward", 0),
    ("nat-postrouting", "nat", "postrouting", 100),
    ("nat-prerouting", "nat", "prerouting", -100),
]


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


def jump(chain):
    return {"jump": {"target": chain}}


class Ruleset:
    """The JSON of a ruleset in the making."""

    def __init__(self):
        self.entries = [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}}]
        self.entries.append({"table": {"family": "ip", "name": "kube-proxy", "handle": 1}})
        self.handle = 1

    def chain(self, name, **base):
        self.handle += 1
        self.entries.append({"chain": {**TABLE, "name": name, "handle": self.handle, **base}})

    def rule(self, chain, *expr):
        self.handle += 1
        self.entries.append({"rule": {**TABLE, "chain": chain, "handle": self.handle, "expr": list(expr)}})

    def elements(self, kind, name, types, elem, **more):
        self.entries.append({kind: {**TABLE, "name": name, "type": types, "handle": 1, **more, "elem": elem}})

    def write(self, path):
        path.write_bytes(json.dumps({"nftables": self.entries}).encode())


def address(first, number):
    return f"{first}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def kube_proxy(services, endpoints, endpoint_chains):
    """A ruleset with a chain for each endpoint (1.32), or with a map of them in each Service's rule (1.36)."""
    made = Ruleset()
    addresses = [address(172, s + 1) for s in range(services)]
    chains = [f"service-ULMVA6XW-namespace-{s % 50}/service-{s}/tcp/http" for s in range(services)]
    pods = [[address(10, s * endpoints + e) for e in range(endpoints)] for s in range(services)]
    targets = [
        [{"concat": [a, "tcp", 80]}, {"goto": {"target": c}}] for a, c in zip(addresses, chains, strict=True)
    ]
    made.elements("map", "service-ips", KEY, targets, map="verdict")
    made.elements("set", "cluster-ips", "ipv4_addr", addresses)
    made.elements("map", "no-endpoint-services", KEY, [], map="verdict")
    hairpin = [{"concat": [pod, pod, "tcp", 8080]} for members in pods for pod in members]
    made.elements("set", "hairpin-connections", [KEY[0], *KEY], hairpin)
    for name, kind, hook, priority in BASES:
        made.chain(name, type=kind, hook=hook, prio=priority, policy="accept")
    for name in ("services", "masquerading", "service-endpoints-check"):
        made.chain(name)
    new = match({"ct": {"key": "state"}}, "new", "in")
    made.rule("filter-forward", new, jump("service-endpoints-check"))
    made.rule("nat-prerouting", jump("services"))
    made.rule("nat-postrouting", jump("masquerading"))
    check = {"vmap": {"key": {"concat": TO_SERVICE}, "data": "@no-endpoint-services"}}
    made.rule("service-endpoints-check", check)
    source = {"payload": {"protocol": "ip", "field": "saddr"}}
    outside = match(source, {"prefix": {"addr": "10.0.0.0", "len": 8}}, "!=")
    made.rule("services", match(TO_SERVICE[0], "@cluster-ips"), outside, MARK)
    made.rule("services", {"vmap": {"key": {"concat": TO_SERVICE}, "data": "@service-ips"}})
    marked = match({"&": [{"meta": {"key": "mark"}}, 16384]}, 0, "!=")
    made.rule("masquerading", marked, {"masquerade": {"flags": "fully-random"}})
    made.rule(
        "masquerading",
        match({"ct": {"key": "status"}}, "dnat", "in"),
        match({"concat": [source, *TO_SERVICE]}, "@hairpin-connections"),
        {"masquerade": {"flags": "fully-random"}},
    )
    for chain, members in zip(chains, pods, strict=True):
        made.chain(chain)
        number = {"numgen": {"mode": "random", "mod": endpoints, "offset": 0}}
        if not endpoint_chains:
            data = {"set": [[n, {"concat": [pod, 8080]}] for n, pod in enumerate(members)]}
            target = {"dnat": {"family": "ip", "addr": {"map": {"key": number, "data": data}}}}
            made.rule(chain, match(TO_SERVICE[1], "tcp"), target)
            continue
        names = [f"endpoint-ULMVA6XW-{chain[17:]}__{pod}/8080" for pod in members]
        for name, pod in zip(names, members, strict=True):
            made.chain(name)
            made.rule(name, match(source, pod), MARK)
            made.rule(name, match(TO_SERVICE[1], "tcp"), {"dnat": {"addr": pod, "port": 8080}})
        data = {"set": [[n, {"goto": {"target": name}}] for n, name in enumerate(names)]}
        made.rule(chain, {"vmap": {"key": number, "data": data}})
    return made


def load(data):
    return Node([NftablesRules(read_nft_json(data, "nft.json"), PlainSurroundings())], PlainRouter())


def ask(node, service):
    asked = packet("203.0.113.1", address(172, service + 1), 80)
    asked.iif = "eth0"
    return node.receive(asked)


def load_and_ask(data):
    return ask(load(data), 7)


def ask_all(node, services):
    for service in range(services):
        ask(node, service)


def seconds(run, *arguments):
    started = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - started


def report(what, value, bound, least=False):
    ok = value >= bound if least else value <= bound
    print(f"{'ok ' if ok else 'BAD'} {what}: {value:,.2f} (bound {bound:,})")


def peak():
    """The most memory that this process had so far, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure_memory(path):
    """Prints the bytes that the process grew by: the file, the loaded ruleset and one packet."""
    before = peak()
    load_and_ask(Path(path).read_bytes())
    print(peak() - before)


def main():
    if sys.argv[1:2] == ["--memory"]:
        return measure_memory(sys.argv[2])
    services, endpoints = (int(x) for x in sys.argv[1:3]) if len(sys.argv) > 2 else (5000, 10)
    for dialect, endpoint_chains in (("1.36", False), ("1.32", True)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "nft.json"
            kube_proxy(services, endpoints, endpoint_chains).write(path)
            data = path.read_bytes()
            child = [sys.executable, __file__, "--memory", path]
            grown = int(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
        print(f"kube-proxy {dialect}: {services} Services, {endpoints} endpoints each, {len(data) >> 20} MiB")
        outcomes = load_and_ask(data)
        assert len(outcomes) == endpoints, outcomes
        assert all(o.translated and o.packet.masquerade for o in outcomes), outcomes
        pairs = [(seconds(load_and_ask, data), seconds(orjson.loads, data)) for _ in range(ROUNDS)]
        ours, theirs = min(a for a, _ in pairs), min(b for _, b in pairs)
        report(f"load and one packet {ours:.3f} s / orjson.loads {theirs:.3f} s", ours / theirs, 2)
        report(f"memory {grown >> 20} MiB / file", grown / len(data), 4)
        node = load(data)
        rate = services / seconds(ask_all, node, services)
        report("packets per second, each to another Service", rate, 400, least=True)
        rate = services / seconds(ask_all, node, services)
        report("packets per second, once more", rate, 2000, least=True)
    return None


if __name__ == "__main__":
    main()
