"""The file that kubelet writes: the cases of the Kubernetes documentation, and its limits."""

import msgspec
import pytest

from svcdoctor.dns.kubelet import pod_resolv_conf
from svcdoctor.dns.resolvconf import ResolvConf, parse, rendered
from svcdoctor.model.base import Meta
from svcdoctor.model.pod import DnsConfig, DnsOption, Pod, PodSpec, PodStatus

NODE = parse("nameserver 192.168.0.1\nsearch corp.example. .\noptions edns0 trust-ad timeout:2\n")
CLUSTER = ("10.96.0.10",)
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")


def conf(
    policy="ClusterFirst",
    *,
    host_network=False,
    config=None,
    cluster_dns=CLUSTER,
    node=NODE,
    domain="cluster.local",
):
    spec = PodSpec(dns_policy=policy, host_network=host_network, dns_config=config)
    pod = Pod.of(Meta(name="p", namespace="shop"), spec, PodStatus())
    return pod_resolv_conf(pod, cluster_dns, domain, node)


@pytest.mark.parametrize("policy", ["", "ClusterFirst", "ClusterFirstWithHostNet"])
def test_cluster_dns(policy):
    assert conf(policy) == ResolvConf(CLUSTER, SEARCH, ndots=5)


def test_a_pod_on_its_nodes_network_has_its_nodes_file():
    nodes = ResolvConf(("192.168.0.1",), ("corp.example",), timeout=2, others=("edns0", "trust-ad"))
    assert conf(host_network=True) == conf("Default") == conf("Default", host_network=True) == nodes
    assert conf("ClusterFirstWithHostNet", host_network=True).nameservers == CLUSTER
    assert conf(cluster_dns=()) == nodes


def test_dual_stack_and_another_domain():
    found = conf(cluster_dns=("10.96.0.10", "fd00:10:96::a"), domain="corp.internal.", node=None)
    assert found.nameservers == ("10.96.0.10", "fd00:10:96::a")
    assert found.search == ("shop.svc.corp.internal", "svc.corp.internal", "corp.internal")


def test_the_example_of_the_documentation():
    config = DnsConfig(
        nameservers=("192.0.2.1",),
        searches=("ns1.svc.cluster-domain.example", "my.dns.search.suffix"),
        options=(DnsOption(name="ndots", value="2"), DnsOption(name="edns0")),
    )
    assert rendered(conf("None", config=config)) == (
        "search ns1.svc.cluster-domain.example my.dns.search.suffix\n"
        "nameserver 192.0.2.1\n"
        "options ndots:2 edns0\n"
    )


def test_a_pods_own_settings_come_on_top_and_nothing_twice():
    config = DnsConfig(
        nameservers=("10.96.0.10", "1.1.1.1"),
        searches=("cluster.local", "x.example"),
        options=(DnsOption(name="ndots", value="1"), DnsOption(name="single-request-reopen")),
    )
    found = conf(config=config)
    assert found.nameservers == ("10.96.0.10", "1.1.1.1")
    assert found.search == (*SEARCH, "x.example")
    assert (found.ndots, found.single_request_reopen) == (1, True)


def test_the_fourth_server_is_cut():
    found = conf(config=DnsConfig(nameservers=("1.1.1.1", "2.2.2.2", "3.3.3.3")))
    assert found.nameservers == ("10.96.0.10", "1.1.1.1", "2.2.2.2")
    assert found.ignored == ("nameserver 3.3.3.3: kubelet writes 3 at most",)


def test_the_search_list_is_cut_at_32_domains_and_2048_characters():
    many = tuple(f"d{n}.example" for n in range(40))
    found = conf(config=DnsConfig(searches=many))
    assert found.search == (*SEARCH, *many)[:32] and len(found.ignored) == 12
    long = tuple(f"{n:02}{'x' * 198}" for n in range(12))
    found = conf(config=DnsConfig(searches=long))
    assert len(" ".join(found.search)) <= 2048 < len(" ".join((*SEARCH, *long)))
    assert found.search == (*SEARCH, *long)[: len(found.search)]
    assert len(" ".join((*SEARCH, *long)[: len(found.search) + 1])) > 2048
    too_long = conf(config=DnsConfig(searches=("y" * 254, "z.example")))
    assert too_long.search == (*SEARCH, "z.example") and "longer than 253" in too_long.ignored[0]


def test_none_without_settings_is_empty():
    assert conf("None") == ResolvConf()


def test_the_settings_are_read_from_a_manifest():
    pod = Pod(
        metadata=Meta(name="p", namespace="shop"),
        raw_spec=msgspec.Raw(
            b'{"dnsConfig":{"nameservers":["1.1.1.1"],"options":[{"name":"ndots","value":"2"},{"name":"rotate"}]}}'
        ),
    )
    found = pod_resolv_conf(pod, CLUSTER, "cluster.local", None)
    assert found.nameservers == ("10.96.0.10", "1.1.1.1") and found.ndots == 2 and found.rotate
