"""What is done to connections by their descriptors."""

from __future__ import annotations

import ctypes
import errno
import socket
import sys

import pytest
from piping import reset, wait_for

from svcdoctor.proxy.descriptors import end_writing, write_before_end

SAID = b"the last words"


def pair(host: str) -> tuple[socket.socket, socket.socket]:
    with socket.create_server(
        (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
    ) as listening:
        client = socket.create_connection(listening.getsockname()[:2])
        return client, listening.accept()[0]


def test_last_bytes_go_with_the_end(host: str) -> None:
    block = bytearray(SAID)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    client, server = pair(host)
    with client, server:
        assert write_before_end(client.fileno(), address, len(SAID)) == len(SAID)
        if sys.platform == "linux":
            with pytest.raises(BlockingIOError):  # they wait for the end
                server.recv(100, socket.MSG_DONTWAIT)
        end_writing(client.fileno())
        assert server.recv(100) == SAID
        assert server.recv(100) == b""


def test_a_connection_that_is_gone_is_told(host: str) -> None:
    block = bytearray(SAID)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    client, server = pair(host)
    with client:
        reset(server)

        def refused() -> bool:
            try:
                write_before_end(client.fileno(), address, len(SAID))
            except OSError as e:
                return e.errno in (errno.ECONNRESET, errno.EPIPE)
            return False

        wait_for(refused)
