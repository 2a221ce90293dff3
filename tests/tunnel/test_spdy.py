"""Frames: every kind both ways, any pieces, every limit, and bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wire import FRAMES, SIZES, cut_up, frames_of

from svcdoctor.tunnel.errors import SpdyError
from svcdoctor.tunnel.spdy import (
    MAX_STREAM,
    Away,
    Data,
    Frame,
    FrameReader,
    FrameWriter,
    GoAway,
    Headers,
    Ping,
    RstStream,
    Settings,
    Status,
    SynReply,
    SynStream,
    Unknown,
    WindowUpdate,
)

REPLY = (
    "78f9e3c6a7c262606060000000 00ffff"  # a header block without headers, as Go makes the first of a session
)
PLAIN = [
    (Data(3, b""), "00000003 00000000"),
    (Data(3, b"", fin=True), "00000003 01000000"),
    (Data(MAX_STREAM, b"GET"), "7fffffff 00000003 474554"),
    (RstStream(19, Status.CANCEL), "80030003 00000008 00000013 00000005"),
    (RstStream(1, 4_000_000_000), "80030003 00000008 00000001 ee6b2800"),
    (Settings(()), "80030004 00000004 00000000"),
    (
        Settings(((1, 4, 100), (0, 7, 65536)), clear=True),
        "80030004 01000014 00000002 01000004 00000064 00000007 00010000",
    ),
    (Ping(0xFFFFFFFF), "80030006 00000004 ffffffff"),
    (GoAway(0, Away.OK), "80030007 00000008 00000000 00000000"),
    (GoAway(17, Away.PROTOCOL_ERROR), "80030007 00000008 00000011 00000001"),
    (WindowUpdate(3, 65536), "80030009 00000008 00000003 00010000"),
    (Unknown(10, 7, b"credential"), "8003000a 0700000a 63726564656e7469616c"),
    (Unknown(5, 0, b""), "80030005 00000000"),
]
WITH_HEADERS = [
    (SynReply(1, ()), "80030002 00000014 00000001" + REPLY),
    (SynReply(1, (), fin=True), "80030002 01000014 00000001" + REPLY),
    (Headers(7, ()), "80030008 00000014 00000007" + REPLY),
    (Headers(7, (), fin=True), "80030008 01000014 00000007" + REPLY),
    (SynStream(5, ()), "80030001 0000001a 00000005 00000000 00 00" + REPLY),
    (SynStream(5, (), True, True, 3, 7, 9), "80030001 0300001a 00000005 00000003 e0 09" + REPLY),
]


@pytest.mark.parametrize(("frame", "wire"), PLAIN + WITH_HEADERS)
def test_each_frame_is_read(frame: Frame, wire: str) -> None:
    assert frames_of(bytes.fromhex(wire)) == [frame]


@pytest.mark.parametrize(("frame", "wire"), PLAIN)
def test_each_frame_is_written(frame: Frame, wire: str) -> None:
    assert FrameWriter().encode(frame) == bytes.fromhex(wire)


@pytest.mark.parametrize(("frame", "wire"), WITH_HEADERS)
def test_each_frame_with_headers_is_written(frame: Frame, wire: str) -> None:
    written = FrameWriter().encode(frame)
    before = len(bytes.fromhex(wire)) - len(bytes.fromhex(REPLY))
    assert (written[:5], written[8:before]) == (bytes.fromhex(wire)[:5], bytes.fromhex(wire)[8:before])
    assert frames_of(written) == [frame]


@pytest.mark.parametrize(
    ("wire", "frame"),
    [
        ("00000003 fe000001 78", Data(3, b"x")),  # flags that nobody has defined
        ("80030003 ff000008 80000013 00000005", RstStream(19, 5)),  # the reserved bit before a stream's id
        ("80030009 00000008 80000003 80010000", WindowUpdate(3, 0x80010000)),
        ("80030001 0000001a 80000005 80000000 3f 00" + REPLY, SynStream(5, (), priority=1)),
    ],
)
def test_what_is_reserved_is_ignored(wire: str, frame: Frame) -> None:
    assert frames_of(bytes.fromhex(wire)) == [frame]


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        ("80020001 00000000", "SPDY version 2 instead of 3"),
        ("ffff0001 00000000", "SPDY version 32767 instead of 3"),
        ("80020001 00ffffff", "16,777,215 bytes; at most 1,048,576"),
        ("00000001 00100001", "1,048,577 bytes; at most 1,048,576"),
        ("80030001 00000009" + "00" * 9, "a SYN_STREAM frame of 9 bytes"),
        ("80030002 00000003 000000", "a SYN_REPLY frame of 3 bytes"),
        ("80030008 00000000", "a HEADERS frame of 0 bytes"),
        ("80030003 00000007" + "00" * 7, "a RST_STREAM frame of 7 bytes"),
        ("80030003 00000009" + "00" * 9, "a RST_STREAM frame of 9 bytes"),
        ("80030004 00000003 000000", "a SETTINGS frame of 3 bytes"),
        ("80030004 00000008 00000001 00000000", "a SETTINGS frame of 8 bytes for 1 values"),
        ("80030004 00000004 ffffffff", "a SETTINGS frame of 4 bytes for 4294967295 values"),
        ("80030006 00000005 0000000000", "a PING frame of 5 bytes"),
        ("80030007 00000004 00000000", "a GOAWAY frame of 4 bytes"),
        ("80030009 00000004 00000000", "a WINDOW_UPDATE frame of 4 bytes"),
        ("80030002 00000004 00000001", "a header block ends"),
        ("80030002 00000005 00000001 00", "a header block"),
    ],
)
def test_what_is_malformed_ends_the_session(wire: str, problem: str) -> None:
    for size in (1, 3, 8, 100):
        reader, got = FrameReader(), []
        with pytest.raises(SpdyError, match=problem):
            for piece in cut_up(bytes.fromhex("80030006 00000004 00000001" + wire), [size]):
                for frame in reader.feed(piece):
                    got.append(frame)
        assert got == [Ping(1)]
        with pytest.raises(SpdyError, match=problem):
            list(reader.feed(b"\0"))


def test_a_frame_may_be_as_long_as_the_limit() -> None:
    reader = FrameReader(max_frame=10)
    assert [*reader.feed(b"\0\0\0\1\0\0\0\x0a0123456789")] == [Data(1, b"0123456789")]
    with pytest.raises(SpdyError, match="a frame of 11 bytes; at most 10"):
        list(reader.feed(b"\0\0\0\1\0\0\0\x0b"))


@given(st.lists(FRAMES, max_size=12), SIZES)
@example([Data(1, bytes(5000)), Ping(1), Data(1, bytes(5000))], [7])
@example([Data(1, b""), Data(1, b""), Data(1, b"")], [8])
def test_any_pieces_give_the_same_frames(frames: list[Frame], sizes: list[int]) -> None:
    writer, reader, got = FrameWriter(), FrameReader(), []
    for piece in cut_up(b"".join(writer.encode(frame) for frame in frames), sizes):
        shared = bytearray(piece)
        got += reader.feed(memoryview(shared))
        shared[:] = b"\xee" * len(shared)  # what was fed may be reused
    assert got == frames
    assert reader.held == 0


def outcome(data: bytes, sizes: list[int]) -> tuple[list[Frame], str]:
    reader, got = FrameReader(max_frame=2000, max_headers=500), []
    try:
        for piece in cut_up(data, sizes):
            for frame in reader.feed(piece):
                got.append(frame)
            assert reader.held < 2000 + 8
    except SpdyError as e:
        return got, str(e)
    return got, ""


@given(st.binary(max_size=4000), SIZES)
def test_arbitrary_bytes_raise_nothing_else_and_are_not_hoarded(data: bytes, sizes: list[int]) -> None:
    assert outcome(data, sizes) == outcome(data, [len(data) + 1])


@given(st.lists(FRAMES, min_size=1, max_size=8), st.data(), SIZES)
def test_frames_with_some_bytes_changed(frames: list[Frame], draw: st.DataObject, sizes: list[int]) -> None:
    writer = FrameWriter()
    data = bytearray(b"".join(writer.encode(frame) for frame in frames))
    for _ in range(draw.draw(st.integers(1, 5))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    assert outcome(bytes(data), sizes) == outcome(bytes(data), [len(data)])
