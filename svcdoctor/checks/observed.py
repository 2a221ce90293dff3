"""OBS001, NOD007, EXT010: what real requests met, against what should be.

Which of them explains a path was decided where the observations were laid over the trace (``path.observing``); here
each cause gets its words. Without ``--probe`` nothing of this is raised.
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed
from svcdoctor.checks.tried import (
    backends,
    entry_words,
    met_words,
    place_words,
    pod_names,
    several,
    subjects,
    trace_command,
    ways_with,
    with_packets,
)
from svcdoctor.model.finding import Severity
from svcdoctor.model.observed import Met
from svcdoctor.model.seen import PathSeen
from svcdoctor.model.trace import Path, Result, Status


@check(
    "NOD007",
    "Small requests pass, large ones hang",
    Severity.ERROR,
    meaning=(
        "A link on the way takes smaller packets than the sender believes, and the ICMP message that would tell it "
        "is lost: handshakes and small requests pass, full packets vanish. Usual with tunnels (VXLAN, WireGuard, "
        "VPN) whose overhead nobody took off the pods' MTU."
    ),
    look="ip link (mtu of eth0, of the CNI's tunnel, in the pod); ping -M do -s 1472 ADDRESS",
    mend=(
        "Set the CNI's MTU to what the smallest link on the way takes, less the tunnel's overhead, and let "
        "ICMP type 3 code 4 and IPv6 packet-too-big pass."
    ),
    links=("https://www.rfc-editor.org/rfc/rfc1191", "https://www.rfc-editor.org/rfc/rfc8201"),
)
def large_ones_hang(case: Case) -> Iterator[Raised]:
    ways = ways_with(case, "NOD007")
    if not ways:
        return
    ends = backends(o for path, _ in ways for o in path.outcomes if o.code == "NOD007")
    fine = backends(
        o for path, _ in ways for o in path.outcomes if o.code != "NOD007" and o.status is Status.OK
    )
    pods = listed(dict.fromkeys(f"{(b.pod or '').rpartition('/')[2]} on {b.node}" for b in ends))
    lines = [f"pods that large requests do not reach: {pods}"]
    if fine:
        lines.append(f"pods that they reach: {listed(pod_names(fine))}")
    for path, seen in ways:
        large = seen.large
        said = f"{entry_words(path)}: {seen.answered} of {seen.sent} small requests answered"
        if large is not None:
            said += (
                f"; with {large.payload_size:,} bytes {large.answered} of {large.sent} ({met_words(large)})"
            )
        else:
            said += f"; {seen.detail}"
        lines.append(said)
    yield Raised(
        subjects(case, (b.node for b in ends)),
        with_packets(case, lines),
        "Set the MTU of the pods' interfaces to what the smallest link on the way takes (the CNI's configuration), "
        "and let ICMP type 3 code 4 (IPv6: packet too big) through.",
        "ip -d link show (on these nodes: compare the mtu of eth0, the bridge, each veth and the CNI's tunnel)",
    )


@check(
    "EXT010",
    "The application speaks another protocol",
    Severity.ERROR,
    meaning=(
        "The Service's appProtocol or port name says how to speak, and the application answers in another protocol: "
        "http to a port for https is answered 400 or cut, gRPC to a port for HTTP/1.1 fails at its first frame."
    ),
    look="curl -v http://ADDRESS and https://ADDRESS; openssl s_client -connect ADDRESS",
    mend=(
        "Speak the application's protocol, and say it in the Service: spec.ports[].appProtocol and the "
        "port's name."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol",
        "https://kubernetes.io/docs/reference/networking/service-protocols/",
    ),
    explains=("OBJ035",),
)
def other_protocol(case: Case) -> Iterator[Raised]:
    ways = ways_with(case, "EXT010")
    ports = dict.fromkeys(p.service_port for p, _ in ways)
    for port in ports:
        mine = [(p, s) for p, s in ways if p.service_port == port]
        reasons = dict.fromkeys(o.reason for p, _ in mine for o in p.outcomes if o.code == "EXT010")
        details = dict.fromkeys(s.detail for _, s in mine if s.detail)
        name = port.name if port is not None else ""
        places = listed(entry_words(p) for p, _ in mine)
        yield Raised(
            subjects(case),
            (f"port {name or '?'}: {listed(reasons)}", *details, f"asked at {places}"),
            "Requests arrive and are not understood. Speak the application's protocol, and let the Service say so: "
            "clients, meshes and Ingress controllers go by appProtocol and by the port's name.",
            _protocol_fix(case, mine[0][0]),
        )


def _protocol_fix(case: Case, path: Path) -> str:
    named = path.service_port
    for service in case.services:
        for i, port in enumerate(service.ports):
            if named is not None and (port.name, port.port) == (named.name, named.port):
                spoken = "https" if any("TLS" in o.reason for o in path.outcomes) else "http"
                patch = f'[{{"op":"add","path":"/spec/ports/{i}/appProtocol","value":"{spoken}"}}]'
                return f"kubectl -n {service.namespace} patch svc {service.name} --type=json -p '{patch}'"
    return f"kubectl get svc {case.trace.target.name} -o yaml"


@check(
    "OBS001",
    "What was observed is not what was predicted",
    Severity.ERROR,
    meaning=(
        "Real requests met something else than the API's objects, or the nodes' rules, promise. Where pods answer at "
        "their own addresses and not through the Service, the rules of the node are to blame; where one node "
        "answers and another does not, that node."
    ),
    look="svcdoctor trace svc/NAME --probe -v; svcdoctor rules audit svc/NAME --node-facts exec",
    mend=(
        "Compare the node's rules with the API (svcdoctor rules audit --node-facts exec), and look at "
        "firewalls, routes and agents of the nodes that differ."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
        "https://kubernetes.io/docs/reference/networking/virtual-ips/",
    ),
)
def contradicted(case: Case) -> Iterator[Raised]:
    tried = [(p, p.observed) for p in case.trace.paths if p.observed is not None]
    broken = [(p, s) for p, s in tried if s.agrees is False and s.arrived < s.sent and not _explained(p)]
    if broken:
        yield _failing(case, broken, tried)
    odd = [(p, s) for p, s in tried if s.agrees is False and s.arrived == s.sent and not _explained(p)]
    if odd:
        yield Raised(
            subjects(case),
            several([f"{entry_words(p)}: {s.differs}" for p, s in odd]),
            "Requests arrive, and not as the objects have it: kube-proxy may lag behind them, or something else "
            "answers at this address.",
            f"{trace_command(case)} --node-facts exec",
            Severity.WARNING,
        )


def _explained(path: Path) -> bool:
    """Whether each outcome that fails has a cause of its own, or nothing is expected of the path."""
    failing = [o for o in path.outcomes if o.status is not Status.OK]
    if path.observed is not None and path.observed.arrived == path.observed.sent:
        return any(o.code is not None for o in failing)
    return bool(failing) and all(
        o.code is not None or (o.status is Status.WARN and o.result is not Result.DELIVERED) for o in failing
    )


def _failing(case: Case, broken: list[tuple[Path, PathSeen]], tried: list[tuple[Path, PathSeen]]) -> Raised:
    lines = []
    nodes = [p.entry.node for p, _ in broken if p.entry.node]
    fine = [
        p.entry.node for p, s in tried if s.arrived == s.sent and p.entry.node and p.entry.node not in nodes
    ]
    reached = backends(
        o
        for p, _ in broken
        for o in p.outcomes
        if o.observed is not None and o.observed.direct is Met.ANSWERED
    )
    evidence = case.view.snapshot.evidence
    place = str(evidence.place) if evidence is not None else "here"
    text = "The objects promise that these requests arrive. The nodes' own rules tell more (--node-facts)."
    if reached:
        ips = listed(place_words(b.ip, b.port) for b in reached)
        lines.append(f"from {place} the pods answer at their own addresses: {ips}")
        text = "The endpoints are fine; the Service's addresses do not lead to them: the node's rules are to blame."
    away = [b for b in backends(o for p, _ in broken for o in p.outcomes) if b not in reached and b.node]
    there = dict.fromkeys(b.node for b in away if b.node)
    if reached and away and not there.keys() & {b.node for b in reached}:
        lines.append(f"the pods that do not answer at theirs are on {listed(there)}")
        text = f"What differs is on {listed(there)}: forwarding, routes, or a firewall of its own."
        nodes = list(there)
    elif nodes and fine:
        lines.append(f"other nodes answer: {listed(dict.fromkeys(fine))}")
        text = (
            f"What differs is on {listed(dict.fromkeys(nodes))}: its rules, routes, or a firewall of its own."
        )
    lines += [f"{entry_words(p)}: {s.differs}" for p, s in broken]
    only = f" --node {nodes[0]}" if len(set(nodes)) == 1 else ""
    return Raised(
        subjects(case, nodes[:5]),
        with_packets(case, lines),
        text,
        f"{trace_command(case)}{only} --node-facts exec",
    )
