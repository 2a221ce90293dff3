"""API objects with other names and addresses: what each field of text holds.

Numbers and switches stay, structs are walked, and every field that holds text has a rule here, by its name or,
where one name means several things, by its struct and name. A field without a rule is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, get_type_hints

import msgspec

from svcdoctor.dns.resolvconf import OPTIONS
from svcdoctor.model.base import KubeObject, Labels
from svcdoctor.model.cluster import ConfigMap
from svcdoctor.model.facts import Kind
from svcdoctor.model.gateway import GatewayAddress, RouteNamespaces
from svcdoctor.model.gatewayroutes import GRPCMethodMatch, HTTPRouteMatch
from svcdoctor.model.mesh import MutualTLS, PeerAuthenticationSpec
from svcdoctor.model.pod import Container, DnsOption, Lifecycle, Pod
from svcdoctor.model.policy import LabelRequirement
from svcdoctor.model.workload import WorkloadSpec
from svcdoctor.sources import vocabulary
from svcdoctor.sources.anonymousconfig import anonymous_config
from svcdoctor.sources.anonymoustext import Tokens
from svcdoctor.sources.redaction import hint_parts

Rule = Callable[[Tokens, Any], Any]

_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d+)?")
_PROVIDERS = frozenset({"aws", "gce", "azure", "kind", "k3s", "openstack", "vsphere", "digitalocean", "ibm"})
_KINDS = frozenset(map(str, Kind)) | vocabulary.REFERENCE_KINDS


def _name(tokens: Tokens, text: str) -> str:
    return tokens.names.name(text)


def _host(tokens: Tokens, text: str) -> str:
    return tokens.names.host(text)


def _address(tokens: Tokens, text: str) -> str:
    """An address or CIDR; a word in its place (``None`` of a headless Service) only if the API's own."""
    return tokens.addresses.text(text) or _enum(tokens, text)


def _port(tokens: Tokens, port: int | str) -> int | str:
    return port if isinstance(port, int) or port.isdigit() else tokens.names.name(port)


def _labels(tokens: Tokens, labels: Labels) -> Labels:
    names = tokens.names
    return dict(sorted((names.key(key), names.value(key, value)) for key, value in labels.items()))


def _selector(tokens: Tokens, selector: dict[str, Any]) -> dict[str, Any]:
    """A workload's selector: a LabelSelector's builtins, or a ReplicationController's plain map."""
    if not {"matchLabels", "matchExpressions"} & set(selector):
        return dict(_labels(tokens, selector))
    mapped: dict[str, Any] = {}
    if "matchLabels" in selector:
        mapped["matchLabels"] = _labels(tokens, selector["matchLabels"] or {})
    if "matchExpressions" in selector:
        wanted = msgspec.convert(selector["matchExpressions"] or [], tuple[LabelRequirement, ...])
        mapped["matchExpressions"] = msgspec.to_builtins([_requirement(tokens, r) for r in wanted])
    return mapped


def _requirement(tokens: Tokens, requirement: LabelRequirement) -> LabelRequirement:
    names = tokens.names
    values = requirement.values and tuple(names.value(requirement.key, v) for v in requirement.values)
    operator = _enum(tokens, requirement.operator)
    return LabelRequirement(key=names.key(requirement.key), operator=operator, values=values)


def _uid(tokens: Tokens, text: str) -> str:
    return tokens.names.uid(text)


def _time(tokens: Tokens, text: str) -> str:
    return tokens.names.time(text)


def _enum(tokens: Tokens, text: str) -> str:
    return text if text in vocabulary.ENUMS else tokens.names.name(text)


def _key(tokens: Tokens, text: str) -> str:
    """A word with a domain, such as a class or a readiness gate."""
    return text if text in vocabulary.NAMES else tokens.names.key(text)


def _type(tokens: Tokens, text: str) -> str:
    """A condition's type, or an enumeration's value."""
    if text in vocabulary.ENUMS or tokens.is_english(text):
        return text
    return tokens.names.key(text)


def _reason(tokens: Tokens, text: str) -> str:
    return text if tokens.is_english(text) else tokens.names.name(text)


def _kind(tokens: Tokens, text: str) -> str:
    return text if text in _KINDS else tokens.names.name(text)


def _group(tokens: Tokens, text: str) -> str:
    return text if text in vocabulary.GROUPS else tokens.names.name(text)


def _api_version(tokens: Tokens, text: str) -> str:
    group, slash, version = text.rpartition("/")
    if not _VERSION.fullmatch(version):
        return ""
    return f"{_group(tokens, group)}{slash}{version}"


def _provider(tokens: Tokens, text: str) -> str:
    scheme, slashes, rest = text.partition("://")
    return f"{scheme}://{tokens.names.name(rest)}" if slashes and scheme in _PROVIDERS else ""


def _path(tokens: Tokens, text: str) -> str:
    return tokens.names.path(text)


def _prose(tokens: Tokens, text: str) -> str:
    return tokens.prose(text)


def _left(tokens: Tokens, value: Any) -> Any:
    """What redaction left: a hook's kind, loopback addresses and ports of a container's settings."""
    return value


def _modes(tokens: Tokens, ports: dict[str, Labels]) -> dict[str, Labels]:
    """The mTLS modes by port."""
    return {port: {key: _enum(tokens, mode) for key, mode in modes.items()} for port, modes in ports.items()}


