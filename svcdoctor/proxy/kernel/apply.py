"""nft on this machine: one transaction for each change, what is installed, and taking it away.

What may live here: running nft, and what its refusals mean. nft runs with the capabilities of this process.
"""

from __future__ import annotations

import json
import re
import subprocess

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.nftjson import NftDump
from svcdoctor.proxy.kernel.layout import IPS, REFUSED_PORTS, TABLE

OLDEST = (1, 0, 1)
"""The nft that kube-proxy's nftables mode asks for as well."""

SECONDS = 60.0
"""How long nft may take."""

USER_SPACE = "or leave --mode nftables out and serve in user space"

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_VERSION = re.compile(r"v(\d+)\.(\d+)(?:\.(\d+))?")


class NotLoaded(SvcdoctorError):
    """nft refused a transaction; the rules are as they were."""


def check_nft() -> None:
    """Raises SvcdoctorError where there is no nft, one that is too old, or none that may change rules."""
    text = _nft(("--version",), "").strip()
    match = _VERSION.search(text)
    version = tuple(int(part or 0) for part in match.groups()) if match else ()
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise SvcdoctorError(
            f"nft is too old for kernel mode: {text or 'it tells no version'}; install nftables {oldest} or later, "
            f"{USER_SPACE}"
        )
    _nft(("-c", "-f", "-"), f"add table ip {TABLE}\n")


def apply(text: str) -> None:
    """Load the text as one transaction: all of it, or nothing. Raises SvcdoctorError, NotLoaded where nft refuses."""
    if text:
        _nft(("-f", "-"), text)


def installed() -> tuple[str, ...]:
    """The families (ip, ip6) that have a table of ours."""
    listed = json.loads(_nft(("-j", "list", "tables"), ""))["nftables"]
    tables = {(t["family"], t["name"]) for entry in listed if (t := entry.get("table")) is not None}
    return tuple(ip for ip in IPS.values() if (ip, TABLE) in tables)


def others_translate(ip: str) -> bool:
    """Whether chains of others are of type nat and have rules."""
    listed = json.loads(_nft(("-j", "list", "chains"), ""))["nftables"]
    chains = (entry["chain"] for entry in listed if entry.get("chain", {}).get("type") == "nat")
    for chain in chains:
        family, table = chain["family"], chain["table"]
        if family in (ip, "inet") and (family, table) != (ip, TABLE):
            rules = json.loads(_nft(("-j", "list", "chain", family, table, chain["name"]), ""))["nftables"]
            if any("rule" in entry for entry in rules):
                return True
    return False


def present(ip: str) -> bool:
    """Whether a family has a table as this version makes it. Much faster than `installed` where that is large."""
    try:
        _nft(("list", "map", ip, TABLE, REFUSED_PORTS), "")
    except NotLoaded:
        return False
    return True


def cleanup() -> tuple[str, ...]:
    """Remove the tables, also those of a run that crashed; the families that had one."""
    found = installed()
    apply("".join(f"delete table {ip} {TABLE}\n" for ip in found))
    return found


def remembered(dump: NftDump, ip: str) -> dict[str, list[str]]:
    """The clients in the sets of an installed table, as elements of a new one: session affinity outlives a restart."""
    table = dump.tables.get(f"{ip} {TABLE}")
    found: dict[str, list[str]] = {}
    for name, kept in table.sets.items() if table is not None else ():
        if name.startswith("affinity-"):
            for held in json.loads(bytes(kept.elem)):
                about = held.get("elem") if isinstance(held, dict) else None
                if about is not None and about.get("expires"):
                    found.setdefault(name, []).append(f"{about['val']} expires {about['expires']}s")
    return found


def _nft(arguments: tuple[str, ...], text: str) -> str:
    words = " ".join(("nft", *arguments))
    try:
        done = subprocess.run(
            ("nft", *arguments),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            env=_ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is this process's, and nft is not to be cut off amid its work
        )
    except FileNotFoundError:
        raise SvcdoctorError(
            f"kernel mode needs the program nft: install the package nftables, {USER_SPACE}"
        ) from None
    except OSError as e:
        raise SvcdoctorError(f"{words} cannot be run: {e.strerror}; {USER_SPACE}") from None
    except subprocess.TimeoutExpired:
        raise SvcdoctorError(f"{words} did not end within {SECONDS:.0f} s; try again, {USER_SPACE}") from None
    if done.returncode:
        raise _refusal(words, done.stderr)
    return done.stdout


def _refusal(words: str, errors: str) -> SvcdoctorError:
    first = next((line.strip() for line in errors.splitlines() if line.strip()), "no reason given")
    if "Operation not permitted" in errors:
        return SvcdoctorError(
            "kernel mode may not change this node's nftables rules: run it as root, or grant the capability "
            f"CAP_NET_ADMIN (in a pod: securityContext.capabilities.add: [NET_ADMIN] with hostNetwork), {USER_SPACE}"
        )
    if "Protocol not supported" in errors or "Unable to initialize Netlink" in errors:
        return SvcdoctorError(
            f"this kernel has no nftables ({first}): load the module nf_tables, {USER_SPACE}"
        )
    return NotLoaded(f"{words}: {first}")
