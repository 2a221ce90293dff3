"""Packets that scapy makes and reads for the probes, and what loading it leaves behind."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.model.packetpath import Said
from svcdoctor.probe.packets.scapypackets import Heard, Syn, decode, encode, least_size

SYNS = [
    Syn("10.0.0.1", "10.0.0.2", 40000, 80, 0x12345678, 7, 3),
    Syn("fd00::1", "fd00::2", 40000, 80, 0x12345678, 7, 3),
]


def error4(syn: Syn, kind: int, code: int, quoted: int, mtu: int = 0) -> bytes:
    body = struct.pack("!BBHHH", kind, code, 0, 0, mtu) + encode(syn)[: 20 + quoted]
    source, to = ip_address("10.0.0.9").packed, ip_address(syn.source).packed
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 60, 1, 0, source, to) + body


def error6(syn: Syn, kind: int, code: int, number: int = 0) -> bytes:
    body = struct.pack("!BBHI", kind, code, 0, number) + encode(syn)
    source, to = ip_address("fd00::9").packed, ip_address(syn.source).packed
    return struct.pack("!IHBB16s16s", 6 << 28, len(body), 58, 60, source, to) + body


@pytest.mark.parametrize("syn", SYNS, ids=["v4", "v6"])
@pytest.mark.parametrize("size", [0, 576, 1280, 1500, 9001])
def test_a_syn_has_the_size_that_is_asked_for_and_may_not_be_fragmented(syn: Syn, size: int) -> None:
    packet = encode(syn._replace(size=size))
    assert len(packet) == max(size, least_size(syn.ip))
    if packet[0] >> 4 == 4:
        assert struct.unpack_from("!HHHB", packet, 2) == (len(packet), 7, 0x4000, 3)  # DF
    tcp = packet[20:] if packet[0] >> 4 == 4 else packet[40:]
    assert struct.unpack_from("!HHIIBB", tcp) == (40000, 80, 0x12345678, 0, 7 << 4, 2)


@pytest.mark.parametrize("quoted", [8, 20, 28])
def test_an_error_is_read_however_little_it_quotes(quoted: int) -> None:
    (v4, _) = SYNS
    found = decode(error4(v4, 11, 0, quoted))
    assert found == Heard(Said.TIME_EXCEEDED, "10.0.0.9", 60, sequence=0x12345678, number=7)
    found = decode(error4(v4, 3, 4, quoted, 1400))
    assert found is not None
    assert (found.said, found.mtu, found.sequence) == (Said.TOO_BIG, 1400, 0x12345678)
    found = decode(error4(v4, 3, 14, quoted))
    assert found is not None
    assert (found.said, found.code) == (Said.UNREACHABLE, "icmp unreachable, code 14")
    assert decode(error4(v4, 5, 1, quoted)) is None  # a redirect


def test_icmpv6_errors_are_read() -> None:
    (_, v6) = SYNS
    found = decode(error6(v6, 3, 0))
    assert found == Heard(Said.TIME_EXCEEDED, "fd00::9", 60, sequence=0x12345678, number=7)
    found = decode(error6(v6, 2, 0, 1300))
    assert found is not None
    assert (found.said, found.mtu, found.sequence, found.number) == (Said.TOO_BIG, 1300, 0x12345678, 7)
    found = decode(error6(v6, 1, 1))
    assert found is not None
    assert (found.said, found.code) == (Said.UNREACHABLE, "icmp6-adm-prohibited")


@pytest.mark.parametrize("syn", SYNS, ids=["v4", "v6"])
def test_a_syn_is_no_answer(syn: Syn) -> None:
    assert decode(encode(syn)) is None


@given(st.binary(max_size=200))
def test_garbage_is_no_answer(data: bytes) -> None:
    found = decode(data)
    assert found is None or found.said in Said


@given(st.sampled_from(SYNS), st.integers(0, 90), st.binary(max_size=40), st.integers(0, 3))
def test_damaged_errors_do_no_harm(syn: Syn, at: int, garbage: bytes, kind: int) -> None:
    packet = error4(syn, 11 if kind else 3, kind, 20) if ":" not in syn.ip else error6(syn, kind, 0)
    decode(packet[:at] + garbage)
    decode(packet[:at] + garbage + packet[at + len(garbage) :])


def test_loading_scapy_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import os\n"
        "before = dict(os.environ)\n"
        "import svcdoctor.probe.packets.syn, svcdoctor.probe.packets.pathmtu, sys\n"
        "assert 'scapy' not in sys.modules\n"
        "import svcdoctor.probe.packets.scapypackets\n"
        "assert 'scapy' in sys.modules\n"
        "assert dict(os.environ) == before\n"
    )
    environment = {**os.environ, "HOME": str(home)}
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    words = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(home.iterdir())
