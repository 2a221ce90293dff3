"""Whether connections to a Service succeed from here, tried once.

Theory. On a node and in a pod the Service's cluster IPs are connected to, outside the cluster nodePorts, load balancers
and external IPs, too; of a headless Service its pods. One that takes the connection is enough for each port. Outside
the cluster all of them may lead nowhere. Where nobody at all is met there, a connection through the API server
into a pod counts, and that is told: it proves the application, not the way to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from svcdoctor.checks.diagnose import Source, diagnosed
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.evidence import ARRIVED, SILENT
from svcdoctor.model.observed import Aim, Met, ProbeKind, Sample
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import Client, ClientKind, EntryKind, Path, Trace
from svcdoctor.path.aims import DNS_QUERY, fits
from svcdoctor.probe.evidence import asked_by, own_client
from svcdoctor.probe.here import Here
from svcdoctor.probe.origin import Order, Origin
from svcdoctor.probe.tunnelled import Tunnelled
from svcdoctor.probe.waiting.looks import Look
from svcdoctor.proxy.tunnels import Open

SECONDS = 2.0
"""For one connection: a lost SYN is sent again after one."""

MOST_ENTRIES = 16
"""That are tried of one port; a nodePort has one for each node."""

MOST_PODS = 3
"""That are tried of one port through the API server."""

_FIRST = (EntryKind.CLUSTER_IP, EntryKind.LOAD_BALANCER, EntryKind.EXTERNAL_IP)


@dataclass
class _Port:
    """A port of the Service: where it is tried, what that met, and what was reached."""

    name: str
    entries: dict[Aim, str] = field(default_factory=dict)
    pods: dict[Aim, str] = field(default_factory=dict)
    met: dict[Aim, Sample] = field(default_factory=dict)
    tunnelled: dict[Aim, Sample] = field(default_factory=dict)

    @property
    def entered(self) -> str:
        """The first entry that took a connection; empty where none has."""
        return next((words for aim, words in self.entries.items() if _took(self.met.get(aim))), "")

    @property
    def nobody(self) -> bool:
        """Whether no entry met anybody. Outside the cluster its cluster IPs may be somebody else's addresses."""
        return all(
            sample.met in SILENT
            or sample.met is Met.ERROR
            or self.entries[aim].startswith(EntryKind.CLUSTER_IP)
            for aim, sample in self.met.items()
        )

    @property
    def inside(self) -> str:
        """The pod that took a connection through the API server."""
        return next((words for aim, words in self.pods.items() if _took(self.tunnelled.get(aim))), "")

    @property
    def failures(self) -> str:
        """What the entries met."""
        tried = ", ".join(
            f"{words} {self.met[aim]}" for aim, words in self.entries.items() if aim in self.met
        )
        return tried or "no way in that can be tried from here"

    @property
    def all_failures(self) -> str:
        """What the entries met, and the pods through the API server."""
        inside = [f"{self.pods[aim]} through the API server {_words(s)}" for aim, s in self.tunnelled.items()]
        return ", ".join([self.failures, *inside])


def _took(sample: Sample | None) -> bool:
    return sample is not None and sample.met in ARRIVED


def _words(sample: Sample) -> str:
    return f"could not be tried ({sample.detail})" if sample.met is Met.ERROR else str(sample.met)


def reach(source: Source, target: ObjectTarget, open_carrier: Open) -> Look:
    """One attempt at all ports. Raises SvcdoctorError where none of them can be connected to at all."""
    traced, snapshot = diagnosed(source, source.snapshot(), Request(target), target.namespace)
    own = own_client(traced, snapshot)
    traced, snapshot = diagnosed(source, snapshot, asked_by(Request(target), own), target.namespace)
    ports = _ports(traced, own)
    outside = own.kind is ClientKind.EXTERNAL
    if ports:
        asyncio.run(_tried(ports, Tunnelled(open_carrier) if outside else None))
    lacking = [f"{p.name}: {p.all_failures}" for p in ports if not p.entered and not (p.nobody and p.inside)]
    how = [f"connected to {p.entered}" if p.entered else _through(p) for p in ports]
    if not ports:
        lacking = ["no port of the Service can be connected to: connections are of TCP"]
    return Look(tuple(lacking), "; ".join(how), True, findings=traced.findings)


