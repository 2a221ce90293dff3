"""Frames made by scapy and how tests put them into files and into the joiner."""

import os
import shutil
import struct

import pytest
from scapy.config import conf
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from svcdoctor.capture.captured import Capture, Window, frames_of
from svcdoctor.capture.doors import Door, Doors, Role
from svcdoctor.capture.joiner import Joiner

conf.verb = 0

# With both addresses said scapy asks nobody for them; without it would send ARP.
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}

SECOND = 1_000_000_000
CLIENT, NODE, MASQUERADED, POD = "192.0.2.7", "10.1.0.4", "10.244.1.1", "10.244.1.45"
NODE_PORT, TARGET_PORT = 31372, 8080
DOORS = Doors(
    (
        Door(NODE, NODE_PORT, "TCP", Role.NODE_PORT),
        Door(NODE, NODE_PORT, "UDP", Role.NODE_PORT),
        Door(POD, TARGET_PORT, "TCP", Role.ENDPOINT),
        Door(POD, TARGET_PORT, "UDP", Role.ENDPOINT),
    ),
    {NODE: "node node1", POD: "pod web-1"},
)
ETH0, CNI0 = 2, 3
IN, OUT = 2, 1


class Fed:
    """A joiner, what it told, and a clock."""

    def __init__(self, doors=DOORS, **options):
        self.news = []
        self.joiner = Joiner(doors, self.news.append, **options)
        self.now = 1_700_000_000 * SECOND

    def frame(self, packet, interface=ETH0, way=IN, after=10_000, link=1):
        """One frame, so many nanoseconds after the last one."""
        self.now += after
        data = bytes(Ether(**MACS) / packet) if link == 1 else bytes(packet)
        return self.joiner.take(data, 0, len(data), len(data), self.now, interface, way, link)

    def through(self, packet, translated, **options):
        """A packet that comes in by eth0 and leaves by cni0 in another form."""
        self.frame(packet, ETH0, IN, **options)
        self.frame(translated, CNI0, OUT)

    def finish(self):
        """All connections, in the order in which they were told."""
        self.joiner.table.finish()
        return [n.connection for n in self.news if n.kind == "connection"]


def tcp(source, destination, flags, seq, ack=0, data=b"", sport=40000, dport=NODE_PORT, ident=7, **options):
    """A TCP segment over the IP version of its addresses."""
    ip = IPv6(src=source, dst=destination) if ":" in source else IP(src=source, dst=destination, id=ident)
    return ip / TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack, **options) / data


def ends(leg):
    return leg.source, leg.destination


def pcap(frames, order="<", nano=False, link=1, times=None):
    """A pcap file of these frames, a millisecond apart."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    made = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)]
    for i, frame in enumerate(frames):
        at = times[i] if times else 1_700_000_000 * SECOND + i * 1_000_000
        fraction = at % SECOND if nano else at % SECOND // 1000
        made.append(struct.pack(order + "IIII", at // SECOND, fraction, len(frame), len(frame)) + frame)
    return b"".join(made)


def read(data, chunk=None):
    """The frames of a file, as (bytes, wire, time, interface, way, link), and what was read."""
    at = 0

    def reader(size):
        nonlocal at
        part = data[at : at + min(size, chunk or size)]
        at += len(part)
        return part

    capture = Capture(Window(reader))
    found = [(b[s:e], *rest) for b, s, e, *rest in frames_of(capture, "x.pcap")]
    return found, capture


def needs(*programs):
    """Skip the test, or fail it in CI, where one of the programs is missing."""
    missing = [p for p in programs if shutil.which(p) is None]
    if missing:
        skip_or_fail(f"{', '.join(missing)} not installed")


def skip_or_fail(why):
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
