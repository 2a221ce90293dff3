"""The words of ``forward``, which are those of kubectl port-forward: a target, ports, addresses to listen on.

What kubectl accepts means the same here, and what it refuses is refused; some mistakes that it would only find
with the server's help are found here. A port may end in /tcp or /udp, which kubectl does not know.

Specification: https://kubernetes.io/docs/reference/kubectl/generated/kubectl_port-forward/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from svcdoctor.cluster.kinds import KINDS, KindInfo
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import WORKLOADS, Kind
from svcdoctor.path.target import ALIASES

LOCALHOST = ("127.0.0.1", "::1")
"""What ``localhost`` stands for."""

_KINDS = (Kind.POD, Kind.SERVICE, *WORKLOADS)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
# The name of a Service's port (DNS label), which may be longer than a container port's (IANA service name).
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_TARGETS = "say POD, or TYPE/NAME with pod, svc, deploy, rs, sts, ds, rc or job"
_PORTS = "say REMOTE, LOCAL:REMOTE or :REMOTE (any free local port), REMOTE being a number or a port's name"


@dataclass(frozen=True, slots=True)
class ForwardTarget:
    """The object whose pods are forwarded to: a pod, a Service or a workload."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True, slots=True)
class PortRequest:
    """A port as it was asked for, ``text`` being the word itself.

    ``remote`` is a number or a name: of a Service's port, otherwise of a container's. ``local`` is 0 for any
    free port, ``None`` where none is named: then it is the remote one. ``protocol`` is TCP or UDP.
    """

    text: str
    remote: int | str
    local: int | None = None
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An IP address to listen on. Without one that is ``required`` nothing works; of the others, which
    ``localhost`` stands for, one is enough."""

    ip: str
    required: bool = True


def parse_forward_target(text: str) -> ForwardTarget:
    """What ``text`` names: ``web-1``, ``deploy/web``, ``deployments.apps/web``. Raises SvcdoctorError with
    the forms there are."""
    word, slash, name = text.partition("/")
    kind = _kind(text, word) if slash else Kind.POD
    if not slash:
        name = word
    if not _NAME.fullmatch(name) or len(name) > 253:
        problem = f"{name!r} is no object's name" if name else "the name is missing"
        raise SvcdoctorError(f"target {text!r}: {problem}; {_TARGETS}, and ports after it (svc/web 8080:80)")
    return ForwardTarget(kind, name)


def _kind(text: str, word: str) -> Kind:
    """The kind that a type stands for: its short, singular or plural name, or the plural with its group."""
    alias, _, group = word.lower().partition(".")
    known = ALIASES.get(alias)
    kind = None if known is None else Kind(known)
    if kind is None or group not in _groups(KINDS[kind]):
        raise SvcdoctorError(f"target {text!r}: unknown type {word!r}; {_TARGETS}, and the namespace with -n")
    if kind not in _KINDS:
        raise SvcdoctorError(
            f"target {text!r}: {alias} has no pods of its own; name the Service behind it: svc/NAME"
        )
    return kind


def _groups(info: KindInfo) -> set[str]:
    """What may stand behind a resource and a dot: the group, and the version with the group."""
    groups = {""}
    for version in info.versions:
        group, _, number = version.rpartition("/")
        groups |= {group, f"{number}.{group}"}
    return groups


def parse_port(text: str) -> PortRequest:
    """What a PORT asks for: ``5000``, ``8888:5000``, ``:5000``, ``0:5000``, ``8443:https``, ``53/udp``.

    Raises SvcdoctorError with the forms there are.
    """
    ports, slash, suffix = text.partition("/")
    protocol = suffix.upper() if slash else "TCP"
    if protocol not in ("TCP", "UDP"):
        raise SvcdoctorError(f"port {text!r}: {suffix!r} cannot be forwarded; say /tcp or /udp")
    first, colon, last = ports.partition(":")
    if ":" in last:
        raise SvcdoctorError(f"port {text!r}: more than one colon; {_PORTS}")
    remote = _remote(text, last if colon else first)
    # kubectl takes NAME:NAME for NAME.
    local = None if not colon or first == last else _local(text, first)
    return PortRequest(text, remote, local, protocol)


def _remote(text: str, word: str) -> int | str:
    number = _number(word)
    if number is not None and 0 < number < 65536:
        return number
    if number is None and _PORT_NAME.fullmatch(word):
        return word
    if not word:
        problem = "the remote port is missing"
    elif number == 0:
        problem = "the remote port must not be 0"
    else:
        problem = f"{word!r} is neither a port (1 to 65535) nor a port's name"
    raise SvcdoctorError(f"port {text!r}: {problem}; {_PORTS}")


def _local(text: str, word: str) -> int:
    number = _number(word) if word else 0
    if number is None or number > 65535:
        raise SvcdoctorError(f"port {text!r}: {word!r} is no local port (0 to 65535); {_PORTS}")
    return number


def _number(word: str) -> int | None:
    """The number that a word is, however long, and ``None`` where it is none."""
    if not (word.isascii() and word.isdecimal()):
        return None
    digits = word.lstrip("0") or "0"
    return int(digits[:6])


def parse_addresses(options: Iterable[str]) -> tuple[ListenAddress, ...]:
    """The addresses of all ``--address`` options, each a list with commas, in kubectl's order.

    Raises SvcdoctorError for what is neither an IP address nor ``localhost``, and where there is none.
    """
    found: dict[str, ListenAddress] = {}
    for word in (word for option in options for word in option.split(",")):
        if word == "localhost":
            for ip in LOCALHOST:
                found.setdefault(ip, ListenAddress(ip, required=False))
        else:
            ip = _address(word)
            found[ip] = ListenAddress(ip)
    if not found:
        raise SvcdoctorError("no address to listen on; say --address with IP addresses or localhost")
    return tuple(found[ip] for ip in sorted(found))


def parse_listening(
    option: str, text: str, default: tuple[ListenAddress, ...]
) -> tuple[tuple[ListenAddress, ...], int]:
    """What an ADDR of ``option`` says to listen on: ``1080`` (on the default addresses), ``127.0.0.1:1080``,
    ``[::1]:1080``, ``localhost:1080``. Raises SvcdoctorError."""
    host, colon, last = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    port = _number(last)
    if port is None or port > 65535 or (colon and not host) or (":" in host and not bracketed):
        raise SvcdoctorError(
            f"{option} {text!r}: say PORT, IP:PORT or [IPV6]:PORT, the port being 0 (any) to 65535"
        )
    if not colon:
        return default, port
    return parse_addresses([host[1:-1] if bracketed else host]), port


def socks_addresses(text: str, addresses: tuple[ListenAddress, ...]) -> tuple[tuple[ListenAddress, ...], int]:
    """What ``--socks5`` says to listen on. ``addresses`` are those of --address. Raises SvcdoctorError, too where
    others than this machine could use the proxy and --address does not say so."""
    found, port = parse_listening("--socks5", text, addresses)
    allowed = {address.ip for address in addresses}
    for ip in (address.ip for address in found):
        if ip not in allowed and not ipaddress.ip_address(ip).is_loopback:
            raise SvcdoctorError(
                f"--socks5 {text}: whoever reaches {ip} could reach every Service; if that is meant, say "
                f"--address {ip} as well"
            )
    return found, port


def _address(word: str) -> str:
    try:
        ip = ipaddress.ip_address(word)
    except ValueError:
        ip = None
    if ip is None or (ip.version == 6 and ip.scope_id):
        raise SvcdoctorError(
            f"address {word!r} is not an IP address; say --address with IP addresses or localhost, "
            "with commas between them"
        )
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    return str(mapped or ip)
