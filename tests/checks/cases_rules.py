"""RUL: what nodes' rules, connections and kube-proxy's settings say, changed in the real captures."""

from codecases import CAPTURE, CodeCase
from mutations import (
    DeleteLines,
    EditJson,
    InsertLine,
    ReplaceInTables,
    ReplaceLines,
    SetDump,
    SetField,
    SetSysctl,
    capture,
)

IPTABLES, NFTABLES = capture("iptables"), capture("nftables")
SAVE = "iptables-save*.txt"
EVERY_SAVE = "ip*tables-save*.txt"


def asked(held, *changes, target="svc/web-clusterip", **how):
    return lambda: held.changed(*changes).ask(target, "truth", **how)


def synced(family, queued, done):
    """kube-proxy of node2: when a sync for an IP family was last asked for and last done."""
    name = "kubeproxy_sync_proxy_rules_last"
    labels = rf'\{{ip_family="{family}"\}}'
    return tuple(
        ReplaceLines(
            "node2", "kube-proxy-metrics.txt", rf"^({name}{what}_seconds{labels}) .*", rf"\g<1> {when}"
        )
        for what, when in (("_queued_timestamp", queued), ("_timestamp", done))
    )


def tracked(answering, port=5353):
    """A UDP connection of a client to Service udp, and the endpoint that it is translated to."""
    return InsertLine(
        "node2",
        "conntrack.txt",
        "udp 17 100 src=10.244.2.3 dst=10.96.1.18 sport=4000 dport=53 "
        f"src={answering} dst=10.244.2.3 sport={port} dport=4000 [ASSURED] mark=0 use=1",
    )


def saved(backend, *left_out):
    """node1's rules of the iptables mode as another backend's, without lines that hold one of these."""
    text = IPTABLES.dumps["node1"]["iptables-save.txt"].decode().replace("(nf_tables)", backend)
    return "".join(
        line for line in text.splitlines(keepends=True) if not any(word in line for word in left_out)
    )


def configured(cidr):
    """kube-proxy of node2 has this clusterCIDR, and writes its rules with it."""
    return (
        ReplaceLines("node2", "kube-proxy-configz.json", "10.244.0.0/16", cidr),
        ReplaceLines("node2", SAVE, "-s 10.244.0.0/16", f"-s {cidr}", table="nat"),
    )


def legacy(*left_out):
    return SetDump("node1", "iptables-legacy-save.txt", saved("(legacy)", *left_out))


def unmasked(pod):
    """node1 lacks the rule that masquerades what this pod sends to itself."""
    return DeleteLines("node1", SAVE, f"-s {pod}/32 .*truth/web-clusterip:http.* KUBE-MARK-MASQ")


def masked(chain):
    """node1 masquerades what comes to one of its chains."""
    return InsertLine("node1", SAVE, f"-A {chain} -j KUBE-MARK-MASQ", before=f"-A {chain} ")


def tracks(count, most=1000):
    return (
        SetSysctl("node2", "net.netfilter.nf_conntrack_count", count),
        SetSysctl("node2", "net.netfilter.nf_conntrack_max", most),
    )


def dropped(packets):
    """What node2's rule counted of packets that belong to no connection, SYN-ACKs by their size."""
    counted = f"[{packets}:{60 * packets}]"
    return ReplaceLines(
        "node2", "iptables-save-counters.txt", r"^\[\d+:\d+\](?= -A KUBE-FORWARD .*INVALID)", counted
    )


def marks(bit):
    rule = f"-A PREROUTING -p udp -m udp --dport 500 -j MARK --set-xmark {bit}/{bit}"
    return InsertLine("node1", SAVE, rule, before="^COMMIT", table="mangle")


def cilium(node="*"):
    def add(links):
        links.append({"ifname": "cilium_host", "flags": ["UP"], "addr_info": []})

    return EditJson(node, "ip-addr.json", add)


