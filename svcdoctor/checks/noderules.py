"""RUL001 to RUL004, RUL006, RUL008, RUL016, RUL021, RUL022, NOD001, NOD003 to NOD005, NOD008: what a node's rules
do with a Service's packets that the API does not demand.

The differences come from ``path.audit``; here they get their words, one finding for each cause, with the nodes,
the frontends and the deciding rules as evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from svcdoctor.checks.meanwhile import meanwhile
from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.finding import Severity
from svcdoctor.path.audit import Difference

RESTART = "kubectl -n kube-system delete pod -l k8s-app=kube-proxy --field-selector spec.nodeName={node}"
SHOWN = 6  # places in the evidence


@dataclass(frozen=True, slots=True)
class Words:
    """What a kind of difference means for requests, and what mends it; ``{node}`` is the first node."""

    explanation: str
    fix: str
    partial: bool = False  # some requests still work


WORDS: dict[str, Words] = {
    "RUL001": Words(
        "The node has nothing that forwards Service traffic: kube-proxy does not run there, or never wrote its "
        "rules. Requests through this node get no answer.",
        "kubectl -n kube-system get pods -l k8s-app=kube-proxy --field-selector spec.nodeName={node} -o wide",
    ),
    "RUL002": Words(
        "kube-proxy on the node works with an older state of the objects: its log says why. Restarting it makes "
        "it read and write everything anew.",
        RESTART,
        True,
    ),
    "RUL003": Words(
        "The API has the Service, the node's rules do not: requests that this node handles fail, others work. "
        "kube-proxy does not notice rules that others delete; restarting it writes them again.",
        RESTART,
    ),
    "RUL004": Words(
        "Requests that the node sends there time out or are refused. kube-proxy has not taken the endpoint out; "
        "its log says why, and restarting it writes the rules anew.",
        RESTART,
        True,
    ),
    "RUL006": Words(
        "The Service's rules are on the node, but packets do not get to them. Whatever changed the node's rules "
        "(a firewall's restart, another agent) will do so again; restarting kube-proxy restores the jumps.",
        RESTART,
    ),
    "RUL008": Words(
        "The rules are from a time when the Service had no endpoint (here); kube-proxy did not follow. Its log "
        "says why, and restarting it writes the rules anew.",
        RESTART,
    ),
    "RUL016": Words(
        "The Service asks for sessionAffinity ClientIP; these rules choose anew for every connection, or remember "
        "clients that should not be remembered.",
        RESTART,
        True,
    ),
    "RUL021": Words(
        "The policy promises the client's address, the node replaces it by its own: allow lists and logs of the "
        "application see the node.",
        "kubectl -n kube-system get configmap kube-proxy -o yaml (masqueradeAll, clusterCIDR)",
        True,
    ),
    "RUL022": Words(
        "kube-proxy tells pods from others by its clusterCIDR. With a wrong one, answers go past the node that "
        "translated the address, or pods are hidden behind the node's address.",
        "kubectl -n kube-system edit configmap kube-proxy (clusterCIDR), then restart kube-proxy",
        True,
    ),
    "NOD001": Words(
        "Nothing that arrives for a pod leaves the node again: the kernel does not forward packets.",
        "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 (on {node})",
    ),
    "NOD003": Words(
        "The kernel drops packets whose answer would leave by another interface (strict reverse path filter).",
        "sysctl -w net.ipv4.conf.all.rp_filter=0 (on {node}; and the interface's own setting)",
    ),
    "NOD004": Words(
        "What is forwarded to pods is dropped, unless a rule accepts it: Docker and host firewalls set this "
        "policy.",
        "iptables -P FORWARD ACCEPT (on {node}; and ip6tables for IPv6), or accept the pod network there",
    ),
    "NOD005": Words(
        "The node's own firewall ends the packet, not Kubernetes. Allow the Service's traffic there.",
        "iptables-save | grep -E 'DROP|REJECT' (on {node}: the rule named above)",
    ),
    "NOD008": Words(
        "The node does not know the way to the pods' network: its CNI lost a route or never set it.",
        "ip route (on {node}), and the logs of the CNI's pod there",
    ),
}


def raised(code: str, found: Iterable[Difference]) -> Iterator[Raised]:
    """One finding for each Service that meets the difference."""
    by_service: dict[str, list[Difference]] = {}
    for difference in found:
        if difference.code == code:
            by_service.setdefault(subject(difference.place.frontend.service), []).append(difference)
    for name, differences in by_service.items():
        yield _raise(code, (name,), differences)


def raised_of_nodes(code: str, found: Iterable[Difference]) -> Iterator[Raised]:
    """One finding for each node, however many Services meet the difference there."""
    by_node: dict[str, list[Difference]] = {}
    for difference in found:
        if difference.code == code:
            by_node.setdefault(difference.place.node, []).append(difference)
    for differences in by_node.values():
        yield _raise(code, (), differences)


def _raise(code: str, subjects: tuple[str, ...], differences: list[Difference]) -> Raised:
    words = WORDS[code]
    nodes = tuple(dict.fromkeys(d.place.node for d in differences))
    services = tuple(dict.fromkeys(subject(d.place.frontend.service) for d in differences))
    evidence = []
    for problem in dict.fromkeys(d.problem for d in differences):
        same = [d for d in differences if d.problem == problem]
        clients = tuple(dict.fromkeys(c for d in same for c in d.clients))
        where = listed(dict.fromkeys(d.place.text for d in same), SHOWN)
        evidence.append(f"{problem} (asked for {where} from {_who(clients)})")
        rules = next((d.rules for d in same if d.rules), ())
        if rules:
            evidence.append(f"rule: {rules[-1]}")
    if not subjects and len(services) > 1:
        evidence.insert(0, f"{len(services)} Services are concerned: {listed(services, 4)}")
    concerned = tuple({subject(s): s for d in differences for s in (d.place.frontend.service,)}.values())
    return Raised(
        (*(subjects or services[:1]), *(f"Node/{n}" for n in nodes)),
        tuple(evidence[:12]),
        words.explanation,
        words.fix.format(node=nodes[0]) + meanwhile(code, concerned, nodes, differences),
        Severity.WARNING if words.partial and code != "RUL004" else None,
    )


def _met(case: Case, code: str) -> Iterator[Raised]:
    """One finding where packets met the fault on their way although no frontend differs."""
    outcomes = case.outcomes(code) if case.hosts else []
    nodes = tuple(dict.fromkeys(o.backend.node for o in outcomes if o.backend is not None and o.backend.node))
    for service in case.services[:1] if outcomes else ():
        words = WORDS[code]
        yield Raised(
            (subject(service), *(f"Node/{n}" for n in nodes)),
            tuple(dict.fromkeys(o.reason for o in outcomes))[:6],
            words.explanation,
            words.fix.format(node=nodes[0] if nodes else "the node") + meanwhile(code, (service,), nodes),
        )


def _who(clients: tuple[str, ...]) -> str:
    names = {"outside": "outside", "pod": "a pod of the node", "node": "the node itself"}
    return ", ".join(names[c] for c in clients)


def _check(
    code: str, title: str, severity: Severity, meaning: str, look: str, mend: str, links: tuple[str, ...]
) -> None:
    def run(case: Case) -> Iterator[Raised]:
        found = list(raised(code, case.differences))
        yield from found if found or case.differences else _met(case, code)

    check(code, title, severity, meaning=meaning, look=look, mend=mend, links=links)(run)


_check(
    "RUL001",
    "No Service rules on the node",
    Severity.ERROR,
    "kube-proxy writes a node's Service rules. Where none are, it does not run on the node or never succeeded; a "
    "missing kube-proxy pod alone proves nothing, since some distributions run it otherwise.",
    "iptables-save | grep -c KUBE-SERVICES; nft list table ip kube-proxy (on the node)",
    "Get kube-proxy running on the node (kubectl -n kube-system get pods -o wide); its log says why it ended or "
    "cannot write.",
    (
        "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
    ),
)
_check(
    "RUL003",
    "A node lacks a rule of the Service",
    Severity.ERROR,
    "The Service exists in the API, but this node's rules do not know one of its addresses or endpoints.",
    "svcdoctor rules show svc/NAME --node NODE",
    "Restart kube-proxy on the node: it reads the objects and writes all rules anew. When rules are missing "
    "again, look for who deletes them.",
    (
        "https://kubernetes.io/docs/reference/networking/virtual-ips/",
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
    ),
)
_check(
    "RUL004",
    "A node sends traffic to an endpoint that is gone",
    Severity.ERROR,
    "The node's rules still hold an address that no EndpointSlice of the Service lists any more.",
    "svcdoctor rules show svc/NAME --node NODE",
    "Restart kube-proxy on the node, and find out in its log why it did not follow the EndpointSlices.",
    (
        "https://kubernetes.io/docs/reference/networking/virtual-ips/",
        "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/",
    ),
)
_check(
    "RUL006",
    "kube-proxy's rules are not reached",
    Severity.ERROR,
    "The Service's rules exist on the node, but the jump to them is missing, or an earlier rule takes the packet.",
    "iptables-save -t nat | grep -E '^-A (PREROUTING|OUTPUT)' (on the node)",
    "Let the node's other firewall leave kube-proxy's jumps alone and stand behind them. Restarting kube-proxy "
    "puts the jumps back.",
    (
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-iptables",
        "https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks",
    ),
)
_check(
    "RUL008",
    "A stale rule refuses the Service",
    Severity.ERROR,
    "kube-proxy rejects or drops what is sent to a Service without endpoints; here the API has endpoints and the "
    "rule is still there.",
    "iptables-save -t filter | grep 'no endpoints'; nft list map ip kube-proxy no-endpoint-services (on the node)",
    "Restart kube-proxy on the node, and find out in its log why it kept the rule.",
    (
        "https://kubernetes.io/docs/reference/networking/virtual-ips/",
        "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
    ),
)
_check(
    "RUL016",
    "Session affinity of the rules is not the Service's",
    Severity.WARNING,
    "With sessionAffinity ClientIP the rules remember which endpoint a client got, for the timeout of the Service.",
    "kubectl get svc NAME -o yaml (sessionAffinity)",
    "Restart kube-proxy on the node, so that its rules follow spec.sessionAffinity and its timeout.",
    ("https://kubernetes.io/docs/reference/networking/virtual-ips/#session-affinity",),
)
_check(
    "RUL021",
    "The application sees the node's address instead of the client's",
    Severity.WARNING,
    "Masquerading gives a packet the node's address. It is needed where the answer must come back to the node; "
    "elsewhere it hides the client.",
    "conntrack -L (on the node)",
    "Set masqueradeAll to false and clusterCIDR to the pods' network in kube-proxy's configuration, then restart "
    "it.",
    (
        "https://kubernetes.io/docs/tutorials/services/source-ip/",
        "https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",
    ),
)
_check(
    "NOD001",
    "The node does not forward packets",
    Severity.ERROR,
    "With net.ipv4.ip_forward (IPv6: net.ipv6.conf.all.forwarding) at 0 the kernel drops what is not for the node "
    "itself: nothing reaches a pod.",
    "sysctl net.ipv4.ip_forward (on the node)",
    "Turn forwarding on, now and at boot: sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1, and the"
    " same in /etc/sysctl.d.",
    (
        "https://kubernetes.io/docs/setup/production-environment/container-runtimes/",
        "https://docs.kernel.org/networking/ip-sysctl.html",
    ),
)
_check(
    "NOD003",
    "The reverse path filter drops the packets",
    Severity.ERROR,
    "With rp_filter at 1 the kernel drops a packet that comes in by another interface than the one that leads back "
    "to its sender.",
    "sysctl -a | grep '\\.rp_filter'; ip route get SENDER (on the node)",
    "Set rp_filter to 0 (or 2, loose) for all and for the interface by which the packets come; the larger of the "
    "two counts.",
    ("https://docs.kernel.org/networking/ip-sysctl.html", "https://www.rfc-editor.org/rfc/rfc3704"),
)
_check(
    "NOD004",
    "The FORWARD chain's policy drops the packets",
    Severity.ERROR,
    "With policy DROP everything that is forwarded is dropped unless a rule accepts it. kube-proxy accepts only "
    "marked and known connections.",
    "iptables -S FORWARD (on the node)",
    "Accept the pods' network in FORWARD, or set the chain's policy to ACCEPT; look for what sets DROP at boot "
    "(Docker, a host firewall).",
    (
        "https://kubernetes.io/docs/concepts/cluster-administration/networking/",
        "https://docs.docker.com/engine/network/packet-filtering-firewalls/",
    ),
)
_check(
    "NOD005",
    "The node's firewall drops the packets",
    Severity.ERROR,
    "A rule that is not kube-proxy's (ufw, firewalld, own rules) ends the packet on the node.",
    "iptables-save; nft list ruleset (on the node)",
    "Allow the Service's traffic in that firewall: nodePorts, the pods' network, and what the CNI needs between "
    "nodes.",
    (
        "https://kubernetes.io/docs/reference/networking/ports-and-protocols/",
        "https://kubernetes.io/docs/concepts/cluster-administration/networking/",
    ),
)
_check(
    "NOD008",
    "The node has no way to the pods' network",
    Severity.ERROR,
    "Pods of other nodes are reached by routes or tunnels that the CNI sets; one is missing here.",
    "ip route get POD-IP (on the node)",
    "Restart the CNI's pod on the node and read its log; ip route must then show a route to every other node's "
    "pods.",
    (
        "https://kubernetes.io/docs/concepts/cluster-administration/networking/",
        "https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/",
    ),
)
