"""Against the kernel: what real packets meet, and rulesets that go through real nft and back, in own namespaces."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from svcdoctor.dataplane.answers import Question, ask, outcome_json, packet_of
from svcdoctor.dataplane.evaluate import holds
from svcdoctor.dataplane.hooks import Node
from svcdoctor.dataplane.language import Op
from svcdoctor.dataplane.nftables import NftablesRules
from svcdoctor.dataplane.packet import NEW, packet
from svcdoctor.dataplane.routing import PlainRouter
from svcdoctor.dataplane.surroundings import PlainSurroundings
from svcdoctor.node.nftjson import read_nft_json

NUMBERS = itertools.count()


class Namespace:
    """A network namespace of its own with loopback up."""

    def __init__(self, name):
        self.name = name
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command, stdin=None, check=True):
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=check,
            timeout=30,
        )

    def load(self, ruleset):
        done = self.run("nft", "-f", "-", stdin="flush ruleset\n" + ruleset, check=False)
        assert done.returncode == 0, done.stderr

    def dump(self):
        return self.run("nft", "-j", "list", "ruleset").stdout


def reason():
    """Why there is nothing to test with."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    missing = [program for program in ("ip", "nft") if shutil.which(program) is None]
    return f"needs {' and '.join(missing)}" if missing else None


@pytest.fixture
def namespace():
    name = f"svcdoctor-nft-{os.getpid()}-{next(NUMBERS)}"
    why = reason()
    if why is None:
        done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
        why = None if done.returncode == 0 else f"no network namespace: {done.stderr.strip()}"
    if why is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    try:
        yield Namespace(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, capture_output=True)


def rules_of(dump):
    return NftablesRules(read_nft_json(dump.encode(), "nft.json"), PlainSurroundings())


# --- packets: every test is a rule with a counter, at three hooks, and the counter says who is right ------------

CLIENT4, SERVER4, CLIENT6, SERVER6 = "10.9.0.1", "10.9.0.2", "fd00:9::1", "fd00:9::2"
SPORT = 4321

