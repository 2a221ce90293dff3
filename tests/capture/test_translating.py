"""What connection tracking says over netlink, beside what the conntrack program lists."""

import json
import random
import subprocess
import sys

from capture_frames import needs, skip_or_fail
from capture_spaces import python, spaces  # noqa: F401 (a fixture)

from svcdoctor.capture.ctnetlink import End, messages
from svcdoctor.node.conntrack import read_conntrack

RULES = """
*nat
-A OUTPUT -p tcp -d 10.96.0.1 --dport 80 -j DNAT --to-destination {server}:8080
-A OUTPUT -p udp -d 10.96.0.1 --dport 53 -j DNAT --to-destination {server}:5353
-A POSTROUTING -p tcp -d {server} -j MASQUERADE --random-fully
COMMIT
"""
TALK = """
import json, socket, subprocess, time
from svcdoctor.capture.doors import address_text
from svcdoctor.probe.sniffing.translating import Translations

def form(t):
    def tuple_of(key):
        size = (len(key) - 4) // 2
        ports = int.from_bytes(key[-4:-2], "big"), int.from_bytes(key[-2:], "big")
        return [address_text(key[:size]), address_text(key[size:2 * size]), *ports]
    return [t.protocol, tuple_of(t.original), tuple_of(t.translated)]

def talk(port):
    held = []
    for family, ip in ((socket.AF_INET, "10.96.0.1"), (socket.AF_INET6, "fd00:96::1")):
        for kind, to in ((socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 53)):
            s = socket.socket(family, kind)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind(("", port + 10 * (kind == socket.SOCK_DGRAM)))
            s.setblocking(False)
            s.connect_ex((ip, to))
            if kind == socket.SOCK_DGRAM:
                s.send(b"question")
            held.append(s)
    return held

first = talk(7000)
listening = Translations()
listed = [form(t) for t in listening.listed()]
second = talk(8000)
time.sleep(0.2)
new = [form(t) for t in listening.new()]
listening.close()
dump = subprocess.run(["conntrack", "-L"], capture_output=True, text=True).stdout
dump += subprocess.run(["conntrack", "-L", "-f", "ipv6"], capture_output=True, text=True).stdout
print(json.dumps({"why": listening.why, "listed": listed, "new": new, "dump": dump}))
"""


def test_listing_and_events_are_what_conntrack_lists(spaces):  # noqa: F811
    needs("conntrack", "iptables-nft-restore")
    for program, server in (("iptables-nft-restore", "10.9.0.1"), ("ip6tables-nft-restore", "fd00:9::1")):
        rules = RULES.format(server=f"[{server}]" if ":" in server else server)
        if ":" in server:
            rules = rules.replace("10.96.0.1", "fd00:96::1").replace(f"-d [{server}]", f"-d {server}")
        spaces.run("node", program, stdin=rules)
    for program in ("iptables-nft", "ip6tables-nft"):  # unanswered, what is tracked stays
        spaces.run("client", program, "-A", "INPUT", "-p", "tcp", "-j", "DROP")
    spaces.batch("node", "route add default via 10.9.0.1", "route add default via fd00:9::1")
    got = python(spaces, "node", TALK)
    assert got["why"] == ""
    entries = [
        [e.proto, [e.original.src, e.original.dst, e.original.sport, e.original.dport],
         [e.reply.dst, e.reply.src, e.reply.dport, e.reply.sport]]
        for e in read_conntrack(got["dump"].encode(), "x")
        if e.original.sport in range(7000, 8011)
    ]  # fmt: skip
    entries = [e for i, e in enumerate(entries) if e not in entries[:i]]
    assert len(entries) == 8

    def of(rows, low):
        return sorted(json.dumps(row) for row in rows if row[1][2] in range(low, low + 11))

    assert of(got["listed"], 7000) == of(entries, 7000)
    assert of(got["new"], 8000) == of(entries, 8000)
    assert any(t[1][3] == 80 and t[2][1] == "fd00:9::1" and t[2][3] == 8080 for t in got["new"])


def test_without_the_capability_it_says_why(spaces):  # noqa: F811
    needs("setpriv")
    imports = "import json; from svcdoctor.probe.sniffing.translating import Translations"
    code = f"{imports}; print(json.dumps(Translations().why))"
    words = ["setpriv", "--bounding-set=-net_admin", sys.executable, "-c", code]
    done = subprocess.run(spaces.command("node", words), capture_output=True, text=True, check=False)
    if "setpriv" in done.stderr:
        skip_or_fail(done.stderr)
    assert json.loads(done.stdout) == "it takes the capability NET_ADMIN"


def test_garbage_breaks_nothing():
    chance = random.Random(2)
    whole = bytes.fromhex("5400000000010200010000000000000002000000") + bytes(64)
    for _ in range(3000):
        data = bytearray(whole[: chance.randrange(len(whole))])
        for _ in range(min(len(data), 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        list(messages(bytes(data)))
    assert list(messages(bytes.fromhex("14000000020000000100000000000000ffffffff"))) == [End(1)]
