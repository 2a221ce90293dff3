"""Dumps of a node as facts: the light ones are read, secrets are not kept, bad ones are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.nodefacts import Dump, Listener, NodeFacts
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.anonymize import anonymize
from svcdoctor.sources.anonymousdumps import UNDERSTOOD
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.contents import describe, lines
from svcdoctor.sources.dumpnames import COLLECTED, DUMPS, INSTEAD, MODES
from svcdoctor.sources.nodedumps import kept, node_facts, usable_facts
from svcdoctor.sources.writing import write_snapshot

FIB = b"Local:\n  |-- 10.9.0.1\n     /32 host LOCAL\n"
TCP = b"   0: 0100007F:2748 00000000:0000 0A 0\n"
TCP6 = b"   0: 00000000000000000000000000000000:280A 00000000000000000000000000000000:0000 0A 0\n"


def dump(data: bytes) -> Dump:
    return Dump("here", data)


def test_the_table_only_reads() -> None:
    harmless = {
        *("bridge", "cat", "conntrack", "curl", "grep", "ip", "ipset", "ipvsadm", "nft", "ss", "sysctl"),
        *(f"ip{six}tables{kind}-save" for six in ("", "6") for kind in ("", "-nft", "-legacy")),
    }
    changing = {"add", "del", "delete", "flush", "set", "replace", "restore", "-A", "-D", "-F", "-w", "-X"}
    for one in COLLECTED:
        for command in one.commands:
            assert command[0] in harmless
            assert not changing & set(command), command
    assert len({one.name for one in COLLECTED}) == len(COLLECTED)
    assert {*MODES, *INSTEAD, *INSTEAD.values()} <= set(DUMPS)


def test_what_is_light_is_read() -> None:
    facts = node_facts(
        "n1",
        {
            "kube-proxy-mode.txt": dump(b"nftables"),
            "ip-addr.json": dump(b'[{"addr_info": [{"local": "10.9.0.1"}, {"local": "fd00::1"}]}]'),
            "proc-net-fib_trie.txt": dump(FIB.replace(b"10.9.0.1", b"10.9.0.2")),
            "ss-listen.txt": dump(b'tcp LISTEN 0 5 *:80 *:* users:(("web",pid=1,fd=3))\n'),
            "proc-net-tcp.txt": dump(TCP),
        },
        {"nft.json": "no program nft"},
    )
    assert facts.proxy is not None
    assert facts.proxy.mode == "nftables"
    assert facts.addresses == ("10.9.0.1", "fd00::1"), "ip's own answer is the better one"
    assert facts.listeners == (Listener("TCP", "::", 80, "web"),)
    assert facts.missing == {"nft.json": "no program nft"}
    assert facts.raw["proc-net-tcp.txt"].data == TCP


def test_a_container_with_nothing_but_cat_still_tells_addresses_and_sockets() -> None:
    facts = node_facts(
        "n1",
        {
            "proc-net-fib_trie.txt": dump(FIB),
            "proc-net-if_inet6.txt": dump(b"fd000000000000000000000000000001 02 40 00 80 eth0\n"),
            "proc-net-tcp.txt": dump(TCP),
            "proc-net-tcp6.txt": dump(TCP6),
        },
    )
    assert facts.addresses == ("10.9.0.1", "fd00::1")
    assert facts.listeners == (Listener("TCP", "127.0.0.1", 10056), Listener("TCP", "::", 10250))


def test_a_dump_that_is_not_what_its_name_says() -> None:
    bad = {"ip-addr.json": dump(b"command not found"), "nft.json": dump(b"{}")}
    with pytest.raises(SvcdoctorError, match="here: not the output of ip -j addr"):
        node_facts("n1", bad)
    facts = usable_facts("n1", bad, {"ipset.txt": "why"})
    assert facts.dumps == ("nft.json",)
    assert facts.missing["ip-addr.json"].startswith("here: not the output of ip -j addr")
    assert facts.missing["ipset.txt"] == "why"


def test_sysctls_are_kept_without_what_is_secret_or_not_of_the_network() -> None:
    data = (
        b"kernel.hostname = n1\nnet.ipv4.ip_forward = 1\nnet.ipv6.conf.eth0/100.forwarding = 0\n"
        b"net.ipv4.tcp_fastopen_key = 1234-5678\nnet.ipv6.conf.all.stable_secret = fd00::1\n"
    )
    assert kept("sysctl.txt", data) == b"net.ipv4.ip_forward = 1\nnet.ipv6.conf.eth0/100.forwarding = 0\n"
    by_file = (
        b"/proc/sys/net/ipv4/ip_forward:1\n/proc/sys/net/ipv6/conf/eth0.100/forwarding:0\n"
        b"/proc/sys/net/ipv4/tcp_fastopen_key:1234-5678\n/proc/sys/net/ipv6/conf/all/stable_secret:fd00::1\n"
    )
    assert kept("sysctl.txt", by_file) == kept("sysctl.txt", data)
    assert kept("nft.json", data) == data


def test_settings_in_kube_proxys_own_file() -> None:
    file = b"""apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