SETS = """
    set s4 { type ipv4_addr; flags interval; elements = { 10.9.0.0/30, 192.168.0.1, 172.16.0.5-172.16.0.9 } }
    set s6 { type ipv6_addr; flags interval; elements = { fd00::/8, 2001:db8::1 } }
    set c4 { type ipv4_addr . inet_service; flags interval
             elements = { 10.9.0.0/16 . 53, 10.8.0.0/16 . 53, 10.9.0.1 . 1000-2000, 10.9.0.2 . 80-90 } }
    set plain { type ipv4_addr . inet_proto . inet_service
                elements = { 10.9.0.2 . udp . 53, 10.9.0.2 . tcp . 80 } }
    set plain6 { type ipv6_addr . inet_proto . inet_service; elements = { fd00:9::2 . tcp . 80 } }
    set ports { type inet_service; elements = { 53, 443 } }
    set protocols { type inet_proto; elements = { tcp, icmp } }
    set names { type ifname; flags interval; elements = { "eth*", "lo" } }
    set marks { type mark; elements = { 0x1, 0x4010 } }
    set three { type ipv4_addr . ipv4_addr . inet_service; flags interval
                elements = { 10.9.0.0/24 . 10.9.0.2 . 50-60, 10.0.0.0/8 . 10.10.0.0/16 . 53 } }
"""
# Each in an inet table. What is read from the packet, from its interfaces, and from conntrack.
TESTS = """
    ip saddr 10.9.0.1
    ip saddr != 10.9.0.1
    ip saddr 10.9.0.0/24
    ip saddr != 10.0.0.0/8
    ip daddr { 10.9.0.2, 10.0.0.0/24 }
    ip daddr != { 10.9.0.3, 10.0.0.0/24 }
    ip daddr 10.9.0.2-10.9.0.9
    ip daddr != 10.9.0.3-10.9.0.9
    ip daddr @s4
    ip daddr != @s4
    ip6 daddr @s6
    ip6 daddr != @s6
    ip6 saddr fd00:9::1
    ip6 saddr != fd00:9::1
    ip6 daddr fd00::/16
    ip daddr . th dport @c4
    ip saddr . th dport @c4
    ip daddr . th dport != @c4
    ip daddr . meta l4proto . th dport @plain
    ip daddr . meta l4proto . th dport != @plain
    ip6 daddr . meta l4proto . th dport @plain6
    ip saddr . ip daddr . th dport @three
    ip daddr . tcp dport { 10.9.0.0/24 . 70-90, 10.9.0.2 . 443 }
    ip daddr & 255.255.0.255 == 10.9.0.2
    ip saddr >= 10.9.0.1
    ip saddr > 10.9.0.1
    ip saddr <= 10.9.0.1
    ip protocol udp
    ip protocol != tcp
    ip6 nexthdr tcp
    ip version 4
    ip frag-off & 0x1fff != 0
    ip frag-off & 0x1fff == 0
    tcp dport 80
    tcp dport != 80
    tcp dport { 22, 80-90 }
    tcp dport 70-80
    tcp dport >= 80
    tcp dport > 80
    tcp sport 4321
    tcp sport != 4321
    udp dport 53
    udp dport != 53
    udp dport @ports
    udp dport != @ports
    udp sport 1024-65535
    th dport 53
    sctp dport 53
    tcp flags syn
    tcp flags ack
    tcp flags & (fin|syn|rst|ack) == syn
    tcp flags & (fin|syn|rst|ack) != syn
    tcp flags syn / syn,ack
    tcp flags ! syn,rst
    tcp flags ! ack,rst
    tcp flags & (syn|ack) { syn, syn|ack }
    icmp type echo-request
    meta l4proto tcp
    meta l4proto != tcp
    meta l4proto { tcp, udp }
    meta l4proto @protocols
    meta l4proto != @protocols
    meta l4proto 6
    meta nfproto ipv4
    meta nfproto ipv6
    meta nfproto != ipv4
    meta protocol ip
    meta protocol { ip6, arp }
    meta mark 0x4010
    meta mark != 0x4010
    meta mark & 0x4000 == 0x4000
    meta mark & 0x4000 == 0
    meta mark & 0x4000 != 0x4000
    meta mark & 0xff0 == 0x10
    meta mark & 0xff { 0x10, 0x20 }
    meta mark { 0x1, 0x2 }
    meta mark @marks
    meta mark 0x4000-0x5000
    meta mark | 0x1 == 0x4011
    meta mark ^ 0x10 == 0x4000
    meta mark . ip daddr { 0x4010 . 10.9.0.2 }
    iifname "lo"
    iifname != "lo"
    iifname "l*"
    iifname != "l*"
    iifname { "eth0", "lo" }
    iifname { "eth*", "l*" }
    iifname @names
    iifname != @names
    iifname . ip daddr { "lo" . 10.9.0.2, "eth1" . 10.9.0.2 }
    iif "lo"
    iif != "lo"
    oifname "lo"
    oifname != "lo"
    oifname "eth*"
    oifname { "eth0", "lo" }
    oif "lo"
    ct state new
    ct state != new
    ct state == new
    ct state established,related
    ct state { new, established }
    ct state != { established, related }
    ct state != established,related
    ct state ! new
    ct state ! invalid
    ct state & (established|new) == new
    ct status dnat
    ct status ! dnat
    ct status snat,dnat
    ct status & dnat == 0
    ct status seen-reply
    ct mark 0x77
    ct mark != 0x77
    ct mark & 0x7 == 0x7
    ct mark 0
    ct direction original
    ct direction reply
    ct original ip saddr 10.9.0.1
    ct original ip daddr 10.9.0.0/24
    ct original ip daddr != 10.9.0.2
    ct original ip6 daddr fd00:9::2
    ct reply ip saddr 10.9.0.2
    ct reply ip daddr 10.9.0.1
    ct reply ip6 saddr fd00:9::2
    ct protocol tcp
    ct l3proto ipv4
    tcp dport 80 ct original proto-dst 80
    udp dport 53 ct original proto-src 4321
    udp dport 53 ct reply proto-src 53
    udp dport 53 ip saddr 10.9.0.1 ip daddr 10.9.0.2 meta mark 0x4010 ct state new
    udp dport 53 ip6 saddr fd00:9::1
    limit rate 1000/second
    limit rate over 1000/second
    quota over 1 mbytes
    quota 1 mbytes
    tcp dport 80 ip saddr 10.9.0.9
"""
ROUTED = """
    fib daddr type local
    fib daddr type != local
    fib daddr type { unicast, multicast }
    fib saddr type local
"""
AT_HOOK = {
    "output": ("output", ROUTED, "", "lo"),
    "prerouting": ("prerouting", ROUTED, "lo", ""),
    "input": ("input", ROUTED, "lo", ""),
}
SENT = [
    ("udp", CLIENT4, SERVER4, 53),
    ("tcp", CLIENT4, SERVER4, 80),
    ("udp", CLIENT6, SERVER6, 53),
    ("tcp", CLIENT6, SERVER6, 80),
]
SEND = """
import socket, sys
protocol, source, target, sport, dport = sys.argv[1:6]
family = socket.AF_INET6 if ":" in source else socket.AF_INET
kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
with socket.socket(family, kind) as client:
    client.bind((source, int(sport)))
    client.settimeout(5)
    try:
        client.connect((target, int(dport)))
        client.send(b"x")
    except ConnectionRefusedError:
        pass
"""


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


