"""What kube-proxy is configured to do, as far as others who take its place must know."""

import pytest
from served_world import node

from svcdoctor.model.base import Meta
from svcdoctor.model.cluster import ConfigMap
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import NodeFacts, ProxySettings
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.proxy.serving.kubeproxy import configured, of_snapshot
from svcdoctor.proxy.serving.planned import NODE_CIDR

CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ""
clusterCIDR: 10.244.0.0/16,fd00:244::/56
nodePortAddresses: ["192.168.0.0/24"]
iptables:
  masqueradeAll: true
"""
SETTINGS = ProxySettings(
    "iptables",
    cluster_cidrs=("10.244.0.0/16", "fd00:244::/56"),
    masquerade_all=True,
    node_port_addresses=("192.168.0.0/24",),
)


def config_map(text, name="kube-proxy", key="config.conf"):
    return ConfigMap(
        kind=Kind.CONFIG_MAP, metadata=Meta(name=name, namespace="kube-system"), data={key: text}
    )


def test_the_config_map_of_kubeadm():
    assert configured([config_map("x", "coredns"), config_map(CONFIG)]) == SETTINGS


@pytest.mark.parametrize(
    "maps",
    [
        [],
        [config_map(CONFIG, "coredns")],
        [config_map(CONFIG, key="kubeconfig.conf")],
        [config_map("")],
        [config_map("}{")],
        [config_map("- a\n- b\n")],
        [config_map("kind: KubeletConfiguration\n")],
        [config_map(CONFIG.replace('["192.168.0.0/24"]', "5"))],
    ],
)
def test_what_is_not_there_or_not_understood_is_the_default(maps):
    assert configured(maps) == NODE_CIDR


def test_a_snapshot_knows_the_nodes_own_or_the_config_map():
    own = ProxySettings("nftables", cluster_cidrs=("10.0.0.0/8",))
    maps = {Kind.CONFIG_MAP: (config_map(CONFIG),), Kind.NODE: (node(),)}
    facts = {
        "node1": NodeFacts("node1", own),
        "node2": NodeFacts("node2", ProxySettings("ipvs", complete=False)),
    }
    held = Snapshot(maps, {}, facts)
    assert of_snapshot(held, "node1") == own
    assert of_snapshot(held, "node2") == ProxySettings("ipvs", "NodeCIDR"), "only its mode is known"
    assert of_snapshot(held, "node9") == SETTINGS
    assert of_snapshot(Snapshot(maps, {}), "") == SETTINGS
    assert of_snapshot(Snapshot({}, {}), "") == NODE_CIDR
