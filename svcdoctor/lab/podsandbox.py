"""A pod's network as its container runtime reaches it for port-forward, and what containerd says where it cannot.

containerd enters the network namespace of the pod's sandbox and dials ``localhost`` there, IPv4 and then IPv6.

Specification: containerd, internal/cri/server/sandbox_portforward_linux.go; the texts are those that it was seen
to write (fixtures/wire), with Go's words for the kernel's errors
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from svcdoctor.proxy.descriptors import borrowed
from svcdoctor.proxy.dialing import Connecting, Dialed
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.netns import sockets_of

LOCALHOST = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

Way = tuple[socket.socket, tuple[str, int]]
"""A non-blocking TCP socket, and what to connect it to."""

_DIAL_SECONDS = 120.0  # for each address; containerd leaves it to the kernel, which takes about as long
_NO_ADDRESS = "address localhost: no suitable address found"  # Go's, of a family that localhost does not have


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a runtime knows of a pod that it runs.

    ``localhost`` gives the ways to a port of the pod's localhost, in the order in which they are tried, one for a
    family; it raises OSError where the network namespace is gone. ``half_close`` is False for a runtime as
    containerd and CRI-O are: when one direction of a connection has ended they wait a second and close it. With
    True the end of each direction is passed on, and the other one goes on.
    """

    id: str
    netns: str
    localhost: Callable[[int], list[Way]]
    half_close: bool = False


def sandbox_of(name: str, pid: int, *, half_close: bool = False) -> Sandbox:
    """The sandbox of a pod whose network namespace a process is in; its id is made of the pod's name."""
    path = Path(f"/proc/{pid}/ns/net")

    def localhost(port: int) -> list[Way]:
        made = sockets_of(lambda: path, tuple(LOCALHOST), socket.SOCK_STREAM)
        if isinstance(made, OSError):
            raise made
        return [(sock, (LOCALHOST[sock.family], port)) for sock in made]

    return Sandbox(_id(name), str(path), localhost, half_close)


def sandbox_here(name: str, ports: Mapping[int, tuple[str, int]], *, half_close: bool = False) -> Sandbox:
    """The sandbox of a pod whose ``ports`` are addresses of this process's own namespace. Other ports are those of
    127.0.0.1. The mapping may change."""

    def localhost(port: int) -> list[Way]:
        address = ports.get(port, (LOCALHOST[socket.AF_INET], port))
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        return [(sock, address)]

    return Sandbox(_id(name), f"/var/run/netns/cni-{_id(name)[:8]}", localhost, half_close)


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class LocalhostDial:
    """Tries the ways to a port in turn. ``done`` is called once, by the loop: with a connected, non-blocking
    descriptor that it owns, or with containerd's text."""

    def __init__(self, loop: Loop, sandbox: Sandbox, port: int, done: Callable[[int | str], None]) -> None:
        self._loop = loop
        self._sandbox = sandbox
        self._port = port
        self._done: Callable[[int | str], None] | None = done
        self._ways: list[Way] = []
        self._problems: dict[socket.AddressFamily, str] = {}
        self._connecting: Connecting | None = None
        try:
            self._ways = sandbox.localhost(port)
        except OSError as e:
            text = in_namespace(sandbox, go_text(e))
            if e.errno in (errno.ENOENT, errno.ESRCH):
                text = f'network namespace for sandbox "{sandbox.id}" is closed'
            loop.call_soon(lambda: self._tell(text))
        else:
            self._try_next()

    def cancel(self) -> None:
        """Give up; ``done`` is not called. Nothing happens where it was called already."""
        self._done = None
        self._leave()
        if self._connecting is not None:
            self._connecting.cancel()

    def _try_next(self) -> None:
        sock, address = self._ways.pop(0)
        family = sock.family

        def connected(result: Dialed) -> None:
            if isinstance(result, int):
                self._tell(result)
                return
            where = _address(LOCALHOST[family], self._port)
            self._problems[family] = f"dial {_network(family)} {where}: connect: {go_text(result)}"
            if self._ways:
                self._try_next()
            else:
                self._tell(self._text())

        self._connecting = Connecting(self._loop, sock, address, _DIAL_SECONDS, connected)

    def _text(self) -> str:
        v4, v6 = (self._problems.get(f, f"dial {_network(f)}: {_NO_ADDRESS}") for f in LOCALHOST)
        where = f'localhost:{self._port} inside namespace "{self._sandbox.id}"'
        return in_namespace(self._sandbox, f"failed to connect to {where}, IPv4: {v4} IPv6 {v6} ")

    def _tell(self, result: int | str) -> None:
        done, self._done = self._done, None
        self._leave()
        if done is not None:
            done(result)

    def _leave(self) -> None:
        left, self._ways = self._ways, []
        for sock, _ in left:
            sock.close()


def broken_text(sandbox: Sandbox, fd: int, port: int, what: str, error: OSError) -> str:
    """What is said of a connection that failed later on; ``what`` is "read" or "write"."""
    with borrowed(fd) as sock:
        local = sock.getsockname()
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    ends = f"{_address(*local[:2])}->{_address(LOCALHOST[family], port)}"
    return in_namespace(sandbox, f"{what} {_network(family)} {ends}: {what}: {go_text(error)}")


def in_namespace(sandbox: Sandbox, text: str) -> str:
    return f'failed to execute portforward in network namespace "{sandbox.netns}": {text}'


def go_text(error: OSError) -> str:
    """The kernel's error as Go words it."""
    return os.strerror(error.errno or 0).lower()


def _network(family: socket.AddressFamily) -> str:
    return "tcp6" if family == socket.AF_INET6 else "tcp4"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
