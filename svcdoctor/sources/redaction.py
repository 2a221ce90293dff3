"""What of each object may be written: an allow-list.

Theory. The model's structs are the allow-list: a field that no struct has was never decoded, so it cannot be
written. Four kinds of field inside the structs can still hold anything, and every struct is searched for
them by type, so that a field added to the model later is caught as well:

- undecoded JSON (a container's environment, arguments and command) is left out, but for settings such as
  ``BIND=127.0.0.1`` that say which sockets it opens;
- values of no fixed shape (a hook, a selector) are reduced to the shape that is read;
- messages keep their words and lose what looks like a credential;
- annotations and a ConfigMap's data keep the keys that svcdoctor reads.

Secrets are never read, and are no kind of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from svcdoctor.cluster.bindhints import hints_of_env, hints_of_words
from svcdoctor.cluster.kinds import CONFIG_MAPS
from svcdoctor.model.base import KubeObject, Labels
from svcdoctor.model.cluster import ConfigMap
from svcdoctor.model.mesh import PeerAuthenticationSpec
from svcdoctor.model.pod import Container, Lifecycle, Pod
from svcdoctor.model.policy import LabelSelector
from svcdoctor.model.workload import Workload, WorkloadSpec
from svcdoctor.sources.masking import MASK, masked, masked_corefile

S = TypeVar("S", bound=msgspec.Struct)

ANNOTATIONS = frozenset(
    {
        "kubernetes.io/ingress.class",
        "ingressclass.kubernetes.io/is-default-class",
        "endpoints.kubernetes.io/over-capacity",
        "service.kubernetes.io/topology-mode",
        "service.kubernetes.io/topology-aware-hints",
        "nginx.ingress.kubernetes.io/canary",
        "nginx.ingress.kubernetes.io/use-regex",
        "config.linkerd.io/default-inbound-policy",
    }
)
ANNOTATION_DOMAIN = "svcdoctor.io/"

_HOOKS = ("exec", "httpGet", "sleep", "tcpSocket")

# KubeProxyConfiguration (kube-proxy Configuration v1alpha1): sections by name, their fields; None is a value.
_PROXY_FIELDS: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(
        (
            "apiVersion",
            "kind",
            "mode",
            "bindAddress",
            "bindAddressHardFail",
            "clusterCIDR",
            "configSyncPeriod",
            "detectLocalMode",
            "healthzBindAddress",
            "hostnameOverride",
            "metricsBindAddress",
            "nodePortAddresses",
            "portRange",
        )
    ),
    "iptables": frozenset(
        {"masqueradeBit", "masqueradeAll", "localhostNodePorts", "syncPeriod", "minSyncPeriod"}
    ),
    "nftables": frozenset({"masqueradeBit", "masqueradeAll", "syncPeriod", "minSyncPeriod"}),
    "ipvs": frozenset(
        {
            "syncPeriod",
            "minSyncPeriod",
            "scheduler",
            "excludeCIDRs",
            "strictARP",
            "masqueradeAll",
            "tcpTimeout",
            "tcpFinTimeout",
            "udpTimeout",
        }
    ),
    "detectLocal": frozenset({"bridgeInterface", "interfaceNamePrefix"}),
    "conntrack": frozenset(
        {
            "maxPerCore",
            "min",
            "tcpEstablishedTimeout",
            "tcpCloseWaitTimeout",
            "tcpBeLiberal",
            "udpTimeout",
            "udpStreamTimeout",
        }
    ),
}


def redacted(obj: KubeObject) -> KubeObject | None:
    """The object with only what may be written, ``None`` for one that may not be written at all.

    Raises SvcdoctorError, naming the pod, for a pod whose spec or status is malformed.
    """
    if isinstance(obj, Pod):
        pod = Pod.of(obj.metadata, _cleaned(obj.spec), _cleaned(obj.status))
        return msgspec.structs.replace(pod, api_version=obj.api_version)
    if isinstance(obj, ConfigMap) and (obj.namespace, obj.name) not in CONFIG_MAPS:
        return None
    if isinstance(obj, Workload):
        selector = _selector(obj.spec.selector, obj.kind)
        obj = msgspec.structs.replace(obj, spec=msgspec.structs.replace(obj.spec, selector=selector))
    return _cleaned(obj)


def _cleaned(value: S) -> S:
    changes: dict[str, Any] = {}
    for name, clean in _cleaners(type(value)):
        old = getattr(value, name)
        new = clean(old)
        if new is not old:
            changes[name] = new
    return msgspec.structs.replace(value, **changes) if changes else value


def _cleaned_all(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    return tuple(map(_cleaned, values)) if values else values


@cache
def _cleaners(struct: type[msgspec.Struct]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """The fields of a struct that need care, and what to do with each."""
    hints = get_type_hints(struct)
    found = []
    for field in msgspec.structs.fields(struct):
        clean = _BY_FIELD.get((struct, field.name)) or _by_type(field, hints[field.name])
        if clean is not None:
            found.append((field.name, clean))
    return tuple(found)


def _by_type(field: msgspec.structs.FieldInfo, hint: Any) -> Callable[[Any], Any] | None:
    parts = hint_parts(hint)
    if msgspec.Raw in parts or Any in parts or dict in parts:
        return lambda value: field.default  # the one default object: only that is left out when encoding
    if field.name == "message":
        return lambda value: value if value is None else masked(value)
    if field.name == "annotations":
        return _annotations
    inner = next((p for p in parts if isinstance(p, type) and issubclass(p, msgspec.Struct)), None)
    if inner is None or not _cleaners(inner):
        return None
    if tuple in parts:
        return _cleaned_all
    return lambda value: value if value is None else _cleaned(value)


def hint_parts(hint: Any) -> set[Any]:
    """The types in a type hint, its unions and tuples taken apart: ``str`` and ``tuple`` of ``tuple[str, ...]``.

    A map of strings to strings (labels) counts as one part.
    """
    if hint == Labels:
        return {Labels}
    origin = get_origin(hint)
    found = set() if origin in (Union, UnionType) else {origin or hint}
    for part in get_args(hint):
        found |= hint_parts(part)
    return found - {Ellipsis}


def _annotations(annotations: Labels | None) -> Labels | None:
    if not annotations:
        return annotations
    return {
        key: masked(value)
        for key, value in annotations.items()
        if key in ANNOTATIONS or key.startswith(ANNOTATION_DOMAIN)
    } or None


def _hook(hook: dict[str, Any] | None) -> dict[str, Any] | None:
    """That there is a hook, and its kind."""
    return None if hook is None else {kind: {} for kind in _HOOKS if kind in hook}


def _selector(selector: dict[str, Any] | None, kind: str) -> dict[str, Any] | None:
    """A LabelSelector, or a ReplicationController's plain map; what is neither selects nothing."""
    if not selector:
        return selector
    try:
        if kind == "ReplicationController":
            return dict(msgspec.convert(selector, Labels))
        converted = msgspec.to_builtins(msgspec.convert(selector, LabelSelector))
        return converted if isinstance(converted, dict) else None
    except msgspec.ValidationError:
        return None


