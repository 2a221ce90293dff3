"""Against the kernel: rules that real iptables took, as its save tools write them; and what packets met there."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from iptablesdump import asked

from svcdoctor.dataplane.answers import ask, outcome_json
from svcdoctor.dataplane.evaluate import holds
from svcdoctor.dataplane.hooks import Node
from svcdoctor.dataplane.iptables import IptablesRules
from svcdoctor.dataplane.language import Op
from svcdoctor.dataplane.packet import packet
from svcdoctor.dataplane.routing import PlainRouter
from svcdoctor.dataplane.surroundings import PlainSurroundings
from svcdoctor.node.iptablessave import read_iptables_save

FIXTURES = Path(__file__).parents[2] / "fixtures"
NUMBERS = itertools.count()
BACKENDS = pytest.mark.parametrize("backend", ["nft", "legacy"])


class Netfilter:
    """A network namespace in which iptables loads rules."""

    def __init__(self, name, lock):
        self.name = name
        self.environment = {**os.environ, "XTABLES_LOCKFILE": str(lock)}
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command, stdin=None, check=True):
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def load(self, backend, family, text):
        self.run(f"{'ip6' if family == 6 else 'ip'}tables-{backend}-restore", stdin=text)

    def save(self, backend, family, *options):
        return self.run(f"{'ip6' if family == 6 else 'ip'}tables-{backend}-save", *options)


@pytest.fixture
def netfilter(tmp_path):
    needed = [
        "ip",
        *(
            f"{p}tables-{b}-{w}"
            for p in ("ip", "ip6")
            for b in ("nft", "legacy")
            for w in ("save", "restore")
        ),
    ]
    missing = [tool for tool in needed if shutil.which(tool) is None]
    name = f"svcd-{os.getpid()}-{next(NUMBERS)}"
    why = f"{missing[0]} is not installed" if missing else None
    if why is None:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
        why = made.stderr.strip() if made.returncode else None
    if why is not None:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    try:
        yield Netfilter(name, tmp_path / "lock")
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def rulesets(text, where="save", own=()):
    return [IptablesRules(save, PlainSurroundings(own)) for save in read_iptables_save(text.encode(), where)]


def every_rule(ruleset):
    for table in ruleset.tables():
        for name in ruleset.chains(table):
            yield from ruleset.chain(table, name).rules()


NAT4 = """
-A PREROUTING ! -s 10.0.0.0/8 -d 10.96.0.1 -p tcp --dport 80 -m comment --comment "it's a \\"quoted\\" \
\\\\ comment" -j SVC
-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m multiport --dports 80,443,1000:2000 -j DNAT \
--to-destination 10.1.0.1-10.1.0.3:8080 --persistent
-A PREROUTING -p udp -m conntrack --ctstate NEW,DNAT ! --ctproto tcp --ctorigdstport 50:60 -j DNAT \
--to-destination :53
-A PREROUTING -p tcp --syn -j REDIRECT --to-ports 80-82
-A PREROUTING -i eth+ -m statistic --mode nth --every 3 --packet 1 -j NETMAP --to 10.9.0.0/16
-A SVC -m recent --name A --rcheck --seconds 10 --reap -j EP
-A SVC -m statistic --mode random --probability 0.33333333 -g EP
-A SVC -m statistic --mode random ! --probability 0.5 -j RETURN
-A EP -p tcp -m recent --name A --set -j DNAT --to-destination 10.1.0.1:8000-8100/80
-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A POSTROUTING -j MARK --xor-mark 0x4000
-A POSTROUTING ! -o lo -p tcp -j MASQUERADE --to-ports 1024-65535 --random-fully
-A POSTROUTING -p udp -m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 10.0.0.1-10.0.0.1 -j SNAT \
--to-source 192.0.2.1-192.0.2.2:1024-2048 --random
"""
NAT6 = """
-A PREROUTING ! -s fd00::/16 -d fd96::1 -p tcp --dport 80 -m comment --comment "it's a \\"quoted\\" \\\\ \
comment" -j SVC
-A PREROUTING -p tcp -m addrtype ! --dst-type LOCAL -m multiport ! --sports 80,443,1000:2000 -j DNAT \
--to-destination [fd01::1-fd01::3]:8080
-A PREROUTING -p udp -m conntrack --ctstate NEW,DNAT --ctorigdst fd00::/16 -j DNAT --to-destination :53
-A PREROUTING -p sctp --sport 1024: -j REDIRECT --to-ports 80
-A PREROUTING -d ::ffff:10.0.0.1 -m statistic --mode nth --every 3 --packet 1 -j NETMAP --to fd09::/64
-A SVC -m recent --name A --rcheck --seconds 10 --hitcount 2 -j EP
-A SVC -m recent --name A --update --seconds 10 --rttl -g EP
-A EP -p tcp -m recent --name A --set --rsource -j DNAT --to-destination fd01::1
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A POSTROUTING -p udp -m iprange --src-range fd00::1-fd00::9 -j SNAT --to-source [2001:db8::1]:1024-2048
"""
REST4 = """*raw
-A PREROUTING -m rpfilter --loose --invert -m addrtype ! --src-type LOCAL --limit-iface-in -j CT --notrack
-A OUTPUT -m owner ! --uid-owner 0-99 --gid-owner 5 -j NOTRACK
-A PREROUTING -p icmp -m icmp --icmp-type any -j TRACE
COMMIT
*mangle
-A PREROUTING -m connmark --mark 0x1/0xf -j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xf
-A PREROUTING -m connmark ! --mark 0x1 -j CONNMARK --save-mark
-A OUTPUT -m physdev ! --physdev-is-bridged -j CONNMARK --set-mark 0x1/0x3
-A OUTPUT -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A POSTROUTING -p udp -j CHECKSUM --checksum-fill
-A POSTROUTING -p tcp -j DSCP --set-dscp 10
COMMIT
*filter
:INPUT DROP
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -s 10.0.0.1/255.0.0.255 ! -p tcp -m limit --limit 5/min -j LOG --log-prefix "-m dropped: "
-A INPUT -f -j DROP
-A INPUT -p tcp -m tcp --tcp-flags ALL NONE -j REJECT --reject-with tcp-reset
-A INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT --ctdir ORIGINAL --ctstatus ASSURED,CONFIRMED -j DROP
-A FORWARD -p dccp --dport 80 -j ACCEPT
-A FORWARD -p tcp -m multiport ! --ports 22 -m comment --comment -m -j NFLOG --nflog-group 3 --nflog-prefix "a b"
-A FORWARD
COMMIT
"""


def nat(rules):
    return f"*nat\n:SVC - [0:0]\n:EP - [0:0]{rules}COMMIT\n"


@BACKENDS
@pytest.mark.parametrize(
    ("family", "text"), [(4, nat(NAT4)), (6, nat(NAT6)), (4, REST4)], ids=["nat4", "nat6", "rest"]
)
def test_everything_that_the_kernel_took_is_modelled(netfilter, backend, family, text):
    netfilter.load(backend, family, text)
    for options in ((), ("-c",)):
        saved = netfilter.save(backend, family, *options)
        [rules] = rulesets(saved)
        assert (rules.backend, rules.family) == (f"iptables-{backend}", family)
        found = list(every_rule(rules))
        assert len(found) == text.count("-A ")
        for rule in found:
            assert not [a for op, a in rule.actions if op is Op.UNKNOWN], rule
            for live in (asked(family), asked(family, "udp", local=True)):
                answer = holds(rule.tests, live)
                assert not isinstance(answer, str) or "modelled" not in answer, f"{rule}: {answer}"
                assert not isinstance(answer, str) or "cannot be read" not in answer, f"{rule}: {answer}"
            assert (rule.packets is None) == (options == ())
        # A rule's text, loaded again, is the same rule.
        lines = [line for line in saved.splitlines() if "-A " in line[:40]]
        assert sorted(f"-A {r.chain.name} {r.text}".rstrip() for r in found) == sorted(
            line[line.index("-A ") :].rstrip() for line in lines
        )


@BACKENDS
@pytest.mark.parametrize(
    ("family", "words", "module"),
    [
        (4, '-m string --string "-j" --algo bm -j ACCEPT', "string"),
        (4, '-m u32 --u32 "0>>22&0x3C@8=1" -j ACCEPT', "u32"),
        (6, "-m length --length 20:40 -j ACCEPT", "length"),
        (4, "-p tcp -j NFQUEUE --queue-num 1", "NFQUEUE"),
        (6, "-j TEE --gateway fd00::1", "TEE"),
    ],
)
def test_what_is_not_modelled_is_unknown(netfilter, backend, family, words, module):
    netfilter.load(backend, family, f"*filter\n-A INPUT {words}\nCOMMIT\n")
    [rules] = rulesets(netfilter.save(backend, family), own=("192.0.2.1", "2001:db8::1"))
    node = Node([rules], PlainRouter(["192.0.2.1", "2001:db8::1"]))
    own = "192.0.2.1" if family == 4 else "2001:db8::1"
    outside = "198.51.100.7" if family == 4 else "2001:db8:ff::7"
    [outcome] = ask(node, packet(outside, own, 80))
    assert outcome.fate.value == "unknown"
    assert module in outcome.reason


# Sends one TCP SYN or UDP datagram to each address and says how that ended.
CLIENT = """
import socket, sys
for line in sys.stdin:
    proto, source, target, port = line.split()
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM) as s:
        s.settimeout(0.1)
        try:
            s.bind((source, 0))
            s.connect((target, int(port)))
            if proto == "udp":
                s.send(b"x")
                s.recv(1)
            print("answered")
        except ConnectionRefusedError:
            print("refused")
        except (TimeoutError, PermissionError):
            print("silent")
