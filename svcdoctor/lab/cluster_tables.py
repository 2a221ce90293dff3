"""The columns of nodes, namespaces, events and the other resources of the cluster itself, and which
resource is shown by which columns.

Specification: the output of `kubectl get -o wide`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from svcdoctor.lab import network_tables, workload_tables
from svcdoctor.lab.resources import Object, Resource
from svcdoctor.lab.tables import NONE, Printer, age, columns, name_of, since, spec_of, status_of

_ROLE_LABEL = "node-role.kubernetes.io/"
_BINDING_COLUMNS = columns("Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*")


def printer_of(resource: Resource) -> Printer:
    """How a resource is shown; name and age for those without columns of their own."""
    for printers in (network_tables.PRINTERS, workload_tables.PRINTERS, PRINTERS):
        if resource.qualified in printers:
            return printers[resource.qualified]
    return _PLAIN


def _node_cells(obj: Object, now: datetime) -> list[Any]:
    status = status_of(obj)
    info = status.get("nodeInfo") or {}
    ready = [c for c in status.get("conditions") or [] if c.get("type") == "Ready"]
    shown = [("Ready" if c.get("status") == "True" else "NotReady") for c in ready] or ["Unknown"]
    if spec_of(obj).get("unschedulable"):
        shown.append("SchedulingDisabled")
    architecture = f" ({info['architecture']})" if info.get("architecture") else ""
    kernel = info.get("kernelVersion")
    return [
        name_of(obj),
        ",".join(shown),
        _node_roles(obj),
        age(obj, now),
        info.get("kubeletVersion", ""),
        _node_address(status, "InternalIP"),
        _node_address(status, "ExternalIP"),
        info.get("osImage") or "<unknown>",
        f"{kernel}{architecture}" if kernel else "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _node_roles(obj: Object) -> str:
    labels = obj["metadata"].get("labels") or {}
    roles = {key.removeprefix(_ROLE_LABEL) for key in labels if key.startswith(_ROLE_LABEL)}
    roles.add(labels.get("kubernetes.io/role", ""))
    return ",".join(sorted(roles - {""})) or NONE


def _node_address(status: Object, kind: str) -> str:
    addresses = status.get("addresses") or []
    return next((a.get("address", "") for a in addresses if a.get("type") == kind), NONE)


def _namespace_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), status_of(obj).get("phase", ""), age(obj, now)]


def _event_cells(obj: Object, now: datetime) -> list[Any]:
    about, source, series = (obj.get(part) or {} for part in ("involvedObject", "source", "series"))
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = since(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    if series:
        last, count = since(series.get("lastObservedTime"), now), series.get("count", 0)
    kind, name = str(about.get("kind", "")).lower(), about.get("name")
    component = source.get("component") or obj.get("reportingComponent", "")
    host = source.get("host") or obj.get("reportingInstance", "")
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        str(obj.get("message", "")).strip(),
        first,
        str(count),
        name_of(obj),
    ]


def _config_map_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), str(len(obj.get("data") or {}) + len(obj.get("binaryData") or {})), age(obj, now)]


def _service_account_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), str(len(obj.get("secrets") or [])), age(obj, now)]


def _lease_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), spec_of(obj).get("holderIdentity") or "", age(obj, now)]


def _role_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp", "")]


def _binding_cells(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    names: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or []:
        namespace = f"{subject.get('namespace', '')}/" if subject.get("kind") == "ServiceAccount" else ""
        names.setdefault(subject.get("kind", ""), []).append(f"{namespace}{subject.get('name', '')}")
    subjects = [", ".join(names[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [name_of(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age(obj, now), *subjects]


def _plain_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), age(obj, now)]


_PLAIN = Printer(columns("Name", "Age"), _plain_cells)
_ROLE = Printer(columns("Name", "Created At"), _role_cells)
_BINDING = Printer(_BINDING_COLUMNS, _binding_cells)

PRINTERS: Mapping[str, Printer] = {
    "nodes": Printer(
        columns(
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "Internal-IP*",
            "External-IP*",
            "OS-Image*",
            "Kernel-Version*",
            "Container-Runtime*",
        ),
        _node_cells,
    ),
    "namespaces": Printer(columns("Name", "Status", "Age"), _namespace_cells),
    "events": Printer(
        columns(
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject*",
            "Source*",
            "Message",
            "First Seen*",
            "Count*",
            "Name*",
        ),
        _event_cells,
    ),
    "configmaps": Printer(columns("Name", "Data", "Age"), _config_map_cells),
    "serviceaccounts": Printer(columns("Name", "Secrets", "Age"), _service_account_cells),
    "leases.coordination.k8s.io": Printer(columns("Name", "Holder", "Age"), _lease_cells),
    "roles.rbac.authorization.k8s.io": _ROLE,
    "clusterroles.rbac.authorization.k8s.io": _ROLE,
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
}
