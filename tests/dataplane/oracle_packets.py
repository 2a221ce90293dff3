"""The addresses, ports and packets that generated rules are about. Rules and packets draw from the same few."""

from __future__ import annotations

from hypothesis import strategies as st
from oracle_wire import ACK, FIN, SYN, Sent

# The node's own addresses, its peers by the interface that they are behind, and addresses that nobody has.
OWN = {
    4: ("192.0.2.1", "192.0.2.2", "198.51.100.1", "10.244.1.1", "127.0.0.1", "127.0.0.2"),
    6: ("2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1", "fd00:244:1::1", "::1"),
}
PEERS = {
    4: {
        "eth0": ("192.0.2.10", "192.0.2.11", "203.0.113.5"),
        "eth1": ("198.51.100.10", "10.244.2.10"),
        "cni0": ("10.244.1.10", "10.244.1.11", "10.244.1.12"),
    },
    6: {
        "eth0": ("2001:db8:1::10", "2001:db8:1::11", "2001:db8:99::5"),
        "eth1": ("2001:db8:2::10", "fd00:244:2::10"),
        "cni0": ("fd00:244:1::10", "fd00:244:1::11", "fd00:244:1::12"),
    },
}
SERVICES = {4: ("10.96.0.1", "10.96.0.10", "10.96.1.10"), 6: ("fd00:96::1", "fd00:96::10", "fd00:96::1:10")}
NOWHERE = {4: ("10.66.0.1", "10.67.0.1"), 6: ("fd00:66::1", "fd00:67::1")}
NETWORKS = {
    4: ("192.0.2.0/24", "198.51.100.0/24", "10.244.0.0/16", "10.244.1.0/24", "10.96.0.0/16", "10.96.0.0/28"),
    6: (
        "2001:db8:1::/64",
        "2001:db8:2::/64",
        "fd00:244::/32",
        "fd00:244:1::/64",
        "fd00:96::/64",
        "fd00:96::/124",
    ),
}
LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
PORTS = (53, 80, 443, 8080, 8081, 30080)
INTERFACES = ("eth0", "eth1", "cni0", "lo")
FAMILIES = (4, 6)


def peers(family: int) -> tuple[str, ...]:
    return tuple(address for addresses in PEERS[family].values() for address in addresses)


TARGETS = {f: (*OWN[f], *peers(f), *SERVICES[f], *SERVICES[f], *NOWHERE[f]) for f in FAMILIES}
# Where NAT may send to. A packet that is sent to ::1 after it came in is routed as nothing else is.
DESTINATIONS = {f: (*peers(f), *(address for address in OWN[f] if address != "::1")) for f in FAMILIES}
SOURCES = {
    f: (*((i, a) for i, addresses in PEERS[f].items() for a in addresses), *(("", a) for a in OWN[f]))
    for f in FAMILIES
}
BANDS = tuple(range(7))  # of fresh source ports: 1024 and up, 8000 each
MARKS = (0, 1, 0x4000, 0x8000, 0xC001)


def shapes(family: int) -> st.SearchStrategy[Sent]:
    """Packets of one family, without numbers; the source port is a band."""

    def make(source: int, target: str, proto: str, port: int, band: int, rare: int) -> Sent:
        iface, address = SOURCES[family][source]
        mark = MARKS[rare % len(MARKS)] if not iface and rare >= 20 else 0
        flags = (
            SYN | FIN if proto == "tcp" and rare == 1 else SYN | ACK if proto == "tcp" and rare == 2 else SYN
        )
        return Sent(0, iface, proto, address, target, band, port, mark, flags)

    return st.builds(
        make,
        st.integers(0, len(SOURCES[family]) - 1),
        st.sampled_from(TARGETS[family]),
        st.sampled_from(("tcp", "udp", "udp", "tcp", "sctp", "icmp")),
        st.sampled_from(PORTS),
        st.sampled_from(BANDS),
        st.integers(0, 29),
    )


def batches(family: int, size: int) -> st.SearchStrategy[list[Sent]]:
    return st.lists(shapes(family), min_size=size, max_size=size)
