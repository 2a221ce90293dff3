"""NetworkPolicy (ValidateNetworkPolicy)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from svcdoctor.cluster.validation.formats import cidr, port_name, port_number, sloppy_address
from svcdoctor.cluster.validation.metadata import check_metadata, check_selector
from svcdoctor.cluster.validation.refusals import Refusals
from svcdoctor.cluster.validation.service import PROTOCOLS

_TYPES = ("Ingress", "Egress")


def check_network_policy(manifest: Mapping[str, Any], refused: Refusals) -> None:
    check_metadata(manifest.get("metadata", {}), refused)
    spec, at = manifest.get("spec", {}), refused.below("spec")
    check_selector(spec.get("podSelector", {}), at.below("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction, ())):
            here = at.below(f"{direction}[{i}]")
            for n, port in enumerate(rule.get("ports", ())):
                _check_port(port, here.below(f"ports[{n}]"))
            for n, peer in enumerate(rule.get(peers, ())):
                _check_peer(peer, here.below(f"{peers}[{n}]"))
    types = spec.get("policyTypes", ())
    if len(types) > len(_TYPES):
        at.invalid(
            "policyTypes",
            types,
            "may not specify more than two policyTypes",
            "policyTypes: [Ingress, Egress]",
        )
        return
    for i, name in enumerate(types):
        if name not in _TYPES:
            at.unsupported(f"policyTypes[{i}]", name, _TYPES)


def _check_port(port: Mapping[str, Any], at: Refusals) -> None:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in PROTOCOLS:
        at.unsupported("protocol", protocol, PROTOCOLS)
    if isinstance(number, int):
        at.invalid("port", number, port_number(number), "port: a number from 1 to 65535")
        if end is not None:
            if end < number:
                at.invalid(
                    "endPort", end, "must be greater than or equal to `port`", f"endPort: {number} or more"
                )
            at.invalid("endPort", end, port_number(end), "endPort: a number up to 65535")
        return
    if end is not None:
        lacking = "is not specified" if number is None else "is non-numeric"
        at.invalid(
            "endPort", end, f"may not be specified when `port` {lacking}", "port: the range's first number"
        )
    if number is not None:
        fix = f"port: {number}  (without quotes)" if number.isdecimal() else "port: a container port's name"
        at.invalid("port", number, port_name(number), fix)


def _check_peer(peer: Mapping[str, Any], at: Refusals) -> None:
    kinds = [k for k in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(k) is not None]
    for kind in kinds:
        if kind != "ipBlock":
            check_selector(peer[kind], at.below(kind))
        else:
            _check_block(peer["ipBlock"], at.below("ipBlock"))
    if not kinds:
        at.required("", "podSelector: {} for every pod of the namespace", "must specify a peer")
    elif "ipBlock" in kinds and len(kinds) > 1:
        at.forbidden("", "may not specify both ipBlock and another peer", "make a peer of its own of ipBlock")


def _check_block(block: Mapping[str, Any], at: Refusals) -> None:
    whole = block.get("cidr", "")
    if not whole:
        at.required("cidr", "cidr: a range such as 192.0.2.0/24")
        return
    at.invalid("cidr", whole, cidr(whole), _fix("cidr", whole))
    around = _network(whole)
    for i, part in enumerate(block.get("except", ())):
        at.invalid(f"except[{i}]", part, cidr(part), _fix("except", part))
        inner = _network(part)
        if around is None or inner is None:
            continue
        within = around.version == inner.version and inner.network_address in around
        if not within or around.prefixlen >= inner.prefixlen:
            at.invalid(
                f"except[{i}]", part, "must be a strict subset of `cidr`", f"except: a part of {whole}"
            )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    address, _ = sloppy_address(text.rpartition("/")[0])
    length = text.rpartition("/")[2]
    if address is None or not length.isdecimal() or int(length) > address.max_prefixlen:
        return None
    return ipaddress.ip_network(f"{address}/{int(length)}", strict=False)


def _fix(field: str, text: str) -> str:
    network = _network(text)
    if network is not None:
        return f"{field}: {network}"
    address, _ = sloppy_address(text)
    return f"{field}: {address}/{address.max_prefixlen}" if address is not None else f"{field}: a range"
