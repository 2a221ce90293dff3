"""The words of ``proxy``: which of them go together, and what they ask for."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace

from svcdoctor.cluster.labelselector import SelectorError, parse_labels
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import ObjectTarget
from svcdoctor.proxy.arguments import ListenAddress, parse_addresses
from svcdoctor.proxy.listener import open_socket
from svcdoctor.proxy.serving.addresses import Where, parse_endpoints, parse_listen
from svcdoctor.proxy.serving.choosing import Selection
from svcdoctor.proxy.serving.holding import machine_addresses
from svcdoctor.proxy.serving.planned import Options
from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort, served_key
from svcdoctor.sources.connection import Connection, parse_duration

MOST_WORKERS = 8
"""Where their number is not said."""

SHORTEST_CHECK = 0.5
"""Seconds."""


def check_mode(kernel: bool, takeover: bool, of_user_space: Mapping[str, bool]) -> None:
    """Raises SvcdoctorError for options of the other mode; ``of_user_space`` tells which of them were given."""
    given = next((option for option, said in of_user_space.items() if said), "")
    if kernel and given:
        raise SvcdoctorError(f"{given} belongs to user space; leave it or --mode nftables out")
    if takeover and not kernel:
        raise SvcdoctorError("--takeover belongs to kernel mode; say --mode nftables, too")


def selected(
    named: ObjectTarget | None, everywhere: bool, namespace: str, labels: str | None, endpoints: bool
) -> Selection:
    """What is to be served; ``namespace`` is empty where none was said. Raises SvcdoctorError."""
    if everywhere and namespace:
        raise SvcdoctorError("-A is every namespace, -n is one; say one of them")
    if named is not None and (everywhere or labels is not None):
        raise SvcdoctorError("svc/NAME is one Service; leave it out, or leave -A and -l out")
    if endpoints and (everywhere or labels is not None):
        raise SvcdoctorError("--endpoints are those of one Service; leave -A and -l out")
    if named is None and not (everywhere or namespace or labels is not None or endpoints):
        raise SvcdoctorError("proxy what? say svc/NAME, or for many Services -n NAMESPACE, -l LABELS or -A")
    try:
        parse_labels(labels or "")
    except SelectorError as e:
        raise SvcdoctorError(f"-l {labels!r}: {e}") from None
    return Selection(namespace, named.name if named is not None else "", labels or "")


def where(
    only: str, many: bool, listen: str | None, node_ports: bool, cluster_ips: bool, kernel: bool
) -> Where:
    """Where is to be listened, for ``only`` one port of a Service or, where that is empty, for all. Raises
    SvcdoctorError."""
    own = node_ports or cluster_ips
    if listen is not None and own:
        option = "--nodeport" if node_ports else "--clusterip"
        raise SvcdoctorError(f"--listen and {option} exclude each other; say one of them")
    if listen is not None and many:
        raise SvcdoctorError(
            "--listen is for one Service; say svc/NAME, or --nodeport or --clusterip for many"
        )
    base = Where(only=only, user_space=not kernel)
    if listen is not None:
        addresses, port, protocol = parse_listen(listen)
        return replace(base, addresses=_usable(addresses), port=port, protocol=protocol)
    if own:
        return replace(base, node_ports=node_ports, cluster_ips=cluster_ips, machine=machine_addresses())
    if many or kernel:
        return replace(base, node_ports=True, cluster_ips=True, others=True, machine=machine_addresses())
    return replace(base, addresses=_usable(parse_addresses(["localhost"])))


def check_found_again(connection: Connection) -> None:
    """Raises SvcdoctorError for flags without which workers, which are told a kubeconfig and its context, do not reach
    the API server as this process does."""
    told = Connection(
        connection.kubeconfig,
        connection.context,
        namespace=connection.namespace,
        request_timeout=connection.request_timeout,
    )
    if connection != told:
        raise SvcdoctorError(
            "workers reach pods through the API server as a kubeconfig says: write the connection's flags into one and "
            "name it with --kubeconfig, or say --dial direct"
        )


def fixed_ports(
    endpoints: str, selection: Selection, place: Where, options: Options
) -> tuple[ServedPort, ...]:
    """What is served without any API server. Raises SvcdoctorError."""
    if not place.port:
        raise SvcdoctorError("--endpoints asks no API server for a Service's ports; say --listen ADDR:PORT")
    backends = tuple(Backend(ip, port) for ip, port in parse_endpoints(endpoints))
    protocol = place.protocol or "TCP"
    namespace, name = selection.namespace or "default", selection.name or "endpoints"
    ports = []
    for family in (4, 6):
        listens = tuple(
            Listen(a.ip, place.port, "local") for a in place.addresses if (":" in a.ip) == (family == 6)
        )
        other = next((b for b in backends if (":" in b.ip) != (family == 6)), None)
        if listens and other is not None and not place.user_space:
            raise SvcdoctorError(
                f"--endpoints: {other} is of another IP family than {listens[0]}, and rules do not go from one to the "
                "other; leave --mode nftables out"
            )
        if listens:
            ports.append(
                ServedPort(
                    served_key(namespace, name, place.port, protocol, family),
                    protocol,
                    listens,
                    backends,
                    (),
                    has_endpoints=True,
                    balance=options.balance,
                    limit=options.limit,
                    proxy_protocol=options.proxy_protocol,
                )
            )
    return tuple(ports)


def check_seconds(text: str | None, direct: bool) -> float:
    """The time between two checks of an endpoint, 0 where there are to be none. Raises SvcdoctorError."""
    seconds = parse_duration(text, "--check-interval", "no checks") if text is not None else 0.0
    if 0 < seconds < SHORTEST_CHECK:
        raise SvcdoctorError(f"--check-interval {text}: {SHORTEST_CHECK:g} s is the shortest")
    if seconds and not direct:
        raise SvcdoctorError(
            "--check-interval connects to endpoints from this machine: say --dial direct, too"
        )
    return seconds


def processes(wanted: int | None, limit: int | None) -> tuple[int, int]:
    """How many workers there are to be, and how many connections an endpoint may have from each: 0 for any number."""
    count = wanted or min(_cores(), MOST_WORKERS)
    if limit is None:
        return count, 0
    count = min(count, limit)
    return count, limit // count


def _cores() -> int:
    """As many as this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _usable(addresses: tuple[ListenAddress, ...]) -> tuple[ListenAddress, ...]:
    """Those of localhost that this machine has, and all others."""
    return tuple(a for a in addresses if a.required or _is_here(a.ip))


def _is_here(ip: str) -> bool:
    try:
        open_socket(ip, 0, socket.SOCK_STREAM).close()
    except OSError as e:
        return e.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