def remembers(service, timeout=10800):
    """The Service asks for session affinity."""
    return (
        SetField("Service", "truth", service, "spec.sessionAffinity", "ClientIP"),
        SetField("Service", "truth", service, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", timeout),
    )


ACCEPT_80 = "-A PREROUTING -p tcp -m tcp --dport 80 -j ACCEPT"
TO_SERVICES = "-A PREROUTING .*-j KUBE-SERVICES"
NP_LOCAL = {"target": "svc/np-local", "via": "nodePort", "node": "node1"}
FROM_WEB = {"from_": "pod/web-6bdc9b754-7ppw7"}
SECOND = "10.244.1.1"  # on node1's links to its pods, beside its own 172.30.0.11

UNSERVED = DeleteLines("node2", SAVE, "-A KUBE-SERVICES .*truth/web-clusterip:http cluster IP")
REJECTED = InsertLine(
    "node2",
    SAVE,
    '-A KUBE-SERVICES -d 10.96.1.2/32 -p tcp -m comment --comment "truth/web-clusterip:http has no endpoints" '
    "-m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable",
    before="-A KUBE-SERVICES .*REJECT",
    table="filter",
)

CASES = [
    CodeCase(
        "RUL001", CAPTURE,
        "node2 holds no rule of kube-proxy", asked(IPTABLES, DeleteLines("node2", SAVE, "KUBE-")),
        "node2 lacks the canary chains only", asked(IPTABLES, DeleteLines("node2", SAVE, "CANARY")),
    ),
    CodeCase(
        "RUL002", CAPTURE,
        "node2: the last sync for IPv6 is 600 s older than the wish for one, IPv4's is 900 s newer",
        asked(IPTABLES, *synced("IPv6", 1795220600, 1795220000), *synced("IPv4", 1795220000, 1795220900)),
        "the last sync is 20 s older than the wish, for each family",
        asked(IPTABLES, *synced("IPv6", 1795220020, 1795220000), *synced("IPv4", 1795220020, 1795220000)),
    ),
    CodeCase(
        "RUL003", CAPTURE,
        "node2 has no rule for the Service's cluster IP",
        asked(IPTABLES, UNSERVED),
        "node2 has no rule for another Service's",
        asked(IPTABLES, DeleteLines("node2", SAVE, "-A KUBE-SERVICES .*truth/np-cluster:http cluster IP")),
    ),
    CodeCase(
        "RUL004", CAPTURE,
        "nftables: node3 sends to 10.244.1.99, which no EndpointSlice lists",
        asked(NFTABLES, ReplaceInTables("node3", "ip", "service-*", "10.244.1.6", "10.244.1.99")),
        "nftables: the same for another Service's endpoints",
        asked(NFTABLES, ReplaceInTables("node3", "ip", "service-*", "10.244.1.2", "10.244.1.99")),
    ),
    CodeCase(
        "RUL005", CAPTURE,
        "node1 has the Service chains in iptables-legacy too",
        asked(IPTABLES, legacy()),
        "iptables-legacy holds the kubelet's chains only",
        asked(IPTABLES, legacy("KUBE-S", "KUBE-EXT", "KUBE-FW", "KUBE-N")),
    ),
    CodeCase(
        "RUL006", CAPTURE,
        "node2: a rule for port 80 stands before kube-proxy's jump",
        asked(IPTABLES, InsertLine("node2", SAVE, ACCEPT_80, before=TO_SERVICES, table="nat")),
        "the rule stands behind the jump",
        asked(IPTABLES, InsertLine("node2", SAVE, ACCEPT_80, after=TO_SERVICES, table="nat")),
    ),
    CodeCase(
        "RUL007", CAPTURE,
        "node1 runs in nftables mode and holds Service chains of iptables",
        asked(NFTABLES, SetDump("node1", "iptables-save-counters.txt", saved("(nf_tables)"))),
        "it holds the kubelet's chains of iptables only", asked(NFTABLES),
    ),
    CodeCase(
        "RUL008", CAPTURE,
        "node2 has the rule that rejects the cluster IP, and not the one that serves it",
        asked(IPTABLES, UNSERVED, REJECTED),
        "it has both: packets never get to the first", asked(IPTABLES, REJECTED),
    ),
    CodeCase(
        "RUL011", CAPTURE,
        "a pod of node3 asks node1's nodePort of a Service with externalTrafficPolicy Local",
        asked(IPTABLES, target="172.30.0.11:30081", from_="pod/probe-3"),
        "it asks the Service's cluster IP", asked(IPTABLES, target="10.96.1.4:80", from_="pod/probe-3"),
    ),
    CodeCase(
        "RUL012", CAPTURE,
        "node1 does not masquerade a pod that reaches itself",
        asked(IPTABLES, unmasked("10.244.1.6"), **FROM_WEB),
        "the same rule of another endpoint is missing",
        asked(IPTABLES, unmasked("10.244.2.2"), **FROM_WEB),
    ),
    CodeCase(
        "RUL013", CAPTURE,
        "node2 tracks a UDP client's connection to 10.244.1.99",
        asked(IPTABLES, tracked("10.244.1.99"), target="svc/udp"),
        "it tracks one to a pod of the Service", asked(IPTABLES, tracked("10.244.1.6"), target="svc/udp"),
    ),
    CodeCase(
        "RUL014", CAPTURE,
        "node2 tracks 1000 connections of at most 1000", asked(IPTABLES, *tracks(1000)),
        "it tracks 900", asked(IPTABLES, *tracks(900)),
    ),
    CodeCase(
        "RUL015", CAPTURE,
        "node2 dropped half of what it forwarded as INVALID", asked(IPTABLES, dropped(100000)),
        "it dropped 100 of 100646 packets", asked(IPTABLES, dropped(100)),
    ),
    CodeCase(
        "RUL016", CAPTURE,
        "the Service asks for sessionAffinity, no node's rules keep it",
        asked(IPTABLES, *remembers("web-clusterip")),
        "the rules keep it", asked(IPTABLES, target="svc/affinity"),
    ),
    CodeCase(
        "RUL018", CAPTURE,
        "nftables: the nodePort is asked at another address of node1",
        asked(NFTABLES, target=f"{SECOND}:32111"),
        "iptables answers on each address of the node", asked(IPTABLES, target=f"{SECOND}:32111"),
    ),
    CodeCase(
        "RUL019", CAPTURE,
        "nftables: node1 asks the nodePort on 127.0.0.1",
        asked(NFTABLES, target="127.0.0.1:32111", from_="node/node1"),
        "iptables answers there", asked(IPTABLES, target="127.0.0.1:32111", from_="node/node1"),
    ),
    CodeCase(
        "RUL020", CAPTURE,
        "another agent of node1 sets mark 0x4000", asked(IPTABLES, marks("0x4000")),
        "it sets mark 0x10000", asked(IPTABLES, marks("0x10000")),
    ),
    CodeCase(
        "RUL021", CAPTURE,
        "node1 masquerades clients from outside under externalTrafficPolicy Local",
        asked(IPTABLES, masked("KUBE-SVL-ZOTG3H7H65K4T5H4"), **NP_LOCAL),
        "it masquerades another Service's",
        asked(IPTABLES, masked("KUBE-SVL-WKSQOXWQJAFVDXVC"), **NP_LOCAL),
    ),
    CodeCase(
        "RUL022", CAPTURE,
        "kube-proxy's clusterCIDR of node2 holds no pods", asked(IPTABLES, *configured("10.99.0.0/16")),
        "it holds more than the pods", asked(IPTABLES, *configured("10.240.0.0/12")),
    ),
    CodeCase(
        "RUL023", CAPTURE,
        "all nodes have Cilium's interface and no Service rules",
        asked(IPTABLES, cilium(), DeleteLines("*", EVERY_SAVE, "KUBE-S[VE]")),
        "they have it beside kube-proxy's rules", asked(IPTABLES, cilium()),
    ),
]  # fmt: skip
