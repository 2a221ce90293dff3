"""The written rules are those that the real kube-proxy wrote on three nodes from the same objects."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from svcdoctor.lab.proxyiptables import MANY_ENDPOINTS, iptables_rules
from svcdoctor.lab.proxynftables import nftables_rules
from svcdoctor.model.base import AnnotatedMeta, Meta
from svcdoctor.model.cluster import Node, NodeAddress, NodeSpec, NodeStatus
from svcdoctor.model.endpoints import EndpointConditions, EndpointPort, EndpointSlice, SliceEndpoint
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import (
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.node.chainnames import ServicePortName, iptables_hash, nftables_base
from svcdoctor.node.facts import settings_from_config
from svcdoctor.sources.archive import node_dumps, read_snapshot

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"
NODES = ("node1", "node2", "node3")
FAMILIES = (4, 6)
BACKENDS = ("nft", "legacy")
WRITERS = {"iptables": iptables_rules, "nftables": nftables_rules}

# --- iptables: rules in one form, whoever wrote them

# Chains of the kubelet, and of the CNI plugin for hostPorts (portmap), with the jumps to them.
FOREIGN = ("KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT", "CNI-")
# kube-proxy goes over a Go map of Service ports, so the order in these chains is random.
UNORDERED = {"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"}
LAST = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"
DEFAULTS = {
    ("--mask", "255.255.255.255"),
    ("--mask", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("--rsource",),
    ("--reject-with", "icmp-port-unreachable"),
    ("--reject-with", "icmp6-port-unreachable"),
}
VALUELESS = {"--rsource", "--rcheck", "--set", "--reap", "--random-fully"}


def rule(text):
    """The rule as a sorted tuple of its options, in iptables-save's spelling."""
    words = iter(shlex.split(text))
    options = []
    negated = ()
    for word in words:
        if word == "!":
            negated = ("!",)
            continue
        value = () if word in VALUELESS else (next(words),)
        options += spelt((*negated, word, *value))
        negated = ()
    return tuple(sorted(options))


def spelt(option):
    *_, flag, value = (*option, "") if len(option) == 1 else option
    if flag == "-m" or option in DEFAULTS:  # which module a match is from, and what holds without saying
        return []
    if flag == "--or-mark":
        return [("--set-xmark", f"{value}/{value}")]
    if flag == "--xor-mark":
        return [("--set-xmark", f"{value}/0x0")]
    if flag == "--probability":
        return [(flag, f"{float(value):.7f}")]
    if flag in ("-s", "-d") and "/" not in value:
        return [(*option[:-1], f"{value}/{128 if ':' in value else 32}")]
    return [option]


def chains(text):
    """(table, chain) → rules."""
    found = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            found[table, line[1:].split()[0]] = []
        elif line.startswith("-A "):
            _, chain, options = line.split(" ", 2)
            found[table, chain].append(options)
    return found


def as_rules(found):
    """Rules in one form, sorted where their order is random."""
    result = {}
    for (table, chain), texts in found.items():
        if chain.startswith(FOREIGN) or (not texts and not chain.startswith("KUBE-")):
            continue
        rules = [rule(t) for t in texts if not t.rpartition("-j ")[2].startswith(FOREIGN)]
        if chain in UNORDERED:
            last = [r for r in rules if ("--comment", LAST) in r]
            assert rules[len(rules) - len(last) :] == last
            rules = [*sorted(r for r in rules if r not in last), *last]
        result[table, chain] = rules
    return result


def without_nfacct(found):
    """Counting with nfacct left out: the match that counts, and rules that are there only to count."""
    result = {}
    for (table, chain), texts in found.items():
        kept = []
        for i, text in enumerate(texts):
            counted = re.sub(r" -m nfacct --nfacct-name +\S+", "", text)
            if counted == text or chain == "KUBE-FORWARD":
                kept.append(counted)
            else:  # the same rule follows, for any address
                assert chain == "KUBE-NODEPORTS"
                assert counted == f"-d 127.0.0.0/8 {texts[i + 1]}"
        result[table, chain] = kept
    return result


