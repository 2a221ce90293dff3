"""The ports of bridges: what ip and bridge say of a real one, and what is not their output."""

import json

import pytest

from svcdoctor.dataplane.tablerouter import TableRouter
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import Dump
from svcdoctor.node.links import read_links
from svcdoctor.sources.addressmap import AddressMap
from svcdoctor.sources.anonymousdumps import anonymous_dump
from svcdoctor.sources.anonymoustext import Tokens
from svcdoctor.sources.chainmap import ChainNames
from svcdoctor.sources.pseudonyms import Pseudonyms

COMMANDS = {
    "ip-addr.json": "ip -j addr",
    "ip-link.json": "ip -j -d link",
    "bridge-link.json": "bridge -j -d link",
}


@pytest.fixture(scope="module")
def dumps(namespace):
    """A bridge with a port that hairpins and one that does not, and a veth that is on no bridge."""
    namespace("""
        ip link add cni0 type bridge && ip link set cni0 up && ip addr add 10.244.1.1/24 dev cni0
        for i in 0 1 2; do ip link add veth$i type veth peer name peer$i; ip link set veth$i up; done
        ip link set veth0 master cni0 && ip link set veth0 type bridge_slave hairpin on
        ip link set veth1 master cni0
    """)
    return {name: namespace(command).encode() for name, command in COMMANDS.items()}


@pytest.mark.parametrize("name", ["ip-link.json", "bridge-link.json"])
def test_both_commands_tell_the_ports_and_their_hairpin(dumps, needs, name):
    needs("bridge")
    links = {link.name: link for link in read_links(dumps[name], name)}
    assert {n: (link.master, link.hairpin) for n, link in links.items() if link.master} == {
        "veth0": ("cni0", True),
        "veth1": ("cni0", False),
    }
    assert all(link.hairpin is None for link in links.values() if not link.master)


@pytest.mark.parametrize("left_out", [(), ("ip-link.json",), ("bridge-link.json",)])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_dumps_together_tell_the_ports_of_a_bridge(dumps, needs, left_out, hidden):
    """Also after other names were given; the addresses come from another dump than the ports."""
    needs("bridge")
    held = {name: data for name, data in dumps.items() if name not in left_out}
    if hidden:
        addresses = AddressMap(b"test")
        names = Pseudonyms(b"test", addresses)
        tokens = Tokens(names, addresses, ChainNames(b"test", names.name, names.host))
        held = {name: anonymous_dump(name, data, tokens) for name, data in held.items()}
    router = TableRouter({name: Dump(name, data) for name, data in held.items()})
    assert sorted(link.hairpin for link in router.pod_ports("cni0")) == [False, True]
    assert router.is_bridge("cni0") and router.links["cni0"].addresses
    assert router.pod_ports("veth2") == ()


def port(**more):
    return json.dumps([{"ifname": "veth0", "flags": [], "master": "cni0", **more}]).encode()


@pytest.mark.parametrize(
    ("data", "hairpin"),
    [
        (port(), None),  # bridge link without -d
        (port(hairpin=True), True),
        (port(hairpin=False), False),
        (
            port(
                linkinfo={
                    "info_kind": "veth",
                    "info_slave_kind": "bridge",
                    "info_slave_data": {"hairpin": True},
                }
            ),
            True,
        ),
        (port(linkinfo={"info_kind": "veth", "info_slave_kind": "bridge"}), None),
        (port(linkinfo={"info_slave_kind": "vrf", "info_slave_data": {"table": 7}}), None),
    ],
)
def test_hairpin_is_known_where_the_dump_says_it(data, hairpin):
    [link] = read_links(data, "dump")
    assert (link.hairpin, link.master) == (hairpin, "cni0")


@pytest.mark.parametrize(
    "data",
    [
        port(hairpin="on"),
        port(hairpin=1),
        b"[{}, 1]",
        b"{",
        port()[:-4],
        b"\xff",
        b'{"a": 1}',
        b"[[]",
        b"[" * 100_000,
    ],
)
def test_what_is_not_the_output_is_named(data):
    with pytest.raises(SvcdoctorError, match=r"^n1/bridge-link.json: not the output of ip -j or"):
        read_links(data, "n1/bridge-link.json")


@pytest.mark.parametrize(
    ("flags", "count", "promiscuous"), [([], 0, False), (["PROMISC"], 1, True), ([], 1, True)]
)
def test_a_promiscuous_interface(flags, count, promiscuous):
    data = json.dumps([{"ifname": "cni0", "flags": ["UP", *flags], "promiscuity": count}]).encode()
    assert read_links(data, "dump")[0].promiscuous is promiscuous
