"""What a container's own settings say of the sockets it opens: loopback only, or these ports and no others.

An application bound to 127.0.0.1 answers ``kubectl port-forward`` and nothing else. Its environment or
arguments often say so (``BIND=127.0.0.1``, ``--listen-address=localhost:8080``). Only such words are looked
for, in the container that would answer, and a readiness probe that kubelet passes on the pod's address
proves the opposite.

A list of ports in the environment (``HTTP_PORTS=8080,9090``) that holds every port that the container declares is
the whole list; a single ``PORT`` is not, since many applications open another one for metrics.
"""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec

from svcdoctor.model.pod import NOTHING, Container, Pod

_NAME = re.compile(r"^(BIND|LISTEN)(_?(ADDR|ADDRESS|HOST|IP|ON))?$", re.IGNORECASE)
_FLAG = re.compile(r"^--?(bind|listen)(-(addr|address|host|ip))?(?:=(.*))?$", re.IGNORECASE)
_LOOPBACK = re.compile(r"^(?:\w+://)?(127(?:\.\d{1,3}){3}|localhost|\[?::1\]?)(?::(\d+))?/?$", re.IGNORECASE)

_PORTS = re.compile(r"^(?:(HTTP|HTTPS|GRPC|TCP|UDP|SCTP|LISTEN|SERVER|CONTAINER)_)?PORTS$")


class _Variable(msgspec.Struct):
    name: str = ""
    value: str | None = None


_variables = msgspec.json.Decoder(list[_Variable] | None)
_words = msgspec.json.Decoder(list[str] | None)


def loopback_hint(pod: Pod, container: Container | None, port: int) -> str | None:
    """The setting that binds ``port`` to loopback, such as ``BIND=127.0.0.1``, or ``None``."""
    if container is None or not _mentioned(container):
        return None
    if pod.spec.host_network:
        return None
    if container.readiness_probe is not None and container.readiness_probe.port is not None and pod.ready:
        return None
    for name, value in _settings(container):
        match = _LOOPBACK.match(value.strip())
        if match and (match[2] is None or int(match[2]) == port):
            return f"{name}={value}"
    return None


def ports_hint(container: Container | None, protocol: str) -> tuple[str, frozenset[int]] | None:
    """The setting that lists every port of the protocol that the container listens on, and those ports."""
    if container is None or container.env is NOTHING or b"PORTS" not in bytes(container.env):
        return None
    declared = {p.container_port for p in container.ports or () if p.protocol == protocol}
    try:
        variables = _variables.decode(container.env) or ()
    except msgspec.DecodeError:
        return None
    for variable in variables:
        match = _PORTS.match(variable.name)
        words = (variable.value or "").replace(" ", "").split(",")
        if match is None or not all(w.isdecimal() for w in words):
            continue
        of = match[1] if match[1] in ("UDP", "SCTP") else "TCP"
        ports = frozenset(map(int, words))
        if of == protocol and declared and declared <= ports:
            return f"{variable.name}={variable.value}", ports
    return None


def hints_of_env(env: msgspec.Raw) -> msgspec.Raw:
    """Of a container's environment only what is a hint: a loopback address, a list of ports."""
    try:
        variables = _variables.decode(env) or () if bytes(env) else ()
    except msgspec.DecodeError:
        return NOTHING
    kept = [
        {"name": v.name, "value": value}
        for v in variables
        if (value := _bound(v.name, v.value or "", _NAME) or _listed(v.name, v.value or ""))
    ]
    return msgspec.Raw(msgspec.json.encode(kept)) if kept else NOTHING


def hints_of_words(words: msgspec.Raw) -> msgspec.Raw:
    """Of a container's command or arguments only the flags that bind to a loopback address."""
    try:
        found = (_words.decode(words) if bytes(words) else None) or []
    except msgspec.DecodeError:
        return NOTHING
    kept: list[str] = []
    for word, following in pairwise([*found, ""]):
        match = _FLAG.match(word)
        name = word.partition("=")[0]
        if match and (value := _bound(name, match[4] if match[4] is not None else following, _FLAG)):
            kept.append(f"{name}={value}")
    return msgspec.Raw(msgspec.json.encode(kept)) if kept else NOTHING


def _bound(name: str, value: str, names: re.Pattern[str]) -> str:
    """The loopback address, with its port, that the setting binds to; empty where it is no such setting."""
    match = _LOOPBACK.match(value.strip())
    if match is None or not names.match(name):
        return ""
    return match[1] if match[2] is None else f"{match[1]}:{match[2]}"


def _listed(name: str, value: str) -> str:
    return value if _PORTS.match(name) and re.fullmatch(r"[\d ,]+", value) else ""


def _mentioned(container: Container) -> bool:
    """Whether any setting says bind or listen at all; hardly any container does, and this is quick."""
    for raw in (container.env, container.args, container.command):
        if raw is not NOTHING:
            text = bytes(raw).upper()
            if b"BIND" in text or b"LISTEN" in text:
                return True
    return False


def _settings(container: Container) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    try:
        if bytes(container.env):
            found += [
                (v.name, v.value)
                for v in _variables.decode(container.env) or ()
                if v.value and _NAME.match(v.name)
            ]
        for raw in (container.command, container.args):
            words = (_words.decode(raw) if bytes(raw) else None) or []
            for word, following in pairwise([*words, ""]):
                match = _FLAG.match(word)
                if match:
                    found.append((word.partition("=")[0], match[4] if match[4] is not None else following))
    except msgspec.DecodeError:
        return []
    return found
