"""What every table ``svcdoctor`` has, whatever is served: its hooks, its maps, and the rules that look them up.

    prerouting, output  -111   guards: who may not use a load balancer is dropped, what has no endpoint refused
    prerouting, output  -101   services: the destination becomes an endpoint's
    postrouting           99   masquerading

Each stands before kube-proxy's (-110, -100, 100). The first NAT chain that translates is the last one asked, so what is
served here is served here alone; everything else passes untouched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from svcdoctor.path.nodeplan import PodTraffic
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.kernel.statements import (
    DROP,
    NEW,
    PORT,
    PROTOCOL,
    RETURN,
    Rule,
    concat,
    from_pods,
    jump,
    local,
    mark,
    masquerading,
    match,
    not_loopback,
    reject,
    rule,
    service,
    vmap,
)
from svcdoctor.proxy.kernel.tabletext import ADDRESS, PROTOCOL_PORT, Kept

TABLE: Final = "svcdoctor"
COMMENT: Final = "Services carried by svcdoctor proxy; svcdoctor proxy cleanup removes it"
MARK: Final = 0x1000
"""The bit of the packet mark that asks for masquerading. kube-proxy has 0x4000, kubelet 0x8000, portmap 0x2000."""

IPS: Final = {4: "ip", 6: "ip6"}

# Sets and maps.
CLUSTER_IPS, HAIRPINS = "cluster-ips", "hairpin-connections"
SERVICE_IPS, SERVICE_PORTS = "service-ips", "service-ports"
GUARDED_IPS = "guarded-ips"
REFUSED_IPS, REFUSED_PORTS = "refused-ips", "refused-ports"

# Chains.
REFUSE, DROP_FROM_OUTSIDE = "refuse", "drop-from-outside"
HEADS: Final = {
    "guard-prerouting": "type filter hook prerouting priority -111",
    "guard-output": "type filter hook output priority -111",
    "nat-prerouting": "type nat hook prerouting priority -101",
    "nat-output": "type nat hook output priority -101",
    "nat-postrouting": "type nat hook postrouting priority 99",
}
LAST_CHAIN: Final = "nat-postrouting"
"""The chain that stays where there is nothing to do any more but to translate what was."""


def kept(ip: str) -> Iterator[Kept]:
    """The sets and maps."""
    address = ADDRESS[ip]
    service_type = (address, *PROTOCOL_PORT)
    yield Kept(CLUSTER_IPS, service_type, comment="masqueraded unless from a pod")
    yield Kept(HAIRPINS, (address, *service_type), comment="endpoints that reach themselves")
    yield Kept(SERVICE_IPS, service_type, True, "by address, protocol and port")
    yield Kept(SERVICE_PORTS, PROTOCOL_PORT, True, "on every address of this node but loopback")
    yield Kept(GUARDED_IPS, service_type, True, "loadBalancerSourceRanges")
    yield Kept(REFUSED_IPS, service_type, True, "no endpoint")
    yield Kept(REFUSED_PORTS, PROTOCOL_PORT, True, "no endpoint")


def chains(ip: str, site: Site) -> dict[str, tuple[Rule, ...]]:
    """The chains that look packets up, and those that act on what is common to all Services."""
    pods = site.pods.get(6 if ip == "ip6" else 4)
    ports = concat(PROTOCOL, PORT)
    here = (local("daddr"), not_loopback(ip))
    outside = [rule(from_pods(pods, ip), RETURN)] if pods is not None else []
    return {
        "guard-prerouting": (rule(NEW, jump("guards")),),
        "guard-output": (rule(NEW, jump("guards")),),
        "guards": (
            rule(vmap(service(ip), GUARDED_IPS)),
            rule(vmap(service(ip), REFUSED_IPS)),
            rule(*here, vmap(ports, REFUSED_PORTS)),
        ),
        REFUSE: (rule(reject(ip)),),
        DROP_FROM_OUTSIDE: (*outside, rule(local("saddr"), RETURN), rule(DROP)),
        "nat-prerouting": (rule(jump("services")),),
        "nat-output": (rule(jump("services")),),
        "services": (
            *_masquerade_cluster_ips(ip, pods, site.masquerade_all),
            rule(vmap(service(ip), SERVICE_IPS)),
            rule(*here, vmap(ports, SERVICE_PORTS)),
        ),
        "nat-postrouting": masquerading(ip, MARK, HAIRPINS),
    }


def _masquerade_cluster_ips(ip: str, pods: PodTraffic | None, everything: bool) -> Iterator[Rule]:
    served = match(service(ip), f"@{CLUSTER_IPS}")
    if everything:
        yield rule(served, mark(MARK))
    elif pods is not None:
        yield rule(served, from_pods(pods, ip, "!="), mark(MARK))


def base_chain(name: str) -> tuple[str, str, int]:
    """A base chain's type, hook and priority."""
    words = HEADS[name].split()
    return words[1], words[3], int(words[5])
