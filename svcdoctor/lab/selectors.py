"""Label and field selectors, read and matched as the API server does it.

A selector is a conjunction of requirements. Labels are read by `cluster.labelselector`; fields know `=`, `==` and
`!=` only, and only the fields that each resource declares.

Specification: https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from svcdoctor.cluster import labelselector
from svcdoctor.cluster.labelselector import Requirement
from svcdoctor.lab.resources import Object, Resource
from svcdoctor.lab.status import bad_request


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of one resource a request asks for: all terms of both selectors must hold."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()
    read_fields: Callable[[Object], Mapping[str, str]] = dict

    def __bool__(self) -> bool:
        """Whether anything is left out at all."""
        return bool(self.labels or self.fields)

    def matches(self, obj: Object) -> bool:
        """Whether the object is selected."""
        if self.labels:
            labels = obj["metadata"].get("labels") or {}
            if not all(term.matches(labels) for term in self.labels):
                return False
        if self.fields:
            fields = self.read_fields(obj)
            return all(term.matches(fields) for term in self.fields)
        return True


def selection(resource: Resource, label_selector: str = "", field_selector: str = "") -> Selection:
    """Both selectors of a request, read for one resource.

    Raises `ApiError` 400 for what the grammar or the resource does not allow.
    """
    return Selection(
        parse_labels(label_selector),
        parse_fields(resource, field_selector),
        _READERS.get(resource.qualified, _common_fields),
    )


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The terms of a label selector such as `app in (web,edge),!canary`. Raises `ApiError` 400."""
    try:
        return labelselector.parse_labels(text)
    except labelselector.SelectorError as e:
        raise bad_request(str(e)) from None


def parse_fields(resource: Resource, text: str) -> tuple[Requirement, ...]:
    """The terms of a field selector such as `spec.nodeName=node1,status.phase!=Failed`.

    Raises `ApiError` 400 for a term without an operator and for fields that the resource does not declare.
    """
    known = set(_READERS.get(resource.qualified, _common_fields)({"metadata": {}}))
    terms = []
    for part in re.split(r"(?<!\\),", text) if text else ():
        if not part:
            continue
        found = re.match(r"((?:[^=!\\]|\\.)*)(==|!=|=)(.*)\Z", part)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        key, operator, value = found.groups()
        if key not in known:
            raise bad_request(_unknown_field(resource, key))
        value = re.sub(r"\\([,=\\])", r"\1", value)
        terms.append(Requirement(key, "notin" if operator == "!=" else "in", frozenset({value})))
    return tuple(terms)


def _unknown_field(resource: Resource, key: str) -> str:
    if resource.qualified in _READERS:
        return f"field label not supported: {key}"
    return f'"{key}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _common_fields(obj: Object) -> dict[str, str]:
    metadata = obj["metadata"]
    return {"metadata.name": metadata.get("name", ""), "metadata.namespace": metadata.get("namespace", "")}


def _pod_fields(obj: Object) -> dict[str, str]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    addresses = status.get("podIPs") or [{}]
    return _common_fields(obj) | {
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.restartPolicy": spec.get("restartPolicy", ""),
        "spec.schedulerName": spec.get("schedulerName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase", ""),
        "status.podIP": addresses[0].get("ip", "") or status.get("podIP", ""),
        "status.nominatedNodeName": status.get("nominatedNodeName", ""),
    }


def _service_fields(obj: Object) -> dict[str, str]:
    spec = obj.get("spec") or {}
    return _common_fields(obj) | {
        "spec.clusterIP": spec.get("clusterIP", ""),
        "spec.type": spec.get("type", ""),
    }


def _node_fields(obj: Object) -> dict[str, str]:
    unschedulable = (obj.get("spec") or {}).get("unschedulable")
    return _common_fields(obj) | {"spec.unschedulable": "true" if unschedulable else "false"}


def _namespace_fields(obj: Object) -> dict[str, str]:
    return _common_fields(obj) | {"status.phase": (obj.get("status") or {}).get("phase", "")}


def _event_fields(obj: Object) -> dict[str, str]:
    about = obj.get("involvedObject") or {}
    names = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    component = obj.get("reportingComponent", "")
    return (
        _common_fields(obj)
        | {f"involvedObject.{name}": about.get(name, "") for name in names}
        | {
            "reason": obj.get("reason", ""),
            "reportingComponent": component,
            "source": (obj.get("source") or {}).get("component", "") or component,
            "type": obj.get("type", ""),
        }
    )


_READERS: Mapping[str, Callable[[Object], dict[str, str]]] = {
    "events": _event_fields,
    "namespaces": _namespace_fields,
    "nodes": _node_fields,
    "pods": _pod_fields,
    "services": _service_fields,
}
