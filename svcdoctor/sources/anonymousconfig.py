"""CoreDNS' and kube-proxy's configuration with other names and addresses."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import yaml

from svcdoctor.model.base import Labels
from svcdoctor.sources import vocabulary
from svcdoctor.sources.anonymoustext import GONE, Tokens
from svcdoctor.sources.masking import MASK
from svcdoctor.sources.redaction import proxy_configuration

_ADDRESSES = frozenset({"clusterCIDR", "nodePortAddresses", "excludeCIDRs"})
_BINDS = frozenset({"bindAddress", "healthzBindAddress", "metricsBindAddress"})
_INTERFACES = frozenset({"bridgeInterface", "interfaceNamePrefix"})
_WORDS = re.compile(r"[A-Za-z0-9./-]{1,40}")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:ms|s|m|h|d)?")
_SERVER = re.compile(r"(?:(dns|tls|https|grpc|quic)://)?([^\s/]+?)(:\d+)?(/\d+)?")
_ARPA = re.compile(r"((?:[0-9a-f]+\.)+)(in-addr|ip6)\.arpa\.?", re.IGNORECASE)


def anonymous_config(tokens: Tokens, data: Labels) -> Labels:
    """The data of a ConfigMap that redaction has let through: a Corefile, kube-proxy's config.conf."""
    mapped: Labels = {}
    if "Corefile" in data:
        mapped["Corefile"] = anonymous_corefile(tokens, data["Corefile"])
    if "config.conf" in data:
        config = yaml.safe_load(data["config.conf"])
        mapped["config.conf"] = yaml.safe_dump(anonymous_proxy_configuration(tokens, config))
    return mapped


def anonymous_corefile(tokens: Tokens, text: str) -> str:
    """A Corefile (CoreDNS manual: Configuration), its directives kept, zones and servers mapped."""
    return re.sub(r"\S+", lambda m: _word(tokens, m[0]), text)


def _word(tokens: Tokens, word: str) -> str:
    if word in vocabulary.COREDNS or word == MASK or _NUMBER.fullmatch(word):
        return word
    if word.endswith("{") and len(word) > 1:
        return _word(tokens, word[:-1]) + "{"
    mapped = tokens.address(word)
    if mapped is not None:
        return mapped
    arpa = _ARPA.fullmatch(word)
    if arpa:
        return _reversed_zone(tokens, arpa[1].rstrip(".").split("."), arpa[2].lower() == "ip6")
    server = _SERVER.fullmatch(word)
    if server is None or word.startswith("/"):
        return GONE
    scheme = f"{server[1]}://" if server[1] else ""
    if server[2] in vocabulary.COREDNS:  # .:53
        return word
    host = tokens.address(server[2].strip("[]")) or tokens.names.host(server[2].rstrip("."))
    return f"{scheme}{host}{'.' if server[2].endswith('.') else ''}{server[3] or ''}{server[4] or ''}"


def _reversed_zone(tokens: Tokens, labels: list[str], v6: bool) -> str:
    """A reverse zone of the mapped network: ``244.10.in-addr.arpa`` stands for 10.244.0.0/16."""
    try:
        if v6:
            nibbles = "".join(reversed(labels))
            value = int(nibbles.ljust(32, "0"), 16)
            network = f"{ipaddress.IPv6Address(value)}/{4 * len(nibbles)}"
            mapped = tokens.addresses.text(network) or ""
            whole = ipaddress.IPv6Network(mapped).network_address.exploded.replace(":", "")
            return ".".join(reversed(whole[: len(nibbles)])) + ".ip6.arpa"
        octets = [*reversed(labels)]
        network = f"{'.'.join([*octets, *['0'] * (4 - len(octets))])}/{8 * len(octets)}"
        mapped = tokens.addresses.text(network) or ""
        whole4 = str(ipaddress.IPv4Network(mapped).network_address).split(".")
        return ".".join(reversed(whole4[: len(octets)])) + ".in-addr.arpa"
    except ValueError:
        return GONE


def anonymous_proxy_configuration(tokens: Tokens, config: dict[Any, Any]) -> dict[str, Any]:
    """The known fields of a KubeProxyConfiguration, addresses and names mapped."""
    return {key: _setting(tokens, key, value) for key, value in proxy_configuration(config).items()}


def _setting(tokens: Tokens, key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _setting(tokens, name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_setting(tokens, key, inner) for inner in value]
    if not isinstance(value, str) or not value:
        return value
    if key in _ADDRESSES:
        return ",".join(_cidr(tokens, c.strip()) for c in value.split(","))
    if key in _BINDS:
        return tokens.address(value) or ""
    if key in _INTERFACES:
        return tokens.names.interface(value)
    if key == "hostnameOverride":
        return tokens.names.host(value)
    return value if key in vocabulary.PROXY_WORDS and _WORDS.fullmatch(value) else ""


def _cidr(tokens: Tokens, text: str) -> str:
    return text if text == "primary" else tokens.addresses.text(text) or ""
