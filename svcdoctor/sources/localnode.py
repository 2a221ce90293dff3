"""This machine as a node: commands are run directly, as root."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from svcdoctor.model.cluster import Node
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.node.namedservices import RULES
from svcdoctor.node.procnet import local_addresses
from svcdoctor.sources.collecting import DEFAULT_LIMITS, Limits, NotRun, collect
from svcdoctor.sources.dumpnames import Arguments
from svcdoctor.sources.podexec import Output

_CHUNK = 1 << 16

# Nothing of the user's environment takes part: neither a language nor a proxy. Root's programs are in sbin.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}


def check_local(asked: str = "--node-facts local") -> None:
    """Raises SvcdoctorError, beginning with what was ``asked``, where this machine's rules cannot be read."""
    if not sys.platform.startswith("linux"):
        raise SvcdoctorError(
            f"{asked}: this machine is no Linux node; run svcdoctor on the node, or use --node-facts exec"
        )
    if os.geteuid() != 0:
        raise SvcdoctorError(
            f"{asked}: only root can read a node's rules; run it with sudo, or use --node-facts exec"
        )


def local_facts(node: str, limits: Limits) -> NodeFacts:
    """The facts of this machine, as those of the node of that name."""
    return collect(node, run, limits)


def local_rules(limits: Limits = DEFAULT_LIMITS) -> NodeFacts:
    """The Service rules of this machine and nothing else."""
    return collect(socket.gethostname().lower(), run, limits, names=RULES)


def run(arguments: Arguments, seconds: float, limit: int) -> Output:
    """What a program wrote and its exit code; it is killed at the end of its time. Raises NotRun."""
    words = " ".join(arguments)
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            cwd="/",
        )
    except FileNotFoundError:
        raise NotRun(f"this node has no program {arguments[0]}; install it", program=arguments[0]) from None
    except OSError as e:
        raise NotRun(f"{words}: {e.strerror or e}", program=arguments[0]) from None
    with process:
        try:
            return _output(process, words, seconds, limit)
        finally:
            process.kill()


def _output(process: subprocess.Popen[bytes], words: str, seconds: float, limit: int) -> Output:
    end = time.monotonic() + seconds
    written: dict[object, list[bytes]] = {process.stdout: [], process.stderr: []}
    size = 0
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(end - time.monotonic(), 0))
            if not ready:
                raise NotRun(f"{words} did not end within {seconds:.3g} s")
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                written[key.fileobj].append(data)
                size += len(data)
                if size > limit:
                    raise NotRun(f"{words} wrote more than {limit:,} bytes")
    try:
        code = process.wait(max(end - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        raise NotRun(f"{words} did not end within {seconds:.3g} s") from None
    return Output(b"".join(written[process.stdout]), b"".join(written[process.stderr]), code)


def this_node(nodes: Sequence[Node]) -> str:
    """The name of the node that this machine is: by its addresses, else by its host name.

    Where the cluster's nodes are not known it is the host name. Raises SvcdoctorError for a machine that is
    none of them.
    """
    host = socket.gethostname().lower()
    if not nodes:
        return host
    found = node_here(nodes)
    if not found:
        raise SvcdoctorError(
            f"--node-facts local: this machine ({host}) has the address and name of none of the cluster's "
            f"{len(nodes)} nodes; run svcdoctor on a node, or say which one it is with --node"
        )
    return found


def node_here(nodes: Sequence[Node]) -> str:
    """The name of that of the nodes that this machine is, empty where it is none of them."""
    own = frozenset(own_addresses())
    for node in nodes:
        if own.intersection(node.addresses("InternalIP", "ExternalIP")):
            return node.name
    host = socket.gethostname().lower()
    for node in nodes:
        if host in (node.name, node.labels.get("kubernetes.io/hostname")):
            return node.name
    return ""


def own_addresses() -> tuple[str, ...]:
    """The addresses of this machine, as far as they can be read."""

    def read(path: str) -> bytes:
        try:
            return Path(path).read_bytes()
        except OSError:
            return b""

    return local_addresses(read("/proc/net/fib_trie"), read("/proc/net/if_inet6"))
