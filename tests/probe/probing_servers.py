"""Real servers for probes on loopback: each does one thing, well or badly."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE = 20.0
RESET = struct.pack("ii", 1, 0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nweb-0\n"

Serve = Callable[[socket.socket], None]


class Server:
    """Answers each connection on a thread, until the end of the block."""

    patience = PATIENCE  # seconds with one client

    def __init__(self, serve: Serve, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.serve = serve
        self.context = context
        self.accepted = 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listening = socket.create_server((host, 0), family=family, backlog=512)
        self.port: int = self.listening.getsockname()[1]
        self.over = threading.Event()
        self.threads: list[threading.Thread] = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Server:
        self.threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.threads[0].join(PATIENCE)
        self.listening.close()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            self.accepted += 1
            self.threads.append(threading.Thread(target=self._answer, args=(sock,)))
            self.threads[-1].start()

    def _answer(self, sock: socket.socket) -> None:
        sock.settimeout(self.patience)
        with sock, contextlib.suppress(OSError):  # clients may leave at any time
            if self.context is None:
                self.serve(sock)
                return
            with self.context.wrap_socket(sock, server_side=True) as secured:
                self.serve(secured)


def page(sock: socket.socket) -> None:
    """A page that is the hostname."""
    request(sock)
    sock.sendall(OK)


def request(sock: socket.socket) -> bytes:
    """The head of a request, and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")]
    while lengths and len(body) < lengths[0]:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def said(data: bytes, *, first: bool = False) -> Serve:
    """Says this and closes; to a request, or at once."""

    def serve(sock: socket.socket) -> None:
        if not first:
            sock.recv(65536)
        sock.sendall(data)

    return serve


def closes(sock: socket.socket) -> None:
    sock.recv(65536)


def resets(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def resets_in_the_middle(sock: socket.socket) -> None:
    request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf")
    time.sleep(0.1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def silent(sock: socket.socket) -> None:
    """Takes everything and says nothing."""
    while sock.recv(65536):
        pass


def endless(sock: socket.socket) -> None:
    """A body without an end."""
    request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        sock.sendall(b"web-0\n" * 10_000)


def endless_head(sock: socket.socket) -> None:
    request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        sock.sendall(b"X-More: more\r\n" * 1000)


def drips(sock: socket.socket) -> None:
    """A byte at a time, for ever."""
    request(sock)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        sock.sendall(b"w")
        time.sleep(0.1)


def health(status: int | None, code: int = 0) -> Serve:
    """gRPC's health service; without a status there is only gRPC's code."""

    def serve(sock: socket.socket) -> None:
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        peer.initiate_connection()
        sock.sendall(peer.data_to_send())
        while data := sock.recv(65536):
            try:
                events = peer.receive_data(data)
            except h2.exceptions.ProtocolError:
                return
            for event in events:
                if not isinstance(event, h2.events.StreamEnded):
                    continue
                stream = event.stream_id
                assert stream is not None
                peer.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
                if status is not None:
                    message = bytes((8, status)) if status else b""
                    peer.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message)
                peer.send_headers(stream, [("grpc-status", str(code))], end_stream=True)
            sock.sendall(peer.data_to_send())

    return serve


@contextlib.contextmanager
def datagrams(answer: bytes | None, host: str = "127.0.0.1") -> Iterator[int]:
    """A UDP server; without an answer it takes datagrams and says nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(0.05)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                _, peer = sock.recvfrom(65536)
                if answer is not None:
                    sock.sendto(answer, peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        over.set()
        thread.join(PATIENCE)
        sock.close()


# --- certificates


@dataclass(frozen=True)
class Issued:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


def issue(
    name: str,
    *names: str,
    by: Issued | None = None,
    authority: bool = False,
    days: tuple[float, float] = (-1, 1),
) -> Issued:
    """A certificate for names and addresses, valid between so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general(n) for n in names]), critical=False
        )
    return Issued(builder.sign(by.key if by else key, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def write(folder: Path, issued: Issued, *chain: Issued) -> tuple[Path, Path]:
    """Files of a chain and its key."""
    pem = serialization.Encoding.PEM
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(b"".join(one.certificate.public_bytes(pem) for one in (issued, *chain)))
    key.write_bytes(
        issued.key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key


def server_context(folder: Path, issued: Issued, *chain: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*write(folder, issued, *chain))
    return context
