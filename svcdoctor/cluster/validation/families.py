"""A Service's cluster IPs, IP families and their policy (ValidateServiceClusterIPsRelatedFields, and allocation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from svcdoctor.cluster.validation.formats import ip_address
from svcdoctor.cluster.validation.refusals import Refusals

_FAMILIES = ("IPv4", "IPv6")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_EITHER = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"


def family(ip: str) -> str:
    return "IPv6" if ":" in ip else "IPv4"


def check_families(spec: Mapping[str, Any], at: Refusals) -> None:
    """``at`` is the spec. An ExternalName's are checked elsewhere: it may have none."""
    if spec.get("type") == "ExternalName":
        return
    ip, ips, families = spec.get("clusterIP", ""), spec.get("clusterIPs", ()), spec.get("ipFamilies", ())
    if ip and ips and ips[0] != ip:
        at.invalid("clusterIPs", ips, "first value must match `clusterIP`", "remove clusterIP or clusterIPs")
    elif ips and not ip and not ips[0]:
        at.invalid("clusterIPs", ips, "must be empty when `clusterIP` is not specified", "remove clusterIPs")
    _check_family_names(families, at)
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _POLICIES:
        at.unsupported("ipFamilyPolicy", policy, _POLICIES)
    given = ips or ((ip,) if ip else ())
    if _check_addresses(given, bool(ips), at):
        _check_pairs(given, bool(ips), families, at)
    alone = policy == "SingleStack" or (policy is None and not _selectorless_headless(spec))
    for field, held, what in (("clusterIPs", ips, "cluster IPs"), ("ipFamilies", families, "IP families")):
        if alone and len(held) == 2 and len(set(held)) == 2:
            at.invalid(
                "ipFamilyPolicy",
                policy or "SingleStack",
                f"{_EITHER} {what} are specified",
                "ipFamilyPolicy: PreferDualStack",
                f"{field} has two entries" + ("" if policy else ", and SingleStack is the default"),
            )


def _selectorless_headless(spec: Mapping[str, Any]) -> bool:
    """Such a Service is dual-stack by default."""
    return spec.get("clusterIP") == "None" and not spec.get("selector")


def _check_family_names(families: Sequence[str], at: Refusals) -> None:
    for i, name in enumerate(families):
        if name not in _FAMILIES:
            at.unsupported(f"ipFamilies[{i}]", name, _FAMILIES)
        if name in families[:i]:
            at.duplicate(f"ipFamilies[{i}]", name, "ipFamilies: each family once")


def _field(i: int, plural: bool) -> str:
    return f"clusterIPs[{i}]" if plural else "clusterIP"


def _check_addresses(given: Sequence[str], plural: bool, at: Refusals) -> bool:
    """Whether every cluster IP is an address, or the first and only one is None."""
    sound = True
    for i, ip in enumerate(given):
        if ip == "None" and i == 0:
            if len(given) > 1:
                at.invalid(
                    "clusterIPs", list(given), "'None' must be the first and only value", "clusterIP: None"
                )
                sound = False
            continue
        reasons = ip_address(ip)
        fix = (
            "clusterIP: None"
            if ip.lower() == "none"
            else f"{_field(i, plural)}: an address of the Service range"
        )
        at.invalid(_field(i, plural), ip, reasons, fix)
        sound = sound and not reasons
    if len(given) > 2:
        at.invalid(
            "clusterIPs", list(given), "may only hold up to 2 values", "clusterIPs: one of each family"
        )
    return sound


def _check_pairs(given: Sequence[str], plural: bool, families: Sequence[str], at: Refusals) -> None:
    if len(given) > 1 and len({family(ip) for ip in given}) == 1:
        at.invalid(
            "clusterIPs",
            list(given),
            "may specify no more than one IP for each IP family",
            "clusterIPs: one of each family",
        )
    if "None" in given:
        return
    for i, (ip, name) in enumerate(zip(given, families, strict=False)):
        if name in _FAMILIES and family(ip) != name:
            at.invalid(
                _field(i, plural),
                ip,
                f"expected an {name} value as indicated by `ipFamilies[{i}]`",
                f"ipFamilies: [{family(ip)}]",
            )
