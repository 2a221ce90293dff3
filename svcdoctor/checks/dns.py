"""DNS001 to DNS004, DNS008, DNS010: names as their client asks for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from svcdoctor.checks.namecase import NameCase, name_check
from svcdoctor.checks.registry import Raised, listed, subject
from svcdoctor.dns.resolvconf import ResolvConf
from svcdoctor.model.finding import Severity
from svcdoctor.model.lookup import Met
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.path.names import DOMAIN

_LIMIT = re.compile(r"(nameserver|search)\b")
SLOW = 0.2  # seconds of useless queries that a person notices


def resolv_lines(conf: ResolvConf) -> tuple[str, ...]:
    """The lines of a resolv.conf that decide, as evidence."""
    lines = [f"nameserver {n}" for n in conf.nameservers]
    if conf.search:
        lines.append(f"search {' '.join(conf.search)}")
    return tuple(f"resolv.conf: {line}" for line in lines)


@name_check(
    "DNS001",
    "A short name is used across namespaces",
    Severity.ERROR,
    meaning=(
        "A name without dots means a Service of the client's own namespace: the search list begins with "
        "NAMESPACE.svc.DOMAIN, and no entry of it leads to another namespace."
    ),
    look="kubectl exec POD -- cat /etc/resolv.conf; kubectl get svc -A | grep NAME",
    mend="Use the name with its namespace, NAME.NAMESPACE, or NAME.NAMESPACE.svc.DOMAIN.",
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#namespaces-of-services",
        "https://man7.org/linux/man-pages/man5/resolv.conf.5.html",
    ),
)
def short_name(case: NameCase) -> Iterator[Raised]:
    if (
        not case.failed
        or "." in case.name
        or case.meant is not None
        or case.met(Met.TIMEOUT, Met.UNREACHABLE)
    ):
        return
    elsewhere = [s for s in case.setting.snapshot.services if s.name == case.name]
    if not elsewhere:
        return
    namespaces = sorted(s.namespace for s in elsewhere)
    namespace = case.setting.pod.namespace
    yield Raised(
        (case.client, *(subject(s) for s in elsewhere[:3])),
        (
            f"namespace {namespace} has no Service {case.name}; there is one in {listed(namespaces)}",
            f"search list: {' '.join(case.setting.conf.search)}",
        ),
        f"From {namespace} the short name is tried as {case.name}.{namespace}.svc.{case.setting.domain} and not in "
        "other namespaces: the answer is NXDOMAIN.",
        f"use the name {case.name}.{namespaces[0]}",
    )


@name_check(
    "DNS002",
    "An outside name is looked for in the cluster first",
    Severity.INFO,
    meaning=(
        "With ndots:5 a name of fewer than five dots is tried with every entry of the search list before it is tried "
        "as it is: two failing queries (A and AAAA) for each entry, of every lookup."
    ),
    look="kubectl exec POD -- cat /etc/resolv.conf (ndots); the query log of CoreDNS (plugin log)",
    mend="Write names outside with a last dot, or set option ndots of the pod's dnsConfig to 1 or 2.",
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-dns-config",
        "https://man7.org/linux/man-pages/man5/resolv.conf.5.html",
    ),
)
def many_queries(case: NameCase) -> Iterator[Raised]:
    if not case.is_outside or case.met(Met.TIMEOUT, Met.UNREACHABLE):
        return
    useless = [q for q in case.first.queries if q.name != case.name]
    before = [q for q in useless if q.expected.met is not Met.DATA and q.reply.met is not Met.DATA]
    if not before:
        return
    steps = {q.step: q.reply.seconds or 0.0 for q in sorted(before, key=lambda q: q.reply.seconds or 0.0)}
    spent = sum(steps.values())
    asked = any(q.reply.seconds is not None for q in before)
    evidence = [
        f"{len(before)} queries fail before {case.name} itself is asked for: "
        f"{listed(dict.fromkeys(q.name for q in before), 3)}",
        f"options ndots:{case.setting.conf.ndots}; {case.name} has {case.name.count('.')} dots",
    ]
    if asked:
        evidence.append(f"they took {spent * 1000:.0f} ms")
    yield Raised(
        (case.client,),
        tuple(evidence),
        "Each of these queries is answered that there is no such name, which costs its time and CoreDNS's.",
        f"use the absolute name, with a last dot: {case.name}.\n"
        'or in the pod\'s spec: {"dnsConfig":{"options":[{"name":"ndots","value":"1"}]}}',
        Severity.WARNING if spent >= SLOW else None,
    )


@name_check(
    "DNS003",
    "The cluster domain is another one",
    Severity.ERROR,
    meaning=(
        "Names end with the cluster domain, which is cluster.local in most clusters and something else in some: it is "
        "what kubelet's clusterDomain and the Corefile say. A name that is written out with another domain is nobody's."
    ),
    look="kubectl exec POD -- cat /etc/resolv.conf (search); kubectl -n kube-system get configmap coredns -o yaml",
    mend=(
        "Leave the domain out (NAME.NAMESPACE or NAME.NAMESPACE.svc), or use the one in the pod's search "
        "list."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/",
        "https://coredns.io/plugins/kubernetes/",
    ),
    explains=("OBJ001",),
)
def other_domain(case: NameCase) -> Iterator[Raised]:
    setting = case.setting
    head, svc, domain = case.name.partition(".svc.")
    if not svc or domain == setting.domain or setting.domain_from.startswith("assumed"):
        return
    if domain != DOMAIN and not case.failed:
        return  # a name outside that looks alike, and exists
    yield Raised(
        (case.client, *case.about[1:]),
        (
            f"asked: {case.name}",
            f"the cluster domain is {setting.domain} (from {setting.domain_from})",
        ),
        f"Names of this cluster end with {setting.domain}. Shorter names work in every cluster.",
        f"use the name {head}",
    )


@name_check(
    "DNS004",
    "The pod does not use cluster DNS",
    Severity.ERROR,
    meaning=(
        "A pod on its node's network needs dnsPolicy ClusterFirstWithHostNet to resolve the cluster's names: with "
        "ClusterFirst it gets the node's resolv.conf. So does a pod with dnsPolicy Default; with None it gets what "
        "its dnsConfig says and nothing else."
    ),
    look="kubectl get pod POD -o jsonpath='{.spec.hostNetwork} {.spec.dnsPolicy} {.spec.dnsConfig}'",
    mend=(
        "Set dnsPolicy in the workload's template: ClusterFirst, or ClusterFirstWithHostNet where "
        "hostNetwork is true."
    ),
    links=("https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-dns-policy",),
    explains=("OBJ001", "DNS001", "DNS002", "DNS003", "DNS010", "DNS012"),
)
def not_cluster_dns(case: NameCase) -> Iterator[Raised]:
    pod = case.setting.pod
    why = _own_policy(case)
    if why is None or (case.is_outside and not case.failed) or not pod.name:
        return
    policy = "ClusterFirstWithHostNet" if pod.spec.host_network else "ClusterFirst"
    owner = pod.metadata.owner
    whose = f" (of the template in its {owner.kind} {owner.name})" if owner is not None else ""
    yield Raised(
        case.about,
        (why, *resolv_lines(case.setting.conf)),
        "The pod asks its node's servers, which do not know the cluster's names: the answer is NXDOMAIN.",
        f'set in the pod\'s spec{whose}: {{"dnsPolicy":"{policy}"}}',
        field="spec.dnsPolicy",
    )


def _own_policy(case: NameCase) -> str | None:
    """How the pod's spec leads past cluster DNS, ``None`` where it does not."""
    spec = case.setting.pod.spec
    policy = spec.dns_policy or "ClusterFirst"
    if spec.host_network and policy == "ClusterFirst":
        return "spec.hostNetwork is true and spec.dnsPolicy is ClusterFirst, which then means the node's resolv.conf"
    if policy == "Default":
        return "spec.dnsPolicy is Default: the node's resolv.conf"
    if policy == "None" and not any(case.setting.is_cluster_dns(n) for n in case.setting.conf.nameservers):
        return "spec.dnsPolicy is None, and its dnsConfig does not name cluster DNS"
    return None


