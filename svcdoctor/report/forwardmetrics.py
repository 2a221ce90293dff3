"""How the forwards stand, as metrics in Prometheus' text format.

Every series names what was asked for: the namespace, the target, its port, and the local address that leads there.
Bytes name the pod, too. Series of pods that are gone end with time, and those of a SOCKS proxy's targets when they
are forgotten.

Specification: https://prometheus.io/docs/instrumenting/exposition_formats/ ,
https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from svcdoctor.proxy.status import ForwardStatus, PortStatus
from svcdoctor.report.exposition import Labels, Series, family
from svcdoctor.report.forwarding import address_text

_PREFIX = "svcdoctor_forward_"


def as_prometheus(status: ForwardStatus) -> str:
    """All metrics, each with its HELP and TYPE lines."""
    ports = [(_labels(port), port) for port in status.ports]
    pods = [
        (labels | {"pod": pod}, traffic)
        for labels, port in ports
        if port.request.protocol == "TCP"
        for pod, traffic in port.counts.pods.items()
    ]
    families: list[tuple[str, str, str, Series]] = [
        (
            "connections_total",
            "counter",
            "Connections that clients made to a local port.",
            ((labels, port.counts.accepted) for labels, port in ports),
        ),
        (
            "connections_failed_total",
            "counter",
            "Connections that no pod took in time, or that broke off.",
            ((labels, port.counts.failed) for labels, port in ports),
        ),
        (
            "connections_retried_total",
            "counter",
            "Attempts to reach a pod that failed, after which another one was tried.",
            ((labels, port.counts.retried) for labels, port in ports),
        ),
        (
            "connections_active",
            "gauge",
            "Connections that live, or wait for a pod.",
            ((labels, port.counts.live) for labels, port in ports),
        ),
        (
            "sent_bytes_total",
            "counter",
            "Bytes from clients to a pod, over TCP.",
            ((labels, traffic.up) for labels, traffic in pods),
        ),
        (
            "received_bytes_total",
            "counter",
            "Bytes from a pod to clients, over TCP.",
            ((labels, traffic.down) for labels, traffic in pods),
        ),
        (
            "endpoints",
            "gauge",
            "Pods that new connections go to.",
            ((labels, port.ready) for labels, port in ports),
        ),
        (
            "tunnels_lost_total",
            "counter",
            "Tunnels through the API server that ended unexpectedly.",
            [({}, status.tunnels_lost)],
        ),
    ]
    if status.socks:
        refused: Series = [({}, status.refused)]
        families.append(
            ("socks_refused_total", "counter", "Clients of the SOCKS proxy that were refused.", refused)
        )
    return "".join(family(f"{_PREFIX}{noun}", kind, text, series) for noun, kind, text, series in families)


def _labels(port: PortStatus) -> Labels:
    return {
        "namespace": port.namespace,
        "target": str(port.target),
        "port": str(port.request.remote),
        "protocol": port.request.protocol,
        "local": address_text(port.addresses[0]) if port.addresses else "",
    }
