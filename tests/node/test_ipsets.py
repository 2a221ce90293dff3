"""IP sets: those of kube-proxy's ipvs mode as ``ipset save`` writes them, and random ones as the kernel answers."""

import random
from ipaddress import ip_address

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.ipsets import read_ipsets

SAVE = b"""\
create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
add KUBE-CLUSTER-IP 10.96.0.1,tcp:443
add KUBE-CLUSTER-IP 10.96.0.10,udp:53
create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x2
add KUBE-LOOP-BACK 10.244.1.6,tcp:8080,10.244.1.6
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
add KUBE-NODE-PORT-TCP 30080
create KUBE-LOAD-BALANCER-SOURCE-CIDR hash:ip,port,net family inet hashsize 1024 maxelem 65536
add KUBE-LOAD-BALANCER-SOURCE-CIDR 172.31.0.10,tcp:80,10.0.0.0/8
create KUBE-IPVS-IPS hash:ip family inet hashsize 1024 maxelem 65536
add KUBE-IPVS-IPS 10.96.0.1
create KUBE-6-CLUSTER-IP hash:ip,port family inet6 hashsize 1024 maxelem 65536
add KUBE-6-CLUSTER-IP fd00:10:96::1,tcp:443
create nets hash:net family inet hashsize 1024 maxelem 65536
add nets 192.0.2.0/24 timeout 300
add nets 192.0.2.128/25 nomatch
create macs hash:mac hashsize 1024 maxelem 65536
add macs 02:00:00:00:00:01
create all list:set size 8
add all nets
add all KUBE-IPVS-IPS
"""

SOURCES = "KUBE-LOAD-BALANCER-SOURCE-CIDR"


def holds(name, directions, src="192.0.2.1", dst="10.96.0.1", dport=443, proto=6, sport=None):
    family = 6 if ":" in dst else 4
    held = read_ipsets(SAVE, "dump")[name]
    return held.holds(
        family, proto, int(ip_address(src)), int(ip_address(dst)), sport, dport, tuple(directions.split(","))
    )


@pytest.mark.parametrize(
    ("name", "directions", "packet", "expected"),
    [
        ("KUBE-CLUSTER-IP", "dst,dst", {}, True),
        ("KUBE-CLUSTER-IP", "dst,dst", {"dport": 80}, False),
        ("KUBE-CLUSTER-IP", "dst,dst", {"proto": 17}, False),
        ("KUBE-CLUSTER-IP", "dst,dst", {"dst": "10.96.0.10", "dport": 53, "proto": 17}, True),
        ("KUBE-CLUSTER-IP", "src,dst", {}, False),
        ("KUBE-LOOP-BACK", "dst,dst,src", {"src": "10.244.1.6", "dst": "10.244.1.6", "dport": 8080}, True),
        ("KUBE-LOOP-BACK", "dst,dst,src", {"src": "10.244.1.7", "dst": "10.244.1.6", "dport": 8080}, False),
        ("KUBE-NODE-PORT-TCP", "dst", {"dport": 30080}, True),
        ("KUBE-NODE-PORT-TCP", "dst", {"dport": 30080, "proto": 17}, True),
        ("KUBE-NODE-PORT-TCP", "dst", {"dport": 30081}, False),
        (
            "KUBE-LOAD-BALANCER-SOURCE-CIDR",
            "dst,dst,src",
            {"src": "10.1.2.3", "dst": "172.31.0.10", "dport": 80},
            True,
        ),
        (
            "KUBE-LOAD-BALANCER-SOURCE-CIDR",
            "dst,dst,src",
            {"src": "11.1.2.3", "dst": "172.31.0.10", "dport": 80},
            False,
        ),
        ("KUBE-IPVS-IPS", "dst", {}, True),
        ("KUBE-6-CLUSTER-IP", "dst,dst", {"src": "fd00::1", "dst": "fd00:10:96::1"}, True),
        ("KUBE-6-CLUSTER-IP", "dst,dst", {}, False),
        ("nets", "src", {}, True),
        ("nets", "src", {"src": "192.0.2.200"}, False),
        ("all", "src", {}, True),
        ("all", "dst", {}, True),
        ("all", "src", {"src": "198.51.100.1"}, False),
    ],
)
def test_a_set_holds_what_was_added(name, directions, packet, expected):
    assert holds(name, directions, **packet) is expected


