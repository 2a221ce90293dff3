"""What the oracle found: each case is one that the evaluator once decided otherwise than the kernel."""

import pytest
from oracle import Rules
from oracle_predict import Seen, complete, fitting, predict
from oracle_wire import Sent

FILTER = "type filter hook"
NAT = "type nat hook"
SPORT = 4000  # each packet comes once, so that a port may be used again


def table(name, **chains):
    """An nftables table; a chain's name begins with its hook."""
    bodies = [
        f"chain {chain} {{ {head}\n" + "\n".join(rules) + "\n}\n" for chain, (head, *rules) in chains.items()
    ]
    return f"table {name} {{\n{''.join(bodies)}}}\n"


def at(kind, hook, priority, *rules):
    return (f"{kind} {hook} priority {priority};", *rules)


def came(target, proto="udp", iface="cni0", family=4, dport=80, source=None):
    source = source or {4: "10.244.1.10", 6: "fd00:244:1::10"}[family]
    return Sent(0, iface, proto, source, target, SPORT, dport)


def made(source, target, proto="udp", dport=80):
    return Sent(0, "", proto, source, target, SPORT, dport)


def arrives(src, dst, mark=0, dport=80, sport=SPORT):
    return Seen("arrives", "", src, sport, dst, dport, mark)


def leaves(iface, src, dst, mark=0, dport=80, sport=SPORT):
    return Seen("leaves", iface, src, sport, dst, dport, mark)


OWN4, OWN6 = "10.244.1.1", "fd00:244:1::1"
POD4, POD6 = "10.244.1.10", "fd00:244:1::10"
DROPPED = Seen("dropped")

