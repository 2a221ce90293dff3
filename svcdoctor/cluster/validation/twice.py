"""What two Services may not both have: a nodePort, a cluster IP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from svcdoctor.cluster.validation.refusals import Refusals
from svcdoctor.cluster.validation.service import service_type
from svcdoctor.model.rejection import Rejection


def taken_twice(services: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, Rejection]]:
    """The refusals of a second Service that asks for what one before it has; services are (subject, manifest).

    A nodePort is taken for all protocols: only the ports of one Service share it.
    """
    node_ports: dict[int, str] = {}
    addresses: dict[str, str] = {}
    for subject, manifest in services:
        spec = manifest.get("spec", {})
        refused = Refusals("spec")
        asked: set[int] = set()
        for i, port in enumerate(spec.get("ports", ())):
            number = port.get("nodePort", 0)
            if not number or number in asked or service_type(spec) not in ("NodePort", "LoadBalancer"):
                continue
            asked.add(number)
            if node_ports.setdefault(number, subject) != subject:
                refused.invalid(
                    f"ports[{i}].nodePort",
                    number,
                    "provided port is already allocated",
                    "nodePort: another number, or none: the cluster then chooses one",
                    f"{node_ports[number]} has nodePort {number}",
                )
        field = "clusterIPs" if spec.get("clusterIPs") else "clusterIP"
        for ip in spec.get("clusterIPs") or [spec.get("clusterIP", "")]:
            if ip in ("", "None") or addresses.setdefault(ip, subject) == subject:
                continue
            refused.invalid(
                field,
                ip,
                f"failed to allocate IP {ip}: provided IP is already allocated",
                f"remove {field}: the cluster then chooses one",
                f"{addresses[ip]} has the cluster IP {ip}",
            )
        yield from ((subject, rejection) for rejection in refused.found)