def counting_table(hook):
    name, routed, _, _ = AT_HOOK[hook]
    body = "\n".join(f"{line} counter" for line in lines(TESTS) + lines(routed))
    # Only the first packet of the connection, no answer and no error, comes to the tests.
    first = f"th sport {SPORT} ct direction original ct state new meta mark set 0x4010 ct mark set 0x77 jump tests"
    return f"""
table inet {name} {{
    {SETS}
    chain tests {{
        {body}
    }}
    chain base {{
        type filter hook {name} priority 0; policy accept;
        meta l4proto {{ tcp, udp }} {first}
    }}
}}
"""


@pytest.mark.parametrize(("protocol", "source", "target", "port"), SENT)
def test_what_the_kernel_counts_is_what_is_said(namespace, protocol, source, target, port):
    for address in (CLIENT4, SERVER4):
        namespace.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    for address in (CLIENT6, SERVER6):
        namespace.run("ip", "addr", "add", f"{address}/128", "dev", "lo", "nodad")
    namespace.load("".join(map(counting_table, AT_HOOK)))
    namespace.run(sys.executable, "-c", SEND, protocol, source, target, str(SPORT), str(port))
    dump = read_nft_json(namespace.dump().encode(), "nft.json")
    own = [CLIENT4, SERVER4, CLIENT6, SERVER6]
    rules = NftablesRules(dump, PlainSurroundings(own))
    wrong, unsaid, counted = [], [], 0
    for hook, (name, routed, iif, oif) in AT_HOOK.items():
        asked = packet(source, target, port, protocol, SPORT)
        asked.local, asked.iif, asked.oif = True, iif, oif
        asked.ct, asked.mark, asked.ctmark = NEW, 0x4010, 0x77
        tests = rules.chain(f"inet {name}", "tests")
        assert len(tests) == len(lines(TESTS) + lines(routed))
        for rule in tests.rules():
            counted += rule.packets > 0
            assert rule.actions == (), rule.text
            told = holds(rule.tests, asked)
            if isinstance(told, str):
                unsaid.append((hook, rule.text, told))
            elif told is not (rule.packets > 0):
                wrong.append((hook, rule.text, told, rule.packets))
    assert counted > 100  # the packet did come by
    assert wrong == []
    assert unsaid == []


# --- rulesets: nft's JSON is translated, and the text that is made of it means the same to nft ------------------

