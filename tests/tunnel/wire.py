"""The recorded sessions of fixtures/wire, and frames as Hypothesis draws them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

from hypothesis import strategies as st

from svcdoctor.tunnel import spdy
from svcdoctor.tunnel.spdy import Frame, FrameReader

WIRE = Path(__file__).parents[2] / "fixtures" / "wire"


def recorded(name: str) -> dict[str, tuple[str, list[bytes]]]:
    """By direction: the head of HTTP, and the bytes after it in the pieces in which they came."""
    pieces: dict[str, list[bytes]] = {"client": [], "server": []}
    for line in (WIRE / f"{name}.jsonl").read_text().splitlines():
        entry = json.loads(line)
        pieces[entry["dir"]].append(base64.b64decode(entry["data"]))
    found = {}
    for direction, (first, *rest) in pieces.items():
        head, _, body = first.partition(b"\r\n\r\n")
        found[direction] = (head.decode(), [piece for piece in (body, *rest) if piece])
    return found


def frames_of(*pieces: bytes) -> list[Frame]:
    reader = FrameReader()
    return [frame for piece in pieces for frame in reader.feed(piece)]


def cut_up(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, over and over."""
    at, turn = 0, 0
    while at < len(data):
        yield data[at : (at := at + sizes[turn % len(sizes)])]
        turn += 1


U32 = st.integers(0, 0xFFFFFFFF)
STREAM = st.integers(0, spdy.MAX_STREAM)
LATIN = st.text(st.characters(max_codepoint=255), max_size=20)
HEADERS = st.dictionaries(
    LATIN.map(str.lower).filter(lambda name: name and name == name.lower() and max(name) < "\u0100"),
    LATIN,
    max_size=5,
).map(lambda pairs: tuple(pairs.items()))
FRAMES = st.one_of(
    st.builds(
        spdy.SynStream,
        STREAM,
        HEADERS,
        st.booleans(),
        st.booleans(),
        STREAM,
        st.integers(0, 7),
        st.integers(0, 255),
    ),
    st.builds(spdy.SynReply, STREAM, HEADERS, st.booleans()),
    st.builds(spdy.Headers, STREAM, HEADERS, st.booleans()),
    st.builds(spdy.RstStream, STREAM, U32),
    st.builds(
        spdy.Settings,
        st.lists(st.tuples(st.integers(0, 255), st.integers(0, 0xFFFFFF), U32), max_size=4).map(tuple),
        st.booleans(),
    ),
    st.builds(spdy.Ping, U32),
    st.builds(spdy.GoAway, STREAM, U32),
    st.builds(spdy.WindowUpdate, STREAM, U32),
    st.builds(
        spdy.Unknown,
        st.integers(0, 0xFFFF).filter(lambda kind: kind not in {*spdy.Kind}),
        st.integers(0, 255),
        st.binary(max_size=40),
    ),
    st.builds(spdy.Data, STREAM, st.binary(max_size=300), st.booleans()),
)
SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=8)