def _kept(value: Any) -> Any:
    return value


def _config(data: Labels | None) -> Labels | None:
    """CoreDNS' Corefile and kube-proxy's config.conf; never a kubeconfig that lies beside them."""
    kept: Labels = {}
    for key, text in (data or {}).items():
        if key == "Corefile":
            kept[key] = masked_corefile(text)
        elif key == "config.conf":
            written = proxy_configuration_text(text)
            if written is not None:
                kept[key] = written
    return kept or None


def proxy_configuration_text(text: str) -> str | None:
    """A KubeProxyConfiguration in YAML with its known fields only, ``None`` for what is none."""
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict) or config.get("kind") != "KubeProxyConfiguration":
        return None
    return yaml.safe_dump(proxy_configuration(config), sort_keys=True)


def proxy_configuration(config: dict[Any, Any]) -> dict[str, Any]:
    """The known fields of a KubeProxyConfiguration (kube-proxy Configuration v1alpha1)."""
    kept: dict[str, Any] = {}
    for key, fields in _PROXY_FIELDS.items():
        value = config.get(key)
        if fields is None:
            kept[key] = _plain(value)
        elif isinstance(value, dict):
            kept[key] = {name: _plain(value.get(name)) for name in sorted(fields) if name in value}
    return {key: value for key, value in kept.items() if value is not None}


def _plain(value: Any) -> Any:
    """A number, a word or a list of words; nothing nested."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, list):
        return [_plain(v) for v in value if isinstance(v, str | int)]
    return masked(value) if isinstance(value, str) else MASK


_BY_FIELD: dict[tuple[type[msgspec.Struct], str], Callable[[Any], Any]] = {
    (Container, "env"): hints_of_env,
    (Container, "args"): hints_of_words,
    (Container, "command"): hints_of_words,
    (Lifecycle, "pre_stop"): _hook,
    (WorkloadSpec, "selector"): _kept,  # reduced where the workload's kind is known
    (ConfigMap, "data"): _config,
    (PeerAuthenticationSpec, "port_level_mtls"): _kept,  # ports and enumerated modes
}
