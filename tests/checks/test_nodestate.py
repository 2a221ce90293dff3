"""Bridges, tracked UDP connections and the conntrack table: planted in a real cluster's dumps, and in a small one's."""

import json
from functools import cache
from pathlib import Path

import pytest

from svcdoctor.checks.audit import audit
from svcdoctor.checks.diagnose import answer_once
from svcdoctor.checks.nodestate import full_table, no_hairpin, stale_udp
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import Dump
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Verdict
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target
from svcdoctor.path.world import World
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.nodedumps import node_facts

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"
NEW_CODES = {"RUL012", "RUL013", "RUL014"}


@cache
def capture(mode):
    return read_snapshot(CAPTURES / f"{mode}.tar.gz")


def planted(held, node, **dumps):
    """The snapshot with text added to (``str``) or put in the place of (``bytes``) dumps of a node."""
    facts = dict(held.node_facts)
    raw = dict(facts[node].raw)
    for word, more in dumps.items():
        name = word.replace("__", "-").replace("_txt", ".txt").replace("_json", ".json")
        old = raw[name].data if name in raw else b""
        raw[name] = Dump(f"{node}/{name}", more if isinstance(more, bytes) else old + more.encode())
    facts[node] = node_facts(node, raw)
    return Snapshot({k: held.of(k) for k in held.facts}, held.facts, facts, source=held.source)


def ask(snapshot, target, namespace, asking=None):
    request = Request(parse_target(target, namespace), parse_client(asking) if asking else None)
    return answer_once(snapshot, request, namespace)


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_the_recorded_cluster_has_none_of_it(mode):
    answer = audit(capture(mode), lambda s: True)
    assert not NEW_CODES & {f.code for f in answer.findings}
    for name in ("udp", "udp-local", "udp-noep", "mixed-proto"):
        found = ask(capture(mode), f"svc/{name}", "truth").findings
        assert not NEW_CODES & {f.code for f in found}


# --- RUL013

CLIENT = "src=10.244.2.3 dst={} sport=4000 dport={}"
UDP = "10.96.1.18"  # truth/udp: 53 → 5353 on 10.244.1.6, 10.244.2.2, 10.244.3.2, nodePort 30053


def entry(dst, dport, answer, sport, mark="[ASSURED] mark=0 use=1", unreplied="", seconds="100 "):
    back = f"src={answer} dst=10.244.2.3 sport={sport} dport=4000"
    return f"udp      17 {seconds}{CLIENT.format(dst, dport)} {unreplied}{back} {mark}\n"


TABLE = {
    "an endpoint": (entry(UDP, 53, "10.244.1.6", 5353), False),
    "a gone one": (entry(UDP, 53, "10.244.1.99", 5353), True),
    "a gone one, offloaded": (
        entry(UDP, 53, "10.244.1.99", 5353, "[OFFLOAD] mark=0 use=2", seconds=""),
        True,
    ),
    "a gone one, not answered": (entry(UDP, 53, "10.244.1.99", 5353, "mark=0 use=1", "[UNREPLIED] "), True),
    "an old targetPort": (entry(UDP, 53, "10.244.1.6", 53), True),
    "extended": ("ipv4     2 " + entry(UDP, 53, "10.244.1.99", 5353), True),
    "in a zone of its own": (entry(UDP, 53, "10.244.1.99", 5353, "[ASSURED] mark=0 zone=7 use=1"), False),
    "the same port by TCP": (entry(UDP, 53, "10.244.1.99", 5353).replace("udp      17", "tcp      6"), False),
    "another port": (entry(UDP, 54, "10.244.1.99", 5353), False),
    "another Service": (entry("10.96.1.20", 53, "10.244.1.99", 5353), False),
    "the pod itself was asked": (entry("10.244.1.99", 5353, "10.244.1.99", 5353), False),
    "no rule took it": (entry(UDP, 53, UDP, 53, "mark=0 use=1", "[UNREPLIED] "), True),
    "no rule took it and somebody answers": (entry(UDP, 53, UDP, 53), False),
    "nodePort, an endpoint": (entry("172.30.0.12", 30053, "10.244.3.2", 5353), False),
    "nodePort, a gone one": (entry("172.30.0.12", 30053, "10.244.3.99", 5353), True),
    "nodePort, no rule took it": (
        entry("172.30.0.12", 30053, "172.30.0.12", 30053, "mark=0", "[UNREPLIED] "),
        True,
    ),
    "nodePort of another node": (
        entry("172.30.0.13", 30053, "172.30.0.13", 30053, "mark=0", "[UNREPLIED] "),
        False,
    ),
}


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("what", TABLE)
def test_a_planted_entry_is_stale_or_not(mode, what):
    line, stale = TABLE[what]
    world = World(planted(capture(mode), "node2", conntrack_txt=line))
    service = world.snapshot.service("truth", "udp")
    found = list(stale_udp(world, world.hosts.host("node2"), (service,)))
    assert bool(found) is stale, found
    assert list(stale_udp(world, world.hosts.host("node1"), (service,))) == []


