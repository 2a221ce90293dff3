"""The resolv.conf that kubelet writes for a pod.

Kubernetes documentation: DNS for Services and Pods; pkg/kubelet/network/dns/dns.go of Kubernetes 1.28 and later.
"""

from __future__ import annotations

from collections.abc import Iterable

from svcdoctor.dns.resolvconf import ResolvConf, options_of, with_options
from svcdoctor.model.pod import DnsConfig, Pod

NAMESERVERS, SEARCHES, SEARCH_CHARACTERS, DOMAIN_CHARACTERS = 3, 32, 2048, 253
NDOTS = "ndots:5"


def uses_cluster_dns(pod: Pod) -> bool:
    """Whether the pod's policy has it ask cluster DNS.

    ClusterFirst, which is the default, counts for a pod on its node's network as Default.
    """
    policy = pod.spec.dns_policy or "ClusterFirst"
    return policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.host_network)


def pod_resolv_conf(
    pod: Pod, cluster_dns: tuple[str, ...], domain: str, node: ResolvConf | None
) -> ResolvConf:
    """The file in the pod's containers; ``ignored`` says what kubelet cut off.

    ``node`` is what the file says that kubelet's resolvConf names (/etc/resolv.conf, or systemd-resolved's).
    Where it is not known, what it adds is missing: a few search domains for a pod of cluster DNS, everything for
    one that has its node's. Without ``cluster_dns`` kubelet gives a pod its node's too.
    """
    base = node or ResolvConf()
    servers: tuple[str, ...] = base.nameservers
    searches = tuple(s.removesuffix(".") for s in base.search if s != ".")
    options = options_of(base)
    if pod.spec.dns_policy == "None":
        servers, searches, options = (), (), ()
    elif uses_cluster_dns(pod) and cluster_dns:
        servers, options = cluster_dns, (NDOTS,)
        if domain:
            domain = domain.rstrip(".")
            own = (f"{pod.namespace or 'default'}.svc.{domain}", f"svc.{domain}", domain)
            searches = _unique((*own, *searches))
    config = pod.spec.dns_config or DnsConfig()
    servers = _unique((*servers, *(config.nameservers or ())))
    searches = _unique((*searches, *(config.searches or ())))
    merged = {option.partition(":")[0]: option for option in options}
    for option in config.options or ():
        merged[option.name] = f"{option.name}:{option.value}" if option.value else option.name
    cut = [f"nameserver {s}: kubelet writes {NAMESERVERS} at most" for s in servers[NAMESERVERS:]]
    kept, dropped = _fitting(searches)
    written = ResolvConf(servers[:NAMESERVERS], kept, ignored=(*cut, *dropped))
    return with_options(written, merged.values())


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _fitting(searches: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """The search domains that kubelet writes, and why it leaves the others out."""
    dropped = [f"search {s}: kubelet writes {SEARCHES} at most" for s in searches[SEARCHES:]]
    kept = []
    for domain in searches[:SEARCHES]:
        if len(domain) > DOMAIN_CHARACTERS:
            dropped.append(f"search {domain[:57]}...: longer than {DOMAIN_CHARACTERS} characters")
        else:
            kept.append(domain)
    while len(" ".join(kept)) > SEARCH_CHARACTERS:
        dropped.append(f"search {kept.pop()}: kubelet writes {SEARCH_CHARACTERS} characters at most")
    return tuple(kept), dropped
