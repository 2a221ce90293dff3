"""conntrack's dumps: every form that the tool and the kernel write, what is none of them, and real entries."""

import tracemalloc
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.conntrack import LONGEST, read_conntrack

V4 = "src=10.244.1.100 dst=10.96.0.10 sport=4000 dport=53"
BACK4 = "src=10.244.2.99 dst=10.244.1.100 sport=5353 dport=4000"
V6 = "src=fd00:10:244:1::100 dst=fd00:10:96::a sport=4000 dport=53"
BACK6 = "src=fd00:10:244:2::99 dst=fd00:10:244:1::100 sport=5353 dport=4000"
LONG6 = "src=fd00:0010:0244:0001:0000:0000:0000:0100 dst=fd00:0010:0096:0000:0000:0000:0000:000a sport=4000 dport=53"
TCP = "src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2"
SHOWN = b"conntrack v1.4.7 (conntrack-tools): 2 flow entries have been shown.\n"


def read(text):
    return list(read_conntrack(text.encode(), "conntrack.txt"))


# line: family, protocol, seconds, destination, source of the answer, flags, zones
FORMS = {
    f"udp      17 99 {V4} {BACK4} [ASSURED] mark=0 use=1": (
        4, 17, 99, ("10.96.0.10", 53), ("10.244.2.99", 5353), {"ASSURED"}, set()),
    f"udp      17 29 {V6} [UNREPLIED] {BACK6} mark=0 use=1": (
        6, 17, 29, ("fd00:10:96::a", 53), ("fd00:10:244:2::99", 5353), {"UNREPLIED"}, set()),
    f"ipv4     2 udp      17 29 {V4} {BACK4} mark=0 zone=0 use=2": (
        4, 17, 29, ("10.96.0.10", 53), ("10.244.2.99", 5353), set(), set()),
    f"ipv6     10 udp      17 29 {LONG6} [UNREPLIED] {BACK6} mark=0 zone=7 use=2": (
        6, 17, 29, ("fd00:10:96::a", 53), ("fd00:10:244:2::99", 5353), {"UNREPLIED"}, {7}),
    f"udp      17 {V4} {BACK4} [OFFLOAD] mark=16384 secctx=u:r:x:s0 use=3": (
        4, 17, None, ("10.96.0.10", 53), ("10.244.2.99", 5353), {"OFFLOAD"}, set()),
    f"udp      17 {V6} {BACK6} [HW_OFFLOAD] mark=0 use=3": (
        6, 17, None, ("fd00:10:96::a", 53), ("fd00:10:244:2::99", 5353), {"HW_OFFLOAD"}, set()),
    f"udp 17 29 {V4} zone-orig=5 packets=1 bytes=29 [UNREPLIED] {BACK4} zone-reply=6 packets=0 bytes=0 mark=0 "
    "helper=dns delta-time=0 [start=Sat Nov 21 07:24:06 2026] [stop=Sat Nov 21 07:24:07 2026] use=1 id=3158280933": (
        4, 17, 29, ("10.96.0.10", 53), ("10.244.2.99", 5353), {"UNREPLIED"}, {5, 6}),
    f"tcp      6 431999 ESTABLISHED {TCP} src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 [ASSURED] mark=0 use=1": (
        4, 6, 431999, ("10.0.0.2", 2), ("10.0.0.2", 2), {"ASSURED"}, set()),
    f"sctp     132 209 HEARTBEAT_SENT {TCP} [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 use=1": (
        4, 132, 209, ("10.0.0.2", 2), ("10.0.0.2", 2), {"UNREPLIED"}, set()),
    "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 use=1": (
        4, 1, 29, ("10.0.0.2", None), ("10.0.0.2", None), set(), set()),
    "icmpv6   58 9 src=fd00::1 dst=fd00::2 type=128 code=0 id=7 [UNREPLIED] src=fd00::2 dst=fd00::1 type=129 code=0 "
    "id=7 mark=0 use=1": (
        6, 58, 9, ("fd00::2", None), ("fd00::2", None), {"UNREPLIED"}, set()),
    "unknown  50 99 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 mark=0 use=1": (
        4, 50, 99, ("10.0.0.2", None), ("10.0.0.2", None), {"UNREPLIED"}, set()),
    "ipv4     2 gre      47 99 timeout=0, stream_timeout=0 src=10.0.0.1 dst=10.0.0.2 srckey=0x1 dstkey=0x2 "
    "src=10.0.0.2 dst=10.0.0.1 srckey=0x2 dstkey=0x1 mark=0 use=1": (
        4, 47, 99, ("10.0.0.2", None), ("10.0.0.2", None), set(), set()),
}  # fmt: skip


