"""Dumps, messages and names under one mapping: what is known is mapped, what is not known does not survive."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svcdoctor.node.conntrack import read_conntrack
from svcdoctor.sources.addressmap import AddressMap
from svcdoctor.sources.anonymousconfig import anonymous_corefile
from svcdoctor.sources.anonymousdumps import anonymous_dump
from svcdoctor.sources.anonymoustext import Tokens
from svcdoctor.sources.chainmap import ChainNames
from svcdoctor.sources.pseudonyms import Pseudonyms


def tokens_of(key: bytes = b"test") -> Tokens:
    addresses = AddressMap(key)
    names = Pseudonyms(key, addresses)
    return Tokens(names, addresses, ChainNames(key, names.name, names.host))


def test_an_event_keeps_its_english_only() -> None:
    tokens = tokens_of()
    web = tokens.names.name("web-1")
    message = 'Readiness probe of web-1 failed: Get "http://10.1.2.3:8080/acme": dial tcp 10.1.2.3:8080: we said Nay'
    mapped = tokens.prose(message)
    address = tokens.address("10.1.2.3:8080")
    assert mapped.startswith(f'Readiness probe of {web} failed: Get "http://{address}/')
    assert mapped.endswith(f'": dial tcp {address}: … … …')
    assert (
        tokens.prose("HTTPS://acme.example/x SCALED CrashLoopBackOff AcmeError")
        == "… SCALED CrashLoopBackOff …"
    )


SECRET_DUMPS = {
    "iptables-save.txt": '*nat\n:ACME-CHAIN - [0:0]\n-A ACME-CHAIN -s 10.9.8.7/32 -i acme0 -m comment --comment acme '
    '-m set --match-set acme src -m string --string "acme hush" -j LOG --log-prefix "acme: "\n'
    "-A INPUT -j NFLOG --nflog-prefix --acme\n"
    '-A INPUT -m iprange --src-range 10.9.8.7-10.9.8.9 -m comment --comment "--acme" -j ACCEPT\nCOMMIT\n',
    "nft.json": json.dumps({"nftables": [
        {"rule": {"table": "acme", "chain": "acme", "comment": "acme", "expr": [
            {"match": {"left": {"meta": {"key": "iifname"}}, "right": "acme0"}},
            {"log": {"prefix": "acme hush"}}, {"range": ["10.9.8.7", "10.9.8.9"]}]}},
        {"set": {"name": "acme", "elem": [{"prefix": {"addr": "10.9.8.0", "len": 24}}, "10.9.8.7"]}}]}),
    "ip-addr.json": json.dumps([{"ifname": "acme0", "ifalias": "acme uplink", "address": "0c:42:a1:00:00:01",
                                 "addr_info": [{"local": "10.9.8.7", "label": "acme0:1"}]}]),
    "ip-route.txt": "10.9.8.0/24 via 10.9.8.7 dev acme0 proto acme\n",
    "conntrack.txt": "tcp 6 9 ESTABLISHED src=10.9.8.7 dst=fd00::9:8:7 sport=1 dport=2 helper=acme secctx=acme\n",
    "ss-listen.txt": 'tcp LISTEN 0 1 10.9.8.7%acme0:80 0.0.0.0:* users:(("acme",pid=1,fd=2))\n'
    "tcp LISTEN 0 1 [::ffff:10.9.8.7]:80 *:*\n",
    "sysctl.txt": "net.ipv4.conf.acme0.rp_filter = 1\nkernel.hostname = acme\nnet.x = 10.9.8.7\nkernel.acme = 1\n",
    "ipset.txt": 'create acme hash:ip,port family inet comment "acme"\nadd acme 10.9.8.7,tcp:80,10.9.8.7\n',
    "ipvsadm.txt": "-A -t 10.9.8.7:80 -s rr\n-a -t 10.9.8.7:80 -r [fd00::9:8:7]:80 -m -w 1\n",
    "resolv.conf": "# acme\nsearch shop.svc.acme.example acme.example\nnameserver 10.9.8.7\n",
    "kube-proxy-configz.json": json.dumps({"kubeproxy.config.k8s.io": {
        "kind": "KubeProxyConfiguration", "hostnameOverride": "acme", "clusterCIDR": "10.9.8.0/24",
        "bindAddress": "10.9.8.7", "clientConnection": {"kubeconfig": "/acme"},
        "detectLocal": {"bridgeInterface": "acme0", "x": "acme"}, "nodePortAddresses": ["primary", "10.9.8.0/24"]}}),
    "kube-proxy-mode.txt": "nftables",
}  # fmt: skip


@pytest.mark.parametrize("name", SECRET_DUMPS)
def test_no_kind_of_dump_leaks(name: str) -> None:
    mapped = anonymous_dump(name, SECRET_DUMPS[name].encode(), tokens_of())
    assert mapped is not None
    assert not re.search(rb"acme|hush|10\.9\.8\.|fd00::9:8:7|0c:42|shop", mapped, re.IGNORECASE)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("notes.txt", b"acme"),
        ("nft.json", b"not json"),
        ("nft.json", b"[]"),
        ("ip-addr.json", b'{"acme": 1}'),
        ("iptables-save.txt", b"Usage: acme"),
        ("kube-proxy-mode.txt", b"acme"),
        ("kube-proxy-configz.json", b'{"kind": "acme"}'),
        ("conntrack.txt", b"\xff\xfe"),
    ],
)
def test_what_is_not_understood_is_left_out(name: str, data: bytes) -> None:
    assert anonymous_dump(name, data, tokens_of()) is None


def test_tracked_connections_are_still_read() -> None:
    ends = "src=10.9.8.7 dst=10.96.0.10 sport=1 dport=2{} src=fd00::9 dst=10.9.8.7 sport=3 dport=1"
    dump = (
        f"ipv4     2 udp      17 {ends.format(' zone-orig=5 [UNREPLIED]')} [OFFLOAD] mark=7 secctx=acme:s0 zone=3 "
        "delta-time=9 [start=Sat Nov 21 07:24:06 2026] [stop=Sat Nov 21 07:24:07 2026] use=1 labels=acme\n"
        f"gre      47 99 timeout=0, stream_timeout=0 {ends.format(' packets=1 bytes=2')} [ASSURED] use=1\n"
        "conntrack v1.4.7 (conntrack-tools): 2 flow entries have been shown.\n"
    )
    tokens = tokens_of()
    mapped = anonymous_dump("conntrack-6.txt", dump.encode(), tokens)
    assert mapped is not None
    assert not re.search(rb"acme|10\.9\.8\.|2026|Nov", mapped)
    before, after = (list(read_conntrack(data, "dump")) for data in (dump.encode(), mapped))
    assert len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert new.original.src == tokens.address(old.original.src)
        assert new.reply.src == tokens.address(old.reply.src)
        assert (new.proto, new.seconds, new.flags, new.zones) == (
            old.proto,
            old.seconds,
            old.flags,
            old.zones,
        )
        assert new.original.dport == old.original.dport


def test_dump_tokens() -> None:
    tokens = tokens_of()
    v4, v6 = tokens.addresses.text("10.1.2.3"), tokens.addresses.text("fd00::1")
    table: dict[str, str] = {
        "10.1.2.3:80": f"{v4}:80",
        "[fd00::1]:80": f"[{v6}]:80",
        "src=fd00::1": f"src={v6}",
        "10.1.2.3%eth0:53": f"{v4}%eth0:53",
        "[fd00::1%eth0]:53": f"[{v6}%eth0]:53",
        "10.1.2.3,tcp:80": f"{v4},tcp:80",
        "10.1.2.3,8080": f"{v4},8080",
        "*:80": "*:80",
        "[::]:*": "[::]:*",
        "0x4000/0x4000": "0x4000/0x4000",
        "30000:32767": "30000:32767",
        "[ASSURED]": "[ASSURED]",
        "KUBE-NODEPORTS": "KUBE-NODEPORTS",
        "lo": "lo",
        "flannel.1": "flannel.1",
        "veth+": "veth+",
        "": "",
    }
    assert {text: tokens.token(text) for text in table} == table
    assert tokens.token("10.1.2.0/24") == tokens.addresses.text("10.1.2.0/24")
    hashed = tokens.token("veth12ab34cd")
    assert hashed.startswith("veth")
    assert hashed != "veth12ab34cd"


def test_a_stale_chain_gets_another_hash_everywhere() -> None:
    tokens = tokens_of()
    stale = "KUBE-SEP-" + "A" * 16
    mapped = tokens.token(stale)
    assert re.fullmatch(r"KUBE-SEP-[A-Z2-7]{16}", mapped)
    assert mapped != stale
    assert tokens.token(stale) == mapped
    assert tokens.token("service-AAAAAAAA-shop/cart/tcp/...").endswith("-...")


def test_a_corefile_keeps_its_directives() -> None:
    tokens = tokens_of()
    text = """.:53 acme.example:5353 {
    errors
    health {
        lameduck 5s
    }
    kubernetes cluster.local 244.10.in-addr.arpa 0.0.d.f.ip6.arpa {
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    rewrite name cart.acme.example cart.shop.svc.cluster.local
    hosts /etc/acme {
        10.1.2.3 db.acme.example
    }
    forward . 10.1.2.3:53 tls://10.1.2.3 /etc/resolv.conf
}
"""
    mapped = anonymous_corefile(tokens, text)
    name = tokens.names.name
    assert (
        f"rewrite name {name('cart')}.{name('acme')}.{name('example')} {name('cart')}.{name('shop')}.svc.cluster.local"
        in mapped
    )
    assert (
        f"forward . {tokens.address('10.1.2.3:53')} tls://{tokens.address('10.1.2.3')} /etc/resolv.conf"
        in mapped
    )
    network = ipaddress.ip_network(tokens.addresses.text("10.244.0.0/16") or "")
    a, b = str(network.network_address).split(".")[:2]
    assert f"{b}.{a}.in-addr.arpa" in mapped
    assert "kubernetes cluster.local" in mapped
    assert "lameduck 5s" in mapped
    assert not re.search(r"acme|10\.1\.2\.3|cart|shop|example|244", mapped)


@pytest.mark.parametrize(
    "map_",
    [Pseudonyms.name, Pseudonyms.host, Pseudonyms.key, Pseudonyms.interface, Pseudonyms.path],
    ids=lambda f: f.__name__,
)
def test_mappings_are_one_to_one(map_: Callable[[Pseudonyms, str], str]) -> None:
    names = tokens_of().names
    originals = [f"acme{i}" for i in range(3000)]
    assert len({map_(names, text) for text in originals}) == 3000
    assert [map_(names, t) for t in originals] == [map_(names, t) for t in originals]


def test_times_are_coarse() -> None:
    names = tokens_of().names
    assert names.time("2026-11-21T00:24:18Z") == "2026-11-21T00:00:00Z"
    assert names.time("2026-11-21T00:24:18.123+01:00") == "2026-11-21T00:00:00+01:00"
    assert names.time("yesterday at acme") == ""


SPY = "zqxacme"
_around = st.text("ab17 :/.,=[]@%|-_+*\"'(){}<>\\\nKé", max_size=12)
TOKENS = tokens_of()
NAMES = TOKENS.names


@pytest.mark.parametrize(
    "map_",
    [
        TOKENS.token,
        TOKENS.line,
        TOKENS.prose,
        NAMES.name,
        NAMES.host,
        NAMES.key,
        NAMES.path,
        NAMES.interface,
        lambda text: NAMES.value("app", text),
        lambda text: anonymous_corefile(TOKENS, text),
    ],
)
@given(before=_around, after=_around)
@example(before="HTTP://", after="/")
@example(before="https://u:p@", after=":1/")
@example(before="KUBE-", after="")
@example(before="service-AAAAAAAA-a/", after="/tcp/b")
@example(before="10.0.0.1%", after=":80")
@example(before="\\", after="")
def test_a_word_that_nobody_knows_never_survives(map_: Callable[[str], str], before: str, after: str) -> None:
    assert SPY not in map_(before + SPY + after).lower()