FOUND = {
    "a later test that does not hold decides, also behind a random number": (
        table(
            "inet one",
            a=at(
                NAT,
                "prerouting",
                -100,
                "meta l4proto udp ct original proto-dst 80 numgen inc mod 3 != 1 udp dport vmap { 80 : drop, 1000-9000 : drop }",
                "meta l4proto udp ct original proto-dst 80 numgen inc mod 3 != 1 udp dport 80-9000 drop",
            ),
        ),
        came(OWN6, proto="icmp", family=6, dport=8081),
        arrives(POD6, OWN6, dport=0, sport=0),
    ),
    "of one priority the chain that was made last comes first": (
        table(
            "ip one",
            first=at(FILTER, "prerouting", 0, "meta mark set mark xor 0x3"),
            second=at(FILTER, "prerouting", 0, "meta mark set mark or 0x1"),
        )
        + table("inet two", third=at(FILTER, "prerouting", 0, "meta mark set 0x0", "meta mark set 0x10")),
        came(OWN4),
        arrives(POD4, OWN4, mark=0x12),
    ),
    "of one priority the NAT chain that was made last comes first": (
        table("ip one", a=at(NAT, "prerouting", -100, "dnat to 10.244.1.11"))
        + table("inet two", b=at(NAT, "prerouting", -100, "dnat ip to 10.244.1.12")),
        came(OWN4),
        leaves("cni0", POD4, "10.244.1.12"),
    ),
    "snat in input, IPv4": (
        table("ip one", a=at(NAT, "input", 100, "snat to 192.0.2.99")),
        came(OWN4),
        arrives("192.0.2.99", OWN4),
    ),
    "snat in input, IPv6": (
        table("ip6 one", a=at(NAT, "input", 100, "snat to 2001:db8:1::99")),
        came(OWN6, family=6),
        arrives("2001:db8:1::99", OWN6),
    ),
    "a chain behind snat sees the new source": (
        table(
            "ip one",
            a=at(NAT, "postrouting", 100, "snat to 192.0.2.1"),
            b=at(FILTER, "postrouting", 150, "ip saddr 192.0.2.1 meta mark set 0x1"),
        ),
        came("203.0.113.5"),
        leaves("eth0", "192.0.2.1", "203.0.113.5", mark=1),
    ),
    "a chain behind redirect sees the node's address": (
        table(
            "ip one",
            a=at(NAT, "prerouting", -100, "redirect"),
            b=at(FILTER, "prerouting", 0, f"ip daddr {OWN4} meta mark set 0x1"),
        ),
        came("10.96.0.1"),
        arrives(POD4, OWN4, mark=1),
    ),
    "notrack behind conntrack does nothing": (
        table(
            "ip one",
            a=at(FILTER, "prerouting", 0, "notrack"),
            b=at(NAT, "postrouting", 100, "snat to 192.0.2.1"),
        ),
        came("203.0.113.5"),
        leaves("eth0", "192.0.2.1", "203.0.113.5"),
    ),
    "an untracked packet is still the first one": (
        table(
            "ip one",
            a=at(FILTER, "prerouting", -300, "notrack"),
            b=at(FILTER, "input", 0, "ct state untracked tcp flags & (syn | ack) == syn meta mark set 0x1"),
        ),
        came(OWN4, "tcp"),
        arrives(POD4, OWN4, mark=1),
    ),
    "redirecting to the same address is no change": (
        table(
            "ip one",
            a=at(NAT, "prerouting", -100, "redirect"),
            b=at(FILTER, "input", 0, "ct status ! dnat meta mark set 0x1"),
        ),
        came(OWN4),
        arrives(POD4, OWN4, mark=1),
    ),
    "redirecting to another address is one": (
        table(
            "ip one",
            a=at(NAT, "prerouting", -100, "redirect"),
            b=at(FILTER, "input", 0, "ct status dnat meta mark set 0x1"),
        ),
        came("10.96.0.1"),
        arrives(POD4, OWN4, mark=1),
    ),
    "branches of one packet that differ in their connection only": (
        table(
            "ip one",
            a=at(FILTER, "prerouting", -300, "numgen inc mod 100 7 notrack"),
            b=at(NAT, "postrouting", 100, "snat to 192.0.2.1"),
        ),
        came("203.0.113.5"),
        leaves("eth0", "192.0.2.1", "203.0.113.5"),
    ),
    "behind numgen too a test that fails decides where another cannot be told": (
        table(
            "ip one",
            a=at(
                FILTER,
                "input",
                0,
                "numgen inc mod 2 0 meta l4proto sctp ct original proto-dst 53 sctp dport 53 drop",
            ),
        ),
        came(OWN4, "icmp", dport=0),
        arrives(POD4, OWN4, dport=0, sport=0),
    ),
    "bits outside a mask are never equal": (
        table("ip one", a=at(FILTER, "input", 0, "meta mark and 0xffff0000 == 0x1 drop")),
        came(OWN4),
        arrives(POD4, OWN4),
    ),
    "bits outside an empty mask are never equal": (
        table("ip one", a=at(FILTER, "input", 0, "meta mark and 0x0 == 0x4000 drop")),
        came(OWN4),
        arrives(POD4, OWN4),
    ),
    "reject with tcp reset is for TCP alone": (
        table("ip one", a=at(FILTER, "input", 0, "meta l4proto tcp reject with tcp reset")),
        came(OWN4),
        arrives(POD4, OWN4),
    ),
    "reject with icmp is for IPv4 alone": (
        table("inet one", a=at(FILTER, "input", 0, "reject with icmp port-unreachable")),
        came(OWN6, family=6),
        arrives(POD6, OWN6),
    ),
    "reject with icmpv6 is for IPv6 alone": (
        table("inet one", a=at(FILTER, "input", 0, "reject with icmpv6 port-unreachable")),
        came(OWN4),
        arrives(POD4, OWN4),
    ),
    "masquerading over lo takes no loopback address": (
        table("ip one", a=at(NAT, "postrouting", 100, "masquerade")),
        made("10.244.1.1", "198.51.100.1"),
        arrives("192.0.2.1", "198.51.100.1"),
    ),
    "masquerading over lo takes the destination itself, IPv6": (
        table("ip6 one", a=at(NAT, "postrouting", 100, "masquerade")),
        made("2001:db8:2::1", "2001:db8:1::2"),
        arrives("2001:db8:1::2", "2001:db8:1::2"),
    ),
    "masquerading with the same source is no change": (
        table(
            "ip one",
            a=at(NAT, "postrouting", 100, "masquerade"),
            b=at(FILTER, "postrouting", 150, "ct status ! snat meta mark set 0x1"),
        ),
        made("192.0.2.1", "203.0.113.5"),
        leaves("eth0", "192.0.2.1", "203.0.113.5", mark=1),
    ),
    "::1 from outside is dropped before any rule": (
        table("ip6 one", a=at(NAT, "prerouting", -100, f"dnat to {OWN6}")),
        came("::1", family=6),
        DROPPED,
    ),
    "a packet that came in is not sent to ::1": (
        table("ip6 one", a=at(NAT, "prerouting", -100, "dnat to ::1")),
        came(OWN6, family=6),
        Seen("rejected", (1, 0)),
    ),
    "a packet from ::1 may leave": (
        table("ip6 one", a=at(NAT, "postrouting", 100, "masquerade")),
        made("::1", POD6),
        leaves("cni0", OWN6, POD6),
    ),
    "dnat to where no route leads is refused before the filter": (
        table(
            "ip one",
            a=at(NAT, "output", -100, "dnat to 10.67.0.1"),
            b=at(FILTER, "output", 0, "reject"),
        ),
        made("192.0.2.1", "203.0.113.5"),
        DROPPED,
    ),
    "a loopback source is not sent to a pod without route_localnet": (
        table(
            "ip one",
            a=at(NAT, "output", -100, f"dnat to {POD4}"),
            b=at(FILTER, "output", 0, "reject"),
        ),
        made("127.0.0.1", "127.0.0.1"),
        DROPPED,
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_kernel_and_the_evaluator_agree(oracle, name):
    rules, packet, expected = FOUND[name]
    node = oracle.load(Rules(rules))
    [sent] = oracle.numbered([packet])
    [seen] = oracle.observe([sent])
    assert seen == expected, "the kernel"
    predicted = predict(node, sent)
    assert complete(predicted)
    assert sum(p.probability for p in fitting(seen, predicted)) > 0.98
