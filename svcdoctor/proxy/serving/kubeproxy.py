"""What this node's kube-proxy is told to do, for those who take its place: by its ConfigMap, as kubeadm writes it, or
by what a snapshot knows of the node.

Where it is not known kube-proxy's defaults of nftables mode count, and pods are told by the node's own range. Flags of
the kube-proxy process, which override its configuration, are not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from svcdoctor.cluster.yamldoc import load_documents
from svcdoctor.model.cluster import ConfigMap
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.node.facts import settings_from_config
from svcdoctor.path.world import World
from svcdoctor.proxy.serving.planned import NODE_CIDR

CONFIG_MAP: Final = ("kube-system", "kube-proxy")
_FILE = "config.conf"


def configured(maps: Iterable[ConfigMap]) -> ProxySettings:
    """The settings in kube-proxy's ConfigMap, if it is among these and can be understood."""
    text = next(((m.data or {}).get(_FILE, "") for m in maps if (m.namespace, m.name) == CONFIG_MAP), "")
    try:
        config = next(iter(load_documents(text, "/".join(CONFIG_MAP))), None)
        if isinstance(config, dict) and config.get("kind") == "KubeProxyConfiguration":
            return settings_from_config(config)
    except (SvcdoctorError, TypeError):  # kube-proxy would not begin with it either
        pass
    return NODE_CIDR


def of_snapshot(snapshot: Snapshot, node: str) -> ProxySettings:
    """The settings on a node, or, where it is not known which one, those that all nodes share."""
    found = World(snapshot).proxy(node or None)
    if found is None:
        held = snapshot.find(Kind.CONFIG_MAP, *CONFIG_MAP, ConfigMap)
        return configured([] if held is None else [held])
    return found if found.complete else replace(NODE_CIDR, mode=found.mode)
