"""Who enforces NetworkPolicies here: the network plugin, as far as its DaemonSet or its pods are held.

The API server stores policies whether or not anything enforces them. A plugin is known by the name of its DaemonSet,
which all its manifests and charts share; which plugin there is where none of these is seen, nobody can tell.

Specification: https://kubernetes.io/docs/concepts/services-networking/network-policies/#prerequisites
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from svcdoctor.dataplane.hosts import Hosts
from svcdoctor.model.facts import Kind
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Result
from svcdoctor.model.workload import Workload
from svcdoctor.path.ends import End


class Enforced(Enum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A network plugin. ``enforces`` is ``None`` where that is a setting of it.

    ``in_rules`` says that its verdicts are among a node's iptables or nftables rules.
    """

    name: str
    enforces: bool | None = True
    in_rules: bool = True


POLICY_CHAINS = ("cali-", "KUBE-POD-FW-", "KUBE-NWPLCY-", "WEAVE-NPC", "AZURE-NPM")
"""How the names begin of the chains that plugins make of policies."""

_FLANNEL = "kube-flannel-ds"
_FLANNELS_ENFORCER = "kube-network-policies"  # the container that flannel's chart adds on demand

_DAEMON_SETS = {
    "calico-node": Plugin("Calico"),
    "canal": Plugin("Canal"),
    "rke2-canal": Plugin("Canal"),
    "cilium": Plugin("Cilium", in_rules=False),
    "anetd": Plugin("GKE Dataplane V2", in_rules=False),
    "antrea-agent": Plugin("Antrea", in_rules=False),
    "ovnkube-node": Plugin("OVN-Kubernetes", in_rules=False),
    "kube-router": Plugin("kube-router"),
    "weave-net": Plugin("Weave Net"),
    "kube-network-policies": Plugin("kube-network-policies"),
    "azure-npm": Plugin("Azure Network Policy Manager"),
    "aws-node": Plugin("the Amazon VPC CNI", enforces=None, in_rules=False),
    _FLANNEL: Plugin("flannel", enforces=False),
}


def plugin_of(snapshot: Snapshot) -> Plugin | None:
    """The plugin that enforces policies, else one that is known not to, else ``None``."""
    found: dict[str, Plugin] = {}
    sets: tuple[Workload, ...] = snapshot.of(Kind.DAEMON_SET)
    for daemon_set in sets:
        if daemon_set.name in _DAEMON_SETS:
            template = daemon_set.spec.template
            containers = (template.spec.containers or ()) if template is not None else ()
            found[daemon_set.name] = _plugin(daemon_set.name, {c.name for c in containers})
    for pod in snapshot.pods:
        owner = pod.metadata.owner
        if owner is None or owner.kind != "DaemonSet" or owner.name not in _DAEMON_SETS:
            continue
        if owner.name not in found:
            found[owner.name] = _plugin(owner.name, {c.name for c in pod.spec.containers or ()})
    return next((p for p in found.values() if p.enforces), next(iter(found.values()), None))


def _plugin(daemon_set: str, containers: set[str]) -> Plugin:
    if daemon_set == _FLANNEL and _FLANNELS_ENFORCER in containers:
        return _DAEMON_SETS[_FLANNELS_ENFORCER]
    return _DAEMON_SETS[daemon_set]


def enforced(plugin: Plugin | None, hosts: Hosts, end: End | None) -> tuple[Enforced, str]:
    """Whether what no policy allows is dropped, and how that is known.

    ``end`` is the packet's by the nodes' rules. Rules that let it through prove that no plugin works by them.
    """
    if end is not None and (plugin is None or plugin.in_rules):
        if end.result is not Result.DELIVERED:
            return Enforced.YES, "the rules drop it"
        host = hosts.host(end.node)
        last = end.passages[-1].node if end.passages else None
        if host is not None and last == end.node and not host.ebpf_signs:
            return Enforced.NO, f"nothing enforces it here: the rules of {end.node} let the packet through"
    if plugin is None:
        return Enforced.UNKNOWN, "whether the network plugin enforces NetworkPolicies is not known"
    if plugin.enforces is None:
        return Enforced.UNKNOWN, f"whether {plugin.name} enforces NetworkPolicies is a setting of it"
    if plugin.enforces:
        return Enforced.YES, f"{plugin.name} enforces it"
    return Enforced.NO, f"{plugin.name} does not enforce NetworkPolicies"


def by_plugin(end: End) -> bool:
    """Whether a rule ended the packet that a network plugin made of policies."""
    rules = end.passages[-1].rules if end.passages else ()
    failed = end.result in (Result.DROPPED, Result.REFUSED)
    return failed and bool(rules) and rules[-1].chain.name.startswith(POLICY_CHAINS)
