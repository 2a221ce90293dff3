"""HTTPRoute: what Gateway API's schema refuses (gateway.networking.k8s.io/v1, the CRD's patterns and CEL rules)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from svcdoctor.cluster.validation.metadata import check_metadata
from svcdoctor.cluster.validation.refusals import Refusals

_HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_PATH_TYPES = ("Exact", "PathPrefix", "RegularExpression")
_MATCH_TYPES = ("Exact", "RegularExpression")
_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F", "#")
_SUFFIXES = ("/..", "/.")
_MOST_WEIGHT = 1_000_000
_MOST_RULES = 16


def check_http_route(manifest: Mapping[str, Any], refused: Refusals) -> None:
    check_metadata(manifest.get("metadata", {}), refused)
    spec, at = manifest.get("spec", {}), refused.below("spec")
    for i, host in enumerate(spec.get("hostnames", ())):
        if not _HOST.fullmatch(host) or len(host) > 253:
            at.invalid(f"hostnames[{i}]", host, f"spec.hostnames[{i}] in body should match '^{_HOST.pattern}$'",
                       "hostnames: a DNS name in lower case, without port or path")  # fmt: skip
    for i, parent in enumerate(spec.get("parentRefs", ())):
        here = at.below(f"parentRefs[{i}]")
        if not parent.get("name"):
            here.required("name", "name: a Gateway's")
        _check_number(parent, "port", 1, 65535, here)
    if len(spec.get("rules", ())) > _MOST_RULES:
        at.add(
            "rules",
            f"Too many: {len(spec['rules'])}: must have at most {_MOST_RULES} items",
            "make two routes",
        )
    for i, rule in enumerate(spec.get("rules", ())):
        here = at.below(f"rules[{i}]")
        for n, match in enumerate(rule.get("matches", ())):
            _check_match(match, here.below(f"matches[{n}]"))
        for n, backend in enumerate(rule.get("backendRefs", ())):
            _check_backend(backend, here.below(f"backendRefs[{n}]"))


def _check_number(value: Mapping[str, Any], field: str, least: int, most: int, at: Refusals) -> None:
    number = value.get(field)
    if number is None or least <= number <= most:
        return
    word, bound = ("greater", least) if number < least else ("less", most)
    at.invalid(
        field,
        number,
        f"{field} in body should be {word} than or equal to {bound}",
        f"{field}: {least} to {most}",
    )


def _check_backend(backend: Mapping[str, Any], at: Refusals) -> None:
    if not backend.get("name"):
        at.required("name", "name: a Service's")
    of_service = not backend.get("group") and backend.get("kind", "Service") == "Service"
    if of_service and backend.get("port") is None:
        at.invalid("", "object", "Must have port for Service reference", "port: the Service's port")
    _check_number(backend, "port", 1, 65535, at)
    _check_number(backend, "weight", 0, _MOST_WEIGHT, at)


def _check_match(match: Mapping[str, Any], at: Refusals) -> None:
    method = match.get("method")
    if method is not None and method not in _METHODS:
        at.unsupported("method", method, _METHODS)
    for field in ("headers", "queryParams"):
        for i, one in enumerate(match.get(field, ())):
            if not one.get("name"):
                at.required(f"{field}[{i}].name", "name: the header's or parameter's")
            if one.get("type", "Exact") not in _MATCH_TYPES:
                at.unsupported(f"{field}[{i}].type", one["type"], _MATCH_TYPES)
    path = match.get("path")
    if path is None:
        return
    kind, text = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind not in _PATH_TYPES:
        at.unsupported("path.type", kind, _PATH_TYPES)
    elif kind != "RegularExpression":
        wrong = []
        if not text.startswith("/"):
            wrong = [
                "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']"
            ]
        wrong += [
            f"must not contain '{s}' when type one of ['Exact', 'PathPrefix']"
            for s in _SEQUENCES
            if s in text
        ]
        wrong += [f"must not end with '{s}' when type one of ['Exact', 'PathPrefix']" for s in _SUFFIXES
                  if text.endswith(s)]  # fmt: skip
        at.invalid(
            "path.value", text, wrong, f"value: /{text.lstrip('/')}" if len(wrong) == 1 else "value: a path"
        )
