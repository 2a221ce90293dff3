"""What is served: a Service port in one IP family, where it is listened for, and which endpoints a client gets.

The control process writes these values; workers carry traffic by them and kernel mode compiles them. Nothing is
decided here: endpoints, policies, ranges and timeouts are those of ``path.nodeplan``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from svcdoctor.proxy.balance import BalancerPolicy

Kind = Literal["clusterIP", "nodePort", "loadBalancer", "externalIP", "local"]


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An immutable value that is a list on the wire."""


class Listen(Value, frozen=True):
    """An address of this machine where the port is listened for; ``0.0.0.0`` and ``::`` are all of their family.

    ``kind`` is the Service's address that it stands for, ``local`` one that is no Service's. Clients of clusterIP and
    local go by the internal traffic policy, those of nodePort, loadBalancer and externalIP by the external one.
    """

    ip: str
    port: int
    kind: Kind

    def __str__(self) -> str:
        return address_text(self.ip, self.port)


class Backend(Value, frozen=True):
    """An endpoint. ``pod`` is NAMESPACE/NAME and ``node`` its node, both empty where not known."""

    ip: str
    port: int
    pod: str = ""
    node: str = ""

    def __str__(self) -> str:
        return address_text(self.ip, self.port)


class ServedPort(Value, frozen=True):
    """One Service port in one IP family. Without an endpoint for it a client is refused.

    ``protocol`` is TCP, UDP or SCTP; workers have no SCTP.

    ``cluster`` and ``local`` are the endpoints under the traffic policies Cluster and Local, each empty where no
    traffic goes by it. ``internal_local`` and ``external_local`` say which policy is which. Clients within the networks
    ``inside`` (this node, and pods) get the cluster's endpoints even where the external policy is Local, as from
    kube-proxy. ``sources`` are the networks that the loadBalancer listens admit, empty for all.

    ``has_endpoints`` tells of any node's: where there are some and none is local, kube-proxy drops and does not reject.
    ``affinity_seconds`` is 0 without affinity. ``limit`` is how many connections an endpoint has at most in one
    worker, 0 for any number. ``proxy_protocol`` announces the client to the endpoint (PROXY protocol 2). Where
    ``workers`` is not 0, it is how many processes share the port's clients so that all connections of one address come
    to the same process, which remembers its endpoint.
    """

    key: str
    protocol: str
    listens: tuple[Listen, ...]
    cluster: tuple[Backend, ...]
    local: tuple[Backend, ...]
    internal_local: bool = False
    external_local: bool = False
    inside: tuple[str, ...] = ()
    has_endpoints: bool = False
    affinity_seconds: int = 0
    sources: tuple[str, ...] = ()
    balance: BalancerPolicy = BalancerPolicy.RANDOM
    limit: int = 0
    proxy_protocol: bool = False
    workers: int = 0


def served_key(namespace: str, name: str, port: int, protocol: str, family: int) -> str:
    """``NAMESPACE/NAME:PORT/PROTOCOL/FAMILY``, family 4 or 6."""
    return f"{namespace}/{name}:{port}/{protocol}/{family}"


def address_text(ip: str, port: int) -> str:
    """``ADDRESS:PORT`` as URLs have it."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
