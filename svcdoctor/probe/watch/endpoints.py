"""The endpoints of a Service as its EndpointSlices tell them, one for each pod with all of its addresses.

Theory. A pod of a Service of two families is an endpoint in two slices. What counts for the pod is the worse of both;
an address that two slices name has the better state, as with kube-proxy. Who is no pod is an endpoint by its address.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from svcdoctor.model.endpoints import EndpointSlice, SliceEndpoint
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.path.endpoints import port_of


class Readiness(StrEnum):
    """What the slices say of an endpoint. ``starting`` is not ready, and was not yet; ``gone`` is in no slice."""

    READY = "ready"
    STARTING = "starting"
    NOT_READY = "notReady"
    TERMINATING = "terminating"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class SliceState:
    """What the slices say of a pod or address at one moment. ``targets`` are addresses and TCP ports."""

    ready: bool
    serving: bool
    terminating: bool
    node: str
    ips: tuple[str, ...]
    targets: tuple[tuple[str, int], ...]


def slice_states(slices: Iterable[EndpointSlice], ports: Sequence[ServicePort]) -> dict[str, SliceState]:
    """By ``namespace/pod``, or by address where it is no pod's."""
    by_ip: dict[str, tuple[str, SliceState]] = {}
    for held in slices:
        if held.address_type not in ("IPv4", "IPv6"):
            continue
        found = (port_of(held.ports or (), p) for p in ports if p.protocol == "TCP")
        numbers = sorted({number for number in found if number is not None})
        for endpoint in held.endpoints or ():
            ip = canonical_or_none((endpoint.addresses or ("",))[0])  # kube-proxy uses the first one only
            if ip is None:
                continue
            state = _state(endpoint, ip, numbers)
            if ip in by_ip:
                state = _better(by_ip[ip][1], state)
            by_ip[ip] = (_name(endpoint, ip), state)
    states: dict[str, SliceState] = {}
    for name, state in by_ip.values():
        states[name] = _worse(states[name], state) if name in states else state
    return states


def _name(endpoint: SliceEndpoint, ip: str) -> str:
    ref = endpoint.target_ref
    return f"{ref.namespace}/{ref.name}" if ref is not None and ref.kind == "Pod" else ip


def _state(endpoint: SliceEndpoint, ip: str, numbers: Sequence[int]) -> SliceState:
    return SliceState(
        endpoint.ready,
        endpoint.serving,
        endpoint.terminating,
        endpoint.node_name or "",
        (ip,),
        tuple((ip, number) for number in numbers),
    )


def _better(one: SliceState, other: SliceState) -> SliceState:
    """One address in two slices."""
    chosen = other if other.ready and not one.ready else one
    return replace(chosen, targets=tuple(dict.fromkeys([*one.targets, *other.targets])))


def _worse(one: SliceState, other: SliceState) -> SliceState:
    """One pod's two addresses."""
    return SliceState(
        one.ready and other.ready,
        one.serving and other.serving,
        one.terminating or other.terminating,
        one.node or other.node,
        (*one.ips, *other.ips),
        (*one.targets, *other.targets),
    )


def lacking(service: Service, slices: Sequence[EndpointSlice], ports: Sequence[ServicePort]) -> str:
    """Why the Service cannot be used through one of these ports at all; empty where it can.

    Usable are ready endpoints, and where there is none the terminating ones that still serve (KEP-1669).
    """
    if not service.ports:  # headless, with any port
        return "" if _usable(slices) else "no endpoint is ready"
    for port in ports:
        if not _usable([s for s in slices if port_of(s.ports or (), port) is not None]):
            name = f" for port {port.name or port.port}" if len(service.ports) > 1 else ""
            return f"no endpoint is ready{name}"
    return ""


def _usable(slices: Iterable[EndpointSlice]) -> bool:
    endpoints = (e for s in slices for e in s.endpoints or ())
    return any(e.ready or (e.serving and e.terminating) for e in endpoints)
