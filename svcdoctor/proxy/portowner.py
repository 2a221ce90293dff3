"""Who holds a local port that is in use, as far as this user may know it: from /proc, so on Linux only.

Specification: https://docs.kernel.org/networking/proc_net_tcp.html; proc_pid_fd(5)
"""

from __future__ import annotations

import contextlib
import pwd
import socket
from pathlib import Path

PROC = Path("/proc")
_EVERYWHERE = {"0" * 8, "0" * 32}
_LISTENS = "0A"


def port_owner(ip: str, port: int, kind: socket.SocketKind) -> str:
    """The program that holds the port, as ``nginx (pid 12)``; whose it is where that is all that is known; or empty.

    ``ip`` is the address that could not be had.
    """
    for inode, uid in _holders(ip, port, kind):
        found = _program(inode)
        if found:
            return found
        with contextlib.suppress(KeyError):
            return f"a program of user {pwd.getpwuid(uid).pw_name}"
    return ""


def _holders(ip: str, port: int, kind: socket.SocketKind) -> list[tuple[str, int]]:
    """Inode and user of each socket that the address would share with another."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)
    words = [packed[i : i + 4][::-1].hex().upper() for i in range(0, len(packed), 4)]
    wanted = "".join(words)
    found = []
    name = "tcp" if kind == socket.SOCK_STREAM else "udp"
    for table in (name, f"{name}6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                address, _, digits = fields[1].partition(":")
                if int(digits, 16) != port or (name == "tcp" and fields[3] != _LISTENS):
                    continue
                if wanted == address or _EVERYWHERE & {wanted, address}:
                    found.append((fields[9], int(fields[7])))
    return found


def _program(inode: str) -> str:
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    if str(descriptor.readlink()) == f"socket:[{inode}]":
                        return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""
