"""Real sessions of kubectl, an API server and containerd, through every layer that reads or writes them.

Header blocks are compared inflated: Go's compressor chooses other matches than zlib, so the same headers have
other bytes (the client's are mostly equal, by chance). All else must be written exactly as it was.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
from websockets.frames import Opcode
from websockets.protocol import Side
from websockets.utils import accept_key
from wire import frames_of, recorded

from svcdoctor.tunnel import events, spdy
from svcdoctor.tunnel.channels import ChannelClient, ChannelServer
from svcdoctor.tunnel.failures import Reason
from svcdoctor.tunnel.forwardserver import ForwardServer
from svcdoctor.tunnel.portforward import ForwardClient
from svcdoctor.tunnel.spdy import FrameWriter
from svcdoctor.tunnel.websocket import WebSocket

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
ANSWER = b"web-6bdc9b754-479h4\n"


def spdy_bytes(name: str, direction: str) -> bytes:
    """The SPDY frames of a direction, out of the WebSocket where there is one."""
    head, pieces = recorded(name)[direction]
    if "websocket" not in head:
        return b"".join(pieces)
    peer = WebSocket(Side.SERVER if direction == "client" else Side.CLIENT)
    messages = [message for piece in pieces for message in peer.receive(piece)]
    assert peer.error is None
    return b"".join(message.data for message in messages if message.opcode is Opcode.BINARY)


SPDY = ["port-forward.spdy", "port-forward.websocket-tunnel"]


@pytest.mark.parametrize("direction", ["client", "server"])
@pytest.mark.parametrize("name", SPDY)
def test_what_was_read_is_written_again(name: str, direction: str) -> None:
    data = spdy_bytes(name, direction)
    writer, at, kinds = FrameWriter(), 0, []
    for frame in frames_of(data):
        size = 8 + int.from_bytes(data[at + 5 : at + 8], "big")
        original, written = data[at : at + size], writer.encode(frame)
        at += size
        if isinstance(frame, spdy.SynStream | spdy.SynReply):
            start = 18 if isinstance(frame, spdy.SynStream) else 12
            assert (written[:5], written[8:start]) == (original[:5], original[8:start])
        else:
            assert written == original
        kinds.append(type(frame).__name__)
    assert at == len(data)
    again = FrameWriter()
    assert frames_of(*(again.encode(frame) for frame in frames_of(data))) == frames_of(data)
    assert {*kinds} >= {"SynStream" if direction == "client" else "SynReply", "Data", "RstStream"}


def forwards(name: str) -> list[tuple[int, int, int]]:
    """Port, error stream and data stream of kubectl's forwards, in the order of their requestid."""
    found: dict[int, dict[str, int]] = {}
    for frame in frames_of(spdy_bytes(name, "client")):
        if isinstance(frame, spdy.SynStream):
            headers = dict(frame.headers)
            forward = found.setdefault(int(headers["requestid"]), {"port": int(headers["port"])})
            forward[headers["streamtype"]] = frame.stream
    return [(f["port"], f["error"], f["data"]) for _, f in sorted(found.items())]


@pytest.mark.parametrize("name", SPDY)
def test_a_server_reads_the_client(name: str) -> None:
    server = ForwardServer()
    got = server.receive(spdy_bytes(name, "client"))
    local = {8080: 18080, 9090: 18082, 7: 18081}
    assert len(forwards(name)) == 5
    for port, _, handle in forwards(name):
        mine = [event for event in got if getattr(event, "handle", None) == handle]
        end = events.Reset(handle) if port == 7 else events.RemoteEnd(handle)
        assert mine == [events.Opened(handle, port), events.Data(handle, GET % local[port]), end]
    others = [event for event in got if not hasattr(event, "handle")]
    assert others == [events.GoingAway()]
    replies = [frame for frame in frames_of(server.outgoing()) if isinstance(frame, spdy.SynReply)]
    assert [reply.stream for reply in replies] == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]


@pytest.mark.parametrize("name", SPDY)
def test_a_client_reads_the_server(name: str) -> None:
    client, got, ours = ForwardClient(), [], {}
    for port, error, data in forwards(name):
        # kubectl began two forwards at the same time and mixed their streams; here one is begun after the other.
        handle = client.open(port)
        ours |= {error: handle - 2, data: handle}
    writer = FrameWriter()
    for frame in frames_of(spdy_bytes(name, "server")):
        assert isinstance(frame, spdy.SynReply | spdy.Data | spdy.RstStream)
        got += client.receive(writer.encode(replace(frame, stream=ours[frame.stream])))
    for port, _, data in forwards(name):
        handle = ours[data]
        first, second, *more = [event for event in got if getattr(event, "handle", None) == handle]
        assert (first, more) == (events.Opened(handle, port), [])
        if port == 7:
            assert isinstance(second, events.DialFailed)
            assert (second.port, second.reason) == (7, Reason.REFUSED)
            assert second.text.startswith("error forwarding port 7 to pod ")
            assert "dial tcp4 127.0.0.1:7: connect: connection refused" in second.text
        else:
            assert isinstance(second, events.Data)
            assert second.data.endswith(ANSWER)
    assert client.live == 4
    *resets, ended = client.receive_end()
    assert resets == [events.Reset(ours[data]) for port, _, data in forwards(name) if port != 7]
    assert ended == events.Ended(None)


def test_channels_between_a_client_library_and_the_server() -> None:
    session = recorded("port-forward.v4-channel")
    key = session["client"][0].split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
    assert f"Sec-WebSocket-Accept: {accept_key(key)}" in session["server"][0]

    client = ChannelClient((8080, 7))
    got = list(chain.from_iterable(client.receive(piece) for piece in session["server"][1]))
    assert got[:2] == [events.Opened(0, 8080), events.Opened(1, 7)]
    assert isinstance(got[2], events.DialFailed)
    assert (got[2].handle, got[2].port, got[2].reason) == (1, 7, Reason.REFUSED)
    assert isinstance(got[3], events.Data)
    assert got[3].handle == 0
    assert got[3].data.endswith(ANSWER)
    assert got[4:] == [events.RemoteEnd(0), events.Ended(None)]

    server = ChannelServer((8080, 7))
    assert b"".join(session["server"][1]).startswith(server.outgoing())
    got = list(chain.from_iterable(server.receive(piece) for piece in session["client"][1]))
    assert got == [events.Data(0, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")]


def test_our_server_writes_on_channels_what_the_real_one_wrote() -> None:
    pieces = recorded("port-forward.v4-channel")["server"][1]
    client, server = ChannelClient((8080, 7)), ChannelServer((8080, 7))
    for event in chain.from_iterable(client.receive(piece) for piece in pieces):
        if isinstance(event, events.DialFailed):
            server.fail(event.handle, event.text)
        elif isinstance(event, events.Data):
            server.send(event.handle, event.data)
        elif isinstance(event, events.Ended):
            server.close()
    assert server.outgoing() == b"".join(pieces)


def test_exec_uses_the_same_framing() -> None:
    peer = WebSocket(Side.CLIENT)
    pieces = recorded("exec.v5-channel")["server"][1]
    messages = [message for piece in pieces for message in peer.receive(piece)]
    assert [(m.opcode, m.data[:1]) for m in messages] == [
        (Opcode.BINARY, b"\x01"),
        (Opcode.BINARY, b"\x01"),
        (Opcode.BINARY, b"\x03"),
        (Opcode.CLOSE, b"\x03"),
    ]
    assert peer.error is None
