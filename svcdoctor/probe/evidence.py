"""``--probe``: what real requests of a trace meet, gathered before anything is judged.

Theory. A trace without traffic says what to try: each entry many times from the place that asks, each endpoint a few
times at its own address and through a tunnel into its pod. Where something is refused, the pods' socket tables are
read. All of that goes into the Snapshot as facts, and the question is answered again. Where that finds something on
the way, and not at its end, single packets are sent to see which hop it is (``closer``), and it is answered once more.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from msgspec.structs import replace as changed

from svcdoctor.checks.diagnose import diagnosed
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.evidence import SILENT, Evidence
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.observed import Aim, Met, Observation, Place, PlaceKind, ProbeKind, Speaks
from svcdoctor.model.request import ClientSpec, Request
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.model.trace import ROUTED, Client, ClientKind, Status, Trace
from svcdoctor.path.agreement import names_of
from svcdoctor.path.aims import Aims, aims_of, client_here, fits
from svcdoctor.path.observedends import observed_end
from svcdoctor.probe.askers import Live, Permitted, askers, here
from svcdoctor.probe.closer import closer, with_backends
from svcdoctor.probe.origin import Order, Origin
from svcdoctor.probe.podsockets import SocketReader
from svcdoctor.probe.run import Progress, probing
from svcdoctor.probe.tunnelled import Tunnelled
from svcdoctor.proxy.descriptors import family_of
from svcdoctor.sources.forwarding import ForwardOpener

COUNT = 20  # requests to each entry
FEW = 3  # requests to each endpoint, and to an entry that is silent
SECONDS = 2.0  # for one request: a lost SYN is sent again after one
TRIES = 4000  # to all entries together
AT_ONCE = 32  # requests of those that are counted: more would measure this machine
PODS = 8  # whose sockets are read
TOLD_SECONDS = 2.0  # between two lines of progress


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for. ``payload_size`` (bytes) is 0 for small requests only. ``progress`` hears lines
    for people."""

    permitted: Permitted
    count: int = COUNT
    payload_size: int = 0
    progress: Callable[[str], None] = field(default=lambda line: None)


def observed_trace(source: Live, request: Request, namespace: str, asked: Asked) -> Trace:
    """The answer to the request with observed traffic beside what was predicted. Raises SvcdoctorError."""
    traced, snapshot = diagnosed(source, source.snapshot(), request, namespace)
    own = own_client(traced, snapshot)
    if request.client is None and own.kind is not ClientKind.EXTERNAL:
        request = asked_by(request, own)
        traced, snapshot = diagnosed(source, snapshot, request, namespace)
    client = _client(request, namespace, own)
    evidence = _gathered(source, traced, snapshot, client, client == own, asked)
    answer, snapshot = diagnosed(source, snapshot.with_evidence(evidence), request, namespace)
    looked = closer(evidence, answer) if client == own else evidence
    if looked is not evidence:
        answer, _ = diagnosed(source, snapshot.with_evidence(looked), request, namespace)
    return answer


def asked_by(request: Request, own: Client) -> Request:
    """The request with the client that svcdoctor itself is to the cluster."""
    namespace, _, name = (own.name or "").rpartition("/")
    spec = ClientSpec(own.kind, name or None, namespace or None)
    return Request(
        request.target, spec, request.via, request.node, request.protocol, request.family, request.everywhere
    )


def _client(request: Request, namespace: str, own: Client) -> Client:
    """Who is to ask. Raises SvcdoctorError for one that nobody can be."""
    spec = request.client
    if spec is None:
        return own
    if spec.kind is ClientKind.EXTERNAL:
        if own.kind is not ClientKind.EXTERNAL:
            where = f"on {own.name}" if own.kind is ClientKind.NODE else f"in pod {own.name}"
            raise SvcdoctorError(
                f"--probe --from external: svcdoctor runs {where}, which is not outside; run it outside the cluster, "
                f"or leave --from out"
            )
        return own
    if spec.name is None:
        raise SvcdoctorError(f"--probe --from {spec.kind}: which one? Say {spec.kind}/NAME")
    name = spec.name if spec.kind is ClientKind.NODE else f"{spec.namespace or namespace}/{spec.name}"
    return own if (own.kind, own.name) == (spec.kind, name) else Client(spec.kind, name)


