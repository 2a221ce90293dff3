"""The formats of names, labels, ports, addresses and ranges, with the API server's words for what breaks them.

Each function returns why a value is refused, nothing for one that is taken (k8s.io/apimachinery, util/validation).
IP addresses and CIDRs are held to the strict rules that are on by default since Kubernetes 1.36 (KEP-4858).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(_SUBDOMAIN)
_DNS_1035 = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_WILDCARD = re.compile(rf"\*\.{_SUBDOMAIN}")
_QUALIFIED_NAME = re.compile(_QUALIFIED)
_PORT_CHARACTERS = re.compile("[-a-z0-9]+")
_NUMBER = re.compile("[0-9]+", re.ASCII)

_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character"
)
_1035_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character"
)
_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character"
)
_WILDCARD_WORDS = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_QUALIFIED_WORDS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)
_LABEL_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character"
)

Reasons = tuple[str, ...]


def _longer(text: str, most: int) -> Reasons:
    return (f"must be no more than {most} bytes",) if len(text.encode()) > most else ()


@lru_cache(maxsize=8192)
def dns_label(text: str) -> Reasons:
    """RFC 1123 label: a namespace's name, a Service's port name."""
    if _DNS_LABEL.fullmatch(text):
        return _longer(text, 63)
    if _DNS_SUBDOMAIN.fullmatch(text):
        return (*_longer(text, 63), "must not contain dots")
    return (*_longer(text, 63), _LABEL_WORDS)


def dns_1035_label(text: str) -> Reasons:
    """RFC 1035 label: a Service's name until Kubernetes 1.35."""
    return _longer(text, 63) if _DNS_1035.fullmatch(text) else (*_longer(text, 63), _1035_WORDS)


@lru_cache(maxsize=8192)
def dns_subdomain(text: str) -> Reasons:
    """RFC 1123 subdomain: most objects' names, hosts."""
    return _longer(text, 253) if _DNS_SUBDOMAIN.fullmatch(text) else (*_longer(text, 253), _SUBDOMAIN_WORDS)


def wildcard_subdomain(text: str) -> Reasons:
    """RFC 1034, section 4.3.3: ``*.example.com``."""
    return _longer(text, 253) if _WILDCARD.fullmatch(text) else (*_longer(text, 253), _WILDCARD_WORDS)


@lru_cache(maxsize=8192)
def qualified_name(text: str) -> Reasons:
    """A label's or annotation's key: a name, or a DNS subdomain, a slash and a name."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        return (
            f"a qualified name {_QUALIFIED_WORDS} with an optional DNS subdomain prefix and '/' (e.g. "
            "'example.com/MyName')",
        )
    reasons: Reasons = ()
    if slash and not prefix:
        reasons = ("prefix part must be non-empty",)
    elif slash:
        reasons = tuple(f"prefix part {r}" for r in dns_subdomain(prefix))
    if not name:
        return (*reasons, "name part must be non-empty")
    reasons += tuple(f"name part {r}" for r in _longer(name, 63))
    return reasons if _QUALIFIED_NAME.fullmatch(name) else (*reasons, f"name part {_QUALIFIED_WORDS}")


@lru_cache(maxsize=8192)
def label_value(text: str) -> Reasons:
    if not text or _QUALIFIED_NAME.fullmatch(text):
        return _longer(text, 63)
    return (*_longer(text, 63), _LABEL_VALUE_WORDS)


def port_number(number: int) -> Reasons:
    return () if 1 <= number <= 65535 else ("must be between 1 and 65535, inclusive",)


@lru_cache(maxsize=1024)
def port_name(text: str) -> Reasons:
    """IANA service name (RFC 6335): a container port's name, a targetPort that is a name."""
    reasons = _longer(text, 15)
    if not _PORT_CHARACTERS.fullmatch(text):
        reasons += ("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",)
    if not re.search("[a-z]", text):
        reasons += ("must contain at least one letter (a-z)",)
    if "--" in text:
        reasons += ("must not contain consecutive hyphens",)
    if text.startswith("-") or text.endswith("-"):
        reasons += ("must not begin or end with a hyphen",)
    return reasons


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def sloppy_address(text: str) -> tuple[Address | None, bool]:
    """An address as Kubernetes always took it, and whether it has leading zeros; None for what is none."""
    plain = ".".join(part.lstrip("0") or "0" if _NUMBER.fullmatch(part) else part for part in text.split("."))
    try:
        return (None if "%" in text else ipaddress.ip_address(plain)), plain != text
    except ValueError:
        return None, False


def ip_address(text: str) -> Reasons:
    address, zeros = sloppy_address(text)
    if address is None:
        return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
    if zeros:
        return ("must not have leading 0s",)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return ("must not be an IPv4-mapped IPv6 address",)
    return ()


def cidr(text: str) -> Reasons:
    base, slash, length = text.rpartition("/")
    address, zeros = sloppy_address(base)
    if not slash or address is None or not _NUMBER.fullmatch(length) or int(length) > address.max_prefixlen:
        return ("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",)
    if zeros or (length != "0" and length.startswith("0")):
        return ("must not have leading 0s in IP or prefix length",)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return ("must not have an IPv4-mapped IPv6 address",)
    if ipaddress.ip_network(text, strict=False).network_address != address:
        return ("must not have bits set beyond the prefix length",)
    return ()


def ordinary_address(text: str) -> Reasons:
    """Why an address cannot be an endpoint's or external IP: it means something else everywhere."""
    address, _ = sloppy_address(text)
    if address is None:
        return ()
    if address.is_unspecified:
        return (f"may not be unspecified ({text})",)
    if address.is_loopback:
        return ("may not be in the loopback range (127.0.0.0/8, ::1/128)",)
    if address.is_link_local:
        return ("may not be in the link-local range (169.254.0.0/16, fe80::/10)",)
    if any(address in network for network in _LINK_LOCAL_MULTICAST):
        return ("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",)
    return ()


_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))
