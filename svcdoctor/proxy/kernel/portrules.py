"""One served port as nftables has it: its chains, the sets of clients that it remembers, its elements of the maps.

Theory. An address leads to ``external-`` (nodePort, load balancer, external address), to ``listen-`` (an address that
is no Service's), or, from a cluster IP, to the policy's own chain: ``service-`` (Cluster) or ``local-`` (Local). That
sends to an endpoint in one rule, which draws a number. The endpoints' numbers are in maps that many ports share, for
the kernel takes quadratic time to load a set for each. With session affinity each endpoint has a chain ``endpoint-``
and a set ``affinity-`` of its clients. Where an address has no endpoint the guards refuse it: rejected where there is
none at all, dropped where policy Local leaves none, as kube-proxy does.

A packet that is amid its rules while they are replaced goes on by the old ones, but finds elements of the new maps. One
that so draws a number that is gone goes to the first endpoint, by the rule after the draw; otherwise its connection
would be tracked untranslated, and lost.

What may live here: kube-proxy's semantics in svcdoctor's table. Specified by kube-proxy 1.36 (pkg/proxy/nftables).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import collapse_addresses, ip_address, ip_network

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.kernel.layout import (
    CLUSTER_IPS,
    DROP_FROM_OUTSIDE,
    GUARDED_IPS,
    HAIRPINS,
    IPS,
    MARK,
    REFUSE,
    REFUSED_IPS,
    REFUSED_PORTS,
    SERVICE_IPS,
    SERVICE_PORTS,
)
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.kernel.statements import (
    DROP,
    Rule,
    Statement,
    from_outside,
    goto,
    guard,
    jump,
    mark,
    rule,
    send,
    spread,
    spread_sticky,
    sticky,
)
from svcdoctor.proxy.kernel.tabletext import Key
from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort

MOST_ENDPOINTS = 1 << 16
"""Endpoints of one port under one policy."""

SHARING = 64
"""Ports that share a map: adding an element takes time by the rules that ask its map, adding a rule by its elements."""

ANY = ("0.0.0.0", "::")
"""The addresses that stand for all of this node's."""

_DRAWN = {BalancerPolicy.RANDOM: "random", BalancerPolicy.ROUND_ROBIN: "inc"}
_USER_SPACE = "leave --mode nftables out"


@dataclass(slots=True)
class PortRules:
    """``clients`` are the sets of remembered clients with their seconds, ``elements`` by key what each set or map has
    of it: a verdict, or None in a set. ``endpoints`` are elements of the map ``numbers``, by number."""

    ip: str
    numbers: str
    chains: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    clients: dict[str, int] = field(default_factory=dict)
    elements: dict[Key, dict[str, Statement | None]] = field(default_factory=dict)
    endpoints: dict[int, Key] = field(default_factory=dict)


def family_of(key: str) -> int:
    return int(key.rpartition("/")[2])


def numbers_map(key: str, slot: int) -> str:
    """The map that has the numbers of a port's endpoints. Its type has the protocol in it."""
    return f"endpoints-{key.rsplit('/', 2)[1].lower()}-{slot // SHARING}"


def listen_key(listen: Listen, protocol: str) -> Key:
    """Where a listen is found in the maps: by address, or on every address by its port alone."""
    protocol = protocol.lower()
    return (protocol, listen.port) if listen.ip in ANY else (listen.ip, protocol, listen.port)


def check(port: ServedPort) -> None:
    """Raises SvcdoctorError for a port that cannot be served by rules."""
    wanted = ""
    if port.balance not in _DRAWN:
        wanted = f"--balance {port.balance.value}: rules choose at random or in turn"
    elif port.limit:
        wanted = "a limit of connections: rules do not count them"
    elif port.proxy_protocol:
        wanted = "the PROXY protocol: rules add nothing to a connection"
    elif max(len(port.cluster), len(port.local)) > MOST_ENDPOINTS:
        wanted = f"room for {len(port.cluster):,} endpoints"
    if wanted:
        raise SvcdoctorError(f"{port.key}: kernel mode has not {wanted}; {_USER_SPACE}")
    for listen in port.listens:
        if listen.ip not in ANY and ip_address(listen.ip).is_loopback:
            raise SvcdoctorError(
                f"{port.key}: kernel mode cannot serve {listen}: the kernel routes no loopback address to a pod; "
                f"listen on another address, or {_USER_SPACE}"
            )


def port_rules(port: ServedPort, site: Site, slot: int) -> PortRules:
    """The rules of one port. ``slot`` is a number that no other port of the table has. Linear in its endpoints."""
    return _Writer(port, site, slot).write()


