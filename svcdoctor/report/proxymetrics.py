"""What ``proxy`` serves and has carried, as metrics in Prometheus' text format.

Series name the Service's namespace, name, port and protocol, IP family and, of endpoints, address and pod. Those of
endpoints that are gone end with their last connection.

Specification: https://prometheus.io/docs/instrumenting/exposition_formats/ ,
https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from svcdoctor.proxy.serving.served import Backend, ServedPort
from svcdoctor.proxy.serving.wire import LATENCY_BUCKETS, Counters, EndpointCounts
from svcdoctor.report.exposition import Labels, Series, family, sample

_PREFIX = "svcdoctor_proxy_"


def as_prometheus(
    ports: Iterable[ServedPort],
    counters: Counters,
    healthy: bool,
    answers: Callable[[Backend], bool | None] = lambda backend: None,
) -> str:
    """All metrics, each with its HELP and TYPE lines. ``answers`` says whether an endpoint answers when it is checked,
    None where none is."""
    served = [(_labels(port.key), port) for port in ports]
    counts = [(_labels(port.key), port) for port in counters.ports]
    endpoints = [
        (labels | {"endpoint": found.address, "pod": found.pod}, found)
        for labels, port in counts
        for found in port.endpoints
    ]
    clients = [
        (labels | {"reason": reason}, count)
        for labels, port in counts
        for reason, count in (
            ("source_ranges", port.forbidden),
            ("no_endpoint", port.unserved),
            ("limit", port.limited),
        )
    ]
    families: list[tuple[str, str, str, Series]] = [
        ("healthy", "gauge", "Whether the state is known and all of it is served.", [({}, int(healthy))]),
        (
            "connections_active",
            "gauge",
            "Connections that live, UDP flows among them, by endpoint.",
            [(labels, found.active) for labels, found in endpoints],
        ),
        (
            "connections_total",
            "counter",
            "Connections that were made to an endpoint; of UDP, flows.",
            [(labels, found.connections) for labels, found in endpoints],
        ),
        (
            "endpoint_failures_total",
            "counter",
            "Connections that an endpoint refused or did not answer.",
            [(labels, found.failed) for labels, found in endpoints],
        ),
        (
            "sent_bytes_total",
            "counter",
            "Bytes from clients to an endpoint.",
            [(labels, found.sent) for labels, found in endpoints],
        ),
        (
            "received_bytes_total",
            "counter",
            "Bytes from an endpoint to clients.",
            [(labels, found.received) for labels, found in endpoints],
        ),
        ("clients_refused_total", "counter", "Clients that were turned away, and why.", clients),
        (
            "endpoints",
            "gauge",
            "Endpoints that new connections go to.",
            [(labels, len({*port.cluster, *port.local})) for labels, port in served],
        ),
    ]
    checked = [
        (labels | {"endpoint": str(backend), "pod": backend.pod}, int(answer))
        for labels, port in served
        if port.protocol == "TCP"
        for backend in dict.fromkeys((*port.cluster, *port.local))
        if (answer := answers(backend)) is not None
    ]
    if checked:
        words = "Whether an endpoint takes connections when it is checked; one that does not is passed by."
        families.append(("endpoint_answers", "gauge", words, checked))
    text = "".join(family(f"{_PREFIX}{noun}", kind, words, series) for noun, kind, words, series in families)
    return text + _latencies(endpoints)


def _latencies(endpoints: list[tuple[Labels, EndpointCounts]]) -> str:
    name = f"{_PREFIX}dial_seconds"
    lines = [f"# HELP {name} How long it took to connect to an endpoint.", f"# TYPE {name} histogram"]
    for labels, found in endpoints:
        lines += _histogram(name, labels, found)
    return "\n".join((*lines, ""))


def _histogram(name: str, labels: Labels, found: EndpointCounts) -> Iterator[str]:
    below = 0
    for bound, count in zip((*map(str, LATENCY_BUCKETS), "+Inf"), found.dials, strict=True):
        below += count
        yield sample(f"{name}_bucket", labels | {"le": bound}, below)
    yield sample(f"{name}_sum", labels, round(found.dial_seconds, 6))
    yield sample(f"{name}_count", labels, below)


def _labels(key: str) -> Labels:
    namespace, _, rest = key.partition("/")
    name, _, rest = rest.partition(":")
    port, protocol, family = rest.split("/")
    return {
        "namespace": namespace,
        "service": name,
        "port": port,
        "protocol": protocol,
        "family": f"IPv{family}",
    }
