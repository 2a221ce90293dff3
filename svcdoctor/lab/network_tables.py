"""The columns of Services and of what stands around them: endpoints, ingresses, policies, gateways.

Specification: the output of `kubectl get -o wide`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from svcdoctor.lab.resources import Object
from svcdoctor.lab.tables import (
    NONE,
    Printer,
    age,
    columns,
    labels_text,
    name_of,
    selector_text,
    some,
    spec_of,
    status_of,
)


def _condition(obj: Object, wanted: str) -> str:
    conditions = status_of(obj).get("conditions") or []
    return next((c.get("status", "") for c in conditions if c.get("type") == wanted), "")


def _load_balancer_addresses(obj: Object) -> list[str]:
    balancer = status_of(obj).get("loadBalancer") or {}
    return sorted({i.get("ip") or i.get("hostname") or "" for i in balancer.get("ingress") or []} - {""})


def _service_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    kind = spec.get("type", "")
    ports = ",".join(_service_port(port) for port in spec.get("ports") or [])
    cluster_ip = next(iter(spec.get("clusterIPs") or []), "") or spec.get("clusterIP", "")
    selector = labels_text(spec.get("selector"))
    return [
        name_of(obj),
        kind,
        cluster_ip or NONE,
        _external_ip(obj, kind),
        ports or NONE,
        age(obj, now),
        selector,
    ]


def _service_port(port: Object) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol', 'TCP')}"


def _external_ip(obj: Object, kind: str) -> str:
    spec = spec_of(obj)
    external = spec.get("externalIPs") or []
    match kind:
        case "ClusterIP" | "NodePort":
            return ",".join(external) or NONE
        case "LoadBalancer":
            return ",".join([*_load_balancer_addresses(obj), *external]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return "<unknown>"


def _endpoints_cells(obj: Object, now: datetime) -> list[Any]:
    addresses: list[str] = []
    for subset in obj.get("subsets") or []:
        ips = [address.get("ip", "") for address in subset.get("addresses") or []]
        ports = [port.get("port") for port in subset.get("ports") or []]
        addresses += [_host_port(ip, port) for port in ports for ip in ips] if ports else ips
    empty = "" if obj.get("subsets") else NONE
    return [name_of(obj), some(addresses, empty), age(obj, now)]


def _host_port(ip: str, port: Any) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _slice_cells(obj: Object, now: datetime) -> list[Any]:
    ports = [
        str(port["port"] if port.get("port") is not None else port.get("name") or "*")
        for port in obj.get("ports") or []
    ]
    addresses = [a for endpoint in obj.get("endpoints") or [] for a in endpoint.get("addresses") or []]
    shown = some(ports, "<unset>"), some(addresses, "<unset>")
    return [name_of(obj), obj.get("addressType", ""), *shown, age(obj, now)]


def _ingress_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    hosts = [rule["host"] for rule in spec.get("rules") or [] if rule.get("host")]
    return [
        name_of(obj),
        spec.get("ingressClassName") or NONE,
        some(hosts, "*"),
        ",".join(_load_balancer_addresses(obj)),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def _ingress_class_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    parameters = NONE
    if reference := spec.get("parameters"):
        group = f".{reference['apiGroup']}" if reference.get("apiGroup") else ""
        parameters = f"{reference.get('kind', '')}{group}/{reference.get('name', '')}"
    return [name_of(obj), spec.get("controller", ""), parameters, age(obj, now)]


def _policy_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), selector_text(spec_of(obj).get("podSelector")), age(obj, now)]


def _cidr_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), ",".join(spec_of(obj).get("cidrs") or []), age(obj, now)]


def _address_cells(obj: Object, now: datetime) -> list[Any]:
    parent = spec_of(obj).get("parentRef") or {}
    parts = (parent.get("group"), parent.get("resource"), parent.get("namespace"), parent.get("name"))
    return [name_of(obj), "/".join(part for part in parts if part) or NONE]


def _gateway_class_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), spec_of(obj).get("controllerName", ""), _condition(obj, "Accepted"), age(obj, now)]


def _gateway_cells(obj: Object, now: datetime) -> list[Any]:
    # Custom resources print the first value of a JSON path, and nothing at all where there is none.
    addresses = status_of(obj).get("addresses") or [{}]
    programmed = _condition(obj, "Programmed")
    gateway_class = spec_of(obj).get("gatewayClassName", "")
    return [name_of(obj), gateway_class, addresses[0].get("value", ""), programmed, age(obj, now)]


def _route_cells(obj: Object, now: datetime) -> list[Any]:
    hostnames = spec_of(obj).get("hostnames")
    shown = "[" + ",".join(f'"{name}"' for name in hostnames) + "]" if hostnames else ""
    return [name_of(obj), shown, age(obj, now)]


PRINTERS: Mapping[str, Printer] = {
    "services": Printer(
        columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"),
        _service_cells,
    ),
    "endpoints": Printer(columns("Name", "Endpoints", "Age"), _endpoints_cells),
    "endpointslices.discovery.k8s.io": Printer(
        columns("Name", "AddressType", "Ports", "Endpoints", "Age"), _slice_cells
    ),
    "ingresses.networking.k8s.io": Printer(
        columns("Name", "Class", "Hosts", "Address", "Ports", "Age"), _ingress_cells
    ),
    "ingressclasses.networking.k8s.io": Printer(
        columns("Name", "Controller", "Parameters", "Age"), _ingress_class_cells
    ),
    "networkpolicies.networking.k8s.io": Printer(columns("Name", "Pod-Selector", "Age"), _policy_cells),
    "servicecidrs.networking.k8s.io": Printer(columns("Name", "CIDRs", "Age"), _cidr_cells),
    "ipaddresses.networking.k8s.io": Printer(columns("Name", "ParentRef"), _address_cells),
    "gatewayclasses.gateway.networking.k8s.io": Printer(
        columns("Name", "Controller", "Accepted", "Age"), _gateway_class_cells
    ),
    "gateways.gateway.networking.k8s.io": Printer(
        columns("Name", "Class", "Address", "Programmed", "Age"), _gateway_cells
    ),
    "grpcroutes.gateway.networking.k8s.io": Printer(columns("Name", "Hostnames", "Age"), _route_cells),
    "httproutes.gateway.networking.k8s.io": Printer(columns("Name", "Hostnames", "Age"), _route_cells),
}
