"""Network namespaces for probes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


class Spaces:
    """Namespaces, each held by a process that ends with the test."""

    def __init__(self) -> None:
        self.holders: list[subprocess.Popen[bytes]] = []

    def add(self) -> int:
        """A namespace with its loopback up; the id of a process in it."""
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep 600"],
            stdout=subprocess.PIPE,
        )
        self.holders.append(holder)
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.stdout.close()
        return holder.pid

    def run(self, pid: int, *commands: str) -> None:
        """Commands of sh in a namespace."""
        subprocess.run(
            ["nsenter", "--target", str(pid), "--net", "sh", "-ec", "\n".join(commands)],
            check=True,
            timeout=30,
        )

    def link(self, left: int, right: int, number: int = 1) -> None:
        """A cable: 10.9.N.1 and fd00:9:N::1 on the left, .2 and ::2 on the right."""
        self.run(left, f"ip link add v{number} type veth peer name v{number} netns {right}")
        for pid, host in ((left, 1), (right, 2)):
            self.run(
                pid,
                f"ip link set v{number} up",
                f"ip addr add 10.9.{number}.{host}/24 dev v{number}",
                f"ip addr add fd00:9:{number}::{host}/64 dev v{number} nodad",
            )

    def close(self) -> None:
        for holder in self.holders:
            holder.kill()
            holder.wait()


@pytest.fixture
def spaces() -> Iterator[Spaces]:
    needed = ("unshare", "nsenter", "ip", "iptables", "ip6tables")
    missing = [name for name in needed if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        reason = f"network namespaces need root and {', '.join(missing) or 'nothing else'}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    made = Spaces()
    yield made
    made.close()
