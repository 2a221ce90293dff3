"""DNS005 to DNS007, DNS009, DNS011, DNS012: who answers, whether queries get there, and whether answers are right."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from svcdoctor.checks.namecase import NameCase, name_check
from svcdoctor.checks.policydns import no_way_to_dns
from svcdoctor.checks.registry import Case, Raised, listed, pod_subject, subject
from svcdoctor.cluster.nearmiss import distance
from svcdoctor.dns.corefile import forwards
from svcdoctor.model.finding import Severity
from svcdoctor.model.lookup import ANSWERS, Met, Query
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.path.lookup import dns_blocked
from svcdoctor.path.names import DOMAIN

LATE = 0.8
"""Of the resolver's timeout: what a lookup takes from which on it has waited for a lost packet."""


def _uses_cluster_dns(case: NameCase) -> bool:
    return any(case.setting.is_cluster_dns(n) for n in case.setting.conf.nameservers)


@name_check(
    "DNS005",
    "Cluster DNS has no ready endpoint",
    Severity.ERROR,
    meaning="No pod behind the cluster's DNS Service is ready: every name fails, in every pod.",
    look="kubectl -n kube-system get pods -l k8s-app=kube-dns; kubectl -n kube-system get endpointslices",
    mend=(
        "Get CoreDNS's pods running and ready: kubectl -n kube-system describe pod and logs of those with "
        "k8s-app=kube-dns say what they lack."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/",
        "https://coredns.io/plugins/ready/",
    ),
    explains=("DNS007", "DNS012"),
)
def no_endpoint(case: NameCase) -> Iterator[Raised]:
    dns = case.setting.dns
    if dns is None or case.setting.dns_ready or not _uses_cluster_dns(case):
        return
    if any(q.reply.met in ANSWERS for q in case.asked):
        return
    pods = case.setting.dns_pods
    evidence = [f"Service {dns.namespace}/{dns.name} has no ready endpoint"]
    for pod in pods[:3]:
        states = [c.state.waiting.reason for c in pod.status.container_statuses or () if c.state.waiting]
        condition = pod.condition("Ready")
        why = ", ".join(s for s in states if s) or (condition.reason if condition else "") or "not ready"
        evidence.append(f"pod {pod.name} on {pod.spec.node_name or 'no node'}: {why}")
    if not pods:
        evidence.append("no pod matches its selector")
    yield Raised(
        (subject(dns), *(pod_subject(p) for p in pods[:3])),
        tuple(evidence),
        "Nobody answers DNS in the cluster. Applications see it as timeouts or as names that do not exist.",
        f"kubectl -n {dns.namespace} get pods -l {_selector(dns)} -o wide; "
        f"kubectl -n {dns.namespace} logs -l {_selector(dns)} --previous",
    )


def _selector(service: Service) -> str:
    return ",".join(f"{k}={v}" for k, v in (service.spec.selector or {}).items())


@name_check(
    "DNS006",
    "A NetworkPolicy blocks DNS",
    Severity.ERROR,
    meaning=(
        "Once a policy selects a pod for egress, only what some policy allows leaves it. DNS is not allowed by "
        "itself: port 53 must be named, for UDP and for TCP, or cluster DNS's pods as peers."
    ),
    look="kubectl -n NAMESPACE get networkpolicy -o yaml",
    mend=(
        "Allow port 53 by UDP and TCP to cluster DNS's pods, in an egress rule of a policy that selects the "
        "client."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/network-policies/",
        "https://www.rfc-editor.org/rfc/rfc7766",
    ),
    explains=("DNS007", "DNS012"),
    in_trace=no_way_to_dns,
)
def policy_blocks(case: NameCase) -> Iterator[Raised]:
    if not _uses_cluster_dns(case) or any(q.reply.met in ANSWERS for q in case.asked):
        return
    if case.observed is not None and case.observed.whole is not None and case.observed.whole.addresses:
        return  # the network does not enforce it
    found = {p: b for p in ("UDP", "TCP") if (b := dns_blocked(case.view, case.setting, p)) is not None}
    for protocol, block in list(found.items())[:1]:
        names = [f"{p.namespace}/{p.name}" for p in block.policies]
        policy = block.policies[0]
        dns = case.setting.dns
        evidence = [
            f"NetworkPolicy {listed(names)} isolates pod {block.pod.namespace}/{block.pod.name} for {block.direction}",
            f"none of them allows {' nor '.join(f'53/{p}' for p in found)}",
        ]
        if protocol == "TCP":
            evidence.append("UDP is allowed: answers of more than 512 bytes fail")
        if block.direction == "egress":
            port = '[{"protocol":"UDP","port":53},{"protocol":"TCP","port":53}]'
            space = dns.namespace if dns is not None else "kube-system"
            peer = f'[{{"namespaceSelector":{{"matchLabels":{{"kubernetes.io/metadata.name":"{space}"}}}}}}]'
            change = f'[{{"op":"add","path":"/spec/egress/-","value":{{"to":{peer},"ports":{port}}}}}]'
            if not policy.spec.egress:
                change = f'[{{"op":"add","path":"/spec/egress","value":[{{"to":{peer},"ports":{port}}}]}}]'
            fix = f"kubectl -n {policy.namespace} patch networkpolicy {policy.name} --type=json -p '{change}'"
        else:
            fix = (
                f"kubectl -n {policy.namespace} edit networkpolicy {policy.name} (allow 53/UDP and 53/TCP in)"
            )
        yield Raised(
            (case.client, *(f"NetworkPolicy/{n}" for n in names[:3])),
            tuple(evidence),
            "Queries are dropped: every lookup of the pod times out.",
            fix,
            Severity.WARNING if protocol == "TCP" else None,
        )