EVERYTHING = """
table inet t {
    counter cnt { packets 0 bytes 0 }
    quota q1 { over 25 mbytes }
    limit lim { rate 400/minute burst 5 packets }
    ct helper ftp-standard { type "ftp" protocol tcp; l3proto inet; }
    SETS
    set dyn { type ipv4_addr; flags dynamic,timeout; timeout 3h; size 100; }
    set dync { type ipv4_addr . inet_service; flags dynamic; size 100; }
    set tof { typeof ip saddr . th dport; elements = { 1.2.3.4 . 80 } }
    map pm { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.1, 443 : 10.0.0.2 } }
    map pm2 { type inet_service : ipv4_addr . inet_service; elements = { 80 : 10.0.0.1 . 8080 } }
    map vm { type inet_service : verdict; flags interval
             elements = { 80 : accept, 90-99 : jump sub, 443 : goto sub } }
    chain sub { }
    chain tests {
        TESTS
        ip saddr . th dport @tof accept
        ip daddr . tcp dport vmap { 10.0.0.1 . 80 : accept, 10.0.0.0/8 . 100-200 : drop }
        tcp dport vmap @vm
        tcp dport vmap { 80 : accept, 81-90 : drop, 443 : jump sub, 444 : goto sub, 445 : return, 446 : continue }
        ct state vmap { established : accept, related : accept, invalid : drop }
        numgen random mod 4 vmap { 0 : jump sub, 1 : goto sub }
        numgen random mod 4 offset 10 vmap { 10 : jump sub, 11-12 : goto sub }
        numgen inc mod 2 vmap { 0 : jump sub, 1 : goto sub }
        numgen random mod 4 0 accept
        numgen random mod 4 < 2 accept
        icmp type { echo-reply, destination-unreachable, 200 } accept
        icmpv6 type { nd-neighbor-solicit, nd-router-advert, echo-request } accept
        icmp code 3 accept
        meta skuid { 0, 1000 } accept
        meta skgid 1000-2000 accept
        meta priority 1:2 accept
        meta pkttype { broadcast, multicast } accept
        iifgroup 1 accept
        ct zone 1 accept
        ct helper "ftp" accept
        ct expiration 30s accept
        ct original packets > 100 accept
        ip ttl < 5 drop
        ip dscp { cs1, af21 } accept
        tcp option maxseg size 1-500 drop
        exthdr frag exists drop
        @nh,128,32 0xa000001 accept
        ether saddr 00:11:22:33:44:55 accept
        counter name "cnt"
        counter packets 5 bytes 300 accept
        limit rate 10/minute burst 20 packets accept
        limit rate over 1 kbytes/second burst 512 kbytes drop
        limit name "lim" accept
        quota 25 mbytes accept
        quota name "q1" drop
        log
        log prefix "foo " level info
        log group 2 prefix "x" snaplen 100 queue-threshold 5
        log flags tcp sequence,options
        drop
        accept
        return
        continue
        jump sub
        goto sub
        reject
        reject with icmp type host-unreachable
        reject with icmpv6 type no-route
        reject with icmpx type admin-prohibited
        reject with tcp reset
        add @dyn { ip saddr }
        update @dyn { ip saddr timeout 30s }
        update @dyn { ip saddr limit rate over 10/second } drop
        add @dync { ip saddr . tcp dport }
        delete @dyn { ip saddr }
        ip saddr @dyn drop
        meta mark set 0x1
        meta mark set mark or 0x4000
        meta mark set mark and 0xffffbfff
        meta mark set mark xor 0x4000
        meta mark set mark and 0xff or 0x100
        meta mark set mark lshift 2
        meta mark set ct mark
        meta mark set tcp dport map { 80 : 0x1, 443 : 0x2 }
        meta mark set numgen random mod 2 offset 100
        meta mark set 0x7 meta mark 0x7 ip saddr 10.0.0.1 counter accept
        ct mark set mark
        ct mark set ct mark or 0x10
        ct mark set meta mark and 0xff
        meta priority set 1:2
        meta nftrace set 1
        ip dscp set cs1
        tcp option maxseg size set 1400
        ip saddr 10.0.0.1 comment "a comment"
    }
    chain raw {
        type filter hook prerouting priority raw; policy accept;
        notrack
        ct zone set 1
        fib saddr . iif oif missing drop
        fib saddr . mark . iif oif exists accept
        fib daddr . mark . iif type vmap { blackhole : drop, prohibit : drop, unicast : accept }
    }
    chain late { type filter hook prerouting priority mangle; policy drop; ct helper set "ftp-standard"; }
    chain n {
        type nat hook prerouting priority dstnat; policy accept;
        dnat ip to 10.0.0.1
        dnat ip to 10.0.0.1-10.0.0.5
        tcp dport 80 dnat ip to 10.0.0.1:8080
        tcp dport 80 dnat ip to 10.0.0.1-10.0.0.3:8080-8090 random,persistent
        tcp dport 80 dnat ip6 to [fd00::1]:8080
        dnat ip6 to fd00::1
        tcp dport 80 dnat to :8080
        dnat ip to tcp dport map { 80 : 10.0.0.1, 443 : 10.0.0.2 }
        dnat ip to tcp dport map @pm
        meta l4proto tcp dnat ip to tcp dport map @pm2
        meta l4proto tcp dnat ip to tcp dport map { 80 : 10.0.0.1 . 8080 }
        meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.0.0.1 . 8080, 1 : 10.0.0.2 . 8080 }
        dnat ip to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }
        tcp dport 80 dnat ip to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }:8080
        dnat ip prefix to ip daddr map { 10.1.0.0/24 : 10.2.0.0/24 }
        tcp dport 80 redirect
        tcp dport 80 redirect to :8080
        tcp dport 80 redirect to :8080-8090 random
        meta l4proto tcp redirect to :tcp dport map { 22 : 8000, 80 : 8080 }
    }
    chain p {
        type nat hook postrouting priority srcnat; policy accept;
        snat ip to 10.0.0.1
        tcp dport 80 snat ip to 10.0.0.1:1000-2000
        snat ip to 10.0.0.1-10.0.0.9 persistent
        snat ip to ip saddr map { 10.1.0.1 : 10.2.0.1 }
        snat ip6 to fd00::1
        masquerade
        masquerade fully-random,persistent
        meta l4proto tcp masquerade to :1024-65535
    }
}
"""
# What has no meaning here, by rule: real nft takes it, its text goes back and forth, a packet that meets it is unknown.
NOT_MODELLED = """
table inet t {
    chain sub { }
    chain c {
        type filter hook prerouting priority 0; policy accept;
        ct count over 20 drop
        jhash ip saddr . ip daddr mod 2 vmap { 0 : jump sub, 1 : goto sub }
        jhash ip saddr mod 2 seed 0xdeadbeef 0 accept
        symhash mod 2 vmap { 0 : jump sub, 1 : goto sub }
        meta cpu 1 accept
        meta length > 100 accept
        meta time > "2020-01-01 00:00:00" accept
        meta day { "Monday", "Friday" } accept
        meta ipsec exists accept
        socket transparent 1 accept
        socket mark 0x1 accept
        osf name "Linux" accept
        rt ip nexthop 10.0.0.1 accept
        rt classid 5 accept
        ct label 1 accept
        fib daddr oif "lo" accept
        fib saddr oifname "eth0" accept
        ip daddr set 10.0.0.1
        meta l4proto tcp tproxy to :8080
    }
}
"""


