"""The ``svcdoctor proxy`` command that carries a Service's traffic on a node until the cause is mended there.

Theory. Where a node has no rule for an address, processes that listen there get the packets. Where kube-proxy's rules
are wrong they take the packets first, and only rules that come before them help; --takeover, because for other ports
of the Service they may be right. The command stands at the end of a finding's fix, on a line that can be copied, below
one that a shell ignores; where one cause concerns many Services it is that for all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from svcdoctor.model.service import Service
from svcdoctor.model.trace import EntryKind
from svcdoctor.path.audit import Difference

ABSENT = frozenset({"RUL001", "RUL003"})
"""Causes by which rules are missing."""

WRONG = frozenset({"RUL002", "RUL004", "RUL005", "RUL006", "RUL007", "RUL008"})
"""Causes by which rules are there and should not be followed."""

KERNEL = "--mode nftables --takeover"

_FLAGS = {EntryKind.NODE_PORT: "--nodeport", EntryKind.CLUSTER_IP: "--clusterip"}
_API = ("default", "kubernetes")  # whose cluster IP only rules may carry
_SAID = re.compile(r"\n# meanwhile, on (?P<node>.*?):\nsvcdoctor proxy (?P<words>.*)$", re.DOTALL)


def meanwhile(
    code: str, services: Sequence[Service], nodes: Sequence[str], differences: Collection[Difference] = ()
) -> str:
    """What is added to the fix of a finding of that code; empty where the command would not help."""
    proxied = [s for s in services if s.cluster_ips and s.type != "ExternalName" and not s.foreign_proxy]
    if code not in ABSENT | WRONG or not proxied:
        return ""
    what = "-A" if len(proxied) > 1 else f"svc/{proxied[0].name} -n {proxied[0].namespace}"
    how = "" if code in ABSENT and len(proxied) > 1 else _how(code, proxied[0], differences)
    node = nodes[0] if len(nodes) == 1 else "each of these nodes" if nodes else "the node"
    return f"\n# meanwhile, on {node}:\nsvcdoctor proxy {what}{how}"


def without(fix: str) -> str:
    """A fix without the command."""
    return _SAID.sub("", fix)


def of_many(fix: str) -> str:
    """A fix whose cause concerns more Services than the one that it names."""
    found = _SAID.search(fix)
    if found is None:
        return fix
    kernel = f" {KERNEL}" if KERNEL in found["words"] else ""
    return f"{without(fix)}\n# meanwhile, on {found['node']}:\nsvcdoctor proxy -A{kernel}"


def _how(code: str, service: Service, differences: Collection[Difference]) -> str:
    """The flags, each after a space."""
    missing = code in ABSENT and not any(d.endpoints for d in differences)
    if not missing or (service.namespace, service.name) == _API:
        return f" {KERNEL}"
    kinds = {d.place.frontend.kind for d in differences} or set(_FLAGS)
    own = {EntryKind.CLUSTER_IP} if not any(p.node_port for p in service.ports) else set(_FLAGS)
    flags = [flag for kind, flag in _FLAGS.items() if kind in kinds & own]
    return "".join(f" {flag}" for flag in flags) or f" {KERNEL}"