class _Writer:
    def __init__(self, port: ServedPort, site: Site, slot: int) -> None:
        self.port = port
        family = family_of(port.key)
        self.rules = PortRules(IPS[family], numbers_map(port.key, slot))
        self.first = slot % SHARING * 2 * MOST_ENDPOINTS
        self.pods = site.pods.get(family)
        self.protocol = port.protocol.lower()
        self.base = f"{port.key.rsplit('/', 2)[0].replace(':', '/')}/{self.protocol}"
        self.cluster, self.here = f"service-{self.base}", f"local-{self.base}"
        self.internal = self.here if port.internal_local else self.cluster

    def write(self) -> PortRules:
        port, chains = self.port, self.rules.chains
        for policy, (name, backends) in enumerate(((self.cluster, port.cluster), (self.here, port.local))):
            if backends:
                chains[name] = self._policy(backends, self.first + policy * MOST_ENDPOINTS)
        for listen in port.listens:
            self._listen(listen)
        for backend in dict.fromkeys((*port.cluster, *port.local)):
            self._element((backend.ip, backend.ip, self.protocol, backend.port), HAIRPINS)
        return self.rules

    def _element(self, key: Key, name: str, verdict: Statement | None = None) -> None:
        self.rules.elements.setdefault(key, {})[name] = verdict

    def _listen(self, listen: Listen) -> None:
        key = listen_key(listen, self.protocol)
        if key in self.rules.elements:
            return
        anywhere = listen.ip in ANY
        served, refused = (SERVICE_PORTS, REFUSED_PORTS) if anywhere else (SERVICE_IPS, REFUSED_IPS)
        if listen.kind == "loadBalancer" and self.port.sources:
            name = f"guard-{self.base}"
            self.rules.chains[name] = (guard(self.rules.ip, _collapsed(self.port.sources)),)
            self._element(key, GUARDED_IPS, jump(name))
        external = listen.kind not in ("clusterIP", "local")
        missing = self._missing(external)
        if missing is not None:
            self._element(key, refused, missing)
        if external and (self.port.cluster or self.port.local):
            self._element(key, served, goto(self._external()))
        elif not external and missing is None:
            if listen.kind == "clusterIP":
                self._element(key, CLUSTER_IPS)
            self._element(key, served, goto(self.internal if listen.kind == "clusterIP" else self._own()))

    def _missing(self, external: bool) -> Statement | None:
        """What a client of the policy meets that has no endpoint for it."""
        port = self.port
        only_local = port.external_local if external else port.internal_local
        if port.local if only_local else port.cluster:
            return None
        if not port.has_endpoints:
            return goto(REFUSE)
        return goto(DROP_FROM_OUTSIDE) if external and port.cluster else DROP

    def _external(self) -> str:
        name = f"external-{self.base}"
        port = self.port
        short_cut = self.cluster if port.cluster else ""
        self.rules.chains[name] = from_outside(
            self.rules.ip, MARK, self.pods, port.external_local, short_cut, self.here if port.local else ""
        )
        return name

    def _own(self) -> str:
        """For an address that is no Service's: whoever asks, the answer must come back through this machine."""
        name = f"listen-{self.base}"
        self.rules.chains[name] = (rule(mark(MARK)), rule(goto(self.internal)))
        return name

    def _policy(self, backends: tuple[Backend, ...], first: int) -> tuple[Rule, ...]:
        ip, mode = self.rules.ip, _DRAWN[self.port.balance]
        if not self.port.affinity_seconds:
            self.rules.endpoints |= {first + n: (b.ip, b.port) for n, b in enumerate(backends)}
            drawn = spread(ip, self.protocol, len(backends), f"@{self.rules.numbers}", mode, first)
            return drawn, send(self.protocol, backends[0].ip, backends[0].port)
        pairs = []
        for backend in backends:
            base = f"{self.base}__{backend.ip.replace(':', '.')}/{backend.port}"
            seconds = self.port.affinity_seconds
            chain, clients = f"endpoint-{base}", f"affinity-{seconds}-{base}"
            self.rules.clients[clients] = seconds
            self.rules.chains[chain] = sticky(ip, self.protocol, clients, backend.ip, backend.port)
            pairs.append((chain, clients))
        return (*spread_sticky(ip, pairs, mode), rule(goto(pairs[0][0])))


def _collapsed(sources: tuple[str, ...]) -> list[str]:
    """The networks without those within others: elements of a set may not overlap."""
    found = [ip_network(source, strict=False) for source in sources]
    if found[0].version == 6:
        return [str(n) for n in collapse_addresses(n for n in found if n.version == 6)]
    return [str(n) for n in collapse_addresses(n for n in found if n.version == 4)]
