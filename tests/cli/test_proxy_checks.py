"""``svcdoctor proxy``: endpoints that are checked, and nodePorts where kube-proxy's configuration has them."""

import re

import pytest
from proxy_world import NODE4, NODE6, NODE_PORT, PODS, slices
from test_proxy_command import ALL, WORKERS, node, said, world  # noqa: F401  (the node that the commands run on)

from svcdoctor.lab.resources import find_resource

CONFIG_MAPS = find_resource("", "v1", "configmaps")


def test_endpoints_that_do_not_answer_are_passed_by(node):  # noqa: F811
    for obj in slices(*PODS):
        nowhere = {"addresses": ["10.244.1.99" if obj["addressType"] == "IPv4" else "fd00:244::99"]}
        node.put(obj | {"endpoints": [*obj["endpoints"], nowhere | {"conditions": {"ready": True}}]})
    node.ip(node.node, "route add unreachable 10.244.1.99")
    words = ("--nodeport", "--check-interval", "500ms", "--metrics", "127.0.0.1:9100", *WORKERS)
    running = node.serving("svc/web", *words)
    silent = "10.244.1.99:8080 did not answer 3 checks: it is passed by until it does"
    running.until(lambda: silent in running.err)

    def answering():
        text = node.sh(node.node, "curl -s http://127.0.0.1:9100/metrics")
        found = re.findall(r'endpoint_answers\{.*endpoint="10\.244\.1\.(\d+):8080".*\} (\d)', text)
        return dict(found)

    assert answering() == {"11": "1", "12": "1", "99": "0"}
    before = node.sh(node.node, "curl -s http://127.0.0.1:9100/metrics")
    for _ in range(20):
        assert node.ask(NODE4, NODE_PORT) in ALL
    failures = re.compile(r"endpoint_failures_total\{.*10\.244\.1\.99.*\} (\d+)")
    after = node.sh(node.node, "curl -s http://127.0.0.1:9100/metrics")
    assert failures.findall(after) == failures.findall(before), "no client was sent there any more"
    node.ip(node.node, "route del unreachable 10.244.1.99")
    node.ip(node.node, "addr add 10.244.1.99 dev lo")
    node.answer("late", "10.244.1.99")
    running.until(lambda: "10.244.1.99:8080 answers again" in running.err)
    running.until(lambda: "late" in {node.ask(NODE4, NODE_PORT) for _ in range(10)})
    assert answering()["99"] == "1"
    assert running.end() == 0
    node.ip(node.node, "addr del 10.244.1.99 dev lo")


def test_checks_are_for_what_is_connected_to_from_here(node):  # noqa: F811
    assert said(node, "svc/web", "--check-interval", "5s") == (
        2,
        "--check-interval connects to endpoints from this machine: say --dial direct, too",
    )
    code, line = said(node, "svc/web", "--nodeport", "--check-interval", "10ms")
    assert (code, line) == (2, "--check-interval 10ms: 0.5 s is the shortest")


NODE_PORT_ADDRESSES = """\
kind: KubeProxyConfiguration
mode: iptables
nodePortAddresses: ["{}"]
"""


@pytest.mark.parametrize(
    "wanted, four, six",
    [(f"{NODE4}/24", True, True), ("fd00:9::/64", True, True), ("10.8.0.0/16", False, True)],
)
def test_node_ports_are_opened_where_kube_proxys_config_map_has_them(node, wanted, four, six):  # noqa: F811
    """An IP family that it does not name is not restricted."""
    meta = {"name": "kube-proxy", "namespace": "kube-system"}
    data = {"config.conf": NODE_PORT_ADDRESSES.format(wanted)}
    node.store.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
    try:
        running = node.serving("svc/web", "--nodeport", *WORKERS)
        [line] = running.out
        assert (f" {NODE4}:{NODE_PORT}" in line, f"[{NODE6}]:{NODE_PORT}" in line) == (four, six)
        assert (node.ask(NODE4, NODE_PORT) in ALL, node.ask(NODE6, NODE_PORT) in ALL) == (four, six)
        assert running.end() == 0
    finally:
        node.store.delete(CONFIG_MAPS, "kube-system", "kube-proxy")
