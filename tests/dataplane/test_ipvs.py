"""kube-proxy's ipvs mode from recorded dumps: this kernel has no IPVS."""

from ipaddress import ip_address

import pytest

from svcdoctor.dataplane.hooks import Fate, Node
from svcdoctor.dataplane.ipvs import Ipvs
from svcdoctor.dataplane.packet import endpoint_text, packet
from svcdoctor.dataplane.routing import PlainRouter
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.ipvs import read_ipvs

SAVED = b"""\
-A -t 10.96.0.1:443 -s rr
-a -t 10.96.0.1:443 -r 172.30.0.1:6443 -m -w 1
-A -t 172.30.0.11:30080 -s wrr -p 10800
-a -t 172.30.0.11:30080 -r 10.244.1.6:8080 -m -w 1
-a -t 172.30.0.11:30080 -r 10.244.2.2:8080 -m -w 3
-a -t 172.30.0.11:30080 -r 10.244.3.9:8080 -m -w 0
-A -u 10.96.0.10:53 -s rr
-A -t [fd00:10:96::1]:443 -s rr
-a -t [fd00:10:96::1]:443 -r [fd00:172:30::1]:6443 -m -w 1
-A -f 7 -s rr
-a -f 7 -r 10.244.1.6:0 -m -w 1
"""
LISTED = b"""\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.1:443 rr
  -> 172.30.0.1:6443              Masq    1      3          0
TCP  172.30.0.11:30080 wrr persistent 10800
  -> 10.244.1.6:8080              Masq    1      0          0
  -> 10.244.2.2:8080              Masq    3      0          0
  -> 10.244.3.9:8080              Masq    0      0          0
UDP  10.96.0.10:53 rr
TCP  [fd00:10:96::1]:443 rr
  -> [fd00:172:30::1]:6443        Masq    1      0          0
FWM  7 rr
  -> 10.244.1.6:0                 Masq    1      0          0
"""
NODE = ("172.30.0.11", "fd00:172:30::11")


def test_both_forms_of_the_dump_mean_the_same():
    assert read_ipvs(SAVED, "saved") == read_ipvs(LISTED, "listed")
    assert read_ipvs(SAVED, "saved")[1].persistent == 10800


def outcomes(src, dst, port, proto="tcp"):
    ipvs = Ipvs(read_ipvs(SAVED, "dump"))
    local = [str(ip_address(a)) for _, a in ipvs.addresses]
    node = Node([], PlainRouter([*NODE, *local]), ipvs)
    live = packet(src, dst, port, proto)
    return node.send(live) if src in NODE else node.receive(live)


@pytest.mark.parametrize(
    ("src", "dst", "port", "proto", "expected"),
    [
        ("192.0.2.1", "10.96.0.1", 443, "tcp", {"172.30.0.1:6443": 1.0}),
        ("172.30.0.11", "10.96.0.1", 443, "tcp", {"172.30.0.1:6443": 1.0}),
        ("192.0.2.1", "172.30.0.11", 30080, "tcp", {"10.244.1.6:8080": 0.25, "10.244.2.2:8080": 0.75}),
        ("2001:db8::1", "fd00:10:96::1", 443, "tcp", {"[fd00:172:30::1]:6443": 1.0}),
    ],
)
def test_a_virtual_server_shares_by_weight(src, dst, port, proto, expected):
    found = outcomes(src, dst, port, proto)
    assert {o.fate for o in found} == {Fate.FORWARDED}
    assert {
        endpoint_text(o.packet.family, o.packet.dst, o.packet.dport): o.packet.probability for o in found
    } == pytest.approx(expected)


def test_a_virtual_server_without_real_ones_rejects():
    [outcome] = outcomes("192.0.2.1", "10.96.0.10", 53, "udp")
    assert outcome.fate is Fate.REJECTED and "no real server" in outcome.reason


def test_what_is_no_virtual_server_is_left_alone():
    [outcome] = outcomes("192.0.2.1", "172.30.0.11", 22)
    assert outcome.fate is Fate.LOCAL and not outcome.translated


@pytest.mark.parametrize("dump", [SAVED, LISTED])
def test_a_dump_that_ends_within_a_line_is_refused(dump):
    with pytest.raises(SvcdoctorError, match=r"middle of a line|not a line of ipvsadm"):
        read_ipvs(dump[:-1], "dump")


@pytest.mark.parametrize("line", ["-a -t 10.0.0.1:80 -r x", "nonsense", "-A -z 1"])
def test_a_line_that_is_none_is_named(line):
    with pytest.raises(SvcdoctorError, match="dump line 1: not a line of ipvsadm"):
        read_ipvs(line.encode(), "dump")