def modelled(text):
    return text.replace("SETS", SETS).replace("TESTS", "\n".join(lines(TESTS)))


def stripped(dump):
    """A dump without what differs between two loads: handles, counters, and the order of elements."""
    return _sorted(json.loads(re.sub(r'"(handle|packets|bytes|used)": \d+', r'"\1": 0', dump)))


def _sorted(value):
    if isinstance(value, list):
        return [_sorted(part) for part in value]
    if not isinstance(value, dict):
        return value
    inside = {key: _sorted(part) for key, part in value.items()}
    for key in ("elem", "set"):
        if isinstance(inside.get(key), list):
            inside[key].sort(key=json.dumps)
    return inside


def written_back(namespace, ruleset):
    """The ruleset with every rule in the words that ``text`` has for it, loaded into nft again."""
    plain = namespace.run("nft", "-s", "list", "ruleset").stdout
    rebuilt, rules = [], None
    for line in plain.splitlines():
        chain = re.match(r"\tchain (\S+) \{", line)
        table = re.match(r"table (\S+ \S+) \{", line)
        if table:
            inside = table[1]
        elif chain:
            rules = iter(ruleset.chain(inside, chain[1]).rules())
        elif line == "\t}":
            rules = None
        elif rules is not None and not re.match(r"\t\t(type \w+ hook|comment )", line):
            own = next(rules).text
            assert own == line.strip()  # and it is the very text that this nft writes
            line = f"\t\t{own}"
        rebuilt.append(line)
    return "\n".join(rebuilt)


