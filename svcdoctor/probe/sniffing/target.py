"""Whose packets are captured: the Service's doors, and whether this machine is the node that sees them."""

from __future__ import annotations

from svcdoctor.capture.doorfilter import tcpdump_words
from svcdoctor.capture.doors import Doors, Role, doors_of
from svcdoctor.checks.diagnose import ROUNDS, Source
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.request import ObjectTarget
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.view import View
from svcdoctor.sources.localnode import own_addresses, this_node

SERVICE_LABEL = "kubernetes.io/service-name"


def held(source: Source, target: ObjectTarget) -> tuple[Snapshot, Service]:
    """The Service, with its endpoints and the nodes as far as they may be read. Raises SvcdoctorError."""
    snapshot = source.snapshot()
    for _ in range(ROUNDS):
        view = View(snapshot)
        one = Scope(target.namespace, name=target.name)
        known = view.complete(Kind.SERVICE, one, required=True)
        slices = Scope(target.namespace, ((SERVICE_LABEL, target.name),))
        if not view.complete(Kind.ENDPOINT_SLICE, slices) and snapshot.why_unknown(
            Kind.ENDPOINT_SLICE, slices
        ):
            view.complete(Kind.ENDPOINTS, one)
        view.complete(Kind.NODE)
        refilled = source.refill(snapshot, view.needs) if view.needs else snapshot
        if refilled is snapshot:
            break
        snapshot = refilled
    service = snapshot.service(target.namespace, target.name)
    if service is None:
        missing = next((m for m in view.missing if m.required), None)
        if missing is not None and not known:
            raise SvcdoctorError(f"{missing.fact}: {missing.reason}; {missing.grant}".rstrip("; "), 3)
        raise SvcdoctorError(f"no Service {target.name} in namespace {target.namespace}", 1)
    return snapshot, service


def doors_here(snapshot: Snapshot, service: Service, port: str | None, live: bool) -> Doors:
    """The doors of a Service; with ``live`` also its nodePorts on this machine. Raises SvcdoctorError for none."""
    doors = doors_of(snapshot, service, port, own_addresses() if live else ())
    if not doors.doors:
        what = f"port {port} of svc/{service.name}" if port is not None else f"svc/{service.name}"
        raise SvcdoctorError(
            f"{what} has no address and port whose packets could be captured (type {service.type})"
        )
    return doors


def node_here(snapshot: Snapshot, doors: Doors, asked: str | None, command: str) -> str:
    """The name of this node, empty where nodes are not known. Raises SvcdoctorError where it is none, or not the one
    that was asked for, and says where to run ``command``."""
    names = sorted(n.name for n in snapshot.nodes)
    if not names:
        return asked or ""
    if asked is not None and asked not in names:
        raise SvcdoctorError(f"--node {asked}: no such node (there are {', '.join(names[:8])})")
    try:
        here = this_node(snapshot.nodes)
    except SvcdoctorError:
        here = ""
    if here and asked in (None, here):
        return here
    best = asked or _with_endpoints(snapshot, doors) or names[0]
    what = f"this is {here}" if here else "this machine is none of the cluster's nodes"
    raise SvcdoctorError(
        f"{what}: run it on the node, as ssh {best} sudo {command}, or, where svcdoctor is not installed there: "
        f"ssh {best} \"sudo tcpdump -i any -U -w - '{tcpdump_words(doors.doors)}'\" | {command} --read -, or in a pod "
        f"there: {command} --node {best} --capture-image IMAGE (one with tcpdump)"
    )


def node_there(snapshot: Snapshot, doors: Doors, asked: str | None) -> str:
    """The node to capture on in a pod. Raises SvcdoctorError where there is none of that name."""
    names = sorted(n.name for n in snapshot.nodes)
    if asked is not None and names and asked not in names:
        raise SvcdoctorError(f"--node {asked}: no such node (there are {', '.join(names[:8])})")
    found = asked or _with_endpoints(snapshot, doors) or next(iter(names), "")
    if not found:
        raise SvcdoctorError("name the node to capture on: --node NODE")
    return found


def _with_endpoints(snapshot: Snapshot, doors: Doors) -> str:
    """A node that the Service's packets are sure to pass: one with an endpoint."""
    ips = {door.ip for door in doors.doors if door.role is Role.ENDPOINT}
    for s in snapshot.of(Kind.ENDPOINT_SLICE):
        for e in s.endpoints or ():
            if e.node_name and ips.intersection(e.addresses or ()):
                return str(e.node_name)
    return ""