@name_check(
    "DNS008",
    "resolv.conf asks for more than is obeyed",
    Severity.WARNING,
    meaning=(
        "kubelet cuts a pod's resolv.conf to 3 nameservers, 32 search domains and 2048 characters of them, and the C "
        "libraries have limits of their own (musl: 255 characters of search list). What is beyond is as if it were "
        "not there."
    ),
    look="kubectl describe pod POD (event DNSConfigForming); kubectl exec POD -- cat /etc/resolv.conf",
    mend=(
        "Shorten dnsConfig of the pod, or resolv.conf of the node that kubelet hands on: 3 nameservers, and "
        "few search domains."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#dns-search-domain-list-limits",
        "https://man7.org/linux/man-pages/man5/resolv.conf.5.html",
    ),
    explains=("OBJ001", "DNS001"),
)
def beyond_limits(case: NameCase) -> Iterator[Raised]:
    limits = list(dict.fromkeys(line for line in case.ignored if _LIMIT.match(line)))
    if not limits:
        return
    config = case.setting.pod.spec.dns_config
    asked_for = (*case.setting.conf.search, *((config.searches if config else None) or ()))
    cut = [d for d in asked_for if d not in case.obeyed.search]
    missing = [d for d in cut if case.setting.records.exists(f"{case.name}.{d}")]
    evidence = [*(f"{case.name}.{d} exists, and {d} is beyond the limit" for d in missing[:1]), *limits]
    pod = case.setting.pod
    yield Raised(
        (case.client,),
        tuple(evidence),
        "What was cut is not asked: names that rest on it are not found, and servers are not tried.",
        f"kubectl -n {pod.namespace} get pod {pod.name or 'POD'} -o jsonpath='{{.spec.dnsConfig}}' (shorten it)",
        Severity.ERROR if missing and case.failed else None,
    )


