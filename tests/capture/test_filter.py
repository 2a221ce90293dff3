"""The filter's program in the kernel, beside what tcpdump compiles, over frames of every kind."""

import json
import random
import subprocess

import pytest
from capture_frames import MACS, needs
from capture_spaces import python, spaces  # noqa: F401 (a fixture)
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    fragment6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.layers.sctp import SCTP

from svcdoctor.capture.bpf import JEQ, JGT, LIMIT, RET, Assembler, TooLong
from svcdoctor.capture.doorfilter import compiled, tcpdump_words
from svcdoctor.capture.doors import Door, Role
from svcdoctor.capture.icmp import ERRORS, ERRORS6

RUN = """
import ctypes, json, socket, struct, sys
given = json.loads(sys.stdin.read())
received = []
for program in given["programs"]:
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    held = ctypes.create_string_buffer(code, len(code))
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", len(program), ctypes.addressof(held)))
    s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
    s.bind(("in0", 3))
    received.append(s)
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
out.bind(("out0", 3))
for frame in given["frames"]:
    out.send(bytes.fromhex(frame))
answer = []
for s in received:
    s.setblocking(False)
    found = []
    while True:
        try:
            found.append(int.from_bytes(s.recv(1 << 17)[-4:], "big"))
        except BlockingIOError:
            break
    answer.append(found)
print(json.dumps(answer))
"""


def expression(doors):
    """The same as an expression of tcpdump, but for what lies behind IPv6's extension headers."""
    parts, hosts = [], {4: [], 6: []}
    for door in doors:
        name = door.protocol.lower()
        if door.ip is None:
            parts.append(f"{name} port {door.port}")
            hosts = {family: [*words, "ip or ip6"] for family, words in hosts.items()}
            continue
        parts += [f"({way} host {door.ip} and {name} {way} port {door.port})" for way in ("dst", "src")]
        hosts[6 if ":" in door.ip else 4].append(f"host {door.ip}")
    for family, test in ((4, "ip[6:2] & 0x1fff != 0"), (6, "ip6[6] == 44 and ip6[42:2] & 0xfff8 != 0")):
        parts += [f"({test} and ({' or '.join(hosts[family])}))"] if hosts[family] else []
    parts.append("(icmp and ({}))".format(" or ".join(f"icmp[0] == {kind}" for kind in ERRORS)))
    parts.append("(ip6[6] == 58 and ({}))".format(" or ".join(f"ip6[40] == {kind}" for kind in ERRORS6)))
    return " or ".join(parts)


def of_tcpdump(words, tmp_path):
    """What tcpdump makes of an expression, for Ethernet."""
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    done = subprocess.run(
        ["tcpdump", "-ddd", "-r", str(empty), words], capture_output=True, text=True, check=True
    )
    return [[int(n) for n in line.split()] for line in done.stdout.splitlines()[1:]]


def accepted(spaces, programs, frames):  # noqa: F811
    """Which of the frames each program lets through, asked of the kernel. Each gets its number as a trailer."""
    spaces.batch("node", "link add out0 type veth peer name in0", "link set out0 up", "link set in0 up")
    spaces.run(
        "node", "sysctl", "-q", "-w", "net.ipv6.conf.in0.disable_ipv6=1", "net.ipv6.conf.out0.disable_ipv6=1"
    )
    numbered = [(bytes(f) + i.to_bytes(4, "big")).hex() for i, f in enumerate(frames)]
    given = {"programs": programs, "frames": numbered}
    found = python(spaces, "node", RUN, stdin=json.dumps(given))
    return [sorted(n for n in one if n < len(frames)) for one in found]


def frames_for(doors, chance, count):
    """Frames to and from the doors, near them, and far from them."""
    v4 = [d.ip for d in doors if d.ip and ":" not in d.ip] + ["10.0.0.1", "192.0.2.1"]
    v6 = [d.ip for d in doors if d.ip and ":" in d.ip] + ["fd00::1", "2001:db8::1"]
    ports = [d.port for d in doors] + [1, 65535]
    made = [Ether(**MACS) / ARP(), Ether(**MACS, type=0x1234) / (b"\x45" * 60)]
    for _ in range(count):
        six = chance.random() < 0.5
        source, destination = (chance.choice(v6 if six else v4) for _ in range(2))
        if chance.random() < 0.2:  # a neighbour: one bit further
            destination = destination[:-1] + chance.choice("0123456789")
        sport, dport = chance.choice(ports), chance.choice(ports)
        if six:
            ip = IPv6(src=source, dst=destination)
        else:
            options = IPOption_RR(length=7, routers=["0.0.0.0"]) if chance.random() < 0.3 else []
            ip = IP(src=source, dst=destination, options=options)
        kind = chance.randrange(10)
        if kind < 6:
            packets = [ip / chance.choice([TCP, UDP, SCTP])(sport=sport, dport=dport) / b"data"]
        elif kind < 8:
            packets = [
                ip / (ICMPv6DestUnreach() if six else ICMP(type=chance.choice([3, 11, 8, 0, 5]))) / bytes(28)
            ]
            packets += [ip / ICMPv6EchoRequest()] if six else []
        elif six:
            packets = fragment6(
                ip / IPv6ExtHdrFragment(id=3) / UDP(sport=sport, dport=dport) / bytes(300), 150
            )
        else:
            packets = fragment(ip / UDP(sport=sport, dport=dport) / bytes(300), 100)
        made += [Ether(**MACS) / p for p in packets]
    return made


