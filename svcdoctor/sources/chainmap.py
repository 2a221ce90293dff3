"""kube-proxy's chain names after anonymising: recomputed, so that rules still fit the objects.

A chain's name is a hash of names and addresses. The names that are known, from the objects and from the rules'
own comments, give the table from old to new; a hash that nothing explains (a stale chain) gets another random
one, the same everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator

from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.node.chainnames import (
    IPTABLES_ENDPOINT_PREFIX,
    IPTABLES_SERVICE_PREFIXES,
    EndpointName,
    ServicePortName,
    iptables_hash,
    nftables_base,
    parse_nftables_base,
    split_chain,
)

Names = Callable[[str], str]
What = ServicePortName | EndpointName

_COMMENT = re.compile(
    r'-p (\w+) .*--comment "?([a-z0-9.-]+)/([a-z0-9.-]+)(?::([a-z0-9-]*))?[ "]'
    r"(?:.*--to-destination (\S+):(\d+))?"
)


class ChainNames:
    """From the old name of a chain or set to the new one."""

    def __init__(self, key: bytes, name: Names, host: Names) -> None:
        self._key = key
        self._name = name
        self._host = host
        self._new: dict[str, str] = {}

    def learn(self, what: What) -> None:
        """Every name that kube-proxy gives to a Service port or endpoint, in either mode."""
        new = self._mapped(what)
        for old in (False, True):
            self._new[iptables_hash(what, old=old)] = iptables_hash(new, old=old)
        self._new[nftables_base(what)] = nftables_base(new)

    def _mapped(self, what: What) -> What:
        if isinstance(what, EndpointName):
            service = self._service(what.service)
            return EndpointName(service, self._host(what.ip), what.port)
        return self._service(what)

    def _service(self, service: ServicePortName) -> ServicePortName:
        name = self._name
        return ServicePortName(
            name(service.namespace), name(service.name), name(service.port), service.protocol
        )

    def learn_snapshot(self, snapshot: Snapshot) -> None:
        for what in named_in(snapshot):
            self.learn(what)

    def learn_rules(self, iptables_save: str) -> None:
        """What the rules' own comments name: Services and endpoints that the objects no longer hold."""
        for match in _COMMENT.finditer(iptables_save):
            service = ServicePortName(match[2], match[3], match[4] or "", match[1])
            self.learn(service)
            ip = canonical_or_none((match[5] or "").strip("[]"))
            if ip is not None:
                self.learn(EndpointName(service, ip, int(match[6])))

    def chain(self, name: str) -> str | None:
        """The new name of a chain or set of kube-proxy's; ``None`` for a name that is none."""
        parts = split_chain(name)
        if parts is None:
            return None
        prefix, rest = parts
        if rest not in self._new:
            what = parse_nftables_base(rest)
            if what is not None:
                self.learn(what)
            else:
                self._new[rest] = self._unexplained(rest, prefix)
        return prefix + self._new[rest]

    def _unexplained(self, rest: str, prefix: str) -> str:
        letters = base64.b32encode(hashlib.blake2b(rest.encode(), key=self._key).digest()).decode()
        iptables = prefix == IPTABLES_ENDPOINT_PREFIX or prefix in IPTABLES_SERVICE_PREFIXES
        return letters[:16] if iptables else f"{letters[:8]}-..."


def named_in(snapshot: Snapshot) -> Iterator[What]:
    """Every Service port, and every endpoint of it, that the objects name."""
    for service in snapshot.services:
        slices = snapshot.slices(service.namespace, service.name)
        for port in service.ports:
            name = ServicePortName(service.namespace, service.name, port.name, port.protocol.lower())
            yield name
            for slice_ in slices:
                numbers = [
                    p.port
                    for p in slice_.ports or ()
                    if (p.name or "") == port.name and (p.protocol or "TCP") == port.protocol and p.port
                ]
                for endpoint in slice_.endpoints or ():
                    for address in endpoint.addresses or ():
                        ip = canonical_or_none(address)
                        if ip is not None:
                            yield from (EndpointName(name, ip, n) for n in numbers)