@name_check(
    "DNS007",
    "DNS queries are lost, and lookups take seconds",
    Severity.WARNING,
    meaning=(
        "A lost query is sent again after the resolver's timeout, 5 seconds by default. The known cause is a race in "
        "conntrack: the A and the AAAA query leave by one socket at the same time, and one of the two packets is "
        "dropped on the node (conntrack's insert_failed). A full conntrack table or a lossy network look alike."
    ),
    look="conntrack -S | grep -v insert_failed=0 (on the pod's node)",
    mend=(
        "Run NodeLocal DNSCache, or set option single-request-reopen (glibc) in the pod's dnsConfig. Where "
        "many packets are lost, look for a full conntrack table or a broken link first."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/",
        "https://docs.kernel.org/networking/nf_conntrack-sysctl.html",
    ),
)
def lost_queries(case: NameCase) -> Iterator[Raised]:
    timeout = case.setting.conf.timeout
    lost = _lost_then_answered(case)
    whole = case.observed.whole if case.observed is not None else None
    evidence = [
        f"{q.rtype} {q.name}: no answer within {q.reply.seconds or 0:.1f} s, answered when it was sent again"
        for q in lost
    ]
    if whole is not None and whole.addresses and whole.seconds >= LATE * timeout:
        evidence.append(f"{whole.command} took {whole.seconds:.1f} s and found it")
    if not evidence:
        return
    node = case.setting.pod.spec.node_name or "NODE"
    yield Raised(
        (case.client, f"Node/{node}"),
        (*evidence, *resolv_options(case)),
        "Single packets are lost between the pod and cluster DNS. NodeLocal DNSCache avoids the race, as its pods are "
        "asked without conntrack; so does asking one after the other, at the cost of time.",
        f"conntrack -S | grep -v insert_failed=0 (on {node})\n"
        'or in the pod\'s spec: {"dnsConfig":{"options":[{"name":"single-request-reopen"}]}} (glibc only)',
    )


def resolv_options(case: NameCase) -> tuple[str, ...]:
    conf = case.setting.conf
    return (f"resolv.conf: timeout:{conf.timeout} attempts:{conf.attempts}",)


def _lost_then_answered(case: NameCase) -> list[Query]:
    found: list[Query] = []
    for resolution in case.resolutions[:1]:
        for i, query in enumerate(resolution.queries):
            if query.reply.met is not Met.TIMEOUT or not query.reply.seconds:
                continue
            later = resolution.queries[i + 1 :]
            same = (
                q
                for q in later
                if (q.name, q.rtype, q.nameserver) == (query.name, query.rtype, query.nameserver)
            )
            if any(q.reply.met in ANSWERS for q in same):
                found.append(query)
    return found