@pytest.mark.parametrize("text", [modelled(EVERYTHING), NOT_MODELLED], ids=["modelled", "not modelled"])
def test_texts_go_back_into_nft_and_mean_the_same(namespace, text):
    namespace.load(text)
    before = namespace.dump()
    again = written_back(namespace, rules_of(before))
    namespace.load(again)
    assert stripped(namespace.dump()) == stripped(before)


def test_nothing_that_is_modelled_becomes_unknown(namespace):
    namespace.load(modelled(EVERYTHING))
    rules = rules_of(namespace.dump())
    translated = [rule for c in rules.chains("inet t") for rule in rules.chain("inet t", c).rules()]
    assert len(translated) > 200
    assert [str(r) for r in translated if any(op is Op.UNKNOWN for op, _ in r.actions)] == []


def test_what_is_not_modelled_says_so(namespace):
    namespace.load(NOT_MODELLED)
    rules = rules_of(namespace.dump()).chain("inet t", "c").rules()
    assert len(rules) == 19
    asked = packet("10.9.0.1", "10.9.0.2", 80)
    asked.iif, asked.ct, asked.local = "eth0", NEW, True
    for rule in rules:
        told = [why for op, why in rule.actions if op is Op.UNKNOWN] or [holds(rule.tests, asked)]
        assert isinstance(told[0], str), rule.text
        assert "not modelled" in told[0] or "not known" in told[0]


# --- kube-proxy's older dialects, written by hand, loaded into real nft -----------------------------------------

