"""EndpointSlice (ValidateEndpointSlice)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from svcdoctor.cluster.validation.formats import (
    Reasons,
    dns_label,
    dns_subdomain,
    ip_address,
    ordinary_address,
    qualified_name,
)
from svcdoctor.cluster.validation.metadata import check_metadata
from svcdoctor.cluster.validation.refusals import Refusals
from svcdoctor.cluster.validation.service import PROTOCOLS

_TYPES = ("FQDN", "IPv4", "IPv6")
_MOST_ADDRESSES = 100
_MOST_ENDPOINTS = 1000
_MOST_PORTS = 100


def check_endpoint_slice(manifest: Mapping[str, Any], refused: Refusals) -> None:
    check_metadata(manifest.get("metadata", {}), refused)
    kind = manifest.get("addressType", "")
    if not kind:
        refused.required("addressType", "addressType: IPv4")
    elif kind not in _TYPES:
        refused.unsupported("addressType", kind, _TYPES)
    endpoints, ports = manifest.get("endpoints", ()), manifest.get("ports", ())
    if len(endpoints) > _MOST_ENDPOINTS:
        _too_many(refused, "endpoints", len(endpoints), _MOST_ENDPOINTS)
    for i, endpoint in enumerate(endpoints):
        _check_endpoint(endpoint, kind, refused.below(f"endpoints[{i}]"))
    if len(ports) > _MOST_PORTS:
        _too_many(refused, "ports", len(ports), _MOST_PORTS)
    names: set[str] = set()
    for i, port in enumerate(ports):
        here = refused.below(f"ports[{i}]")
        name, protocol = port.get("name", ""), port.get("protocol") or "TCP"
        if name:
            here.invalid("name", name, dns_label(name), "name: as the Service's port has it")
        if name in names:
            here.duplicate("name", name, "name: one of its own for every port")
        names.add(name)
        if protocol not in PROTOCOLS:
            here.unsupported("protocol", protocol, PROTOCOLS)
        if port.get("appProtocol"):
            here.invalid(
                "appProtocol", port["appProtocol"], qualified_name(port["appProtocol"]), "appProtocol: http"
            )


def _too_many(refused: Refusals, field: str, count: int, most: int) -> None:
    refused.add(
        field, f"Too many: {count}: must have at most {most} items", "spread them over several slices"
    )


def _check_endpoint(endpoint: Mapping[str, Any], kind: str, at: Refusals) -> None:
    addresses = endpoint.get("addresses", ())
    if not addresses:
        at.required("addresses", "addresses: one", "must contain at least 1 address")
    elif len(addresses) > _MOST_ADDRESSES:
        _too_many(at, "addresses", len(addresses), _MOST_ADDRESSES)
    for i, address in enumerate(addresses):
        at.invalid(f"addresses[{i}]", address, _address(address, kind), f"addresses: of type {kind}")
    if endpoint.get("hostname") is not None:
        at.invalid("hostname", endpoint["hostname"], dns_label(endpoint["hostname"]), "hostname: a DNS label")


def _address(address: str, kind: str) -> Reasons:
    if kind == "FQDN":
        return dns_subdomain(address.removesuffix(".")) or (
            () if "." in address else ("should be a domain with at least two segments separated by dots",)
        )
    if kind not in ("IPv4", "IPv6"):
        return ()
    if ip_address(address) or (":" in address) != (kind == "IPv6"):
        return (f"must be a valid {kind} address",)
    return ordinary_address(address)