@name_check(
    "DNS010",
    "The pod's nameserver is not cluster DNS",
    Severity.ERROR,
    meaning=(
        "kubelet writes its own setting clusterDNS into the pods' resolv.conf. Where that is not the address of the "
        "DNS Service, nor of a cache on the node, pods ask nobody, or somebody who does not know the cluster."
    ),
    look="kubectl exec POD -- cat /etc/resolv.conf; kubectl -n kube-system get svc kube-dns",
    mend=(
        "Set clusterDNS in the kubelet's configuration to the DNS Service's address, restart the kubelet, "
        "and make the pods anew."
    ),
    links=(
        "https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/",
        "https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/",
    ),
    explains=("OBJ001", "DNS001", "DNS007", "DNS009", "DNS012"),
)
def other_nameserver(case: NameCase) -> Iterator[Raised]:
    setting = case.setting
    if case.observed is None or case.observed.conf is None or not setting.dns_ips or setting.question.server:
        return
    if _own_policy(case) is not None:
        return
    other = [n for n in setting.conf.nameservers if not setting.is_cluster_dns(n) and not _is_local(n)]
    if not other or (other[0] != setting.conf.nameservers[0] and not case.failed):
        return
    yield Raised(
        (case.client, case.dns_subject),
        (*resolv_lines(setting.conf), f"the DNS Service has {', '.join(setting.dns_ips)}"),
        f"Queries go to {other[0]}, which is not the cluster's DNS. kubelet's configuration on the pod's node has "
        "another clusterDNS; pods get the right one when they are made anew.",
        f"set clusterDNS: [{setting.dns_ips[0]}] in kubelet's configuration of node "
        f"{setting.pod.spec.node_name or 'NODE'} (/var/lib/kubelet/config.yaml), restart kubelet, then the pod",
    )


def _is_local(nameserver: str) -> bool:
    """A cache in the pod or on its node: it is somebody's decision."""
    ip = canonical_or_none(nameserver)
    return ip is not None and (ip_address(ip).is_loopback or ip_address(ip).is_link_local)