def test_the_finding_names_the_line_and_deletes_the_entry():
    gone = "".join(entry(UDP, 53, f"10.244.1.{n}", 5353) for n in range(100, 110))
    snapshot = planted(capture("iptables"), "node2", conntrack_txt=gone)
    for answer in (ask(snapshot, "svc/udp", "truth"), audit(snapshot, lambda s: s.name == "udp")):
        [finding] = [f for f in answer.findings if f.code == "RUL013"]
        assert finding.severity == "warning" and answer.verdict is Verdict.DEGRADED
        assert finding.subjects == ("Service/truth/udp", "Node/node2")
        assert (
            "udp 17 100 src=10.244.2.3 dst=10.96.1.18 sport=4000 dport=53 src=10.244.1.100"
            in finding.evidence[1]
        )
        assert finding.evidence[-1] == "6 more entries"
        assert finding.fix.startswith(
            "conntrack -D -p udp --orig-dst 10.96.1.18 --dport 53 --reply-src 10.244.1.100; "
        )
        assert finding.fix.endswith(" (on node2)") and finding.fix.count("conntrack -D") == 4


def test_without_endpoints_the_cause_comes_first_and_the_entry_after_it():
    """Such entries stay, in some versions of kube-proxy, when a Service is scaled to zero."""
    snapshot = planted(
        capture("iptables"), "node2", conntrack_txt=entry("10.96.1.21", 53, "10.244.1.99", 5353)
    )
    answer = ask(snapshot, "svc/udp-noep", "truth")
    assert answer.verdict is Verdict.BROKEN
    assert answer.findings[0].severity == "error" and answer.findings[0].code.startswith("OBJ")
    assert [f.code for f in answer.findings if f.code in NEW_CODES] == ["RUL013"]


def test_a_broken_dump_is_named_only_where_it_is_needed():
    snapshot = planted(capture("iptables"), "node2", conntrack_txt="udp      17 29 src=10.2\n")
    with pytest.raises(SvcdoctorError, match=r"node2/conntrack.txt line 44: not a line of conntrack -L"):
        ask(snapshot, "svc/udp", "truth")
    assert ask(snapshot, "svc/np-cluster", "truth").verdict is Verdict.HEALTHY


def test_unknown_endpoints_are_not_taken_for_gone():
    held = planted(capture("iptables"), "node2", conntrack_txt=entry(UDP, 53, "10.244.1.99", 5353))
    kinds = {k: v for k, v in held.facts.items() if k is not Kind.ENDPOINT_SLICE}
    world = World(Snapshot({k: held.of(k) for k in kinds}, kinds, held.node_facts))
    assert not list(stale_udp(world, world.hosts.host("node2"), (world.snapshot.service("truth", "udp"),)))


def obj(kind, name, version="v1", **fields):
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, **fields.pop("metadata", {})},
        **fields,
    }


def slices(family, address, ready=True):
    return obj(
        "EndpointSlice",
        f"dns-{family}",
        "discovery.k8s.io/v1",
        metadata={"namespace": "shop", "labels": {"kubernetes.io/service-name": "dns"}},
        addressType=f"IPv{family}",
        endpoints=[
            {
                "addresses": [address],
                "conditions": {"ready": ready, "serving": ready, "terminating": False},
                "nodeName": "n1",
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": "dns-0"},
            }
        ],
        ports=[{"name": "dns", "port": 5353, "protocol": "UDP"}],
    )