@name_check(
    "DNS009",
    "CoreDNS's configuration is wrong",
    Severity.ERROR,
    meaning=(
        "The Corefile says which zone the cluster's records are in, and where other names are forwarded to. With "
        "another zone than kubelet's clusterDomain no name of the cluster exists; a forward to CoreDNS itself is a "
        "loop; a forward to a server that does not answer fails every name outside."
    ),
    look="kubectl -n kube-system get configmap coredns -o yaml; kubectl -n kube-system logs -l k8s-app=kube-dns",
    mend=(
        "Edit the ConfigMap coredns in kube-system: the zone must be kubelet's clusterDomain, and forward "
        "must name servers other than CoreDNS itself."
    ),
    links=(
        "https://coredns.io/plugins/kubernetes/",
        "https://coredns.io/plugins/forward/",
        "https://coredns.io/plugins/loop/",
    ),
    explains=("DNS002", "DNS005", "DNS007", "DNS012", "OBJ001"),
)
def wrong_corefile(case: NameCase) -> Iterator[Raised]:
    near = _near_domain(case)
    evidence, explanation = near or _corefile_trouble(case)
    if evidence:
        yield Raised(
            ("ConfigMap/kube-system/coredns", case.dns_subject),
            evidence,
            explanation,
            "kubectl -n kube-system edit configmap coredns",
            Severity.WARNING if near else None,
        )


def _near_domain(case: NameCase) -> tuple[tuple[str, ...], str] | None:
    """A zone that looks misspelt, where the pods' search list is not known."""
    domain = case.setting.domain
    if case.setting.conf_read or case.setting.domain not in case.setting.zones or domain == DOMAIN:
        return None
    if distance(domain, DOMAIN, 2) > 2:
        return None
    return (
        f"kubernetes {' '.join(case.setting.zones)} in the Corefile",
        f"{domain} looks like a misspelt {DOMAIN}; kubelet's clusterDomain is not known",
    ), "Where kubelet's clusterDomain is another one, the cluster's names do not exist."


def _corefile_trouble(case: NameCase) -> tuple[tuple[str, ...], str]:
    setting = case.setting
    if setting.corefile_problem:
        return (setting.corefile_problem,), "CoreDNS does not start with this file, or keeps an older one."
    if setting.corefile is None or not _uses_cluster_dns(case):
        return (), ""
    if setting.zones and setting.domain not in setting.zones and not case.is_outside:
        return (
            f"kubernetes {' '.join(setting.zones)} in the Corefile",
            f"the pods' search list says {setting.domain}",
        ), f"No name ends with {setting.domain} for CoreDNS: the cluster's names do not exist."
    own = {*setting.dns_ips, *(ip for pod in setting.dns_pods for ip in pod.ips)}
    for forward in forwards(setting.corefile):
        for target in forward.to:
            ip = canonical_or_none(target.removeprefix("dns://").strip("[]"))
            if ip is not None and (ip in own or ip_address(ip).is_loopback):
                where = f"forward {forward.zone} {' '.join(forward.to)} (line {forward.line} of the Corefile)"
                return (
                    where,
                    f"{ip} is CoreDNS itself",
                ), "Names outside go round in a loop until they time out."
    failing = [
        q
        for q in case.asked
        if q.expected.met is Met.OUTSIDE and q.reply.met in (Met.SERVFAIL, Met.REFUSED, Met.TIMEOUT)
    ]
    inside = [q for q in case.asked if q.expected.met is not Met.OUTSIDE and q.reply.met in ANSWERS]
    if failing and inside:
        query = failing[0]
        targets = [f"forward {f.zone} {' '.join(f.to)} (line {f.line})" for f in forwards(setting.corefile)]
        return (
            f"{query.rtype} {query.name}: {query.reply.met} after {query.reply.seconds or 0:.2g} s",
            "names of the cluster are answered",
            *(targets or ["the Corefile forwards nothing"]),
        ), "CoreDNS gets no answer from the servers that it forwards to."
    return (), ""


def no_such_record(case: Case) -> Iterator[Raised]:
    """In a trace: a pod's name below a headless Service that has none."""
    outcomes = case.outcomes("DNS011")
    for service in case.services if outcomes else ():
        yield _no_record(case.view.snapshot, service, outcomes[0].reason)


@name_check(
    "DNS011",
    "A headless Service has no such record",
    Severity.ERROR,
    meaning=(
        "DNS serves a record for a pod of a headless Service only while the pod is ready and its hostname and "
        "subdomain say so (a StatefulSet sets both). The Service's own name is answered with its ready pods' "
        "addresses: there is no cluster IP, and no kube-proxy in between."
    ),
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME -o yaml (hostname)",
    mend=(
        "Give the pod the hostname and subdomain that the name asks for (a StatefulSet with serviceName "
        "does), and get it ready; publishNotReadyAddresses serves names before that."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/",
        "https://kubernetes.io/docs/concepts/services-networking/service/#headless-services",
    ),
    explains=("OBJ001",),
    in_trace=no_such_record,
)
def headless_record(case: NameCase) -> Iterator[Raised]:
    service = case.meant
    if service is None or not service.headless:
        return
    if not case.failed:
        return
    base = f"{service.name}.{service.namespace}.svc.{case.setting.domain}"
    wanted = [q for q in case.first.queries if q.name == base or q.name.endswith(f".{base}")]
    if not wanted or wanted[0].expected.met is Met.DATA:
        return
    host = wanted[0].name.removesuffix(base).rstrip(".")
    reason = f"no ready pod has the hostname {host}" if host else "no endpoint is ready"
    yield _no_record(case.setting.snapshot, service, f"{wanted[0].name} has no records: {reason}")


