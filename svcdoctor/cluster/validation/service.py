"""Service: type, ports, affinity, load balancer and traffic policies (ValidateService)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from svcdoctor.cluster.validation.families import check_families
from svcdoctor.cluster.validation.formats import (
    cidr,
    dns_label,
    dns_subdomain,
    ip_address,
    ordinary_address,
    port_name,
    port_number,
    qualified_name,
)
from svcdoctor.cluster.validation.metadata import check_labels, check_metadata
from svcdoctor.cluster.validation.refusals import Refusals
from svcdoctor.model.finding import Severity

PROTOCOLS = ("SCTP", "TCP", "UDP")
NODE_PORTS = range(30000, 32768)  # the API server's default --service-node-port-range
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_LONGEST_AFFINITY = 86400  # seconds
_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
_OLD_HINTS = "service.kubernetes.io/topology-aware-hints"
_TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
_ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"


def service_type(spec: Mapping[str, Any]) -> str:
    return spec.get("type") or "ClusterIP"


def check_service(manifest: Mapping[str, Any], refused: Refusals) -> None:
    check_metadata(manifest.get("metadata", {}), refused, service=True)
    spec = manifest.get("spec", {})
    at = refused.below("spec")
    kind = service_type(spec)
    if kind not in _TYPES:
        at.unsupported("type", kind, _TYPES)
    headless = spec.get("clusterIP") == "None" or spec.get("clusterIPs") == ["None"]
    if not spec.get("ports") and not headless and kind != "ExternalName":
        at.required("ports", "ports: at least one")
    if headless and kind in ("LoadBalancer", "NodePort"):
        at.invalid(
            "clusterIPs[0]" if spec.get("clusterIPs") else "clusterIP",
            "None",
            f"may not be set to 'None' for {kind} services",
            "remove clusterIP: None, or type: ClusterIP",
            f"headless with type {kind}",
        )
    if kind == "ExternalName":
        _check_external_name(spec, at)
    _check_ports(spec.get("ports", ()), kind, at)
    check_labels(spec.get("selector", {}), at, "selector")
    _check_affinity(spec, at)
    check_families(spec, at)
    for i, ip in enumerate(spec.get("externalIPs", ())):
        reasons = ip_address(ip) or ordinary_address(ip)
        at.invalid(f"externalIPs[{i}]", ip, reasons, "an address of a node, or one that is routed to nodes")
    _check_balancer(spec, manifest.get("metadata", {}).get("annotations", {}), kind, refused)
    _check_policies(spec, kind, at)


def _check_external_name(spec: Mapping[str, Any], at: Refusals) -> None:
    for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field):
            at.forbidden(field, "may not be set for ExternalName services", f"remove {field}")
    name = spec.get("externalName", "").removesuffix(".")
    if not name:
        at.required("externalName", "externalName: a DNS name")
    else:
        host = name.partition("://")[2] or name
        host = host.partition("/")[0].partition(":")[0].lower()
        fix = host if host != name and not dns_subdomain(host) else "a DNS name"
        at.invalid("externalName", name, dns_subdomain(name), f"externalName: {fix}")


def _check_ports(ports: list[dict[str, Any]], kind: str, at: Refusals) -> None:
    names: set[str] = set()
    node_ports: set[tuple[str, int]] = set()
    numbers: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        here = at.below(f"ports[{i}]")
        name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol") or "TCP"
        if not name and len(ports) > 1:
            here.required("name", f"ports[{i}].name: a name of its own, as there are several ports")
        elif name:
            here.invalid("name", name, dns_label(name), "name: at most 63 lower-case letters, digits and '-'")
            if name in names:
                here.duplicate("name", name, "name: give every port a name of its own")
            names.add(name)
        here.invalid("port", number, port_number(number), "port: a number from 1 to 65535")
        if protocol not in PROTOCOLS:
            here.unsupported("protocol", protocol, PROTOCOLS)
        _check_target(port.get("targetPort"), here)
        if port.get("appProtocol"):
            here.invalid(
                "appProtocol", port["appProtocol"], qualified_name(port["appProtocol"]), "appProtocol: http"
            )
        if (protocol, number) in numbers:
            here.add(
                "",
                f'Duplicate value: {{"protocol":"{protocol}","port":{number}}}',
                "remove one of the two ports",
            )
        numbers.add((protocol, number))
        if port.get("nodePort"):
            _check_node_port(port["nodePort"], protocol, kind, node_ports, here)


def _check_target(target: int | str | None, here: Refusals) -> None:
    if isinstance(target, int) and target:
        here.invalid(
            "targetPort", target, port_number(target), "targetPort: a number from 1 to 65535, or a name"
        )
    elif isinstance(target, str) and target and not target.isdecimal():  # a quoted number is OBJ014
        here.invalid("targetPort", target, port_name(target), "targetPort: a container port's name or number")


def _check_node_port(
    number: int, protocol: str, kind: str, before: set[tuple[str, int]], here: Refusals
) -> None:
    if kind == "ClusterIP":
        here.forbidden(
            "nodePort",
            "may not be used when `type` is 'ClusterIP'",
            "type: NodePort",
            f"type ClusterIP with nodePort {number}",
        )
    elif number not in NODE_PORTS and kind != "ExternalName":
        here.invalid(
            "nodePort",
            number,
            "provided port is not in the valid range. The range of valid ports is 30000-32767",
            "nodePort: a number from 30000 to 32767, or none: the cluster then chooses one",
            "the default range; --service-node-port-range of the API server may allow more",
            Severity.WARNING,
        )
    if (protocol, number) in before:
        here.duplicate("nodePort", number, "nodePort: a number of its own, or none")
    before.add((protocol, number))


def _check_affinity(spec: Mapping[str, Any], at: Refusals) -> None:
    affinity = spec.get("sessionAffinity") or "None"
    config = spec.get("sessionAffinityConfig")
    if affinity not in ("ClientIP", "None"):
        at.unsupported("sessionAffinity", affinity, ("ClientIP", "None"))
    elif config is not None and affinity == "None":
        at.forbidden(
            "sessionAffinityConfig",
            "must not be set when session affinity is None",
            "sessionAffinity: ClientIP",
        )
    elif config is not None:
        seconds = config.get("clientIP", {}).get("timeoutSeconds", 10800)
        if not 0 < seconds <= _LONGEST_AFFINITY:
            at.invalid(
                "sessionAffinityConfig.clientIP.timeoutSeconds",
                seconds,
                f"must be greater than 0 and less than {_LONGEST_AFFINITY}",
                f"timeoutSeconds: from 1 to {_LONGEST_AFFINITY}",
            )


def _check_balancer(
    spec: Mapping[str, Any], annotations: Mapping[str, str], kind: str, refused: Refusals
) -> None:
    at = refused.below("spec")
    ranges = spec.get("loadBalancerSourceRanges", ())
    if ranges and kind != "LoadBalancer":
        at.forbidden("loadBalancerSourceRanges", _ONLY_BALANCED, "type: LoadBalancer")
    for i, value in enumerate(ranges):
        reasons = cidr(value.strip())
        at.invalid(f"loadBalancerSourceRanges[{i}]", value.strip(), reasons, _range_fix(value.strip()))
    noted = annotations.get(_RANGES_ANNOTATION)
    if noted is not None and not ranges:
        field = f"metadata.annotations['{_RANGES_ANNOTATION}']"
        if kind != "LoadBalancer":
            refused.forbidden(field, _ONLY_BALANCED, "type: LoadBalancer")
        for value in (v.strip() for v in noted.split(",") if noted.strip()):
            refused.invalid(field, value, cidr(value), _range_fix(value))
    for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if spec.get(field) is not None and kind != "LoadBalancer":
            at.forbidden(field, _ONLY_BALANCED, "type: LoadBalancer")
        elif field == "loadBalancerClass" and spec.get(field) is not None:
            at.invalid(field, spec[field], qualified_name(spec[field]), f"{field}: example.com/name")
    old, mode = annotations.get(_OLD_HINTS), annotations.get(_TOPOLOGY_MODE)
    if old is not None and mode is not None and old != mode:
        refused.invalid(
            f"metadata.annotations['{_TOPOLOGY_MODE}']",
            mode,
            f"must match annotations[{_OLD_HINTS}] when both are specified",
            f"remove {_OLD_HINTS}",
        )


def _range_fix(value: str) -> str:
    if not ip_address(value):
        return f"{value}/{128 if ':' in value else 32}"
    return "a range such as 192.0.2.0/24"


def _check_policies(spec: Mapping[str, Any], kind: str, at: Refusals) -> None:
    external = spec.get("externalTrafficPolicy", "")
    reachable = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if external and not reachable:
        at.invalid(
            "externalTrafficPolicy",
            external,
            "may only be set for externally-accessible services",
            "type: NodePort or LoadBalancer, or remove externalTrafficPolicy",
            f"type {kind} with externalTrafficPolicy",
        )
    elif external and external not in ("Cluster", "Local"):
        at.unsupported("externalTrafficPolicy", external, ("Cluster", "Local"))
    health = spec.get("healthCheckNodePort", 0)
    if health and not (kind == "LoadBalancer" and external == "Local"):
        at.invalid(
            "healthCheckNodePort",
            health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            "remove healthCheckNodePort, or externalTrafficPolicy: Local",
        )
    elif health:
        at.invalid("healthCheckNodePort", health, port_number(health), "healthCheckNodePort: 30000 to 32767")
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in ("Cluster", "Local"):
        at.unsupported("internalTrafficPolicy", internal, ("Cluster", "Local"))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        at.unsupported("trafficDistribution", distribution, _DISTRIBUTIONS)