OBJECTS = {
    "services": [
        obj(
            "Service",
            "dns",
            metadata={"namespace": "shop"},
            spec={
                "type": "LoadBalancer",
                "clusterIP": "10.96.0.10",
                "clusterIPs": ["10.96.0.10", "fd00:96::a"],
                "ipFamilies": ["IPv4", "IPv6"],
                "externalIPs": ["198.51.100.7", "2001:db8::7"],
                "ports": [
                    {"name": "dns", "port": 53, "targetPort": 5353, "nodePort": 30053, "protocol": "UDP"}
                ],
            },
            status={
                "loadBalancer": {"ingress": [{"ip": "2001:db8::9"}, {"ip": "2001:db8::8", "ipMode": "Proxy"}]}
            },
        )
    ],
    "endpointslices": [slices(4, "10.244.1.6"), slices(6, "fd00:244:1::6")],
    "pods": [],
    "nodes": [
        obj(
            "Node",
            "n1",
            spec={"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64"]},
            status={
                "addresses": [{"type": "InternalIP", "address": a} for a in ("192.0.2.1", "2001:db8::1")]
            },
        )
    ],
}


def small(tmp_path, **dumps):
    """A node with the pod dns-0 behind its bridge cni0."""

    def link(name, *addresses, **more):
        info = [{"local": a, "prefixlen": 64 if ":" in a else 24} for a in addresses]
        return {"ifname": name, "flags": ["UP"], "addr_info": info, **more}

    files = {
        "ip-addr.json": json.dumps(
            [link("eth0", "192.0.2.1", "2001:db8::1"), link("cni0", "10.244.1.1", "fd00:244:1::1")]
        ),
        "ip-route.json": json.dumps([{"dst": "10.244.1.0/24", "dev": "cni0", "scope": "link"}]),
        "ip-6-route.json": json.dumps([{"dst": "fd00:244:1::/64", "dev": "cni0"}]),
        "iptables-save.txt": "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n",
        **dumps,
    }
    for kind, items in OBJECTS.items():
        (tmp_path / "cluster").mkdir(parents=True, exist_ok=True)
        (tmp_path / "cluster" / f"{kind}.json").write_text(
            json.dumps({"kind": "List", "apiVersion": "v1", "items": items})
        )
    (tmp_path / "nodes" / "n1").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "nodes" / "n1" / name).write_text(text)
    world = World(read_snapshot(tmp_path))
    return world, world.hosts.host("n1"), (world.snapshot.service("shop", "dns"),)


@pytest.mark.parametrize(
    ("dst", "dport", "answer", "stale"),
    [
        ("fd00:96::a", 53, "fd00:244:1::6", False),
        ("fd00:96::a", 53, "fd00:244:1::99", True),
        (
            "fd00:0096:0000:0000:0000:0000:0000:000a",
            53,
            "fd00:244:1::99",
            True,
        ),  # as the kernel's file has it
        ("2001:db8::7", 53, "fd00:244:1::99", True),  # external IP
        ("2001:db8::9", 53, "fd00:244:1::99", True),  # load balancer
        ("2001:db8::9", 53, "fd00:244:1::6", False),
        ("2001:db8::8", 53, "fd00:244:1::99", False),  # ipMode Proxy: kube-proxy leaves it alone
        ("2001:db8::1", 30053, "fd00:244:1::99", True),  # nodePort
        ("2001:db8::2", 30053, "fd00:244:1::99", False),
    ],
)
def test_entries_of_ipv6(tmp_path, dst, dport, answer, stale):
    client = f"src=2001:db8::100 dst={dst} sport=4000 dport={dport}"
    line = f"udp 17 9 {client} src={answer} dst=2001:db8::100 sport=5353 dport=4000 [ASSURED] mark=0 use=1\n"
    found = list(stale_udp(*small(tmp_path, **{"conntrack-6.txt": line})))
    assert bool(found) is stale
    if stale:
        shown = (
            "2001:db8::1"
            if dport == 30053
            else dst.replace("fd00:0096:0000:0000:0000:0000:0000:000a", "fd00:96::a")
        )
        assert found[0].evidence[0] == (
            "n1: what [2001:db8::100]:4000 sends goes to [fd00:244:1::99]:5353, no endpoint of the Service"
        )
        assert f"--orig-dst {shown} --dport {dport} --reply-src fd00:244:1::99" in found[0].fix