def own_client(traced: Trace, snapshot: Snapshot) -> Client:
    """Who this machine is to the cluster, by the addresses that it would send from."""
    ends = [o.backend.ip for p in traced.paths for o in p.outcomes if o.backend is not None]
    return client_here(snapshot, own_addresses([*(p.entry.address for p in traced.paths), *ends]))


def own_addresses(towards: Iterable[str | None]) -> list[str]:
    """The addresses that this machine would send from to others; nothing is sent."""
    found: dict[str, None] = {}
    for text in towards:
        ip = canonical_or_none(text or "")
        try:
            if ip is not None:
                with socket.socket(family_of(ip), socket.SOCK_DGRAM) as sock:
                    sock.connect((ip, 9))
                    found[sock.getsockname()[0]] = None
        except OSError:  # no route, no such family
            continue
    return list(found)


def _gathered(
    source: Live, traced: Trace, snapshot: Snapshot, client: Client, is_here: bool, asked: Asked
) -> Evidence:
    aims = aims_of(traced, snapshot, client, asked.payload_size)
    evidence = Evidence(Place(PlaceKind.HERE), client)
    places = iter([here()]) if is_here else askers(source, snapshot, client, asked.permitted)
    for place in places:
        with place as origin:
            evidence = _asked_from(source, traced, snapshot, client, origin, aims, asked)
        if not _nothing_tried(evidence):
            break
    if is_here and client.kind is ClientKind.NODE:
        evidence = with_backends(evidence, snapshot)
    missing = (*_left_out(traced, client), *_untried(evidence, aims))
    wanted = _to_look_into(traced, snapshot, evidence)
    reader = SocketReader(source.session, snapshot, asked.permitted.confirm)
    sockets, unread = reader.read(wanted[:PODS]) if wanted else ({}, ())
    return replace(evidence, sockets=sockets, missing=(*missing, *unread))