mode: ""
iptables: {localhostNodePorts: false, syncPeriod: 30s}
nodePortAddresses: null
"""
    data = kept("kube-proxy-configz.json", file)
    proxy = node_facts("n1", {"kube-proxy-configz.json": dump(data)}).proxy
    assert proxy is not None
    assert (proxy.mode, proxy.complete, proxy.localhost_node_ports) == ("iptables", True, False)
    assert proxy.cluster_cidrs == ("10.244.0.0/16", "fd00:10:244::/56")
    told = b'{"kubeproxy.config.k8s.io": {}}'
    assert kept("kube-proxy-configz.json", told) == told
    for bad in (b"", b"a: b: c", b"&a [*a]", b"- &x 2001-01-01"):
        facts = usable_facts(
            "n1", {"kube-proxy-configz.json": dump(kept("kube-proxy-configz.json", bad))}, {}
        )
        assert facts.proxy is None


def snapshot(*nodes: NodeFacts) -> Snapshot:
    return Snapshot({}, {Kind.SERVICE: (Known(),)}).with_nodes({n.name: n for n in nodes})


REFUSED = 'pods "kp-acme" is forbidden: User "acme-joe" cannot get resource "pods/exec"'


@pytest.mark.parametrize("name", ["out", "out.tar.gz"])
def test_a_saved_snapshot_still_says_why(tmp_path: Path, name: str) -> None:
    one = node_facts("n1", {"iptables-save.txt": dump(b"*nat\nCOMMIT\n")}, {"sysctl.txt": "token=abc lost"})
    other = NodeFacts("n2", missing={"nft.json": REFUSED, "sysctl.txt": REFUSED})
    held = snapshot(one, other)
    write_snapshot(held, tmp_path / name, dumps={"n1": {"iptables-save.txt": b"*nat\nCOMMIT\n"}})
    back = read_snapshot(tmp_path / name)
    assert back.node_facts["n1"].missing == {"sysctl.txt": "token=*** lost"}
    assert back.node_facts["n1"].dumps == ("iptables-save.txt",)
    assert back.node_facts["n2"] == other
    text = lines(describe(back))
    assert "  missing sysctl.txt: token=*** lost" in text
    assert "  missing ip-addr.json: ip -j addr" in text
    assert f"node n2: no dumps: {REFUSED}" in text
    assert not any("have no dumps" in line for line in text)


def test_another_dump_may_stand_in_the_place_of_one() -> None:
    names = ["ip-6-route.json", "ip-rule.json", "kube-proxy-configz.json"]
    row = describe(Snapshot({}, {}), {"n1": names}).nodes[0]
    assert not {"ip-6-route.txt", "ip-rule.txt", "kube-proxy-mode.txt"} & {name for name, _ in row.missing}
    assert {"sysctl.txt", "ip-addr.json"} <= {name for name, _ in row.missing}


def test_anonymised_facts_tell_nothing_of_their_own(tmp_path: Path) -> None:
    acme = b"acme 10.9.8.7 0708090A:1F90\n"
    dumps = {one.name: acme for one in COLLECTED} | {"acme.txt": acme}
    facts = NodeFacts("acme-node", raw={n: dump(d) for n, d in dumps.items()}, dumps=tuple(dumps))
    other = NodeFacts("acme-2", missing={"nft.json": REFUSED, "acme.txt": REFUSED})
    result = anonymize(snapshot(facts, other), {"acme-node": dumps})
    write_snapshot(result.snapshot, tmp_path / "out", dumps=result.dumps, left_out=result.left_out)
    files = [f for f in (tmp_path / "out").rglob("*") if f.is_file()]
    for file in files:
        assert b"acme" not in file.read_bytes() + str(file.relative_to(tmp_path)).encode(), file
        assert b"10.9.8.7" not in file.read_bytes()
        assert b"0708090A" not in file.read_bytes()
    assert "acme" not in repr([f.raw for f in result.snapshot.node_facts.values()])
    why = [f.missing for f in read_snapshot(tmp_path / "out").node_facts.values() if f.missing]
    assert [list(m) for m in why] == [["nft.json"]]
    assert "forbidden" in why[0]["nft.json"]
    assert not {n for n in UNDERSTOOD if n.startswith("proc-net")}