def _no_record(snapshot: Snapshot, service: Service, reason: str) -> Raised:
    endpoints = [e for s in snapshot.slices(service.namespace, service.name) for e in s.endpoints or ()]
    with_record = sorted({e.hostname for e in endpoints if e.hostname and e.ready})
    without = sorted({e.hostname for e in endpoints if e.hostname and not e.ready} - set(with_record))
    evidence = [reason, f"hostnames with a record: {listed(with_record) or 'none'}"]
    if without:
        evidence.append(f"not ready, and without one: {listed(without)}")
    return Raised(
        (subject(service),),
        tuple(evidence),
        "The answer is NXDOMAIN.",
        f"kubectl -n {service.namespace} get pods -o custom-columns=NAME:.metadata.name,"
        "HOSTNAME:.spec.hostname,SUBDOMAIN:.spec.subdomain",
    )


@name_check(
    "DNS012",
    "DNS answers something else than the objects demand",
    Severity.ERROR,
    meaning=(
        "The answer is not what the Service's objects make it: an old one (CoreDNS lost its watch of the API, or a "
        "cache keeps it), one of another server, one that a plugin of the Corefile rewrites, or none at all."
    ),
    look="kubectl get svc NAME -o wide; kubectl -n kube-system logs -l k8s-app=kube-dns",
    mend=(
        "Look for what answers in the records' place: a plugin in the Corefile (rewrite, template, hosts), "
        "another server, an old cache. Restarting CoreDNS makes it read the objects anew."
    ),
    links=(
        "https://coredns.io/plugins/kubernetes/",
        "https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/",
    ),
)
def other_answer(case: NameCase) -> Iterator[Raised]:
    wrong = list({(q.name, q.rtype): q for q in case.queries if q.wrong}.values())
    evidence = [f"{q.rtype} {q.name}: answered {_shown(q)}, must be {_demanded(q)}" for q in wrong]
    if not evidence:
        evidence = list(_wrong_whole(case))
    if not evidence:
        return
    dns = case.setting.dns
    where = f"{dns.namespace}/{dns.name}" if dns is not None else "kube-system/kube-dns"
    plugins = _rewriting(case)
    fix = (
        "kubectl -n kube-system edit configmap coredns"
        if plugins
        else f"kubectl -n {where.partition('/')[0]} rollout restart deployment coredns"
    )
    if plugins:
        evidence.append(f"the Corefile has {listed(plugins)}")
    yield Raised(
        (*case.about[1:], case.client, case.dns_subject),
        tuple(evidence),
        "Clients go to the wrong address, or to none.",
        fix,
    )


def _wrong_whole(case: NameCase) -> Iterator[str]:
    """What the pod's own resolver got, where no query could be seen by itself."""
    whole = case.observed.whole if case.observed is not None else None
    if whole is None or case.asked:
        return
    wanted = {
        a
        for q in case.first.queries
        if q.expected.met is Met.DATA and not q.expected.aliases
        for a in q.expected.addresses
    }
    got = {c for a in whole.addresses if (c := canonical_or_none(a)) is not None}
    if wanted and got != {canonical_or_none(w) or w for w in wanted}:
        yield f"{whole.command}: {listed(sorted(got)) or whole.error}, must be {listed(sorted(wanted))}"


def _shown(query: Query) -> str:
    return listed(query.reply.data) or str(query.reply.met).upper()


def _demanded(query: Query) -> str:
    if query.expected.data:
        return listed(query.expected.data)
    return "nothing of that type" if query.expected.met is Met.NODATA else "NXDOMAIN"


def _rewriting(case: NameCase) -> list[str]:
    """Plugins of the Corefile that answer in the place of the records."""
    corefile = case.setting.corefile
    names = ("rewrite", "template", "hosts", "file", "etcd")
    return (
        sorted({p.name for s in corefile.servers for p in s.plugins if p.name in names}) if corefile else []
    )