def test_the_kernels_own_file_holds_both_families(tmp_path):
    tail = "src={} dst={} sport=4000 dport=53 [UNREPLIED] src={} dst={} sport=5353 dport=4000 mark=0 zone=0 use=2\n"
    four = tail.format("10.244.1.5", "10.96.0.10", "10.244.1.99", "10.244.1.5")
    long = "fd00:0244:0001:0000:0000:0000:0000:0005"
    six = tail.format(
        long, "fd00:0096:0000:0000:0000:0000:0000:000a", "fd00:0244:0001:0000:0000:0000:0000:0099", long
    )
    dumps = {"proc-net-nf_conntrack.txt": f"ipv4     2 udp      17 9 {four}ipv6     10 udp      17 9 {six}"}
    [raised] = stale_udp(*small(tmp_path, **dumps))
    assert [e for e in raised.evidence if e.startswith("n1: ")] == [
        "n1: what 10.244.1.5:4000 sends goes to 10.244.1.99:5353, no endpoint of the Service",
        "n1: what [fd00:244:1::5]:4000 sends goes to [fd00:244:1::99]:5353, no endpoint of the Service",
    ]


def test_an_address_of_the_nodes_own_may_be_served_by_a_process(tmp_path):
    """As NodeLocal DNSCache does: it takes the cluster IP on an interface of its own."""
    line = "udp 17 9 src=10.244.1.5 dst=10.96.0.10 sport=4000 dport=53 [UNREPLIED] src=10.96.0.10 dst=10.244.1.5 "
    line += "sport=53 dport=4000 mark=0 use=1\n"
    assert list(stale_udp(*small(tmp_path / "a", **{"conntrack.txt": line})))
    own = [
        {"ifname": "nodelocaldns", "flags": ["UP"], "addr_info": [{"local": "10.96.0.10", "prefixlen": 32}]}
    ]
    dumps = {"conntrack.txt": line, "ip-addr.json": json.dumps(own)}
    assert not list(stale_udp(*small(tmp_path / "b", **dumps)))


# --- RUL012


def ports(*hairpins, promiscuous=False):
    def port(name, kind, hairpin):
        held = {} if hairpin is None else {"hairpin": hairpin}
        info = {"info_kind": kind, "info_slave_kind": "bridge", "info_slave_data": held}
        return {"ifname": name, "flags": [], "master": "cni0", "linkinfo": info}

    flags = ["UP", "PROMISC"] if promiscuous else ["UP"]
    links = [port(f"p{i}", "veth", hairpin) for i, hairpin in enumerate(hairpins)]
    links.append({"ifname": "cni0", "flags": flags, "linkinfo": {"info_kind": "bridge"}})
    links.append(port("vxlan0", "vxlan", False))
    return json.dumps(links)


def calls(four, six):
    return f"net.bridge.bridge-nf-call-iptables = {four}\nnet.bridge.bridge-nf-call-ip6tables = {six}\n"


@pytest.mark.parametrize(
    ("links", "sysctls", "found"),
    [
        (ports(False, False), calls(1, 1), True),
        (ports(False), calls(0, 1), True),  # IPv6 alone
        (ports(False), calls(1, 0), True),
        (ports(False), calls(0, 0), False),  # the packet is routed
        (ports(False), "", False),  # not known
        (ports(True), calls(1, 1), False),
        (ports(True, False), calls(1, 1), False),  # which one the pod is behind is not known
        (ports(None, None), calls(1, 1), False),
        (ports(), calls(1, 1), False),
        (ports(False, promiscuous=True), calls(1, 1), False),
    ],
)
def test_a_bridge_that_sends_nothing_back(tmp_path, links, sysctls, found):
    dumps = {"ip-link.json": links, "sysctl.txt": sysctls}
    raised = list(no_hairpin(*small(tmp_path, **dumps)))
    assert bool(raised) is found
    if found:
        assert raised[0].severity == "warning"
        assert raised[0].evidence[1] == "pods of the Service behind it: shop/dns-0"
        assert raised[0].fix.startswith("bridge link set dev p0 hairpin on")


