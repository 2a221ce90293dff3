"""The container's file: it is well formed, and installs what svcdoctor calls on a node."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from svcdoctor.sources.dumpnames import COLLECTED

ROOT = Path(__file__).parents[2]
FILE = ROOT / "plugins/container/Containerfile"
# Of the base image.
BASE = {"cat", "grep", "sleep"}
# Programs that are called elsewhere than for a node's dumps: proxy, captures in a pod, entering namespaces.
OTHERS = {"nft", "tcpdump", "nsenter", "ip"}
PACKAGES = {
    "bridge": "iproute2",
    "conntrack": "conntrack",
    "curl": "curl",
    "ip": "iproute2",
    "ip6tables-legacy-save": "iptables",
    "ip6tables-nft-save": "iptables",
    "ip6tables-save": "iptables",
    "ipset": "ipset",
    "iptables-legacy-save": "iptables",
    "iptables-nft-save": "iptables",
    "iptables-save": "iptables",
    "ipvsadm": "ipvsadm",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ss": "iproute2",
    "sysctl": "procps",
    "tcpdump": "tcpdump",
}


def instructions():
    """The file's instructions: word and the rest, with continued lines joined and comments dropped."""
    lines = [line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def test_the_instructions_are_well_formed():
    found = instructions()
    words = [word for word, _ in found]
    assert set(words) <= {"FROM", "RUN", "COPY", "ENV", "USER", "ENTRYPOINT", "CMD"}
    assert words[0] == "FROM"
    bases = [rest.split()[0] for word, rest in found if word == "FROM"]
    assert all(re.fullmatch(r"python:3\.1[1-9]-slim-[a-z]+", base) for base in bases), (
        "a version is named, and no host"
    )
    for word, rest in found:
        if word == "COPY" and "--from=" not in rest:
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), f"COPY {name}: there is no such file"
    user = next(rest for word, rest in found if word == "USER")
    assert user.split(":")[0].isdecimal() and user.split(":")[0] != "0", (
        "nobody's numbers, which a pod may check"
    )


def test_every_program_that_is_called_on_a_node_is_installed():
    called = {command[0] for one in COLLECTED for command in one.commands} | OTHERS
    missing = called - BASE - set(PACKAGES)
    assert not missing, f"of which packages are {missing}?"
    run = next(rest for word, rest in instructions() if word == "RUN" and "apt-get" in rest)
    installed = set(run.partition("--no-install-recommends")[2].partition("&&")[0].split())
    assert installed == {PACKAGES[program] for program in called - BASE}


def test_the_packages_are_those_of_the_programs():
    """As Debian says of those that are installed here."""
    if shutil.which("dpkg") is None:
        pytest.skip("this is no Debian")
    checked = 0
    for program, package in PACKAGES.items():
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            continue
        # Debian's own paths: directories and programs may be links to where they are.
        names = {path, os.path.realpath(path), f"/sbin/{program}", f"/bin/{program}", f"/usr/sbin/{program}"}
        done = subprocess.run(["dpkg", "-S", *sorted(names)], capture_output=True, text=True, check=False)
        assert package in {line.partition(":")[0] for line in done.stdout.splitlines()}, program
        checked += 1
    assert checked >= 10