@pytest.mark.parametrize("line", FORMS)
def test_every_form_of_an_entry(line):
    family, proto, seconds, sent, answer, flags, zones = FORMS[line]
    [entry] = read(line + "\n")
    assert (entry.family, entry.proto, entry.seconds) == (family, proto, seconds)
    assert (entry.original.dst, entry.original.dport) == sent
    assert (entry.reply.src, entry.reply.sport) == answer
    assert (entry.flags, entry.zones) == (flags, zones)
    assert entry.unreplied == ("UNREPLIED" in flags)
    assert entry.translated == (sent != answer)
    assert entry.text == " ".join(line.split())


def test_the_closing_line_blank_lines_and_no_line_at_all():
    line = next(iter(FORMS)) + "\n"
    assert len(read(SHOWN.decode() + line + "\n  \r\n" + line + SHOWN.decode())) == 2
    assert read("") == read("\n\n") == []


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "conntrack v1.4.7 (conntrack-tools): Operation failed: invalid parameters",
        f"[NEW] udp      17 30 {V4} [UNREPLIED] {BACK4}",  # of conntrack -E
        f"-A -t 99 -u UNSET {V4} {BACK4}",  # of -o save
        f"udp      17 29 {V4}",  # cut off after the first direction
        f"udp      17 29 {V4} src=10.244.2.99 dst=10.244.1.100 sport=5353",
        f"udp      17 29 {V4} src=10.244.2.99 dst=10.244.1.100 sport=5353 dpo",
        f"udp      17 29 {V4} src=10.244.2.99 dst=10.244",
        f"udp      17 29 {V4.replace('10.96.0.10', '10.96.0.256')} {BACK4}",
        f"udp      17 29 {V6.replace('::a', '::g')} {BACK6}",
        f"udp      17 29 {V4.replace('=53', '=65536')} {BACK4}",
        f"udp      17 29 {V4.replace('=53', '=-1')} {BACK4}",
        f"udp      seventeen 29 {V4} {BACK4}",
        f"udp      17 29 {V4} {BACK4} and more",
        f"udp      17 29 {V4} {BACK4} [ASSURED",
        f"udp      17 29 {V4} {BACK4} {BACK4}",
        f"udp      17 29 {V4} {BACK4} secctx={'x' * LONGEST}",
        "\0\0\0\0",
    ],
)
def test_a_line_that_is_none_is_named(line):
    good = next(iter(FORMS))
    with pytest.raises(
        SvcdoctorError, match=r"^n1/conntrack.txt line 2: not a line of conntrack -L: "
    ) as raised:
        list(read_conntrack(f"{good}\n{line}\n{good}\n".encode(), "n1/conntrack.txt"))
    assert len(raised.value.message) < 500 and "\n" not in raised.value.message


def test_a_dump_that_was_cut_off_is_named():
    """Where it ends within a number, what is left would still be an entry."""
    line = f"udp      17 29 {V4} {BACK4}"
    for end in (len(line), len(line) - 1):
        with pytest.raises(SvcdoctorError, match=r"^dump line 2: the dump ends in the middle of a line"):
            list(read_conntrack(f"{line}\n{line[:end]}".encode(), "dump"))


def test_entries_are_read_when_they_are_asked_for():
    entries = read_conntrack(f"{next(iter(FORMS))}\nhello\n".encode(), "dump")
    assert next(entries).proto == 17
    with pytest.raises(SvcdoctorError, match="line 2"):
        next(entries)


