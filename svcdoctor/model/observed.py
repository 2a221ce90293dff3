"""What real traffic met: aims, places that they are tried from, and what came back.

The field names are those of the JSON contract, as in ``model.trace``. Times are seconds. The texts are for people;
what a check decides on is an enumeration.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from svcdoctor.model.trace import Value


class ProbeKind(StrEnum):
    """What is said at the port, and so what an answer is: ``tcp`` connects, ``tls`` shakes hands, ``http`` asks
    HTTP/1.1, ``udp`` sends one datagram, ``grpc`` asks grpc.health.v1.Health/Check."""

    TCP = "tcp"
    TLS = "tls"
    HTTP = "http"
    UDP = "udp"
    GRPC = "grpc"


class Met(StrEnum):
    """What one try met.

    ``answered``: what was asked, whatever the answer's status. ``refused``: RST or ICMP port unreachable.
    ``timeout``: nothing in time. ``stalled``: an answer began in time and did not end. ``unreachable``: no route,
    or an ICMP error other than refused. ``reset`` and ``closed``: a connection was made, and then ended by RST or
    FIN before a whole answer. ``garbled``: an answer that is not of this protocol. ``tlsFailed``: no handshake.
    ``error``: it could not be tried (out of descriptors or ports, forbidden, no program).
    """

    ANSWERED = "answered"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    UNREACHABLE = "unreachable"
    RESET = "reset"
    CLOSED = "closed"
    GARBLED = "garbled"
    TLS_FAILED = "tlsFailed"
    ERROR = "error"


class Speaks(StrEnum):
    """What a port speaks, where that is another protocol than it was asked in."""

    TLS = "tls"
    HTTP = "http"
    HTTP2 = "http2"
    OTHER = "other"


class PlaceKind(StrEnum):
    """From where: this process, a network namespace of this machine, the API server's port-forward (arrives at the
    pod's localhost), a running pod, a node's own network, a pod made for it."""

    HERE = "here"
    NETNS = "netns"
    TUNNEL = "tunnel"
    POD = "pod"
    NODE = "node"
    NEW_POD = "newPod"


class Place(Value, frozen=True):
    """``name`` is ``namespace/pod``, a node's name, or empty for ``here``."""

    kind: PlaceKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" if self.name else str(self.kind)


class Aim(Value, frozen=True):
    """What is tried. ``ip`` is an address, never a name.

    ``host`` is the name that is used: SNI, the certificate's name, the Host header. ``path`` is HTTP's, or the
    service that gRPC's health is asked for. ``tls`` puts http and grpc into TLS. ``payload`` is what is sent (the
    datagram; bytes after connecting; the body of a POST); ``payload_size`` fills it up to so many bytes. ``pod`` is
    ``namespace/name`` of the pod that has the address, which the tunnel needs.
    """

    ip: str
    port: int
    kind: ProbeKind = ProbeKind.TCP
    tls: bool = False
    host: str = ""
    path: str = ""
    payload: bytes = b""
    payload_size: int = 0
    pod: str = ""

    @property
    def protocol(self) -> str:
        return "UDP" if self.kind is ProbeKind.UDP else "TCP"

    @property
    def sent(self) -> bytes:
        """The payload with its filling."""
        return self.payload + b"x" * (self.payload_size - len(self.payload))

    def __str__(self) -> str:
        where = f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"
        kind = {ProbeKind.HTTP: "https", ProbeKind.GRPC: "grpcs"}.get(self.kind) if self.tls else None
        return f"{kind or self.kind}://{where}"


class CertificateProblem(StrEnum):
    EXPIRED = "expired"
    NOT_YET_VALID = "notYetValid"
    WRONG_NAME = "wrongName"
    SELF_SIGNED = "selfSigned"
    UNKNOWN_ISSUER = "unknownIssuer"  # neither sent along nor among the authorities that are trusted here
    BROKEN_CHAIN = "brokenChain"  # a certificate did not sign the one before it, or is expired itself
    UNREADABLE = "unreadable"


class Certificate(Value, frozen=True):
    """The certificate that a server showed, inspected without trusting it. Times are RFC 3339 in UTC.

    ``problems`` are pairs of a problem and a line about it. An issuer that is not known here is usual for
    authorities of one's own.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: str
    not_after: str
    chain: int
    version: str  # of TLS
    problems: tuple[tuple[CertificateProblem, str], ...] = ()


class Sample(Value, frozen=True):
    """One try. ``who`` is the name that the answer gives itself (a pod's hostname) where it has one; ``status`` is
    HTTP's number or gRPC's health; ``connect`` is the time until the connection stood, ``seconds`` until the end;
    ``detail`` is one line."""

    met: Met
    seconds: float
    connect: float | None = None
    who: str = ""
    status: str = ""
    speaks: Speaks | None = None
    detail: str = ""
    certificate: Certificate | None = None


class Latency(Value, frozen=True):
    """Percentiles over the tries that were answered (nearest rank)."""

    p50: float
    p90: float
    p99: float
    max: float


class Observation(Value, frozen=True):
    """All tries of one aim from one place: counts by what they met, by who answered, and by status.

    ``who`` has the key ``""`` for answers that name nobody. ``detail`` is of the most frequent result that is no
    answer, else of the answers; ``speaks`` and ``certificate`` are of the last try that saw one.
    """

    aim: Aim
    place: Place
    sent: int
    met: Mapping[Met, int]
    who: Mapping[str, int] = msgspec.field(default_factory=dict)
    statuses: Mapping[str, int] = msgspec.field(default_factory=dict)
    latency: Latency | None = None
    speaks: Speaks | None = None
    detail: str = ""
    certificate: Certificate | None = None

    @property
    def answered(self) -> int:
        return self.met.get(Met.ANSWERED, 0)

    @property
    def mostly(self) -> Met:
        """What most tries met; of equals the one that is not an answer."""
        return max(self.met, key=lambda met: (self.met[met], met is not Met.ANSWERED))