@pytest.mark.parametrize("end", [1, 4])
def test_a_dump_that_ends_within_a_line_is_refused(end):
    data = b"create s hash:ip,port family inet\nadd s 10.96.0.10,tcp:4430\n"[:-end]
    with pytest.raises(SvcdoctorError, match=r"^dump line 2: the dump ends in the middle of a line"):
        read_ipsets(data, "dump")


def test_a_list_of_lists_is_refused():
    with pytest.raises(SvcdoctorError, match=r"^dump line 2: not a line of ipset save: 'add l l'"):
        read_ipsets(b"create l list:set size 8\nadd l l\n", "dump")


def test_what_cannot_be_told_is_said():
    assert "not modelled" in holds("macs", "src")
    assert "not known" in holds("KUBE-NODE-PORT-TCP", "src")
    assert "not modelled" in holds("KUBE-CLUSTER-IP", "dst")  # a direction is missing


@pytest.mark.parametrize("line", ["add nobody 10.0.0.1", "hello", "add KUBE-IPVS-IPS 10.0.0", "create"])
def test_a_line_that_is_none_is_named(line):
    with pytest.raises(SvcdoctorError, match="dump line 22: not a line of ipset save"):
        read_ipsets(SAVE + line.encode() + b"\n", "dump")


KINDS = {
    "hash:ip": (["dst"], ["10.0.{a}.{b}"]),
    "hash:ip,port": (["dst", "dst"], ["10.0.{a}.{b}", "{p}:{n}"]),
    "hash:ip,port,ip": (["dst", "dst", "src"], ["10.0.{a}.{b}", "{p}:{n}", "10.1.{a}.{b}"]),
    "hash:ip,port,net": (["dst", "dst", "src"], ["10.0.{a}.{b}", "{p}:{n}", "10.1.{a}.0/{m}"]),
    "hash:net": (["dst"], ["10.0.{a}.0/{m}"]),
    "hash:net,port": (["dst", "dst"], ["10.0.{a}.0/{m}", "{p}:{n}"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_membership_is_what_the_kernel_says(namespace, kind):
    """Random elements and packets, asked with ``ipset test`` in the syntax of addresses and ports."""
    rng = random.Random(f"20261121 {kind}")
    directions, forms = KINDS[kind]

    def word(form, plain=False):
        return form.format(
            a=rng.randrange(4), b=rng.randrange(4), n=rng.randrange(80, 83), p=rng.choice(["tcp", "udp"]),
            m=32 if plain else rng.choice([16, 22, 23, 24, 30]),
        )  # fmt: skip

    elements = {",".join(map(word, forms)) for _ in range(12)}
    script = f"ipset create s {kind}; " + "; ".join(
        f"ipset add s {e} -exist{' nomatch' if 'net' in kind and i % 4 == 3 else ''}"
        for i, e in enumerate(sorted(elements))
    )
    namespace(script)
    held = read_ipsets(namespace("ipset save s").encode(), "dump")["s"]
    questions = sorted(
        {",".join(word(f, plain=True) for f in forms) for _ in range(100)}
        | {e.partition("/")[0] for e in elements}
    )
    questions = [q for q in questions if q.count(",") == len(forms) - 1]
    said = namespace(
        "; ".join(f"ipset -q test s {q} && echo 1 || echo 0" for q in questions), check=False
    ).split()
    assert len(said) == len(questions)
    namespace("ipset destroy s")
    for question, answer in zip(questions, said, strict=True):
        dst, src, proto, port = 0, 0, 6, 0
        for direction, part in zip(directions, question.split(","), strict=True):
            if ":" in part:
                proto, port = {"tcp": 6, "udp": 17}[part.split(":")[0]], int(part.split(":")[1])
            elif direction == "dst":
                dst = int(ip_address(part.split("/")[0]))
            else:
                src = int(ip_address(part.split("/")[0]))
        assert held.holds(4, proto, src, dst, None, port, tuple(directions)) is (answer == "1"), question
    assert {"0", "1"} == set(said)
