"""/proc/net's files as real nodes have them, and against the kernel's own answer through ip and ss."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from svcdoctor.model.nodefacts import Listener
from svcdoctor.node.facts import addresses
from svcdoctor.node.procnet import listening, local_addresses

FIB_TRIE = b"""Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 172.30.0.0/24 2 0 2
        |-- 172.30.0.0
           /24 link UNICAST
        |-- 172.30.0.11
           /32 host LOCAL
        |-- 172.30.0.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 172.30.0.11
        /32 host LOCAL
"""
IF_INET6 = b"""00000000000000000000000000000001 01 80 10 80       lo
fd000172003000000000000000000011 02 40 00 80     eth0
"""
TCP = b"""  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2748 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1 0 100 0 0 10 0
   1: 00000000:7D00 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0
   2: 0B001EAC:A970 01001EAC:192B 01 00000000:00000000 00:00000000 00000000     0        0 23 1 0 100 0 0 10 0
"""
TCP6 = b"""  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:280A 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0
   1: 720100FD000030000000000011000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0
"""
UDP = b"""   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref
  512: 0A00600A:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 24 2 0 0
"""


def test_addresses() -> None:
    assert local_addresses(FIB_TRIE, IF_INET6) == ("172.30.0.11", "127.0.0.1", "::1", "fd00:172:30::11")
    assert local_addresses(b"", b"no such thing\n") == ()


def test_sockets() -> None:
    assert listening("TCP", TCP) == (Listener("TCP", "127.0.0.1", 10056), Listener("TCP", "0.0.0.0", 32000))
    assert listening("TCP", TCP6) == (
        Listener("TCP", "::", 10250),
        Listener("TCP", "fd00:172:30::11", 8080),
    )
    assert listening("UDP", UDP) == (Listener("UDP", "10.96.0.10", 53),)
    assert listening("UDP", TCP) == ()


@pytest.mark.skipif(not Path("/proc/net/fib_trie").exists(), reason="needs Linux with IPv4 routing tables")
def test_as_this_machine_says_it() -> None:
    def data(name: str) -> bytes:
        path = Path("/proc/net", name)
        return path.read_bytes() if path.exists() else b""

    with socket.socket() as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        one.bind(("127.0.0.1", 0))
        one.listen()
        other.bind(("127.0.0.1", 0))
        assert Listener("TCP", *one.getsockname()) in listening("TCP", data("tcp"))
        assert Listener("UDP", *other.getsockname()) in listening("UDP", data("udp"))
    if shutil.which("ip") is None:
        pytest.skip("needs ip to compare with")
    told = subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True).stdout
    assert json.loads(told)
    assert set(local_addresses(data("fib_trie"), data("if_inet6"))) == set(addresses(told, "ip -j addr"))