def _option(tokens: Tokens, text: str) -> str:
    """The name or the number of one of resolv.conf's options."""
    return text if text in OPTIONS or text.isdigit() else ""


_BY_FIELD: dict[tuple[type[msgspec.Struct], str], Rule] = {
    (ConfigMap, "data"): anonymous_config,
    (DnsOption, "name"): _option,
    (DnsOption, "value"): _option,
    (GatewayAddress, "value"): _host,
    (GRPCMethodMatch, "service"): _host,
    (GRPCMethodMatch, "method"): _name,
    (HTTPRouteMatch, "method"): _enum,
    (MutualTLS, "mode"): _enum,
    (PeerAuthenticationSpec, "port_level_mtls"): _modes,
    (RouteNamespaces, "from_"): _enum,
    **dict.fromkeys([(Container, "env"), (Container, "args"), (Container, "command")], _left),
    (Lifecycle, "pre_stop"): _left,
    (WorkloadSpec, "selector"): _selector,
}

_BY_NAME: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "name",
            "namespace",
            "node_name",
            "service_name",
            "section_name",
            "secret_name",
            "subdomain",
            "ingress_class_name",
            "gateway_class_name",
            "zone",
        ),
        _name,
    ),
    **dict.fromkeys(
        ("hostname", "hostnames", "host", "hosts", "external_name", "address", "addresses", "searches"), _host
    ),
    **dict.fromkeys(
        (
            "ip",
            "nameservers",
            "pod_ip",
            "host_ip",
            "cluster_ip",
            "cluster_ips",
            "external_ips",
            "load_balancer_ip",
            "load_balancer_source_ranges",
            "pod_cidr",
            "pod_cidrs",
            "cidr",
            "cidrs",
            "except_",
        ),
        _address,
    ),
    **dict.fromkeys(("port", "target_port", "service_port"), _port),
    **dict.fromkeys(("labels", "match_labels", "selector", "annotations"), _labels),
    "uid": _uid,
    **dict.fromkeys(("creation_timestamp", "deletion_timestamp", "last_timestamp", "started_at"), _time),
    **dict.fromkeys(
        (
            "address_type",
            "protocol",
            "dns_policy",
            "external_traffic_policy",
            "internal_traffic_policy",
            "ip_families",
            "ip_family_policy",
            "ip_mode",
            "operator",
            "path_type",
            "phase",
            "policy_types",
            "restart_policy",
            "session_affinity",
            "status",
            "traffic_distribution",
        ),
        _enum,
    ),
    **dict.fromkeys(
        ("app_protocol", "load_balancer_class", "controller", "controller_name"),
        _key,
    ),
    **dict.fromkeys(("type", "condition_type"), _type),
    "kind": _kind,
    "api_version": _api_version,
    **dict.fromkeys(("group", "api_group"), _group),
    "provider_id": _provider,
    **dict.fromkeys(("path", "value"), _path),
    "reason": _reason,
    "message": _prose,
}


def anonymous_object(tokens: Tokens, obj: KubeObject) -> KubeObject:
    """The object with every text mapped. It must have been redacted before."""
    if isinstance(obj, Pod):
        pod = Pod.of(_walked(tokens, obj.metadata), _walked(tokens, obj.spec), _walked(tokens, obj.status))
        return msgspec.structs.replace(pod, api_version=_api_version(tokens, obj.api_version))
    walked: KubeObject = _walked(tokens, obj)
    return walked


def _walked(tokens: Tokens, value: Any) -> Any:
    if isinstance(value, LabelRequirement):
        return _requirement(tokens, value)
    changes: dict[str, Any] = {}
    struct: type[msgspec.Struct] = type(value)
    for name, default, map_ in _plan(struct):
        old = getattr(value, name)
        if old is None or old is default:
            continue
        changes[name] = map_(tokens, old)
    return msgspec.structs.replace(value, **changes) if changes else value


@cache
def _plan(struct: type[msgspec.Struct]) -> tuple[tuple[str, Any, Rule], ...]:
    """The fields of a struct that need mapping, their defaults, and how."""
    hints = get_type_hints(struct)
    found: list[tuple[str, Any, Rule]] = []
    for field in msgspec.structs.fields(struct):
        rule = rule_of(struct, field.name, hints[field.name])
        if rule is not None:
            found.append((field.name, field.default, rule))
        elif not _harmless(hints[field.name]):
            found.append((field.name, field.default, _left_out(field.default)))
    return tuple(found)


def _left_out(default: Any) -> Rule:
    return lambda tokens, value: default


def rule_of(struct: type[msgspec.Struct], name: str, hint: Any) -> Rule | None:
    """How a field is mapped: structs are walked, text has a rule; ``None`` where there is neither."""
    inner = next((p for p in hint_parts(hint) if isinstance(p, type) and issubclass(p, msgspec.Struct)), None)
    if inner is not None:
        return _walked_all
    if _harmless(hint):
        return None
    rule = _BY_FIELD.get((struct, name)) or _BY_NAME.get(name)
    if rule is not None and tuple in hint_parts(hint):
        return lambda tokens, values: tuple(rule(tokens, v) for v in values)
    return rule


def _walked_all(tokens: Tokens, value: Any) -> Any:
    return tuple(_walked(tokens, v) for v in value) if isinstance(value, tuple) else _walked(tokens, value)


def _harmless(hint: Any) -> bool:
    return hint_parts(hint) <= {int, bool, float, type(None)}
