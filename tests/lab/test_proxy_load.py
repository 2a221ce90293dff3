"""``svcdoctor proxy`` under crowds, bursts, slow and vanished clients, without descriptors, and byte by byte."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from proxy_lab import Proxy, ProxyLab, ended, proxied
from proxy_table import NODE4
from proxy_talk import SERVICE, Talk
from test_lab_network import possible  # noqa: F401 (a fixture)

CROWD = int(os.environ.get("SVCDOCTOR_CROWD", "10000"))
TRANSFER = int(os.environ.get("SVCDOCTOR_TRANSFER_MIB", "256")) << 20
"""Bytes each way in each IP family; by hand: SVCDOCTOR_TRANSFER_MIB=10240."""

STREAMS = 4
CUT = f"""
table ip cut {{
  chain out {{
    type filter hook output priority 0;
    ip daddr {NODE4} drop
  }}
}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = ProxyLab(tmp_path_factory.mktemp("lab"), "nftables")
    try:
        made("break", "RUL001")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def talk(lab):
    return Talk(lab)


def test_ten_thousand_at_once(lab, talk):
    """They come two thousand at a time."""
    with proxied(lab, SERVICE, "--nodeport") as proxy:
        idle = memory(proxy)
        crowd = talk.crowd(CROWD)
        crowd.come()
        came, more = crowd.seconds, memory(proxy) - idle
        assert crowd.do("talk") == {}
        print(
            f"{CROWD} connections in {came:.1f} s, all talk in {crowd.seconds:.1f} s, "
            f"{len(proxy.workers)} workers, {more / CROWD * 1000 / 2**20:.2f} MiB per 1,000"
        )
        assert more / CROWD < 8192, "bytes"
        assert crowd.do("close") == {}


def test_no_descriptors_are_left(lab, talk):
    """Those that are in go on; the others wait until some have left, and nothing ends."""
    limit = ("prlimit", "--nofile=500:500")
    with proxied(lab, SERVICE, "--nodeport", "--workers", "2", before=limit) as proxy:
        workers = proxy.workers
        early = talk.crowd(160)
        early.come()
        late = talk.crowd(180)
        time.sleep(0.5)
        assert early.do("talk") == {}
        early.do("close")
        late.come()
        assert late.do("talk") == {}
        assert proxy.workers == workers
        late.do("close")
        assert talk.crowd(20).come()
        print(f"500 descriptors a worker: {160 + 180} connections, 0 failed")


def test_slow_clients_are_in_nobodys_way(lab, talk):
    with proxied(lab, SERVICE, "--nodeport"):
        slow = talk.crowd(500)
        slow.come()
        for _ in range(3):
            slow.told("drip")
            others = talk.crowd(40)
            others.come()
            assert others.do("talk") == {}
            assert slow.done() == {}
            assert others.seconds < 2
        print(f"slow clients: 500 drip, 40 others answered in {others.seconds * 1000:.0f} ms")


def test_peers_that_vanish(lab, talk):
    """Their connections are left over, and are in nobody's way; the end waits no longer for them than it may."""
    proxy = Proxy(lab, SERVICE, "--nodeport", "--drain-timeout", "2s").serving()
    try:
        gone = talk.crowd(100)
        gone.come()
        lab.run("client", "nft", CUT)
        ended(gone.program)
        others = talk.crowd(40, family=6)
        others.come()
        assert others.do("talk") == {}
        others.do("close")
        begun = time.monotonic()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        took = time.monotonic() - begun
        assert 1.5 < took < 6
        print(f"half-open peers: 100, ended after {took:.1f} s")
    finally:
        proxy.end()
        lab.run("client", "nft", "delete table ip cut")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("what", ["give", "take"])
def test_every_byte_arrives(lab, talk, what, family):
    """``take`` is answered a second after the client's end of writing: half-close."""
    with proxied(lab, SERVICE, "--nodeport"):
        said = talk.transfer(what, TRANSFER // STREAMS, STREAMS, family)
    print(
        f"{what} v{family}: {TRANSFER >> 20} MiB in {said['seconds']:.1f} s, {said['right']} of {STREAMS} right"
    )
    assert said["right"] == STREAMS, said


def test_half_closed_connections_are_answered(lab, talk):
    """The clients have shut down writing; what they asked for comes a second later."""
    with proxied(lab, SERVICE, "--nodeport"):
        said = talk.transfer("take", 10_000, 100)
    print(f"half-close: {said['right']} of 100 answered")
    assert said["right"] == 100, said


def memory(proxy: Proxy) -> int:
    """Bytes of the workers that are their own."""
    found = 0
    for pid in proxy.workers:
        with Path(f"/proc/{pid}/smaps_rollup").open() as file:
            found += sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
    return found * 1024