def _through(port: _Port) -> str:
    return f"connected to {port.inside} through the API server (from here: {port.failures})"


async def _tried(ports: list[_Port], tunnel: Origin | None) -> None:
    """Tries everything at once, and no longer than until each port was entered from here."""
    entered = asyncio.Event()

    async def observe(origin: Origin, tries: list[tuple[dict[Aim, Sample], Aim]]) -> None:
        def tell(position: int, sample: Sample) -> None:
            met, aim = tries[position]
            met[aim] = sample
            if all(port.entered for port in ports):
                entered.set()

        try:
            await origin.observe([aim for _, aim in tries], Order(1, SECONDS), tell)
        except SvcdoctorError as e:
            for met, aim in tries:
                met.setdefault(aim, Sample(Met.ERROR, 0.0, detail=e.message))

    plan = [observe(Here(), [(p.met, aim) for p in ports for aim in p.entries])]
    if tunnel is not None:
        plan.append(observe(tunnel, [(p.tunnelled, aim) for p in ports for aim in p.pods]))
    tasks = [asyncio.create_task(work) for work in plan]
    over = asyncio.create_task(entered.wait())
    waiting: set[asyncio.Task[None]] = set(tasks)
    while waiting and not entered.is_set():
        _, left = await asyncio.wait({*waiting, over}, return_when=asyncio.FIRST_COMPLETED)
        waiting = waiting & left
    for task in (*tasks, over):
        task.cancel()
    await asyncio.gather(*tasks, over, return_exceptions=True)


def _ports(traced: Trace, own: Client) -> list[_Port]:
    """The ports that can be connected to, and where."""
    found: dict[tuple[str, int, str], _Port] = {}
    for path in sorted(traced.paths, key=lambda p: p.entry.kind not in _FIRST):
        if path.service_port is None or not fits(path, own) or path.entry.kind is EntryKind.INGRESS:
            continue
        if path.entry.protocol == "SCTP" or (path.entry.protocol == "UDP" and path.service_port.port != 53):
            continue  # nobody has to answer a datagram
        named, protocol = path.service_port, path.entry.protocol
        name = f"port {named.port}{f' ({named.name})' if named.name else ''}"
        port = found.setdefault((named.name, named.port, protocol), _Port(name))
        for aim, words in _entries(path, own):
            if len(port.entries) < MOST_ENTRIES:
                port.entries.setdefault(aim, words)
        for aim, words in _pods(path) if protocol == "TCP" else ():
            if len(port.pods) < MOST_PODS:
                port.pods.setdefault(aim, words)
    return list(found.values())


def _entries(path: Path, own: Client) -> Iterable[tuple[Aim, str]]:
    """Where a client connects to: the entry's address; where that is a name, the addresses that it stands for.

    Who is in the cluster uses cluster IPs: that a nodePort of another node answers proves nothing of them.
    """
    entry = path.entry
    ip = canonical_or_none(entry.address or "")
    if own.kind is not ClientKind.EXTERNAL and entry.kind not in (EntryKind.CLUSTER_IP, EntryKind.DNS):
        return
    if ip is not None and entry.port:
        yield _aim(ip, entry.port, entry.protocol), f"{entry.kind} {_address(ip, entry.port)}"
    elif entry.kind is EntryKind.DNS:
        yield from _pods(path)


def _pods(path: Path) -> Iterable[tuple[Aim, str]]:
    for outcome in path.outcomes:
        end = outcome.backend
        ip = canonical_or_none(end.ip or "") if end is not None else None
        if end is not None and ip is not None and end.port and end.pod:
            aim = _aim(ip, end.port, path.entry.protocol, end.pod)
            yield aim, f"pod {end.pod} {_address(ip, end.port)}"


def _aim(ip: str, port: int, protocol: str, pod: str = "") -> Aim:
    if protocol == "UDP":
        return Aim(ip, port, ProbeKind.UDP, payload=DNS_QUERY, pod=pod)
    return Aim(ip, port, pod=pod)


def _address(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
