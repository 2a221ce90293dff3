"""Keeping the machine from answering ARP requests for addresses that are only held, not its own.

Theory. Linux answers for every local address on every interface, unless a sysctl of the interface that the request came
in by says otherwise; those are the machine's. A table of nftables' family arp is ours alone: it drops the requests,
and is replaced as a whole. IPv6 needs nothing: neighbours are only told of addresses of the interface itself.

Specification: RFC 826; https://docs.kernel.org/networking/ip-sysctl.html (arp_ignore); nft(8)
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

TABLE = "svcdoctor"

_SECONDS = 30.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_REPLACED = f"table arp {TABLE}\ndelete table arp {TABLE}\n"


def keep_silent(ips: Sequence[str]) -> str:
    """Drop ARP requests for these IPv4 addresses from now on, and for no others. Returns why that cannot be done,
    empty where it was."""
    text = _REPLACED
    if ips:
        text += (
            f"table arp {TABLE} {{\n"
            f"\tset held {{\n\t\ttype ipv4_addr\n\t\telements = {{ {', '.join(ips)} }}\n\t}}\n"
            "\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n"
            "\t\tarp operation request arp daddr ip @held drop\n\t}\n}\n"
        )
    try:
        done = subprocess.run(
            ("nft", "-f", "-"),
            input=text,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=_ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is this process's
        )
    except FileNotFoundError:
        return "there is no nft" if ips else ""
    except (OSError, subprocess.TimeoutExpired) as e:
        return f"nft: {e}"
    return " ".join(done.stderr.split("\n")[:1]) if done.returncode else ""