def test_a_large_table_takes_no_more_memory_than_its_dump():
    line = "udp      17 29 src=10.{}.{}.9 dst=10.96.0.10 sport=4000 dport=53 src=10.244.2.99 dst=10.{}.{}.9 sport=53 "
    line += "dport=4000 mark=0 use=1\n"
    data = "".join(line.format(i >> 8, i & 255, i >> 8, i & 255) for i in range(60_000)).encode()
    tracemalloc.start()
    try:
        assert sum(e.translated for e in read_conntrack(data, "dump")) == 60_000
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data)
        tracemalloc.reset_peak()
        one = b"x" * len(data)  # one line without an end
        with pytest.raises(SvcdoctorError):
            list(read_conntrack(one, "dump"))
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    finally:
        tracemalloc.stop()


words = st.sampled_from(" =[]:./-\n\tudpsrc\0é0159") | st.sampled_from(
    [V4, BACK6, "[UNREPLIED]", "udp 17 29 ", " mark=0"]
)


@given(st.lists(words, max_size=40).map("".join))
def test_whatever_is_read_ends_in_entries_or_in_one_line(text):
    try:
        for entry in read_conntrack(text.encode(), "dump"):
            assert entry.family in (4, 6)
    except SvcdoctorError as e:
        assert e.message.startswith("dump line ") and "\n" not in e.message


@given(st.data())
def test_what_is_written_is_read(data):
    def ends(family):
        made = st.ip_addresses(v=family).map(str)
        return (
            data.draw(made),
            data.draw(made),
            data.draw(st.integers(0, 65535)),
            data.draw(st.integers(0, 65535)),
        )

    family = data.draw(st.sampled_from([4, 6]))
    sent, answer = ends(family), ends(family)
    unreplied = data.draw(st.booleans())
    one, other = ("src={} dst={} sport={} dport={}".format(*t) for t in (sent, answer))
    [entry] = read(f"udp      17 9 {one}{' [UNREPLIED]' if unreplied else ''} {other} mark=0 use=1\n")
    for found, wanted in ((entry.original, sent), (entry.reply, answer)):
        assert (found.src, found.dst, found.sport, found.dport) == wanted
    assert (entry.family, entry.unreplied) == (family, unreplied)
    assert entry.translated == ((answer[0], answer[2]) != (sent[1], sent[3]))


MADE = """
make() { conntrack -I --timeout 600 "$@" 2>&1; }
make -p udp -s 10.244.1.100 -d 10.96.0.10 --sport 4000 --dport 53 --dst-nat 10.244.2.99
make -p udp -s fd00::1 -d fd00:10:96::a --sport 4000 --dport 53 -u SEEN_REPLY,ASSURED -w 7 \
  -r fd00::99 -q fd00::1 --reply-port-src 5353 --reply-port-dst 4000
make -p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 4000 --dport 80 --state TIME_WAIT -m 5
make -p sctp -s 10.0.0.1 -d 10.0.0.2 --sport 4000 --dport 80 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2
make -p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 7
make -p icmpv6 -s fd00::1 -d fd00::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 7
make -p gre -s 10.0.0.1 -d 10.0.0.2 --srckey 1 --dstkey 2
make -p 50 -s 10.0.0.1 -d 10.0.0.2
"""


def test_the_kernels_own_entries(namespace, needs):
    needs("conntrack")
    namespace(MADE)
    dumps = [
        namespace("conntrack -L -f ipv4 2>&1; conntrack -L -f ipv6 2>&1"),
        namespace("conntrack -L -o extended,id 2>&1"),
        namespace("cat /proc/net/nf_conntrack 2>/dev/null || conntrack -L -o extended"),
    ]
    for dump in dumps:
        found = {(e.family, e.proto): e for e in read(dump)}
        assert set(found) == {(4, 17), (6, 17), (4, 6), (4, 132), (4, 1), (6, 58), (4, 47), (4, 50)}
        assert {key for key, e in found.items() if e.translated} == {(4, 17), (6, 17)}
        assert found[4, 17].reply.src == "10.244.2.99" and found[4, 17].unreplied
        assert (found[6, 17].reply.src, found[6, 17].reply.sport) == ("fd00::99", 5353)
        assert found[6, 17].zones == {7} and found[6, 17].flags == {"ASSURED"}
        assert all(590 < e.seconds <= 600 for e in found.values())
    assert len(list(islice(read_conntrack(dumps[1].encode(), "dump"), 3))) == 3
