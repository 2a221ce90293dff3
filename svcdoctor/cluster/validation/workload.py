"""Pods and what makes them: selectors, template labels, containers and their ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from svcdoctor.cluster.validation.formats import dns_label, ip_address, port_name, port_number
from svcdoctor.cluster.validation.metadata import check_labels, check_metadata, check_selector, selects
from svcdoctor.cluster.validation.refusals import Refusals
from svcdoctor.cluster.validation.service import PROTOCOLS

_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
# The words for an empty selector; a ReplicaSet's are a Deployment's (pkg/apis/apps/validation).
_SELECTING = {
    "Deployment": "deployment",
    "ReplicaSet": "deployment",
    "StatefulSet": "statefulset",
    "DaemonSet": "daemonset",
}


def check_workload(manifest: Mapping[str, Any], refused: Refusals) -> None:
    """Deployment, ReplicaSet, StatefulSet, DaemonSet, Job or ReplicationController."""
    check_metadata(manifest.get("metadata", {}), refused)
    kind, spec, at = manifest["kind"], manifest.get("spec", {}), refused.below("spec")
    template = spec.get("template")
    if spec.get("replicas", 0) < 0:
        at.invalid("replicas", spec["replicas"], "must be greater than or equal to 0", "replicas: 0 or more")
    if kind in _SELECTING:
        _check_selection(spec, _SELECTING[kind], at)
    if kind == "ReplicationController":
        _check_map_selection(spec, at)
    if template is None:
        at.required("template", "template: the pods' metadata and spec")
        return
    here = at.below("template")
    check_labels(template.get("metadata", {}).get("labels", {}), here, "metadata.labels")
    pod = template.get("spec", {})
    if kind not in ("Job", "ReplicationController") and pod.get("restartPolicy", "Always") != "Always":
        here.unsupported("spec.restartPolicy", pod["restartPolicy"], ("Always",))
    if kind == "Job" and pod.get("restartPolicy", "Always") not in ("Never", "OnFailure"):
        here.add(
            "spec.restartPolicy",
            'Required value: valid values: "OnFailure", "Never"',
            "restartPolicy: Never",
        )
    _check_pod(pod, here.below("spec"))


def check_pod(manifest: Mapping[str, Any], refused: Refusals) -> None:
    check_metadata(manifest.get("metadata", {}), refused)
    _check_pod(manifest.get("spec", {}), refused.below("spec"))


def _template_labels(spec: Mapping[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = spec.get("template", {}).get("metadata", {}).get("labels", {})
    return labels


def _check_selection(spec: Mapping[str, Any], word: str, at: Refusals) -> None:
    selector = spec.get("selector")
    if selector is None:
        labels = ", ".join(f"{k}: {v}" for k, v in _template_labels(spec).items())
        at.required("selector", f"selector: {{matchLabels: {{{labels or 'app: …'}}}}}")
        return
    check_selector(selector, at.below("selector"))
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        at.invalid(
            "selector",
            selector,
            f"empty selector is invalid for {word}",
            "matchLabels: the template's labels",
        )
    elif "template" in spec and not selects(selector, _template_labels(spec)):
        _mismatch(spec, selector.get("matchLabels", {}), at)


def _check_map_selection(spec: Mapping[str, Any], at: Refusals) -> None:
    selector = spec.get("selector") or {}
    if "template" in spec and not selector.items() <= _template_labels(spec).items():
        _mismatch(spec, selector, at)


def _mismatch(spec: Mapping[str, Any], wanted: Mapping[str, str], at: Refusals) -> None:
    labels = _template_labels(spec)
    lacking = {k: v for k, v in wanted.items() if labels.get(k) != v}
    said = ", ".join(
        f"{k}: {v} ≠ {labels[k]}" if k in labels else f"{k}: {v} is missing" for k, v in lacking.items()
    )
    fix = ", ".join(f"{k}: {v}" for k, v in lacking.items()) or "labels that the selector matches"
    field = "template.metadata.labels" if "metadata" in spec["template"] else "template"
    at.invalid(
        field, labels, "`selector` does not match template `labels`", f"template.metadata.labels: {fix}", said
    )


def _check_pod(pod: Mapping[str, Any], at: Refusals) -> None:
    if not pod.get("containers"):
        at.required("containers", "containers: at least one")
    policy = pod.get("dnsPolicy", "ClusterFirst")
    if policy not in _DNS_POLICIES:
        at.unsupported("dnsPolicy", policy, _DNS_POLICIES)
    for field in ("hostname", "subdomain"):
        if pod.get(field):
            at.invalid(
                field, pod[field], dns_label(pod[field]), f"{field}: lower-case letters, digits and '-'"
            )
    names: set[str] = set()
    taken: set[tuple[str, str, int]] = set()
    for field, container in _containers(pod):
        here = at.below(field)
        name = container.get("name", "")
        if not name:
            here.required("name", "name: the container's")
        else:
            here.invalid("name", name, dns_label(name), "name: lower-case letters, digits and '-'")
            if name in names:
                here.duplicate("name", name, "name: one of its own for every container")
        names.add(name)
        beside = field.startswith("containers") or container.get("restartPolicy") == "Always"
        _check_ports(
            container.get("ports", ()), bool(pod.get("hostNetwork")), taken if beside else set(), here
        )
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            _check_probe(container.get(probe) or {}, here.below(probe))


def _containers(pod: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for field in ("initContainers", "containers"):
        yield from ((f"{field}[{i}]", c) for i, c in enumerate(pod.get(field, ())))


def _check_ports(
    ports: list[dict[str, Any]], on_node: bool, taken: set[tuple[str, str, int]], at: Refusals
) -> None:
    """``taken`` are the pod's host ports (protocol, host IP, port)."""
    names: set[str] = set()
    for i, port in enumerate(ports):
        here = at.below(f"ports[{i}]")
        name, number, protocol = (
            port.get("name", ""),
            port.get("containerPort", 0),
            port.get("protocol") or "TCP",
        )
        host = port.get("hostPort", 0) or (number if on_node else 0)
        if name:
            here.invalid("name", name, port_name(name), "name: at most 15 lower-case letters, digits and '-'")
            if name in names:
                here.duplicate("name", name, "name: one of its own for every port")
        names.add(name)
        if not number:
            here.required("containerPort", "containerPort: a number from 1 to 65535")
        else:
            here.invalid(
                "containerPort", number, port_number(number), "containerPort: a number from 1 to 65535"
            )
        if protocol not in PROTOCOLS:
            here.unsupported("protocol", protocol, PROTOCOLS)
        if not host:
            continue
        here.invalid("hostPort", host, port_number(host) if host != number else (), "hostPort: 1 to 65535")
        if on_node and host != number:
            here.invalid(
                "containerPort",
                number,
                "must match `hostPort` when `hostNetwork` is true",
                f"hostPort: {number}",
                f"hostPort {host} on the node's own network",
            )
        if port.get("hostIP"):
            here.invalid(
                "hostIP", port["hostIP"], ip_address(port["hostIP"]), "hostIP: an address of the node"
            )
        place = (protocol, port.get("hostIP", ""), host)
        if place in taken:
            here.duplicate("hostPort", f"{place[0]}/{place[1]}/{place[2]}", "hostPort: a number of its own")
        taken.add(place)


def _check_probe(probe: Mapping[str, Any], at: Refusals) -> None:
    for action in ("httpGet", "tcpSocket"):
        port = (probe.get(action) or {}).get("port")
        if isinstance(port, int):
            at.invalid(f"{action}.port", port, port_number(port), "port: a number from 1 to 65535")
        elif port is not None:
            fix = f"port: {port}  (without quotes)" if port.isdecimal() else "port: a container port's name"
            at.invalid(f"{action}.port", port, port_name(port), fix)