@pytest.fixture(scope="module")
def captures():
    paths = {mode: CAPTURES / f"{mode}.tar.gz" for mode in ("iptables", "nftables")}
    return {mode: (read_snapshot(path), node_dumps(path)) for mode, path in paths.items()}


def written(captures, mode, node, family):
    snapshot, _ = captures[mode]
    facts = snapshot.node_facts[node]
    return WRITERS[mode](snapshot, node, facts.proxy, family, facts.addresses)


def recorded_iptables(captures, node, family):
    dump = captures["iptables"][1][node][f"ip{'6' if family == 6 else ''}tables-save.txt"].decode()
    return as_rules(without_nfacct(chains(dump)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", NODES)
def test_iptables_rules_are_the_recorded_ones(captures, node, family):
    recorded = recorded_iptables(captures, node, family)
    assert as_rules(chains(written(captures, "iptables", node, family))) == recorded


# --- the real tools, in a network namespace that ends with its last process


@pytest.fixture(scope="session")
def namespace():
    """Whether rules can be loaded: skips with the reason where not, fails in CI."""
    programs = (
        "unshare",
        "nft",
        *(f"ip{six}tables-{b}-{verb}" for six in ("", "6") for b in BACKENDS for verb in ("restore", "save")),
    )
    missing = [p for p in programs if shutil.which(p) is None]
    reason = f"not installed: {', '.join(missing)}" if missing else ""
    if not missing:
        tried = subprocess.run(
            ["unshare", "--net", "nft", "list", "ruleset"], capture_output=True, text=True, check=False
        )
        reason = "" if tried.returncode == 0 else f"no network namespace: {tried.stderr.strip()}"
    if reason:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def loaded(tmp_path, load, show, *texts):
    """What ``show`` prints after ``load`` took each text, in a new network namespace."""
    script = []
    for i, text in enumerate(texts):
        file = tmp_path / f"rules-{i}"
        file.write_text(text)
        script.append(f"{load} {shlex.quote(str(file))}")
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", " && ".join((*script, show))],
        env=os.environ | {"XTABLES_LOCKFILE": str(tmp_path / "lock")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def load_iptables(tmp_path, backend, family, *texts):
    program = f"ip{'6' if family == 6 else ''}tables-{backend}"
    return loaded(tmp_path, f"{program}-restore", f"{program}-save", *texts)


def load_nftables(tmp_path, family, *texts):
    return listed(json.loads(loaded(tmp_path, "nft -f", "nft -j list ruleset", *texts)), family)


def load(tmp_path, mode, family, text):
    """Prove that the kernel takes the rules."""
    if mode == "nftables":
        load_nftables(tmp_path, family, text)
    else:
        for backend in BACKENDS:
            load_iptables(tmp_path, backend, family, text)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_iptables_takes_the_rules_and_saves_the_recorded_ones(
    captures, namespace, tmp_path, backend, node, family
):
    text = written(captures, "iptables", node, family)
    saved = load_iptables(tmp_path, backend, family, text)
    assert as_rules(chains(saved)) == recorded_iptables(captures, node, family)


def listed(ruleset, family):
    """Table kube-proxy of one IP family: chains with their rules in order, sets and maps with elements."""
    name = "ip6" if family == 6 else "ip"
    found = {}
    for entry in ruleset["nftables"]:
        ((kind, item),) = entry.items()
        if item.get("family") != name or item.get("table") != "kube-proxy":
            continue
        if kind == "rule":
            found["chain", item["chain"]][1].append((item["expr"], item.get("comment")))
            continue
        plain = {k: v for k, v in item.items() if k not in ("handle", "elem")}
        elements = sorted(item.get("elem", ()), key=json.dumps)
        found[kind, item["name"]] = (plain, elements)
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", NODES)
def test_nft_lists_the_recorded_table(captures, namespace, tmp_path, node, family):
    recorded = listed(json.loads(captures["nftables"][1][node]["nft.json"]), family)
    assert load_nftables(tmp_path, family, written(captures, "nftables", node, family)) == recorded


@pytest.mark.parametrize("family", FAMILIES)
def test_loading_replaces_what_was_there(captures, namespace, tmp_path, family):
    one, other = (written(captures, "iptables", node, family) for node in NODES[:2])
    for backend in BACKENDS:
        saved = load_iptables(tmp_path, backend, family, one, other)
        assert as_rules(chains(saved)) == recorded_iptables(captures, NODES[1], family)
    one, other = (written(captures, "nftables", node, family) for node in NODES[:2])
    recorded = listed(json.loads(captures["nftables"][1][NODES[1]]["nft.json"]), family)
    assert load_nftables(tmp_path, family, one, other) == recorded


# --- settings and Services that the captures do not have

POD_CIDRS = ("10.244.0.0/16", "fd00:10:244::/48")
NODE_IPS = {"a": ("172.30.0.11", "fd00:172:30::11"), "b": ("172.30.0.12", "fd00:172:30::12")}
ON_NODE = ("127.0.0.1", "::1", "192.168.7.1", "fd07::1", *NODE_IPS["a"])
CLUSTER_IPS = {4: "10.96.0.10", 6: "fd00:10:96::10"}
OUTSIDE = {4: "203.0.113.5", 6: "2001:db8::5"}
READY = EndpointConditions(ready=True, serving=True, terminating=False)
HTTP = ServicePort(port=80, name="http", node_port=30080)


def pod_ip(family, node, number=2):
    return f"10.244.{node}.{number}" if family == 4 else f"fd00:10:244:{node}::{number:x}"


def service(family, *, name="web", labels=None, ingress=(), **spec):
    spec.setdefault("type", "NodePort")
    spec.setdefault("ports", (HTTP,))
    spec.setdefault("cluster_ip", CLUSTER_IPS[family])
    return Service(
        metadata=AnnotatedMeta(name=name, namespace="shop", labels=labels),
        spec=ServiceSpec(**spec),
        status=ServiceStatus(LoadBalancerStatus(tuple(LoadBalancerIngress(ip=ip) for ip in ingress))),
    )


def endpoints(family, *where, name="web", port="http", protocol="TCP"):
    return EndpointSlice(
        metadata=Meta(name=f"{name}-x", namespace="shop", labels={"kubernetes.io/service-name": name}),
        address_type=f"IPv{family}",
        ports=(EndpointPort(name=port, port=8080, protocol=protocol),),
        endpoints=tuple(
            SliceEndpoint(addresses=(ip,), conditions=READY, node_name=node) for ip, node in where
        ),
    )


def on_each_node(family, **kwargs):
    return endpoints(family, (pod_ip(family, 1), "a"), (pod_ip(family, 2), "b"), **kwargs)


def cluster(services, slices):
    nodes = tuple(
        Node(
            metadata=Meta(name=name),
            spec=NodeSpec(pod_cidrs=(f"10.244.{i}.0/24", f"fd00:10:244:{i}::/64")),
            status=NodeStatus(addresses=tuple(NodeAddress("InternalIP", ip) for ip in ips)),
        )
        for i, (name, ips) in enumerate(NODE_IPS.items(), 1)
    )
    return Snapshot(
        {Kind.SERVICE: tuple(services), Kind.ENDPOINT_SLICE: tuple(slices), Kind.NODE: nodes},
        {kind: (Known(),) for kind in Kind},
    )


def rules_for(mode, family, services, slices, node="a", **settings):
    proxy = ProxySettings(mode, **{"cluster_cidrs": POD_CIDRS} | settings)
    return WRITERS[mode](cluster(services, slices), node, proxy, family, ON_NODE)


def nft_rules(text, chain):
    """A chain's rules in the text, as they are written."""
    block = re.search(rf"^chain {re.escape(chain)} {{\n(.*?)^}}$", text, re.DOTALL | re.MULTILINE)
    return block[1].splitlines() if block else None


WEB = ServicePortName("shop", "web", "http", "tcp")
SVC = f"KUBE-SVC-{iptables_hash(WEB)}"
EXT = f"KUBE-EXT-{iptables_hash(WEB)}"
DETECTION = [
    ({"masquerade_all": True}, 4, "", ""),
    ({"masquerade_all": True}, 6, "", ""),
    ({}, 4, "! -s 10.244.0.0/16", "ip saddr != 10.244.0.0/16"),
    ({}, 6, "! -s fd00:10:244::/48", "ip6 saddr != fd00:10:244::/48"),
    ({"detect_local": "NodeCIDR"}, 4, "! -s 10.244.1.0/24", "ip saddr != 10.244.1.0/24"),
    ({"detect_local": "NodeCIDR"}, 6, "! -s fd00:10:244:1::/64", "ip6 saddr != fd00:10:244:1::/64"),
    ({"detect_local": "BridgeInterface", "pod_interface": "cni0"}, 4, "! -i cni0", 'iifname != "cni0"'),
    (
        {"detect_local": "InterfaceNamePrefix", "pod_interface": "veth"},
        6,
        "! -i veth+",
        'iifname != "veth*"',
    ),
    ({"cluster_cidrs": POD_CIDRS[1:]}, 4, None, None),
    ({"cluster_cidrs": POD_CIDRS[:1]}, 6, None, None),
]


@pytest.mark.parametrize(("settings", "family", "others", "nft_others"), DETECTION)
def test_who_is_masqueraded_on_a_cluster_ip(namespace, tmp_path, settings, family, others, nft_others):
    world = ([service(family)], [on_each_node(family)])
    text = rules_for("iptables", family, *world, **settings)
    load(tmp_path, "iptables", family, text)
    first = rule(chains(text)["nat", SVC][0])
    to = f'-d {CLUSTER_IPS[family]} -p tcp --dport 80 --comment "shop/web:http cluster IP"'
    expected = rule(f"{to} {others} -j KUBE-MARK-MASQ") if others is not None else None
    assert (first == expected) == (others is not None)
    assert (("-j", "KUBE-MARK-MASQ") in first) == (others is not None)

    text = rules_for("nftables", family, *world, **settings)
    load(tmp_path, "nftables", family, text)
    marking = [line for line in nft_rules(text, "services") if "mark set" in line]
    ip = "ip6" if family == 6 else "ip"
    start = " ".join(
        f"{ip} daddr @cluster-ips {nft_others or ''} meta mark set meta mark | 0x00004000".split()
    )
    assert [line.startswith(start) for line in marking] == [True] * (nft_others is not None)


@pytest.mark.parametrize(
    ("mode", "key"),
    [("BridgeInterface", "bridgeInterface"), ("InterfaceNamePrefix", "interfaceNamePrefix")],
)
def test_the_pods_interface_comes_from_the_configuration(mode, key):
    both = {"bridgeInterface": "no", "interfaceNamePrefix": "no"}
    config = {"mode": "iptables", "detectLocalMode": mode, "detectLocal": both | {key: "cali"}}
    assert settings_from_config(config).pod_interface == "cali"
    assert settings_from_config({"detectLocal": both}).pod_interface == ""


NODE_PORTS = [
    # settings, family, how iptables and how nftables lead to nodePorts
    ({}, 4, ["--dst-type LOCAL"], "ip daddr @nodeport-ips"),
    ({}, 6, ["! -d ::1/128 --dst-type LOCAL"], "ip6 daddr @nodeport-ips"),
    ({"localhost_node_ports": False}, 4, ["! -d 127.0.0.0/8 --dst-type LOCAL"], "ip daddr @nodeport-ips"),
    ({"node_port_addresses": ("primary",)}, 4, ["-d 172.30.0.11"], "ip daddr @nodeport-ips"),
    ({"node_port_addresses": ("primary",)}, 6, ["-d fd00:172:30::11"], "ip6 daddr @nodeport-ips"),
    (
        {"node_port_addresses": ("192.168.0.0/16", "127.0.0.0/8")},
        4,
        ["-d 127.0.0.1", "-d 192.168.7.1"],
        "ip daddr @nodeport-ips",
    ),
    (
        {"node_port_addresses": ("192.168.0.0/16", "127.0.0.0/8"), "localhost_node_ports": False},
        4,
        ["-d 192.168.7.1"],
        "ip daddr @nodeport-ips",
    ),
    (
        {"node_port_addresses": ("192.168.0.0/16",)},  # nothing said of IPv6: not restricted
        6,
        ["! -d ::1/128 --dst-type LOCAL"],
        "fib daddr type local ip6 daddr != ::1",
    ),
    ({"node_port_addresses": ("fd07::/16", "::1/128")}, 6, ["-d fd07::1"], "ip6 daddr @nodeport-ips"),
    (
        {"node_port_addresses": ("0.0.0.0/0",)},
        4,
        ["--dst-type LOCAL"],
        "fib daddr type local ip daddr != 127.0.0.0/8",
    ),
]
ANSWERING = {
    (4, None): {"172.30.0.11"},
    (6, None): {"fd00:172:30::11"},
    (4, ("primary",)): {"172.30.0.11"},
    (6, ("primary",)): {"fd00:172:30::11"},
    (4, ("192.168.0.0/16", "127.0.0.0/8")): {"192.168.7.1"},
    (6, ("fd07::/16", "::1/128")): {"fd07::1"},
}


@pytest.mark.parametrize(("settings", "family", "jumps", "nft_match"), NODE_PORTS)
def test_where_node_ports_answer(namespace, tmp_path, settings, family, jumps, nft_match):
    world = ([service(family)], [on_each_node(family)])
    text = rules_for("iptables", family, *world, **settings)
    load(tmp_path, "iptables", family, text)
    found = [r for t in chains(text)["nat", "KUBE-SERVICES"] if ("-j", "KUBE-NODEPORTS") in (r := rule(t))]
    assert found == [rule(f'--comment "{LAST}" {jump} -j KUBE-NODEPORTS') for jump in jumps]

    text = rules_for("nftables", family, *world, **settings)
    table = load_nftables(tmp_path, family, text)
    lookup = "meta l4proto . th dport vmap"
    assert nft_rules(text, "services")[-1] == f"{nft_match} {lookup} @service-nodeports"
    assert nft_rules(text, "nodeport-endpoints-check") == [f"{nft_match} {lookup} @no-endpoint-nodeports"]
    answering = ANSWERING.get((family, settings.get("node_port_addresses")))
    assert (("set", "nodeport-ips") in table) == (answering is not None)
    if answering is not None:
        assert set(table["set", "nodeport-ips"][1]) == answering


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", WRITERS)
def test_services_of_other_proxies_get_no_rules(mode, family):
    labels = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
    foreign = [service(family, name=f"web{i}", labels={key: ""}) for i, key in enumerate(labels)]
    foreign += [service(family, name="none", cluster_ip="None", external_ips=(OUTSIDE[family],))]
    foreign += [
        service(family, name="elsewhere", type="ExternalName", external_name="x.example", cluster_ip="")
    ]
    foreign += [service(10 - family, name="other-family")]
    slices = [on_each_node(family, name=s.name) for s in foreign]
    assert rules_for(mode, family, foreign, slices) == rules_for(mode, family, [], [])


@pytest.mark.parametrize("family", FAMILIES)
def test_policy_local_without_an_endpoint_on_the_node_drops(namespace, tmp_path, family):
    policies = {"internal_traffic_policy": "Local", "external_traffic_policy": "Local"}
    world = (
        [service(family, external_ips=(OUTSIDE[family],), **policies)],
        [endpoints(family, (pod_ip(family, 2), "b"))],
    )
    text = rules_for("iptables", family, *world)
    load(tmp_path, "iptables", family, text)
    found = chains(text)
    why = '--comment "shop/web:http has no local endpoints" -p tcp'
    assert [rule(t) for t in found["filter", "KUBE-SERVICES"]] == [
        rule(f"{why} -d {CLUSTER_IPS[family]} --dport 80 -j DROP")
    ]
    assert [rule(t) for t in found["filter", "KUBE-EXTERNAL-SERVICES"]] == [
        rule(f"{why} -d {OUTSIDE[family]} --dport 80 -j DROP"),
        rule(f"{why} --dst-type LOCAL --dport 30080 -j DROP"),
    ]
    # Pods and the node itself still reach the endpoint elsewhere; nothing else leaves the chain.
    assert [t.rpartition("-j ")[2] for t in found["nat", EXT]] == [SVC, "KUBE-MARK-MASQ", SVC]

    text = rules_for("nftables", family, *world)
    table = load_nftables(tmp_path, family, text)
    verdicts = [v for _, v in table["map", "no-endpoint-services"][1]]
    assert verdicts == [{"drop": None}] * 2
    assert [v for _, v in table["map", "no-endpoint-nodeports"][1]] == [{"drop": None}]
    assert not any("goto local-" in line for line in text.splitlines())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", NODE_IPS)
def test_source_ranges_with_the_node_in_them_let_its_own_balancer_address_in(
    namespace, tmp_path, node, family
):
    vip = OUTSIDE[family]
    own = {4: "172.30.0.11/32", 6: "fd00:172:30::11/128"}[family]
    other = {4: "198.51.100.7/24", 6: "2001:db8:7::9/48"}[family]  # with host bits, for its network
    network = {4: "198.51.100.0/24", 6: "2001:db8:7::/48"}[family]
    balanced = service(
        family, type="LoadBalancer", ingress=(vip,), load_balancer_source_ranges=(other, own, "bad")
    )
    world = ([balanced], [on_each_node(family)])
    allowed = [network, own, *((vip,) if node == "a" else ())]
    text = rules_for("iptables", family, *world, node=node)
    load(tmp_path, "iptables", family, text)
    *lets_in, last = chains(text)["nat", f"KUBE-FW-{iptables_hash(WEB)}"]
    assert [rule(t) for t in lets_in] == [
        rule(f'--comment "shop/web:http loadbalancer IP" -s {s} -j {EXT}') for s in allowed
    ]
    assert "-j" not in last
    text = rules_for("nftables", family, *world, node=node)
    load(tmp_path, "nftables", family, text)
    ip = "ip6" if family == 6 else "ip"
    assert nft_rules(text, f"firewall-{nftables_base(WEB)}") == [
        f"{ip} saddr != {{ {', '.join(re.sub('/(32|128)$', '', a) for a in allowed)} }} drop"
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_source_ranges_may_overlap_or_hold_every_address(namespace, tmp_path, family):
    everyone = {4: "0.0.0.0/0", 6: "::/0"}[family]
    for ranges in ((everyone,), (POD_CIDRS[family == 6], pod_ip(family, 1) + "/31"), (everyone, everyone)):
        balanced = service(
            family, type="LoadBalancer", ingress=(OUTSIDE[family],), load_balancer_source_ranges=ranges
        )
        for mode in WRITERS:
            load(tmp_path, mode, family, rules_for(mode, family, [balanced], [on_each_node(family)]))


@pytest.mark.parametrize("family", FAMILIES)
def test_without_endpoints_iptables_refuses_and_nftables_guards_the_balancer_all_the_same(
    namespace, tmp_path, family
):
    ranges = (POD_CIDRS[family == 6],)
    balanced = service(
        family, type="LoadBalancer", ingress=(OUTSIDE[family],), load_balancer_source_ranges=ranges
    )
    text = rules_for("iptables", family, [balanced], [])
    load(tmp_path, "iptables", family, text)
    assert "KUBE-FW-" not in text
    refused = chains(text)["filter", "KUBE-EXTERNAL-SERVICES"]
    assert [t.endswith("-j REJECT") for t in refused] == [True, True]
    table = load_nftables(tmp_path, family, rules_for("nftables", family, [balanced], []))
    assert table["chain", f"firewall-{nftables_base(WEB)}"][1]
    assert len(table["map", "firewall-ips"][1]) == 1
    assert [v for _, v in table["map", "no-endpoint-services"][1]] == [
        {"goto": {"target": "reject-chain"}}
    ] * 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_balancer_without_address_and_node_port_has_no_way_from_outside(namespace, tmp_path, family):
    ports = (ServicePort(port=80, name="http"),)
    pending = service(family, type="LoadBalancer", ports=ports, internal_traffic_policy="Local")
    world = ([pending], [endpoints(family, (pod_ip(family, 2), "b"))])
    text = rules_for("iptables", family, *world)
    load(tmp_path, "iptables", family, text)
    assert not [chain for _, chain in chains(text) if chain in (SVC, EXT)]
    assert [t.endswith("-j DROP") for t in chains(text)["filter", "KUBE-SERVICES"]] == [True]
    text = rules_for("nftables", family, *world)
    load(tmp_path, "nftables", family, text)
    assert nftables_base(WEB) not in text


@pytest.mark.parametrize("family", FAMILIES)
def test_two_services_with_one_external_address_load_and_the_first_has_it(namespace, tmp_path, family):
    services = [service(family, name=n, external_ips=(OUTSIDE[family],)) for n in ("web", "late")]
    slices = [on_each_node(family, name=n) for n in ("web", "late")]
    load(tmp_path, "iptables", family, rules_for("iptables", family, services, slices))
    table = load_nftables(tmp_path, family, rules_for("nftables", family, services, slices))
    external = [v for key, v in table["map", "service-ips"][1] if key["concat"][0] == OUTSIDE[family]]
    assert external == [{"goto": {"target": f"external-{nftables_base(WEB)}"}}]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_port_of_a_service_opens_its_health_check(namespace, tmp_path, family):
    ports = (HTTP, ServicePort(port=443, name="https", node_port=30443))
    balanced = service(
        family,
        type="LoadBalancer",
        ports=ports,
        ingress=(OUTSIDE[family],),
        external_traffic_policy="Local",
        health_check_node_port=32000,
    )
    text = rules_for("iptables", family, [balanced], [on_each_node(family)])
    load(tmp_path, "iptables", family, text)
    assert [rule(t) for t in chains(text)["filter", "KUBE-NODEPORTS"]] == [
        rule(f'--comment "shop/web:{p} health check node port" -p tcp --dport 32000 -j ACCEPT')
        for p in ("http", "https")
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_affinity_with_policy_local_and_sctp(namespace, tmp_path, family):
    port = ServicePort(port=80, node_port=30080, protocol="SCTP")  # a port without a name
    sticky = service(
        family,
        ports=(port,),
        session_affinity="ClientIP",
        internal_traffic_policy="Local",
        external_traffic_policy="Local",
    )
    here = [pod_ip(family, 1, n) for n in (2, 10)]
    world = ([sticky], [endpoints(family, *((ip, "a") for ip in here), port="", protocol="SCTP")])
    name = ServicePortName("shop", "web", "", "sctp")
    text = rules_for("iptables", family, *world)
    load(tmp_path, "iptables", family, text)
    local = [rule(t) for t in chains(text)["nat", f"KUBE-SVL-{iptables_hash(name)}"]]
    # First who is not a pod is masqueraded, then old clients find their endpoint, then a new one is chosen.
    assert [("--seconds", "10800") in r for r in local] == [False, True, True, False, False]
    assert [("--probability", "0.5000000") in r for r in local] == [False, False, False, True, False]
    table = load_nftables(tmp_path, family, rules_for("nftables", family, *world))
    affinity = [item for (kind, set_), (item, _) in table.items() if set_.startswith("affinity-")]
    assert [item["timeout"] for item in affinity] == [10800, 10800]
    assert len(table["chain", f"local-{nftables_base(name)}"][1]) == 3


def test_many_endpoints_leave_comments_out_and_make_as_many_rules_as_the_formula_says(namespace, tmp_path):
    count = MANY_ENDPOINTS // 10
    services, slices = [], []
    for i in range(count + 1):
        ports = (ServicePort(port=80, name="http"),)
        services.append(service(4, name=f"s{i}", type="ClusterIP", ports=ports, cluster_ip=f"10.96.1.{i}"))
        ends = tuple((f"10.245.{i}.{j}", "b") for j in range(10))
        slices.append(endpoints(4, *ends, name=f"s{i}"))
    few = rules_for("iptables", 4, services[:count], slices[:count])
    many = rules_for("iptables", 4, services, slices)
    for text, number, commented in ((few, count, True), (many, count + 1, False)):
        nat = [(c, t) for (table, c), texts in chains(text).items() if table == "nat" for t in texts]
        own = [(c, t) for c, t in nat if c.startswith("KUBE-")]
        # Per Service its address, its masquerading, and per endpoint one choice and two rules; five others.
        assert len(own) == number * (2 + 10 * 3) + 5
        assert any("->" in t for _, t in own) == commented
        assert any("cluster IP" in t for _, t in own)
    load(tmp_path, "iptables", 4, many)
