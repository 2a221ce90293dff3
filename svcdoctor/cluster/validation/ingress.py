"""Ingress (ValidateIngress)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from svcdoctor.cluster.validation.formats import (
    Reasons,
    dns_label,
    dns_subdomain,
    port_name,
    port_number,
    sloppy_address,
    wildcard_subdomain,
)
from svcdoctor.cluster.validation.metadata import check_metadata
from svcdoctor.cluster.validation.refusals import Refusals

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_SUFFIXES = ("/..", "/.")
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def check_ingress(manifest: Mapping[str, Any], refused: Refusals) -> None:
    metadata, spec = manifest.get("metadata", {}), manifest.get("spec", {})
    check_metadata(metadata, refused)
    at = refused.below("spec")
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        refused.invalid(
            "spec",
            spec.get("rules"),
            "either `defaultBackend` or `rules` must be specified",
            "rules: at least one, or defaultBackend",
        )
    if spec.get("defaultBackend") is not None:
        _check_backend(spec["defaultBackend"], at.below("defaultBackend"))
    for i, rule in enumerate(spec.get("rules", ())):
        _check_rule(rule, at.below(f"rules[{i}]"))
    for i, tls in enumerate(spec.get("tls", ())):
        here = at.below(f"tls[{i}]")
        for n, host in enumerate(tls.get("hosts", ())):
            here.invalid(f"hosts[{n}]", host, _host(host), _host_fix("hosts", host))
        if tls.get("secretName"):
            here.invalid(
                "secretName", tls["secretName"], dns_subdomain(tls["secretName"]), "secretName: a Secret's"
            )
    name = spec.get("ingressClassName")
    if name is not None:
        at.invalid("ingressClassName", name, dns_subdomain(name), "ingressClassName: an IngressClass's name")
    noted = metadata.get("annotations", {}).get(_CLASS_ANNOTATION)
    if noted is not None and name is not None and noted != name:
        refused.invalid(
            f"metadata.annotations['{_CLASS_ANNOTATION}']",
            noted,
            "must match `ingressClassName` when both are specified",
            f"remove the annotation {_CLASS_ANNOTATION}",
        )


def _host(host: str) -> Reasons:
    return wildcard_subdomain(host) if "*" in host else dns_subdomain(host)


def _host_fix(field: str, host: str) -> str:
    """The host alone, of what looks like a URL or an address with a port."""
    bare = (host.partition("://")[2] or host).partition("/")[0].rpartition("@")[2].partition(":")[0].lower()
    return f"{field}: {bare}" if bare != host and not _host(bare) else f"{field}: a DNS name"


def _check_rule(rule: Mapping[str, Any], at: Refusals) -> None:
    host = rule.get("host", "")
    if host:
        if sloppy_address(host)[0] is not None:
            at.invalid(
                "host", host, "must be a DNS name, not an IP address", "remove host: the rule fits all hosts"
            )
        at.invalid("host", host, _host(host), _host_fix("host", host))
    http = rule.get("http")
    if http is None:
        return
    if not http.get("paths"):
        at.required("http.paths", "paths: at least one")
    for i, path in enumerate(http.get("paths", ())):
        _check_path(path, at.below(f"http.paths[{i}]"))


def _check_path(path: Mapping[str, Any], at: Refusals) -> None:
    kind, text = path.get("pathType"), path.get("path", "")
    if kind is None:
        at.required("pathType", "pathType: Prefix", "pathType must be specified")
        return
    if kind not in _PATH_TYPES:
        at.unsupported("pathType", kind, _PATH_TYPES)
    elif (text or kind != "ImplementationSpecific") and not text.startswith("/"):
        at.invalid("path", text, "must be an absolute path", f"path: /{text}")
    if kind in ("Exact", "Prefix"):
        wrong = [f"must not contain '{s}'" for s in _SEQUENCES if s in text]
        wrong += [f"cannot end with '{s}'" for s in _SUFFIXES if text.endswith(s)]
        at.invalid("path", text, wrong, "path: without empty, '.' or '..' segments")
    _check_backend(path.get("backend", {}), at.below("backend"))


def _check_backend(backend: Mapping[str, Any], at: Refusals) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        at.invalid("", "", "cannot set both resource and service backends", "remove resource or service")
    elif resource is not None:
        for field in ("kind", "name"):
            if not resource.get(field):
                at.required(f"resource.{field}", f"{field}: the resource's")
    elif service is None:
        at.invalid("", "", "resource or service backend is required", "service: a name and a port")
    else:
        _check_service_backend(service, at)


def _check_service_backend(service: Mapping[str, Any], at: Refusals) -> None:
    name, port = service.get("name", ""), service.get("port", {})
    if not name:
        at.required("service.name", "name: a Service's")
    else:
        at.invalid(
            "service.name", name, dns_label(name), "name: a Service of this namespace, without the namespace"
        )
    if port.get("name") and port.get("number"):
        at.invalid("", "", "cannot set both port name & port number", "port: a name or a number")
    elif port.get("name"):
        at.invalid(
            "service.port.name", port["name"], port_name(port["name"]), "name: a port name of the Service"
        )
    elif port.get("number"):
        at.invalid(
            "service.port.number", port["number"], port_number(port["number"]), "number: from 1 to 65535"
        )
    else:
        at.required("", "service.port: a name or a number", "port name or number is required")
