"""The options of every iptables match and target that is modelled, and how many words follow each.

A match or target that stands in neither table is not modelled: its words are skipped and the rule says so.
As iptables-extensions(8) has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

Options: TypeAlias = "Mapping[str, int]"

_PORTS: Final = {"sport": 1, "source-port": 1, "dport": 1, "destination-port": 1}
_UDP: Final = _PORTS
_ICMP6: Final = {"icmpv6-type": 1}

MATCHES: Final[Mapping[str, Options]] = {
    "tcp": {**_PORTS, "tcp-flags": 2, "syn": 0, "tcp-option": 1},
    "udp": _UDP,
    "udplite": _UDP,
    "sctp": {**_PORTS, "chunk-types": 2},
    "dccp": {**_PORTS, "dccp-types": 1, "dccp-option": 1},
    "icmp": {"icmp-type": 1},
    "icmp6": _ICMP6,
    "icmpv6": _ICMP6,
    "ipv6-icmp": _ICMP6,
    "multiport": {
        "sports": 1,
        "source-ports": 1,
        "dports": 1,
        "destination-ports": 1,
        "ports": 1,
    },
    "iprange": {"src-range": 1, "dst-range": 1},
    "addrtype": {"src-type": 1, "dst-type": 1, "limit-iface-in": 0, "limit-iface-out": 0},
    "mark": {"mark": 1},
    "connmark": {"mark": 1},
    "conntrack": {
        "ctstate": 1,
        "ctproto": 1,
        "ctorigsrc": 1,
        "ctorigdst": 1,
        "ctreplsrc": 1,
        "ctrepldst": 1,
        "ctorigsrcport": 1,
        "ctorigdstport": 1,
        "ctreplsrcport": 1,
        "ctrepldstport": 1,
        "ctstatus": 1,
        "ctexpire": 1,
        "ctdir": 1,
    },
    "state": {"state": 1},
    "statistic": {"mode": 1, "probability": 1, "every": 1, "packet": 1},
    "recent": {
        "set": 0,
        "rcheck": 0,
        "update": 0,
        "remove": 0,
        "seconds": 1,
        "reap": 0,
        "hitcount": 1,
        "rttl": 0,
        "name": 1,
        "rsource": 0,
        "rdest": 0,
        "mask": 1,
    },
    "comment": {"comment": 1},
    "nfacct": {"nfacct-name": 1},
    "limit": {"limit": 1, "limit-burst": 1},
    "set": {
        "match-set": 2,
        "return-nomatch": 0,
        "update-counters": 0,
        "update-subcounters": 0,
        "packets-eq": 1,
        "packets-lt": 1,
        "packets-gt": 1,
        "bytes-eq": 1,
        "bytes-lt": 1,
        "bytes-gt": 1,
    },
    "physdev": {
        "physdev-in": 1,
        "physdev-out": 1,
        "physdev-is-in": 0,
        "physdev-is-out": 0,
        "physdev-is-bridged": 0,
    },
    "rpfilter": {"loose": 0, "validmark": 0, "accept-local": 0, "invert": 0},
    "owner": {"uid-owner": 1, "gid-owner": 1, "socket-exists": 0, "suppl-groups": 0},
}

_MARK: Final = {"set-xmark": 1, "set-mark": 1, "and-mark": 1, "or-mark": 1, "xor-mark": 1}
_SNAT: Final = {"random": 0, "random-fully": 0, "persistent": 0}

TARGETS: Final[Mapping[str, Options]] = {
    "ACCEPT": {},
    "DROP": {},
    "RETURN": {},
    "REJECT": {"reject-with": 1},
    "MARK": _MARK,
    "CONNMARK": {
        **_MARK,
        "save-mark": 0,
        "restore-mark": 0,
        "nfmask": 1,
        "ctmask": 1,
        "mask": 1,
        "left-shift-mark": 1,
        "right-shift-mark": 1,
    },
    "DNAT": {"to-destination": 1, "random": 0, "persistent": 0},
    "SNAT": {"to-source": 1, **_SNAT},
    "MASQUERADE": {"to-ports": 1, **_SNAT},
    "REDIRECT": {"to-ports": 1, "random": 0},
    "NETMAP": {"to": 1},
    "NOTRACK": {},
    "CT": {
        "notrack": 0,
        "helper": 1,
        "ctevents": 1,
        "expevents": 1,
        "timeout": 1,
        "zone": 1,
        "zone-orig": 1,
        "zone-reply": 1,
    },
}

# Targets that neither end a chain nor change where the packet goes; their options say nothing about that either.
WITHOUT_EFFECT: Final = frozenset(
    {
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CONNSECMARK",
        "DSCP",
        "ECN",
        "IDLETIMER",
        "LED",
        "LOG",
        "NFLOG",
        "RATEEST",
        "SECMARK",
        "TCPMSS",
        "TCPOPTSTRIP",
        "TOS",
        "TRACE",
        "ULOG",
    }
)