"""

# Each rule drops what it matches; every other packet meets a closed port of the same namespace: refused.
MATCHES = {
    4: [
        "-d 127.0.0.2 -j DROP",
        "-d 127.0.0.8/255.0.0.255 -j DROP",
        "-d 127.0.0.3 -m addrtype ! --dst-type LOCAL -j DROP",
        "-d 127.0.0.4 -m addrtype --dst-type LOCAL -j DROP",
        "-d 127.0.0.5 -m addrtype --dst-type UNICAST,BROADCAST -j DROP",
        "-d 127.0.0.6 -p tcp ! --syn -j DROP",
        "-d 127.0.0.6 -p udp -m multiport ! --dports 70:90 -j DROP",
        "-d 127.0.0.7 -m conntrack ! --ctstate NEW --ctproto udp -j DROP",
        "-d 127.0.0.7 -m conntrack --ctstate SNAT,INVALID -j DROP",
        "-d 127.0.0.9 -m recent --set --name A -m mark --mark 1 -j DROP",
        "-d 127.0.0.9 -m recent ! --rcheck --name A -j DROP",
        "-d 127.0.0.10 ! -i lo -j DROP",
        "-d 127.0.0.11 -m iprange ! --src-range 127.0.0.0-127.0.0.20 -j DROP",
        "-d 127.0.0.12 -p tcp -m multiport --ports 80,81 -j DROP",
        "-d 127.0.0.13 -m conntrack --ctstatus NONE -j DROP",
        "-d 127.0.0.14 -p tcp --sport 1024:65535 --dport :80 -j DROP",
        "-d 127.0.0.15 -m connmark ! --mark 0 -j DROP",
        "-d 127.0.0.16 -m conntrack --ctstatus CONFIRMED -j DROP",
        "-d 127.0.0.17 -m physdev --physdev-is-bridged -j DROP",
        "-d 127.0.0.18 -m conntrack --ctdir REPLY -j DROP",
    ],
    6: [
        "-d fd00::2 -j DROP",
        "-d fd00::8/ffff::f -j DROP",
        "-d fd00::3 -m addrtype ! --dst-type LOCAL -j DROP",
        "-d fd00::4 -m addrtype --dst-type LOCAL -j DROP",
        "-d fd00::5 -m addrtype --dst-type UNICAST -j DROP",
        "-d fd00::6 -m addrtype --dst-type UNICAST,LOCAL -j DROP",
        "-d fd00::7 -m addrtype --dst-type MULTICAST -j DROP",
        "-d fd00::9 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        "-d fd00::a ! -i lo -j DROP",
        "-d fd00::b -m iprange --src-range fd00::-fd00::ff -j DROP",
        "-d fd00::c -p tcp -m tcp --tcp-flags ALL SYN -j DROP",
        "-d fd00::d ! -p tcp -j DROP",
    ],
}


@BACKENDS
@pytest.mark.parametrize("family", [4, 6])
def test_matches_take_the_packets_that_they_take_in_the_kernel(netfilter, backend, family):
    """Packets over lo, that the namespace sends to itself: what the rules say, and what became of them."""
    addresses = [f"127.0.0.{n}" if family == 4 else f"fd00::{n:x}" for n in range(1, 20)]
    if family == 6:
        for address in addresses:
            netfilter.run("ip", "address", "add", f"{address}/128", "dev", "lo", "nodad")
    rules = "".join(f"-A INPUT {rule}\n" for rule in MATCHES[family])
    netfilter.load(backend, family, f"*filter\n{rules}COMMIT\n")
    read = rulesets(netfilter.save(backend, family), own=addresses)
    source = addresses[0]
    questions = [
        (proto, target, port) for target in addresses for proto in ("tcp", "udp") for port in (80, 100)
    ]
    lines = "".join(f"{proto} {source} {target} {port}\n" for proto, target, port in questions)
    met = netfilter.run(sys.executable, "-c", CLIENT, stdin=lines).split()
    node = Node(read, PlainRouter(addresses))
    expected = {"drop": "silent", "none": "refused"}
    wrong = []
    for (proto, target, port), real in zip(questions, met, strict=True):
        [outcome] = ask(node, packet(source, target, port, proto))
        verdict = outcome_json(outcome)["verdict"]
        if expected.get(verdict) != real:
            wrong.append((proto, target, port, verdict, outcome.reason, real))
    assert not wrong
    assert set(met) == {"silent", "refused"}


def captured():
    with tarfile.open(FIXTURES / "captures" / "iptables.tar.gz") as archive:
        for member in archive:
            name = Path(member.name).name
            if name.startswith(("iptables-save", "ip6tables-save")):
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read().decode()


def recorded():
    flows = json.loads((FIXTURES / "flows" / "flows.json").read_text())
    return [flow for flow in flows if flow["mode"] == "iptables"]


def test_every_rule_of_the_captures_and_flows_is_modelled():
    dumps = [*captured(), *((flow["id"], flow["dump"]) for flow in recorded())]
    seen = 0
    for where, text in dumps:
        for rules in rulesets(text, where):
            live = asked(rules.family, iif="eth0", oif="eth1")
            for rule in every_rule(rules):
                seen += 1
                assert not [a for op, a in rule.actions if op is Op.UNKNOWN], rule
                assert [t for t in rule.tests if isinstance(t(live), str)] == [], rule
    assert seen > 3000


@pytest.mark.parametrize("flow", recorded(), ids=lambda flow: flow["topic"])
def test_flows(flow):
    node = Node(rulesets(flow["dump"], own=flow["node_ips"]), PlainRouter(flow["node_ips"]))
    for case in flow["cases"]:
        answers = [
            outcome_json(o) for o in ask(node, packet(case["src"], case["dst"], case["dport"], case["proto"]))
        ]
        verdicts = {a["verdict"] for a in answers}
        expected = case["expect"]
        if expected in (["REJECT"], ["DROP"]):
            assert verdicts == {expected[0].lower()}, case
        elif expected in ([], ["ACCEPT"]):
            assert verdicts <= {"accept", "none"}, case
        else:
            assert sorted(a["to"] for a in answers) == sorted(expected), case
            assert {a["masquerade"] for a in answers} == {case["masq"]}, case
        assert abs(sum(a["probability"] for a in answers) - 1) < 1e-9
