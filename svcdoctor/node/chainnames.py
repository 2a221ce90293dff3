"""The names that kube-proxy gives to its chains and sets, computed from Services and endpoints.

Theory. kube-proxy names a chain after the Service port (and endpoint) that it serves, through a hash, because
netfilter's names are short. In iptables mode the name is a prefix and 16 characters of base32(SHA-256) over
``namespace/name:port``, the protocol and, for an endpoint, ``ip:port``. In nftables mode it is a prefix, 8
characters of the hash and the hashed text itself, ``namespace/name/protocol/port``, for an endpoint with
``__ip/port`` after it. So a name can be computed from the objects, which ties a node's rules to them.

What may live here: the formulas and taking a name apart. Specified by kube-proxy (pkg/proxy/iptables and
pkg/proxy/nftables); the vectors are in tests/node/test_chainnames.py.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

# What a Service port's hash follows; an endpoint's follows KUBE-SEP-. KUBE-XLB- until Kubernetes 1.24.
IPTABLES_SERVICE_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-")
IPTABLES_ENDPOINT_PREFIX = "KUBE-SEP-"

_NFTABLES_MAX = 256 - 16  # netfilter's longest name, less kube-proxy's longest prefix

_IPTABLES = re.compile(r"^(KUBE-(?:SVC|SVL|EXT|FW|XLB|SEP)-)([A-Z2-7]{16})$")
_NFTABLES = re.compile(r"^((?:service|local|external|firewall|endpoint|affinity)-)([A-Z2-7]{8}-.+)$")
_NFTABLES_TEXT = re.compile(
    r"^[A-Z2-7]{8}-(?P<namespace>[^/]+)/(?P<name>[^/]+)/(?P<protocol>[a-z]+)/(?P<port>[^/_]*)"
    r"(?:__(?P<ip>[0-9a-fA-F.]+)/(?P<number>\d+))?$"
)


@dataclass(frozen=True, slots=True)
class ServicePortName:
    """One port of a Service as kube-proxy names it. ``port`` is the port's name, often empty."""

    namespace: str
    name: str
    port: str
    protocol: str  # lowercase

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port}" if self.port else f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class EndpointName:
    """Where a Service port's traffic may go: an address and a port number."""

    service: ServicePortName
    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def _base32(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()


def iptables_hash(what: ServicePortName | EndpointName, *, old: bool = False) -> str:
    """The 16 characters after ``KUBE-SVC-`` and its kin, or after ``KUBE-SEP-`` for an endpoint.

    ``old`` is the form of kube-proxies that kept the colon after a Service whose port has no name.
    """
    service = what.service if isinstance(what, EndpointName) else what
    text = f"{service.namespace}/{service.name}:{service.port}" if old else str(service)
    text += service.protocol
    if isinstance(what, EndpointName):
        text += str(what)
    return _base32(text)[:16]


def nftables_base(what: ServicePortName | EndpointName) -> str:
    """What follows the prefix in nftables mode: the hash and the text that was hashed.

    Too long a name is cut and ends in ``...``, as kube-proxy cuts it.
    """
    service = what.service if isinstance(what, EndpointName) else what
    text = f"{service.namespace}/{service.name}/{service.protocol}/{service.port}"
    if isinstance(what, EndpointName):
        text += f"__{what.ip.replace(':', '.')}/{what.port}"
    whole = f"{_base32(text)[:8]}-{text}"
    return whole if len(whole) <= _NFTABLES_MAX else whole[: _NFTABLES_MAX - 3] + "..."


def split_chain(name: str) -> tuple[str, str] | None:
    """The prefix and the rest of a chain or set that belongs to one Service port, ``None`` for others."""
    match = _IPTABLES.match(name) or _NFTABLES.match(name)
    return (match[1], match[2]) if match else None


def parse_nftables_base(base: str) -> ServicePortName | EndpointName | None:
    """The Service port or endpoint that ``nftables_base`` names; ``None`` when the hash does not fit it.

    A name that was cut cannot be read back.
    """
    match = _NFTABLES_TEXT.match(base)
    if match is None:
        return None
    service = ServicePortName(match["namespace"], match["name"], match["port"], match["protocol"])
    if match["ip"] is None:
        found: ServicePortName | EndpointName = service
    else:
        dotted = match["ip"]
        quad = re.fullmatch(r"\d+\.\d+\.\d+\.\d+", dotted) is not None
        found = EndpointName(service, dotted if quad else dotted.replace(".", ":"), int(match["number"]))
    return found if nftables_base(found) == base else None
