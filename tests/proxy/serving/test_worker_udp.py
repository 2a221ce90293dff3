"""A worker's UDP: flows, errors, other endpoints, answers from the right address, and the end of a socket."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from working import (
    PATIENCE,
    Answering,
    WorkerProcess,
    address,
    free_port,
    lines,
    missing,
    root,
    served,
    until,
)

from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort
from svcdoctor.proxy.serving.wire import Drain

Start = Callable[..., WorkerProcess]
Serve = Callable[[Any], Any]
UDP = socket.SOCK_DGRAM


@pytest.fixture
def workers(lent: Start) -> Start:
    return lent


def client_of(port: ServedPort, source: str = "") -> socket.socket:
    """A socket that is connected to it, so that it hears errors."""
    sock = socket.socket(socket.AF_INET6 if ":" in port.listens[0].ip else socket.AF_INET, UDP)
    sock.settimeout(PATIENCE)
    if source:
        sock.bind((source, 0))
    sock.connect(address(port))
    return sock


def ask(port: ServedPort, said: bytes = b"hello", source: str = "") -> str:
    """Which server answered."""
    with client_of(port, source) as sock:
        sock.send(said)
        name, _, echoed = sock.recv(70000).partition(b" ")
        assert echoed == said
        return name.decode()


def dead(host: str) -> Backend:
    return Backend(host, free_port(host, UDP), "default/dead", "node")


def test_a_flow_keeps_its_endpoint_and_flows_are_balanced(workers: Start, servers: Serve, host: str) -> None:
    made = [servers(Answering(name, host)) for name in "ab"]
    port = served(*(s.backend for s in made), host=host, protocol="UDP", balance=BalancerPolicy.ROUND_ROBIN)
    worker = workers()
    worker.control.put(port)
    socks = [client_of(port) for _ in range(4)]
    for turn in range(5):
        for number, sock in enumerate(socks):
            sock.send(b"%d of %d" % (turn, number))
            assert sock.recv(100) == b"%s %d of %d" % ((b"a", b"b")[number % 2], turn, number)
    counters = worker.control.counters()
    assert counters.active == 4
    assert {(e.pod, e.connections, e.sent, e.received) for e in counters.ports[0].endpoints} == {
        ("default/a", 2, 60, 80),
        ("default/b", 2, 60, 80),
    }
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("size", [0, 1, 1400, 9000])
def test_datagrams_of_any_size(workers: Start, servers: Serve, host: str, size: int) -> None:
    a = servers(Answering("a", host))
    port = served(a.backend, host=host, protocol="UDP")
    workers().control.put(port)
    assert ask(port, os.urandom(size)) == "a"


def test_an_endpoint_that_refuses_is_left_and_the_datagram_is_not_lost(
    workers: Start, servers: Serve, host: str
) -> None:
    a, gone = servers(Answering("a", host)), dead(host)
    port = served(gone, a.backend, host=host, protocol="UDP", balance=BalancerPolicy.ROUND_ROBIN)
    worker = workers()
    worker.control.put(port)
    began = time.monotonic()
    assert [ask(port, b"%d" % n) for n in range(6)] == ["a"] * 6
    assert time.monotonic() - began < 1
    assert a.heard == [b"%d" % n for n in range(6)]
    counted = worker.control.endpoint(port.key, str(gone))
    assert counted is not None
    assert (counted.failed, counted.active) == (1, 0)


def test_where_all_refuse_the_client_is_told(workers: Start, host: str) -> None:
    if not root():
        missing("ICMP errors take a raw socket, and that root")
    port = served(dead(host), dead(host), host=host, protocol="UDP")
    worker = workers()
    worker.control.put(port)
    for _ in range(2):
        with client_of(port) as sock:
            sock.send(b"hello")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(100)
    assert [e.failed for e in worker.control.port(port.key).endpoints] == [2, 2]


def test_without_endpoints_the_kernel_refuses(workers: Start, servers: Serve, host: str) -> None:
    a = servers(Answering("a", host))
    full = served(a.backend, host=host, protocol="UDP")
    worker = workers()
    worker.control.put(full)
    assert ask(full) == "a"
    worker.control.put(served(host=host, protocol="UDP", listens=full.listens))

    def refused() -> bool:
        with client_of(full) as sock:
            sock.settimeout(0.3)
            sock.send(b"hello")
            try:
                sock.recv(100)
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                return False
            return False

    until(refused, 8)  # answers that were on their way were waited for


def test_flows_to_an_endpoint_that_is_gone_go_to_another(workers: Start, servers: Serve, host: str) -> None:
    a, b = servers(Answering("a", host)), servers(Answering("b", host))
    old = served(a.backend, host=host, protocol="UDP")
    worker = workers()
    worker.control.put(old)
    with client_of(old) as sock:
        sock.send(b"one")
        assert sock.recv(100) == b"a one"
        worker.control.put(served(b.backend, host=host, protocol="UDP", listens=old.listens))
        sock.send(b"two")
        assert sock.recv(100) == b"b two"


def test_an_endpoint_that_dies_is_left_by_its_flows(workers: Start, servers: Serve) -> None:
    a, b = Answering("a"), servers(Answering("b"))
    port = served(a.backend, b.backend, protocol="UDP", balance=BalancerPolicy.ROUND_ROBIN)
    workers().control.put(port)
    with client_of(port) as sock:
        sock.send(b"one")
        assert sock.recv(100) == b"a one"
        a.close()
        sock.settimeout(0.3)
        heard = []
        for number in range(5):
            try:
                sock.send(b"%d" % number)
                heard.append(sock.recv(100))
            except OSError as e:
                assert isinstance(e, TimeoutError) or e.errno == errno.ECONNREFUSED
        assert heard[-1] == b"b 4"
        assert len(heard) >= 3


def test_affinity_and_source_ranges(workers: Start, servers: Serve, tmp_path: Path) -> None:
    made = [servers(Answering(name)) for name in "abc"]
    listens = (Listen("127.0.0.1", free_port("127.0.0.1", UDP), "loadBalancer"),)
    port = served(
        *(s.backend for s in made),
        protocol="UDP",
        listens=listens,
        affinity_seconds=100,
        sources=("127.1.0.0/16",),
    )
    worker = workers(access_log=str(tmp_path / "log"))
    worker.control.put(port)
    seen = {f"127.1.0.{n}": {ask(port, source=f"127.1.0.{n}") for _ in range(4)} for n in range(2, 12)}
    assert all(len(names) == 1 for names in seen.values())
    assert len(set.union(*seen.values())) > 1
    with client_of(port, "127.2.0.1") as sock:
        sock.settimeout(0.3)
        sock.send(b"hello")
        with pytest.raises(TimeoutError):  # as by kube-proxy's rules, which drop it
            sock.recv(100)
    assert worker.control.port(port.key).forbidden == 1
    until(
        lambda: [line for line in lines(tmp_path / "log") if line["error"] == "not within the source ranges"]
    )


def test_an_endpoint_has_no_more_flows_than_its_limit(workers: Start, servers: Serve) -> None:
    a = servers(Answering("a"))
    port = served(a.backend, protocol="UDP", limit=2)
    worker = workers()
    worker.control.put(port)
    held = [client_of(port) for _ in range(3)]
    for sock in held:
        sock.settimeout(0.3)
        sock.send(b"hello")
    answers = []
    for sock in held:
        try:
            answers.append(sock.recv(100))
        except OSError:
            answers.append(b"")
        sock.close()
    assert Counter(answers) == {b"a hello": 2, b"": 1}
    assert worker.control.port(port.key).limited == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_come_from_the_address_that_was_asked(workers: Start, servers: Serve, host: str) -> None:
    """Of a socket that is bound to all addresses; routing would have taken another one."""
    a = servers(Answering("a", host))
    number = free_port(host, UDP)
    wild = Listen("::" if ":" in host else "0.0.0.0", number, "nodePort")
    port = served(a.backend, host=host, protocol="UDP", listens=(wild,))
    workers().control.put(port)
    asked = [host] if ":" in host else ["127.0.0.1", "127.0.0.2", "127.3.4.5"]
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, UDP) as sock:
        sock.settimeout(PATIENCE)
        for ip in asked:
            sock.sendto(ip.encode(), (ip, number))
            data, sender = sock.recvfrom(100)
            assert (data, sender[:2]) == (b"a " + ip.encode(), (ip, number))


def test_a_socket_that_is_retired_still_answers_and_others_get_what_comes(
    workers: Start, servers: Serve, host: str
) -> None:
    """Two workers share an address; one is drained while an answer is on its way."""

    class Slow(Answering):
        def _serve(self) -> None:
            self.sock.settimeout(0.05)
            while not self.over:
                try:
                    data, client = self.sock.recvfrom(65536)
                except OSError:
                    continue
                self.heard.append(data)
                if data == b"slow":
                    time.sleep(0.7)
                self.sock.sendto(self.name.encode() + b" " + data, client)

    a = servers(Slow("a", host))
    port = served(a.backend, host=host, protocol="UDP")
    old = workers(drain_seconds=5.0)
    old.control.put(port)
    with client_of(port) as sock:
        sock.send(b"slow")
        until(lambda: a.heard == [b"slow"])
        new = workers()
        new.control.put(port)
        old.control.send(Drain())
        assert old.control.counters().draining
        assert sock.recv(100) == b"a slow"
        for number in range(20):
            with client_of(port) as other:
                other.send(b"%d" % number)
                assert other.recv(100) == b"a %d" % number
    assert new.control.counters().active == 20
    assert old.wait() == 0


def test_many_clients_at_once(workers: Start, servers: Serve) -> None:
    a = servers(Answering("a"))
    port = served(a.backend, protocol="UDP")
    worker = workers()
    worker.control.put(port)
    socks = [client_of(port) for _ in range(500)]
    for number, sock in enumerate(socks):
        sock.send(b"%d" % number)
        if number % 50 == 49:  # a server's queue is not endless
            for other in range(number - 49, number + 1):
                assert socks[other].recv(100) == b"a %d" % other
    assert worker.control.counters().active == 500
    for sock in socks:
        sock.close()


def test_the_error_packet_is_as_the_specifications_have_it(namespaces: Any) -> None:
    """What a worker in a namespace sends, heard by a raw socket, and parsed anew."""
    pid = namespaces.add()
    code = (
        "import socket, sys\n"
        "from svcdoctor.proxy.serving.icmp import IcmpErrors\n"
        "v4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n"
        "v6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)\n"
        "errors = IcmpErrors(lambda: 0.0)\n"
        "assert errors.tell(('127.0.0.9', 4242), ('127.0.0.5', 53), 111)\n"
        "assert errors.tell(('::1', 4242), ('::1', 53), 113)\n"
        "assert not errors.tell(('127.0.0.9', 4242), ('127.0.0.5', 53), 5)\n"
        "print(v4.recv(1000).hex()); print(v6.recv(1000).hex())\n"
        "sent = sum(errors.tell(('127.0.0.9', 1), ('127.0.0.5', 53), 111) for _ in range(300))\n"
        "print(sent); errors.close()"
    )
    words = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    four, six, sent = done.stdout.split()
    assert int(sent) < 100
    packet = bytes.fromhex(four)
    assert (packet[9], packet[12:16], packet[16:20]) == (1, bytes([127, 0, 0, 5]), bytes([127, 0, 0, 9]))
    message = packet[20:]
    assert message[:2] == bytes([3, 3])
    assert ones_sum(message) == 0xFFFF
    quoted = message[8:]
    assert (quoted[0], quoted[9]) == (0x45, 17)
    assert ones_sum(quoted[:20]) == 0xFFFF
    assert quoted[12:20] == bytes([127, 0, 0, 9, 127, 0, 0, 5])
    assert struct.unpack("!HH", quoted[20:24]) == (4242, 53)
    message = bytes.fromhex(six)
    assert message[:2] == bytes([1, 3])
    quoted = message[8:]
    assert (quoted[0] >> 4, quoted[6]) == (6, 17)
    assert quoted[8:40] == 2 * (bytes(15) + b"\1")
    assert struct.unpack("!HH", quoted[40:44]) == (4242, 53)


def ones_sum(data: bytes) -> int:
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] << 8 | data[at + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return total
