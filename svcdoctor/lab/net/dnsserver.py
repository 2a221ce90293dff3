"""What the lab's DNS servers have in common: queries in, answers out, over UDP and TCP.

An answer of more bytes than the asker takes over UDP (512, or what EDNS says) is truncated there, as RFC 2181 section 9
has it: the asker comes again over TCP.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message

UDP_SIZE = 512

Answer = Callable[[dns.message.Message, bytes], bytes | None]
"""The answer to a query and its bytes; ``None`` for silence."""


class DnsServer:
    """Answers on sockets that somebody else made, each query on a thread of its own."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Serve both until the process ends."""
        for work, sock in ((self._udp, udp), (self._tcp, tcp)):
            threading.Thread(target=work, args=(sock,), name="lab-dns", daemon=True).start()

    def _answered(self, wire: bytes) -> tuple[dns.message.Message, bytes] | None:
        """The query and its answer; ``None`` for what is no query, or is not answered."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return None
        response = self._answer(query, wire)
        return None if response is None else (query, response)

    def _udp(self, sock: socket.socket) -> None:
        while True:
            wire, client = sock.recvfrom(4096)
            threading.Thread(target=self._datagram, args=(sock, wire, client), daemon=True).start()

    def _datagram(self, sock: socket.socket, wire: bytes, client: tuple[str, int]) -> None:
        answered = self._answered(wire)
        if answered is None:
            return
        query, response = answered
        if len(response) > max(query.payload, UDP_SIZE):
            cut = dns.message.make_response(query)
            cut.flags = dns.flags.TC | int.from_bytes(response[2:4])  # glibc drops it without AA and RA
            response = cut.to_wire()
        with contextlib.suppress(OSError):
            sock.sendto(response, client)

    def _tcp(self, sock: socket.socket) -> None:
        while True:
            connection, _ = sock.accept()
            threading.Thread(target=self._stream, args=(connection,), daemon=True).start()

    def _stream(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            while True:  # glibc sends both of its queries over one connection
                answered = self._answered(message_from(connection))
                if answered is not None:
                    connection.sendall(len(answered[1]).to_bytes(2) + answered[1])


def message_from(connection: socket.socket) -> bytes:
    """One message of a TCP connection. Raises OSError."""
    return _exactly(connection, int.from_bytes(_exactly(connection, 2)))


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data