def test_bridge_link_alone_tells_it_too(tmp_path):
    links = [{"ifname": f"veth{n}", "flags": [], "master": "cni0", "hairpin": False} for n in (0, 1)]
    dumps = {"bridge-link.json": json.dumps(links), "sysctl.txt": calls(1, 1)}
    [raised] = no_hairpin(*small(tmp_path, **dumps))
    assert raised.evidence[0] == "n1: hairpin is off on veth0, veth1 of bridge cni0"


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_a_pod_that_asks_its_own_service_meets_it(mode):
    """The pods of node2 put behind a bridge: an error for one that may choose itself, else a warning."""
    held = capture(mode)
    routes = json.loads(held.node_facts["node2"].raw["ip-route.json"].data)
    for route in routes:
        if route["dev"].startswith("veth"):
            route["dev"] = "cni0"
    dumps = {"ip__route_json": json.dumps(routes).encode()}
    with_hairpin = planted(held, "node2", ip__link_json=ports(True).encode(), **dumps)
    without = planted(held, "node2", ip__link_json=ports(False).encode(), **dumps)
    pod = next(p for p in held.pods if "10.244.2.2" in p.ips)
    own = f"pod/{pod.namespace}/{pod.name}"

    def met(snapshot, asking):
        answer = ask(snapshot, "svc/udp", "truth", asking)
        codes = {o.code for p in answer.paths for o in p.outcomes}
        return (
            [str(f.severity) for f in answer.findings if f.code == "RUL012"],
            "RUL012" in codes,
            str(answer.verdict),
        )

    assert met(without, own) == (["error"], True, "degraded")
    assert met(without, None) == (["warning"], False, "degraded")
    assert met(with_hairpin, own) == ([], False, "healthy")
    assert "RUL012" in {f.code for f in audit(without, lambda s: s.name == "udp").findings}


def test_a_pod_that_is_not_masqueraded_is_named():
    """kube-proxy's rule for a pod that chose itself taken out of node2."""
    held = capture("iptables")
    pod = next(p for p in held.pods if "10.244.2.2" in p.ips)
    save = held.node_facts["node2"].raw["iptables-save.txt"].data.decode().splitlines(keepends=True)
    left = "".join(line for line in save if not ("-s 10.244.2.2/32" in line and "KUBE-MARK-MASQ" in line))
    assert len(left) < sum(map(len, save))
    snapshot = planted(held, "node2", iptables__save_txt=left.encode(), iptables__save__counters_txt=b"")
    answer = ask(snapshot, "svc/udp", "truth", f"pod/{pod.namespace}/{pod.name}")
    [finding] = [f for f in answer.findings if f.code == "RUL012"]
    assert finding.severity == "error" and "not masqueraded" in finding.evidence[0]


# --- RUL014


@pytest.mark.parametrize(
    ("count", "most", "severity"),
    [
        (262144, 262144, "error"),
        (262150, 262144, "error"),
        (249037, 262144, "warning"),
        (249036, 262144, None),
        (47, 262144, None),
        (95, 100, "warning"),
        (94, 100, None),
        (47, 0, None),  # no limit
        (0, 0, None),
        (None, 100, None),
        (100, None, None),
        ("many", 100, None),
    ],
)
def test_a_full_table(tmp_path, count, most, severity):
    values = {"count": count, "max": most}
    text = "".join(f"net.netfilter.nf_conntrack_{k} = {v}\n" for k, v in values.items() if v is not None)
    raised = list(full_table(*small(tmp_path, **{"sysctl.txt": text})))
    assert bool(raised) is (severity is not None)
    if severity == "warning":
        assert raised[0].severity == "warning"
    elif severity == "error":
        assert raised[0].severity is None and "100 %" in raised[0].evidence[0]


def test_a_full_table_is_found_by_trace_and_audit():
    full = "net.netfilter.nf_conntrack_count = 262144\n"  # the last line counts
    snapshot = planted(capture("iptables"), "node2", sysctl_txt=full)
    for answer in (
        ask(snapshot, "svc/np-cluster", "truth"),
        audit(snapshot, lambda s: s.name == "np-cluster"),
    ):
        [finding] = [f for f in answer.findings if f.code == "RUL014"]
        assert finding.severity == "error" and finding.subjects[-1] == "Node/node2"
        assert finding.fix == "sysctl -w net.netfilter.nf_conntrack_max=524288 (on node2)"