def some_doors(chance, count):
    doors = []
    for _ in range(count):
        protocol = chance.choice(["TCP", "UDP", "SCTP"])
        port = chance.choice([80, 8080, 443, 31372])
        if chance.random() < 0.5:
            ip = f"10.{chance.randrange(3)}.{chance.randrange(256)}.{chance.randrange(10)}"
        else:
            ip = f"fd00:{chance.randrange(1, 4):x}::{chance.randrange(1, 9999):x}"
        doors.append(Door(ip, port, protocol, Role.ENDPOINT))
    return doors


@pytest.mark.parametrize("seed, count, anywhere", [(1, 3, False), (3, 60, False), (4, 5, True)])
def test_the_kernel_lets_through_what_tcpdump_s_program_does(spaces, tmp_path, seed, count, anywhere):  # noqa: F811
    needs("tcpdump")
    chance = random.Random(seed)
    doors = some_doors(chance, count)
    if anywhere:
        doors.append(Door(None, 31372, "TCP", Role.NODE_PORT))
    frames = frames_for(doors[:20], chance, 400)
    programs = [compiled(doors), of_tcpdump(expression(doors), tmp_path)]
    ours, theirs = accepted(spaces, programs, frames)
    assert 50 < len(theirs) < len(frames) - 50
    first = {i for i, f in enumerate(frames) if IPv6ExtHdrFragment in f and f[IPv6ExtHdrFragment].offset == 0}
    assert set(theirs) <= set(ours)
    assert set(ours) - first == set(theirs)


def test_extension_headers_are_judged_by_their_addresses(spaces):  # noqa: F811
    door = Door("fd00::5", 80, "TCP", Role.ENDPOINT)
    frames = [
        Ether(**MACS) / IPv6(src="fd00::9", dst=ip) / IPv6ExtHdrDestOpt(nh=6) / TCP(dport=port)
        for ip, port in (("fd00::5", 80), ("fd00::6", 80))
    ]
    assert accepted(spaces, [compiled([door])], frames) == [[0]]


@pytest.mark.parametrize("count, exact", [(300, True), (900, True), (5000, False)])
def test_many_endpoints(spaces, count, exact):  # noqa: F811
    """The kernel takes programs of any Service; where there are too many addresses, the ports alone decide."""
    doors = [Door(f"10.{i // 250}.7.{i % 250}", 8080, "TCP", Role.ENDPOINT) for i in range(count)]
    program = compiled(doors)
    assert len(program) <= LIMIT
    frames = [
        Ether(**MACS) / IP(src=source, dst=destination) / TCP(sport=sport, dport=dport)
        for source, destination, sport, dport in (
            ("1.2.3.4", "10.0.7.0", 5, 8080),
            (doors[-1].ip, "1.2.3.4", 8080, 5),
            (doors[count // 2].ip, "1.2.3.4", 8080, 5),
            ("1.2.3.4", doors[count // 3].ip, 5, 8080),
            ("1.2.3.4", "10.0.8.0", 5, 8080),
            ("1.2.3.4", "10.0.7.0", 8080, 5),
        )
    ]
    assert accepted(spaces, [program], frames) == [[0, 1, 2, 3] if exact else [0, 1, 2, 3, 4, 5]]


def test_far_jumps_reach_their_labels():
    a = Assembler()
    a.jump(JEQ, 1, then="far")
    a.jump(JGT, 9, then="far", otherwise="end")
    for k in range(300):
        a.jump(JEQ, k, otherwise="far")
    a.label("far")
    a.do(RET, 1)
    a.label("end")
    a.do(RET, 0)
    program = a.program()
    ends = []
    for at, (code, then, otherwise, k) in enumerate(program):
        if code == 0x05:
            assert program[at + 1 + k] in ((RET, 0, 0, 1), (RET, 0, 0, 0))
        elif code != RET:
            ends += [at + 1 + then, at + 1 + otherwise]
    assert max(ends) < len(program)


def test_a_program_may_be_too_long():
    a = Assembler()
    for _ in range(LIMIT + 1):
        a.do(RET, 0)
    with pytest.raises(TooLong):
        a.program()


def test_words_for_tcpdump(tmp_path):
    needs("tcpdump")
    doors = [Door("10.0.0.1", 80, "TCP", Role.CLUSTER_IP), Door("fd00::1", 53, "UDP", Role.ENDPOINT)]
    assert tcpdump_words([*doors, *doors]) == "tcp port 80 or udp port 53 or icmp or icmp6"
    assert of_tcpdump(tcpdump_words(doors), tmp_path)