def _asked_from(
    source: Live,
    traced: Trace,
    snapshot: Snapshot,
    client: Client,
    origin: Origin,
    aims: Aims,
    asked: Asked,
) -> Evidence:
    if not aims.entries and not aims.endpoints:
        return Evidence(origin.place, client)
    tunnel = Tunnelled(ForwardOpener(source.session).open)
    names = tuple(n for p in _pods(traced) for n in names_of(snapshot, p))
    count = max(1, min(asked.count, TRIES // max(1, len(aims.entries))))
    asked.progress(f"asking {len(aims.entries)} entries {count} times, {len(aims.endpoints)} endpoints")
    told = _now_and_then(asked.progress)
    return Evidence(origin.place, client, asyncio.run(_tried(aims, origin, tunnel, count, names, told)))


def _now_and_then(tell: Callable[[str], None]) -> Progress:
    """Tells how far it has got, where that takes long."""
    told = time.monotonic()

    def progress(done: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TOLD_SECONDS:
            told = time.monotonic()
            tell(f"{done:,} of {of:,} requests are done")

    return progress


def _nothing_tried(evidence: Evidence) -> bool:
    """Whether the place can try nothing at all."""
    own = [o for o in evidence.observations if o.place == evidence.place]
    return bool(own) and all(o.met.get(Met.ERROR, 0) == o.sent for o in own)


async def _tried(
    aims: Aims, origin: Origin, tunnel: Origin, count: int, names: tuple[str, ...], told: Progress
) -> tuple[Observation, ...]:
    """All observations; of a port that speaks otherwise than was guessed, as it is asked in its own protocol."""
    found = await _round(
        aims.entries, aims.endpoints + aims.health, aims.tunnels, origin, tunnel, count, names, told
    )
    wrong = {o.aim for o in found if o.aim in aims.guessed and _flipped(o) is not None}
    if not wrong:
        return found
    flip = {o.aim: _flipped(o) or o.aim for o in found if o.aim in wrong}
    again = await _round(
        _flip(aims.entries, flip), _flip(aims.endpoints, flip), _flip(aims.tunnels, flip),
        origin, tunnel, count, names, told,
    )  # fmt: skip
    return (*again, *(o for o in found if o.aim not in wrong))


async def _round(
    entries: Sequence[Aim],
    few: Sequence[Aim],
    tunnels: Sequence[Aim],
    origin: Origin,
    tunnel: Origin,
    count: int,
    names: tuple[str, ...],
    told: Progress,
) -> tuple[Observation, ...]:
    """A few requests to everything at once; then as many as were asked for to each entry that was not silent."""
    rarely = Order(FEW, SECONDS, names=names)
    first = [(origin, aims) for aims in (entries, few) if aims] + ([(tunnel, tunnels)] if tunnels else [])
    found = await probing(first, rarely, told)
    alive = [o.aim for o in found[: len(entries)] if any(m not in SILENT for m in o.met)]
    if not alive:
        return found
    counted = await probing([(origin, alive)], Order(count, SECONDS, AT_ONCE, names), told)
    return (*counted, *(o for o in found if o.aim not in alive or o.place != origin.place))


def _flipped(observation: Observation) -> Aim | None:
    """The same aim with TLS where the port speaks it, without where it does not; None where that is no help."""
    aim, spoken = observation.aim, observation.speaks
    if spoken is Speaks.TLS and not aim.tls and aim.kind is ProbeKind.HTTP:
        return changed(aim, tls=True)
    if spoken is Speaks.HTTP and aim.tls:
        return changed(aim, tls=False)
    return None


def _flip(aims: Iterable[Aim], flip: dict[Aim, Aim]) -> list[Aim]:
    return [flip[aim] for aim in aims if aim in flip]


def _pods(traced: Trace) -> list[str]:
    ends = (o.backend.pod for p in traced.paths for o in p.outcomes if o.backend is not None)
    return list(dict.fromkeys(pod for pod in ends if pod))


def _left_out(traced: Trace, client: Client) -> tuple[MissingFact, ...]:
    """The ways that were not tried: other clients', and those whose address is a name."""
    found: dict[MissingFact, None] = {}
    who = client.name or "outside the cluster"
    for path in traced.paths:
        kind, entry = path.client.kind, path.entry
        if not fits(path, client):
            fact = "from outside" if kind is ClientKind.EXTERNAL else f"of a {kind}"
            where = (
                "run svcdoctor outside the cluster"
                if kind is ClientKind.EXTERNAL
                else f"add --from {kind}/NAME"
            )
            found[MissingFact(f"observed traffic {fact}", f"requests were sent from {who} only", where)] = (
                None
            )
        elif entry.kind in ROUTED or entry.protocol == "SCTP" or not canonical_or_none(entry.address or ""):
            what = f"{entry.kind} {entry.address or ''}".strip()
            why = "requests are sent to addresses over TCP and UDP, not by names or through an Ingress"
            found[
                MissingFact(f"observed traffic by {what}", why, f"curl -v http://{entry.address or 'NAME'}")
            ] = None
    return tuple(found)


def _untried(evidence: Evidence, aims: Aims) -> tuple[MissingFact, ...]:
    """What could not be tried at all, and what to grant."""
    found = []
    what = f"requests from {evidence.place}"
    if not aims.entries:
        why = "no way of this client has an address and a port to try"
        found.append(MissingFact(what, why, "trace the Service itself: svc/NAME"))
    elif _nothing_tried(evidence):
        found.append(_missing(what, evidence.observations[0].detail, required=True))
    tunnels = [o for o in evidence.observations if o.place.kind == "tunnel"]
    if tunnels and all(o.met.get(Met.ERROR, 0) == o.sent for o in tunnels):
        found.append(_missing("tunnels into pods", tunnels[0].detail))
    return tuple(found)


def _missing(fact: str, detail: str, *, required: bool = False) -> MissingFact:
    reason, separator, command = detail.partition(": kubectl ")
    return MissingFact(fact, reason, f"kubectl {command}" if separator else "", required)


def _to_look_into(traced: Trace, snapshot: Snapshot, evidence: Evidence) -> list[str]:
    """The pods whose sockets would tell why they refuse."""
    found: dict[str, None] = {}
    for path in traced.paths:
        entry = evidence.at(path.entry.address or "", path.entry.port or 0, path.entry.protocol)
        refused = entry is not None and bool(entry.met.get(Met.REFUSED)) and fits(path, evidence.client)
        for outcome in path.outcomes:
            end = observed_end(snapshot, evidence, outcome, path.entry.protocol)
            if outcome.backend is None or not outcome.backend.pod or end.reached:
                continue
            doubted = outcome.status in (Status.FAIL, Status.WARN) and outcome.code is not None
            if refused or doubted or Met.REFUSED in (end.seen.direct, end.seen.tunnel):
                found[outcome.backend.pod] = None
    return list(found)
