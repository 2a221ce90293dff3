"""Counts of several workers as those of one."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import structs

from svcdoctor.proxy.serving.wire import Counters, EndpointCounts, PortCounts


def total(counted: Iterable[Counters]) -> Counters:
    """The sums, by port and endpoint; ``pid`` is 0."""
    active = 0
    draining = False
    ports: dict[str, PortCounts] = {}
    endpoints: dict[str, dict[tuple[str, str], EndpointCounts]] = {}
    for one in counted:
        active += one.active
        draining = draining or one.draining
        for port in one.ports:
            sums = endpoints.setdefault(port.key, {})
            for endpoint in port.endpoints:
                who = (endpoint.address, endpoint.pod)
                known = sums.get(who)
                sums[who] = endpoint if known is None else _plus(known, endpoint)
            before = ports.get(port.key)
            if before is not None:
                port = structs.replace(
                    port,
                    forbidden=before.forbidden + port.forbidden,
                    unserved=before.unserved + port.unserved,
                    limited=before.limited + port.limited,
                )
            ports[port.key] = port
    made = (structs.replace(p, endpoints=tuple(endpoints[k].values())) for k, p in ports.items())
    return Counters(0, active, draining, tuple(made))


def ended(counted: Counters, keys: Collection[str]) -> Counters:
    """What remains of a worker that has ended: its counts of the ports that are still served."""
    ports = tuple(
        structs.replace(p, endpoints=tuple(structs.replace(e, active=0) for e in p.endpoints))
        for p in counted.ports
        if p.key in keys
    )
    return Counters(0, 0, False, ports)


def _plus(a: EndpointCounts, b: EndpointCounts) -> EndpointCounts:
    return EndpointCounts(
        a.address,
        a.pod,
        a.connections + b.connections,
        a.active + b.active,
        a.failed + b.failed,
        a.sent + b.sent,
        a.received + b.received,
        a.dial_seconds + b.dial_seconds,
        tuple(x + y for x, y in zip(a.dials, b.dials, strict=True)),
    )
