"""pcap and pcapng files: of every kind, cut anywhere, full of garbage; and what tshark makes of ours."""

import json
import os
import struct
import subprocess
import sys

import pytest
from capture_frames import (
    CLIENT,
    CNI0,
    DOORS,
    ETH0,
    IN,
    MACS,
    MASQUERADED,
    NODE,
    NODE_PORT,
    OUT,
    POD,
    SECOND,
    TARGET_PORT,
    Fed,
    needs,
    pcap,
    read,
    tcp,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Ether
from scapy.utils import PcapNgWriter, PcapReader, RawPcapNgReader, wrpcap

from svcdoctor.capture.pcapngwriting import (
    comment_option,
    interface_block,
    packet_block,
    section_block,
    statistics_block,
)
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.probe.sniffing.file import CaptureFile

NOW = 1_700_000_000 * SECOND + 123_456_789
FRAMES = [bytes(Ether(**MACS) / tcp(CLIENT, NODE, "PA", n, 1, b"x" * n)) for n in range(1, 9)]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nano", [True, False])
@pytest.mark.parametrize("chunk", [None, 1, 37])
def test_pcap_of_each_byte_order_and_resolution(order, nano, chunk):
    found, capture = read(pcap(FRAMES, order, nano, times=[NOW] * len(FRAMES)), chunk)
    assert [f[0] for f in found] == FRAMES
    assert {f[2] for f in found} == {NOW if nano else NOW // 1000 * 1000}
    assert (capture.cut, found[0][1], found[0][5]) == ("", len(FRAMES[0]), 1)


def test_scapy_s_files(tmp_path):
    """Written by somebody else's code, read by ours, and the other way round."""
    wrpcap(str(tmp_path / "a.pcap"), [Ether(f) for f in FRAMES])
    assert [f[0] for f in read((tmp_path / "a.pcap").read_bytes())[0]] == FRAMES
    with PcapNgWriter(str(tmp_path / "a.pcapng")) as writer:
        for frame in FRAMES:
            packet = Ether(frame)
            packet.time = 1_700_000_000.25
            writer.write(packet)
    found, capture = read((tmp_path / "a.pcapng").read_bytes())
    assert [f[0] for f in found] == FRAMES and capture.cut == ""
    assert {f[2] for f in found} == {1_700_000_000 * SECOND + SECOND // 4}
    (tmp_path / "b.pcapng").write_bytes(ours())
    assert [data for data, _ in RawPcapNgReader(str(tmp_path / "b.pcapng"))] == FRAMES
    (tmp_path / "b.pcap").write_bytes(pcap(FRAMES))
    assert [bytes(p) for p in PcapReader(str(tmp_path / "b.pcap"))] == FRAMES


def ours():
    """A file as the writer's blocks make it: two interfaces, comments, ways, statistics."""
    blocks = [section_block("svcdoctor", "svc/web"), interface_block("eth0", 1), interface_block("cni0", 1)]
    for i, frame in enumerate(FRAMES):
        comment = comment_option(f"leg {i}") if i % 2 else b""
        blocks.append(packet_block(i % 2, NOW + i, frame, len(frame) + i, comment, i % 3))
    blocks += [statistics_block(0, NOW, 4, 7, "all"), statistics_block(1, NOW, 4, 0, "")]
    return b"".join(blocks)


def test_our_own_files():
    found, capture = read(ours())
    assert [f[0] for f in found] == FRAMES
    assert [f[1:3] for f in found] == [(len(f) + i, NOW + i) for i, f in enumerate(FRAMES)]
    assert [f[3:5] for f in found] == [(i % 2, i % 3) for i in range(len(FRAMES))]
    assert list(capture.interfaces.values()) == ["eth0", "cni0"]
    assert (capture.dropped, capture.cut) == (7, "")


def section(order):
    return struct.pack(order + "IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)


def interface(order, link=1, snaplen=0, options=b""):
    length = 20 + len(options)
    return (
        struct.pack(order + "IIHHI", 1, length, link, 0, snaplen) + options + struct.pack(order + "I", length)
    )


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


@pytest.mark.parametrize("order", "<>")
def test_pcapng_of_each_byte_order_with_every_kind_of_packet_block(order):
    frame = FRAMES[0]
    size = len(frame)
    resolution = struct.pack(order + "HHB3x", 9, 1, 0x80 | 10) + bytes(4)  # 1/1024 s
    offset = struct.pack(order + "HHq", 14, 8, 1000) + bytes(4)
    data = section(order) + interface(order, options=resolution) + interface(order, options=offset)
    data += block(order, 6, struct.pack(order + "IIIII", 0, 0, 1024 * 5 + 512, size, size) + frame)
    data += block(order, 2, struct.pack(order + "HHIIII", 1, 9, 0, 7, size, size) + frame)
    data += block(order, 3, struct.pack(order + "I", size) + frame)
    data += block(order, 0xBAD, b"something else")
    data += section(
        "<" if order == ">" else ">"
    )  # another section, of the other order, with its own interfaces
    other = "<" if order == ">" else ">"
    data += interface(other) + block(other, 6, struct.pack(other + "IIIII", 0, 0, 9, size, size) + frame)
    found, capture = read(data)
    assert [f[0] for f in found] == [frame] * 4
    assert [f[2] for f in found] == [5 * SECOND + SECOND // 2, 1000 * SECOND + 7000, 0, 9000]
    assert [f[3] for f in found] == [0, 1, 0, 2]
    assert capture.cut == ""


def test_a_simple_packet_s_length_is_cut_by_the_interface():
    frame = FRAMES[3]
    data = section("<") + interface("<", snaplen=40)
    data += block("<", 3, struct.pack("<I", len(frame)) + frame[:40])
    [found] = read(data)[0]
    assert (found[0], found[1]) == (frame[:40], len(frame))


def test_cooked_captures_tell_interfaces_and_ways():
    packet = tcp(CLIENT, NODE, "S", 1)
    frames = [bytes(CookedLinuxV2(proto=0x800, ifindex=n, pkttype=4 * (n == 5)) / packet) for n in (4, 5)]
    found, capture = read(pcap(frames, link=276))
    assert [(capture.interfaces[f[3]], f[4]) for f in found] == [
        ("interface 4", IN),
        ("interface 5", OUT),
    ]
    found, _ = read(pcap([bytes(CookedLinux(proto=0x800, pkttype=4) / packet)], link=113))
    assert found[0][4] == OUT


@pytest.mark.parametrize("data, frames", [(pcap(FRAMES), FRAMES), (ours(), FRAMES)], ids=["pcap", "pcapng"])
def test_cut_at_every_byte(data, frames):
    """What was whole is read, and one line says where it ends."""
    for end in range(4, len(data)):
        found, capture = read(data[:end])
        assert [f[0] for f in found] == frames[: len(found)]
        if capture.cut:
            assert capture.cut.startswith("x.pcap is cut at byte ") and "\n" not in capture.cut
            at = int(capture.cut.split()[5].rstrip(":").replace(",", ""))
            assert at <= end
        else:
            assert read(data[:end] + data[end : end + 1])[1].cut  # a boundary: one byte more is a part
    assert read(data)[1].cut == ""


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "is empty"),
        (b"abc", "less than four bytes"),
        (b"hello, world", "neither pcap nor pcapng"),
        (b"\x1f\x8b\x08\x00etc", "compressed"),
        (b"\x28\xb5\x2f\xfdetc.", "compressed"),
    ],
)
def test_what_is_no_capture(data, words):
    with pytest.raises(SvcdoctorError) as e:
        read(data)
    assert words in e.value.message and "\n" not in e.value.message and e.value.exit_code == 2


@pytest.mark.parametrize(
    "tail, words",
    [
        (struct.pack("<II", 6, 13) + bytes(20), "13 bytes"),
        (struct.pack("<II", 6, 0) + bytes(20), "0 bytes"),
        (struct.pack("<II", 6, 1 << 31) + bytes(20), "2,147,483,648 bytes"),
        (struct.pack("<III", 9, 16, 7) + struct.pack("<I", 12), "differ"),
        (block("<", 6, struct.pack("<IIIII", 9, 0, 0, 4, 4) + b"abcd"), "interface 9"),
        (block("<", 6, struct.pack("<IIIII", 0, 0, 0, 99, 99) + b"abcd"), "longer than its block"),
        (block("<", 6, b"abcd"), "too short"),
        (block("<", 1, b"ab"), "too short"),
        (struct.pack("<IIIIIII", 0x0A0D0D0A, 28, 5, 0, 0, 0, 28), "no byte order"),
    ],
)
def test_garbage_behind_a_good_beginning(tail, words):
    found, capture = read(ours() + tail)
    assert [f[0] for f in found] == FRAMES
    assert words in capture.cut and f"byte {len(ours()):,}" in capture.cut


def test_a_record_that_claims_gigabytes_is_not_waited_for():
    found, capture = read(pcap(FRAMES) + struct.pack("<IIII", 1, 1, 1 << 31, 1 << 31) + bytes(5000))
    assert [f[0] for f in found] == FRAMES and "2,147,483,648 bytes" in capture.cut


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([pcap(FRAMES), pcap(FRAMES, ">", True), ours()]), st.randoms())
def test_mangled_files_break_nothing(data, chance):
    mangled = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        mangled[chance.randrange(4, len(mangled))] = chance.choice([0, 255, chance.randrange(256)])
    found, _ = read(bytes(mangled), chance.choice([None, 50]))
    fed = Fed()
    for frame, wire, at, number, way, link in found:
        assert 0 <= at < 1 << 63
        fed.joiner.take(frame, 0, len(frame), wire, at, number, way, link)
        packet_block(0, at, frame, wire, b"", way)
    fed.finish()


# --- the programs that others read and write with


def tshark(path, *fields):
    words = ["tshark", "-r", str(path), "-T", "json", "-n", *(w for f in fields for w in ("-e", f))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    rows = [row["_source"]["layers"] for row in json.loads(done.stdout)]
    return [tuple(row.get(f, [None])[0] for f in fields) for row in rows], done.stderr


def captured(path):
    """A connection through NAT, taken by the joiner and written by the program's own file."""
    fed = Fed()
    file = CaptureFile(str(path), DOORS, "svc/web", "svcdoctor test")
    fed.joiner.table.translate(6, *KEYS, fed.now)
    outer = tcp(CLIENT, NODE, "S", 5, sport=40000)
    inner = tcp(MASQUERADED, POD, "S", 5, sport=40001, dport=TARGET_PORT)
    back = tcp(POD, MASQUERADED, "RA", 0, 6, sport=TARGET_PORT, dport=40001)
    out = tcp(NODE, CLIENT, "RA", 0, 6, sport=NODE_PORT, dport=40000)
    for packet, number, way, name in (
        (outer, ETH0, IN, "eth0"), (inner, CNI0, OUT, "cni0"), (back, CNI0, IN, "cni0"), (out, ETH0, OUT, "eth0"),
    ):  # fmt: skip
        half = fed.frame(packet, number, way)
        frame = bytes(Ether(**MACS) / packet)
        file.add(half, frame, len(frame), fed.now, number, way, name, 1)
    file.close(3)
    return fed


KEYS = tuple(
    b"".join(bytes(map(int, ip.split("."))) for ip in (source, destination))
    + sport.to_bytes(2, "big")
    + dport.to_bytes(2, "big")
    for source, sport, destination, dport in (
        (CLIENT, 40000, NODE, NODE_PORT),
        (MASQUERADED, 40001, POD, TARGET_PORT),
    )
)


def test_tshark_reads_interfaces_comments_ways_and_drops(tmp_path):
    needs("tshark", "capinfos")
    path = tmp_path / "a.pcapng"
    captured(path)
    rows, _ = tshark(path, "frame.interface_name", "ip.src", "frame.comment", "frame.packet_flags_direction")
    assert rows == [
        ("eth0", CLIENT, "connection 1, leg 1, to nodePort of node node1", "0x00000001"),
        ("cni0", MASQUERADED, "connection 1, leg 2 after DNAT and SNAT, to pod web-1", "0x00000002"),
        ("cni0", POD, "connection 1, leg 2 after DNAT and SNAT, to pod web-1: answer", "0x00000001"),
        ("eth0", NODE, "connection 1, leg 1, to nodePort of node node1: answer", "0x00000002"),
    ]
    times, _ = tshark(path, "frame.time_epoch")
    assert [t for (t,) in times] == [f"1700000000.0000{n}0000000"[:20] for n in (1, 2, 3, 4)]
    info = subprocess.run(["capinfos", str(path)], capture_output=True, text=True, check=True).stdout
    assert "Capture application: svcdoctor test" in info and "Capture comment:     svc/web" in info
    found, capture = read(path.read_bytes())
    assert len(found) == 4 and capture.dropped == 3


@pytest.mark.parametrize("kind", ["pcap", "nsecpcap", "pcapng"])
def test_what_editcap_and_tshark_write(tmp_path, kind):
    needs("editcap", "tshark")
    captured(tmp_path / "a.pcapng")
    subprocess.run(
        ["editcap", "-F", kind, str(tmp_path / "a.pcapng"), str(tmp_path / "b")],
        check=True,
        capture_output=True,
    )
    found, capture = read((tmp_path / "b").read_bytes())
    rows, _ = tshark(tmp_path / "b", "frame.len", "frame.time_epoch")
    assert [(str(f[1]), f[2] // 1000) for f in found] == [
        (length, int(time.replace(".", "")) // 1000) for length, time in rows
    ]
    assert capture.cut == ""
    if kind == "pcapng":
        assert [capture.interfaces[f[3]] for f in found] == ["eth0", "cni0", "cni0", "eth0"]


def test_tcpdump_reads_what_we_write_and_we_what_it_writes(tmp_path):
    needs("tcpdump")
    captured(tmp_path / "a.pcapng")
    subprocess.run(
        ["tcpdump", "-r", str(tmp_path / "a.pcapng"), "-w", str(tmp_path / "b.pcap")],
        check=True, capture_output=True,
    )  # fmt: skip
    ours_, theirs = (read((tmp_path / name).read_bytes())[0] for name in ("a.pcapng", "b.pcap"))
    assert [f[0] for f in ours_] == [f[0] for f in theirs]


# --- the file that is written


def test_a_full_disk_leaves_what_was_whole(tmp_path):
    """The file's size is limited in a process of its own, as a full disk would."""
    needs("tshark")
    path = tmp_path / "a.pcapng"
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[2]); from test_files import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)\n"
        "fed = Fed(); file = CaptureFile(sys.argv[1], DOORS, '', ''); half = fed.frame(tcp(CLIENT, NODE, 'S', 5))\n"
        "try:\n"
        "    for i in range(1000):\n"
        "        file.add(half, FRAMES[0] * 4, 999, NOW, 1, 0, 'eth0', 1)\n"
        "        if i % 10 == 0: file.flush()\n"
        "except SvcdoctorError as e: print(e.message)\n"
        "file.abandon()\n"
    )
    here = os.path.dirname(__file__)  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), here], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == f"{path} cannot be written: File too large; what was whole is kept\n", done.stderr
    rows, said = tshark(path, "frame.number")
    assert len(rows) > 100 and "cut short" not in said
    found, capture = read(path.read_bytes())
    assert len(found) == len(rows) and capture.cut == ""


def test_a_file_that_cannot_be_made():
    with pytest.raises(SvcdoctorError) as e:
        CaptureFile("/nowhere/a.pcapng", DOORS, "", "")
    assert e.value.message == "/nowhere/a.pcapng cannot be written: No such file or directory"
