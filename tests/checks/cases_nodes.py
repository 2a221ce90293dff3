"""NOD: sysctls, routes, firewalls and conditions of nodes, changed in the real captures."""

from cases_rules import IPTABLES, SAVE, asked
from codecases import CAPTURE, CodeCase
from mutations import EditJson, InsertLine, ReplaceLines, SetDump, SetField, SetSysctl

FORWARD = "-A FORWARD -p tcp -m tcp --dport {} -j DROP"
DROPS = ReplaceLines("node2", SAVE, ":FORWARD ACCEPT", ":FORWARD DROP", table="filter")
ACCEPTS = tuple(
    InsertLine("node2", SAVE, f"-A FORWARD {way} 10.244.0.0/16 -j ACCEPT", before="^COMMIT", table="filter")
    for way in ["-s", "-d"]
)


def bridged(*more):
    """node1's pods are behind a bridge."""

    def add(links):
        links.append(
            {"ifname": "cni0", "flags": ["UP"], "addr_info": [{"local": "10.244.1.1", "prefixlen": 24}]}
        )

    def route(routes):
        routes[:] = [r for r in routes if not r["dst"].startswith("10.244.1.")]
        routes.append({"dst": "10.244.1.0/24", "dev": "cni0", "scope": "link", "flags": []})

    return (
        EditJson("node1", "ip-addr.json", add),
        EditJson("node1", "ip-route.json", route),
        SetDump(
            "node1", "ip-link.json", '[{"ifname":"cni0","flags":["UP"],"linkinfo":{"info_kind":"bridge"}}]'
        ),
        *more,
    )


def strict(filter_):
    """node2's answers to clients outside leave by another interface than the one by which they come."""

    def add(links):
        links.append(
            {"ifname": "eth1", "flags": ["UP"], "addr_info": [{"local": "192.0.2.2", "prefixlen": 24}]}
        )

    def route(routes):
        for one in routes:
            if one["dst"] == "default":
                one.update(dev="eth1", gateway="192.0.2.1")
        routes.append({"dst": "192.0.2.0/24", "dev": "eth1", "scope": "link", "flags": []})

    return (
        EditJson("node2", "ip-addr.json", add),
        EditJson("node2", "ip-route.json", route),
        SetSysctl("node2", "net.ipv4.conf.eth0.rp_filter", filter_),
    )


def listens(port, protocol="tcp"):
    state = "LISTEN" if protocol == "tcp" else "UNCONN"
    return InsertLine(
        "node2",
        "ss-listen.txt",
        f'{protocol} {state} 0 128 0.0.0.0:{port} 0.0.0.0:* users:(("nginx",pid=7,fd=6))',
    )


def routed(dst, by=None):
    """node1's route to node3's pods gone, or ``by`` in its place."""

    def edit(routes):
        routes[:] = [r for r in routes if r["dst"] != dst] + ([by] if by else [])

    return EditJson("node1", "ip-route.json", edit)


def condition(node, status):
    conditions = IPTABLES.object("Node", "", node)["status"]["conditions"]
    number = next(i for i, c in enumerate(conditions) if c["type"] == "Ready")
    return SetField("Node", "", node, f"status.conditions[{number}].status", status)


UNCALLED = SetSysctl("node1", "net.bridge.bridge-nf-call-iptables", 0)
WIDER = {"dst": "10.244.0.0/16", "gateway": "172.30.0.13", "dev": "eth0", "flags": []}
NODE_PORT = {"target": "svc/web-nodeport"}

CASES = [
    CodeCase(
        "NOD001", CAPTURE,
        "node2: net.ipv4.ip_forward is 0", asked(IPTABLES, SetSysctl("node2", "net.ipv4.ip_forward", 0)),
        "only IPv6 is not forwarded, which the Service does not have",
        asked(IPTABLES, SetSysctl("node2", "net.ipv6.conf.all.forwarding", 0)),
    ),
    CodeCase(
        "NOD002", CAPTURE,
        "node1: pods behind a bridge, bridge-nf-call-iptables is 0", asked(IPTABLES, *bridged(UNCALLED)),
        "the setting is 1", asked(IPTABLES, *bridged()),
    ),
    CodeCase(
        "NOD003", CAPTURE,
        "node2 answers clients outside by another interface, rp_filter is strict",
        asked(IPTABLES, *strict(1), **NODE_PORT),
        "rp_filter is loose", asked(IPTABLES, *strict(2), **NODE_PORT),
    ),
    CodeCase(
        "NOD004", CAPTURE,
        "node2: policy DROP of FORWARD", asked(IPTABLES, DROPS),
        "policy DROP, and rules accept the pods' network", asked(IPTABLES, DROPS, *ACCEPTS),
    ),
    CodeCase(
        "NOD005", CAPTURE,
        "node2: a rule of FORWARD drops port 8080",
        asked(IPTABLES, InsertLine("node2", SAVE, FORWARD.format(8080), before="-A FORWARD", table="filter")),
        "it drops port 8081",
        asked(IPTABLES, InsertLine("node2", SAVE, FORWARD.format(8081), before="-A FORWARD", table="filter")),
    ),
    CodeCase(
        "NOD006", CAPTURE,
        "nginx of node2 listens on the nodePort 32111/TCP", asked(IPTABLES, listens(32111), **NODE_PORT),
        "it listens on 32111/UDP", asked(IPTABLES, listens(32111, "udp"), **NODE_PORT),
    ),
    CodeCase(
        "NOD008", CAPTURE,
        "node1 has no route to node3's pods", asked(IPTABLES, routed("10.244.3.0/24")),
        "a wider route leads there", asked(IPTABLES, routed("10.244.3.0/24", WIDER)),
    ),
    CodeCase(
        "NOD009", CAPTURE,
        "node3's condition Ready is Unknown", asked(IPTABLES, condition("node3", "Unknown")),
        "node3 is cordoned", asked(IPTABLES, SetField("Node", "", "node3", "spec.unschedulable", True)),
    ),
]  # fmt: skip