HEAD = """
    map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; comment "addresses of Services"
        elements = { 10.96.0.10 . tcp . 80 : goto service-ULMVA6XW-shop/web/tcp/http,
                     10.96.0.20 . tcp . 80 : goto service-4AT6LBPK-shop/cart/tcp/http,
                     203.0.113.80 . tcp . 80 : goto external-ULMVA6XW-shop/web/tcp/http } }
    map service-nodeports { type inet_proto . inet_service : verdict
        elements = { tcp . 30080 : goto external-ULMVA6XW-shop/web/tcp/http } }
    map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 10.96.0.30 . tcp . 80 comment "shop/empty:http" : goto reject-chain } }
    map no-endpoint-nodeports { type inet_proto . inet_service : verdict
        elements = { tcp . 30099 comment "shop/empty:http" : drop } }
    map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 203.0.113.80 . tcp . 80 comment "shop/web:http" : goto firewall-ULMVA6XW-shop/web/tcp/http } }
    set affinity-GTK6MW7G-shop/cart/tcp/http__10.244.1.7/8080 {
        type ipv4_addr; flags dynamic,timeout; timeout 3h; elements = { 10.244.2.33 } }
    chain mark-for-masquerade { mark set mark or 0x4000; }
    chain masquerading { mark and 0x4000 == 0 return; mark set mark xor 0x4000; masquerade fully-random; }
    chain reject-chain { reject; }
    chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
    chain firewall-ULMVA6XW-shop/web/tcp/http { ip saddr != { 203.0.113.0/25, 192.168.0.0/24 } drop; }
    chain external-ULMVA6XW-shop/web/tcp/http {
        ip saddr 10.244.0.0/16 goto service-ULMVA6XW-shop/web/tcp/http comment "short-circuit pod traffic"
        fib saddr type local jump mark-for-masquerade comment "masquerade local traffic"
        fib saddr type local goto service-ULMVA6XW-shop/web/tcp/http comment "short-circuit local traffic"
        jump mark-for-masquerade
        goto service-ULMVA6XW-shop/web/tcp/http
    }
    chain service-4AT6LBPK-shop/cart/tcp/http {
        ip daddr 10.96.0.20 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
        ip saddr @affinity-GTK6MW7G-shop/cart/tcp/http__10.244.1.7/8080 \\
            goto endpoint-GTK6MW7G-shop/cart/tcp/http__10.244.1.7/8080
        numgen random mod 2 vmap { 0 : goto endpoint-GTK6MW7G-shop/cart/tcp/http__10.244.1.7/8080,
                                   1 : goto endpoint-UEIP74TE-shop/cart/tcp/http__10.244.2.8/8080 }
    }
    chain service-ULMVA6XW-shop/web/tcp/http {
        ip daddr 10.96.0.10 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
        numgen random mod 2 vmap { 0 : goto endpoint-5OJB2KTY-shop/web/tcp/http__10.244.1.5/8080,
                                   1 : goto endpoint-SGOXE6O3-shop/web/tcp/http__10.244.2.6/8080 }
    }
    chain endpoint-5OJB2KTY-shop/web/tcp/http__10.244.1.5/8080 {
        ip saddr 10.244.1.5 jump mark-for-masquerade
        meta l4proto tcp dnat to 10.244.1.5:8080
    }
    chain endpoint-SGOXE6O3-shop/web/tcp/http__10.244.2.6/8080 {
        ip saddr 10.244.2.6 jump mark-for-masquerade
        meta l4proto tcp dnat to 10.244.2.6:8080
    }
    chain endpoint-GTK6MW7G-shop/cart/tcp/http__10.244.1.7/8080 {
        ip saddr 10.244.1.7 jump mark-for-masquerade
        update @affinity-GTK6MW7G-shop/cart/tcp/http__10.244.1.7/8080 { ip saddr }
        meta l4proto tcp dnat to 10.244.1.7:8080
    }
    chain endpoint-UEIP74TE-shop/cart/tcp/http__10.244.2.8/8080 {
        ip saddr 10.244.2.8 jump mark-for-masquerade
        meta l4proto tcp dnat to 10.244.2.8:8080
    }
    chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
    chain nat-output { type nat hook output priority -100; jump services; }
    chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
"""
# 1.29: every filter chain before DNAT, one chain for all that has no endpoints.
DIALECT_1_29 = f"""table ip kube-proxy {{ {HEAD}
    chain services {{
        ip daddr . meta l4proto . th dport vmap @service-ips
        fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
    }}
    chain endpoints-check {{
        ip daddr . meta l4proto . th dport vmap @no-endpoint-services
        fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @no-endpoint-nodeports
    }}
    chain filter-prerouting {{ type filter hook prerouting priority dstnat - 10; ct state new jump firewall-check; }}
    chain filter-input {{ type filter hook input priority -110; ct state new jump endpoints-check; }}
    chain filter-forward {{ type filter hook forward priority -110; ct state new jump endpoints-check; }}
    chain filter-output {{
        type filter hook output priority -110
        ct state new jump endpoints-check
        ct state new jump firewall-check
    }}
}}"""
# 1.32 to 1.34: known cluster IPs and node addresses are sets, checks after DNAT.
DIALECT_1_32 = f"""table ip kube-proxy {{ {HEAD}
    set cluster-ips {{ type ipv4_addr; elements = {{ 10.96.0.10, 10.96.0.20, 10.96.0.30 }} }}
    set nodeport-ips {{ type ipv4_addr; elements = {{ 192.168.0.2 }} }}
    chain services {{
        ip daddr . meta l4proto . th dport vmap @service-ips
        ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
    }}
    chain cluster-ips-check {{
        ip daddr @cluster-ips reject comment "ports that no Service has"
        ip daddr 10.96.0.0/16 drop comment "addresses that no Service has"
    }}
    chain nodeport-endpoints-check {{ ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }}
    chain service-endpoints-check {{ ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }}
    chain filter-prerouting-pre-dnat {{
        type filter hook prerouting priority dstnat - 10
        ct state new jump firewall-check
    }}
    chain filter-output-pre-dnat {{ type filter hook output priority -110; ct state new jump firewall-check; }}
    chain filter-input {{
        type filter hook input priority 0
        ct state new jump nodeport-endpoints-check
        ct state new jump service-endpoints-check
    }}
    chain filter-forward {{
        type filter hook forward priority 0
        ct state new jump service-endpoints-check
        ct state new jump cluster-ips-check
    }}
    chain filter-output {{
        type filter hook output priority 0
        ct state new jump service-endpoints-check
        ct state new jump cluster-ips-check
    }}
}}"""
WEB = {"10.244.1.5:8080": 0.5, "10.244.2.6:8080": 0.5}
CART = {"10.244.1.7:8080": 0.5, "10.244.2.8:8080": 0.5}
POD, OUTSIDE, NODE = "10.244.1.9", "203.0.113.5", "192.168.0.2"
# source, destination, port, where to (or the verdict), which of those are masqueraded
CASES = [
    (POD, "10.96.0.10", 80, WEB, set()),
    (OUTSIDE, "10.96.0.10", 80, WEB, set(WEB)),
    (NODE, "10.96.0.10", 80, WEB, set(WEB)),
    ("10.244.1.5", "10.96.0.10", 80, WEB, {"10.244.1.5:8080"}),
    (POD, "10.96.0.20", 80, CART, set()),
    ("10.244.2.33", "10.96.0.20", 80, {"10.244.1.7:8080": 1.0}, set()),
    (OUTSIDE, NODE, 30080, WEB, set(WEB)),
    (NODE, NODE, 30080, WEB, set(WEB)),
    (POD, NODE, 30080, WEB, set()),
    (OUTSIDE, "203.0.113.80", 80, WEB, set(WEB)),
    ("203.0.113.200", "203.0.113.80", 80, "drop", set()),
    (POD, "10.96.0.30", 80, "reject", set()),
    (NODE, "10.96.0.30", 80, "reject", set()),
    (OUTSIDE, NODE, 30099, "drop", set()),
    (OUTSIDE, NODE, 22, "none", set()),
]
CASES_1_29 = [*CASES, (POD, "10.96.0.10", 81, "none", set()), (POD, "10.96.0.99", 80, "none", set())]
CASES_1_32 = [*CASES, (POD, "10.96.0.10", 81, "reject", set()), (NODE, "10.96.0.99", 80, "drop", set())]


@pytest.mark.parametrize(
    ("ruleset", "cases"), [(DIALECT_1_29, CASES_1_29), (DIALECT_1_32, CASES_1_32)], ids=["1.29", "1.32"]
)
def test_older_dialects_of_kube_proxy(namespace, ruleset, cases):
    namespace.load(ruleset)
    dump = read_nft_json(namespace.dump().encode(), "nft.json")
    node = Node([NftablesRules(dump, PlainSurroundings([NODE]))], PlainRouter([NODE]))
    for source, target, port, expected, masqueraded in cases:
        told = [outcome_json(o) for o in ask(node, packet_of(Question(source, target, port)))]
        if isinstance(expected, str):
            assert {answer["verdict"] for answer in told} == {expected}, (source, target, port)
            continue
        assert {answer["to"]: answer["probability"] for answer in told} == expected, (source, target, port)
        assert {answer["to"] for answer in told if answer["masquerade"]} == masqueraded, (
            source,
            target,
            port,
        )
