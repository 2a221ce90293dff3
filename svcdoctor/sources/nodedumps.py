"""One node's dumps, wherever they come from, as the ``NodeFacts`` that the rest works with.

What is light is read here: kube-proxy's mode and settings, addresses, listening sockets. Rules and routes stay
bytes until a packet needs them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from svcdoctor.cluster.yamldoc import load_documents
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import Dump, Listener, NodeFacts
from svcdoctor.node import facts as node
from svcdoctor.node import procnet

_SECRET_KEYS = (b"stable_secret", b"tcp_fastopen_key")
_PATH_LINE = re.compile(rb"/proc/sys/(net/[^:\n]+):(.*)")


def node_facts(name: str, dumps: Mapping[str, Dump], missing: Mapping[str, str] | None = None) -> NodeFacts:
    """The facts that a node's dumps hold, by their file names; ``missing`` says why others are not there.

    Raises SvcdoctorError, naming the dump, for one that is not what its name says.
    """
    facts = NodeFacts(name, dumps=tuple(sorted(dumps)), raw=dict(dumps), missing=dict(missing or {}))
    for dump, read in _READERS.items():
        found = dumps.get(dump)
        if found is not None and found.data:
            facts = read(facts, found.data, found.where)
    return _from_proc(facts, dumps)


def usable_facts(name: str, dumps: Mapping[str, Dump], missing: Mapping[str, str]) -> NodeFacts:
    """``node_facts``, where a dump that is not what its name says becomes a missing one."""
    held, why = dict(dumps), dict(missing)
    for dump, read in _READERS.items():
        found = held.get(dump)
        if found is not None and found.data:
            try:
                read(NodeFacts(name), found.data, found.where)
            except SvcdoctorError as e:
                del held[dump]
                why[dump] = e.message
    return node_facts(name, held, why)


_READERS: dict[str, Callable[[NodeFacts, bytes, str], NodeFacts]] = {
    "kube-proxy-mode.txt": lambda f, data, where: replace(f, proxy=node.proxy_mode(data, where)),
    "kube-proxy-configz.json": lambda f, data, where: replace(f, proxy=node.proxy_settings(data, where)),
    "ip-addr.json": lambda f, data, where: replace(f, addresses=node.addresses(data, where)),
    "ss-listen.txt": lambda f, data, where: replace(f, listeners=node.listeners(data)),
}


def _from_proc(facts: NodeFacts, dumps: Mapping[str, Dump]) -> NodeFacts:
    """The facts with addresses and sockets out of /proc/net where no better dump told them."""

    def data(name: str) -> bytes:
        return dumps[name].data if name in dumps else b""

    if facts.addresses is None and "proc-net-fib_trie.txt" in dumps:
        found = procnet.local_addresses(data("proc-net-fib_trie.txt"), data("proc-net-if_inet6.txt"))
        facts = replace(facts, addresses=found)
    if facts.listeners is None and "proc-net-tcp.txt" in dumps:
        listeners: tuple[Listener, ...] = ()
        for protocol in ("TCP", "UDP"):
            for suffix in ("", "6"):
                table = data(f"proc-net-{protocol.lower()}{suffix}.txt")
                listeners += procnet.listening(protocol, table)
        facts = replace(facts, listeners=listeners)
    return facts


def kept(name: str, data: bytes) -> bytes:
    """What is kept of a command's output, in the one format of that dump."""
    if name == "sysctl.txt":
        return _sysctls(data)
    if name == "kube-proxy-configz.json" and not data.lstrip().startswith(b"{"):
        return _as_configz(data)
    return data


def _as_configz(data: bytes) -> bytes:
    """A KubeProxyConfiguration file as ``/configz`` tells it; what is none is left as it is."""
    try:
        documents = load_documents(data.decode("utf-8", "replace"), "kube-proxy's configuration")
        return msgspec.json.encode({"kubeproxy.config.k8s.io": documents[0]})
    except (SvcdoctorError, IndexError, TypeError):
        return data


def _sysctls(data: bytes) -> bytes:
    """Those sysctls below ``net``, without the keys among them that are secrets, as ``sysctl -a`` writes them:
    ``net.ipv4.ip_forward = 1``, also where they were read file by file."""
    lines = []
    for line in data.splitlines():
        match = _PATH_LINE.fullmatch(line)
        if match:
            # Where a component has a dot (eth0.100), sysctl writes a slash for it.
            key = match[1].translate(bytes.maketrans(b"/.", b"./"))
            line = key + b" = " + match[2]
        if line.startswith(b"net.") and not any(secret in line for secret in _SECRET_KEYS):
            lines.append(line + b"\n")
    return b"".join(lines)
