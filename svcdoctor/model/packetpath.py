"""What single packets met on the way to an address: SYNs hop by hop, and the largest size that arrives.

The field names are those of the JSON contract, as in ``model.observed``. Times are seconds, sizes are bytes of the
whole IP packet. The texts are for people; what a check decides on is an enumeration, a number or an address.
"""

from __future__ import annotations

from enum import StrEnum

from svcdoctor.model.observed import Aim
from svcdoctor.model.trace import Value


class Said(StrEnum):
    """What came back for one SYN.

    ``unreachable``, ``timeExceeded`` and ``tooBig`` are ICMP errors. ``silence``: nothing in time. ``notSent``: this
    machine did not send it (no route, or a rule of its own OUTPUT chain). ``notLetIn``: an answer came to this
    machine's interface, and its own rules dropped it.
    """

    SYN_ACK = "synAck"
    RST = "rst"
    UNREACHABLE = "unreachable"
    TIME_EXCEEDED = "timeExceeded"
    TOO_BIG = "tooBig"
    SILENCE = "silence"
    NOT_SENT = "notSent"
    NOT_LET_IN = "notLetIn"


class SynAnswer(Value, frozen=True):
    """The answer to a SYN from source port ``sport`` with ``ttl`` (0: the system's default).

    ``by`` is the address that the answer came from, before this machine's own NAT put the aim's in its place: on a
    node it is the pod's, with its ``by_port``. ``code`` is an ICMP error's name, as ``--reject-with`` has it.
    ``back`` is how many routers the answer passed, told by its TTL. ``mtu`` is what ``tooBig`` names.
    """

    said: Said
    sport: int
    ttl: int = 0
    by: str = ""
    by_port: int | None = None
    code: str = ""
    seconds: float | None = None
    back: int | None = None
    mtu: int | None = None
    detail: str = ""

    @property
    def heard(self) -> bool:
        """Whether something came back."""
        return self.said not in (Said.SILENCE, Said.NOT_SENT)


class SynWay(Value, frozen=True):
    """One flow's way: what its SYN meets (``end``), and each hop by its TTL, from 1.

    ``hops`` ends with the first TTL that met what ``end`` met, or where nothing more was heard. ``raw`` is false where
    connect() stood in for raw packets, which tells no hops; ``note`` says why.
    """

    aim: Aim
    end: SynAnswer
    hops: tuple[SynAnswer, ...] = ()
    raw: bool = True
    note: str = ""

    @property
    def routers(self) -> tuple[SynAnswer, ...]:
        """The hops that passed the SYN on, as far as they said so."""
        return tuple(hop for hop in self.hops if hop.said is Said.TIME_EXCEEDED)

    @property
    def last(self) -> SynAnswer | None:
        """The last router that was heard of: where nothing answers, it or what is behind it drops the SYN."""
        return self.routers[-1] if self.routers else None

    @property
    def distance(self) -> int | None:
        """The TTL that it took to meet the end; ``None`` where nothing answered."""
        if self.end.heard and self.hops and self.hops[-1].said is self.end.said:
            return self.hops[-1].ttl
        return None

    @property
    def reset_on_the_way(self) -> bool:
        """Whether a router reset the connection in the aim's name (``--reject-with tcp-reset``).

        Told by TTLs: from the end itself an answer passes all the routers that the SYN passed. Where the way back is
        another one it is not told.
        """
        if self.end.said is not Said.RST or self.distance is None or self.end.back is None:
            return False
        return self.end.back == self.distance - 2

    @property
    def told(self) -> str:
        """One line: what the SYN met, and where."""
        end = self.end
        where = f"{self.aim.ip} port {self.aim.port}"
        match end.said:
            case Said.SYN_ACK:
                line = f"{where} accepts"
            case Said.RST if not self.raw:
                line = f"{where} refuses (RST, or ICMP port unreachable: connect() does not tell)"
            case Said.RST if self.reset_on_the_way and self.last is not None:
                line = f"{where} is reset by a firewall on hop {self.last.ttl} ({self.last.by})"
            case Said.RST:
                line = f"{where} refuses with RST: nothing listens there"
            case Said.UNREACHABLE:
                line = f"{where}: {end.by or 'a hop'} answers {end.code or end.detail or 'ICMP unreachable'}"
            case Said.NOT_SENT:
                line = f"{where}: this machine does not send it: {end.detail}"
            case Said.NOT_LET_IN:
                line = f"{where} answers, and this machine's own rules drop the answer ({end.detail})"
            case Said.TIME_EXCEEDED:
                line = f"{where}: the packet goes round in circles: {end.by} answers time exceeded"
            case _ if self.last is not None:
                last = self.last
                line = f"{where}: silence behind hop {last.ttl} ({last.by}): it, or what follows it, drops the SYN"
            case _:
                line = f"{where}: silence"
        return f"{line}; {self.note}" if self.note else line


class MtuLimit(Value, frozen=True):
    """A router, or this machine, that says which size its next link takes."""

    by: str
    mtu: int


class PathMtu(Value, frozen=True):
    """The largest packet that arrives.

    ``size`` is ``None`` where nothing answers at any size. ``interface`` is where packets leave this machine, with
    ``interface_mtu``; ``known`` is what its kernel holds of the path (learnt, or the route's). ``announced`` is what
    the other end's SYN-ACK says it takes (its MSS and headers), after what changes the MSS on the way. ``limits``
    are the sizes that routers named, in order. ``black_hole``: larger packets vanish without a word, ``behind`` is
    the last hop that they reached (empty: this machine); or with one that this machine's own rules drop
    (``kept_out``). ``raw`` is false where UDP and the kernel's error queue stood in for raw packets; ``note`` says
    why.
    """

    aim: Aim
    size: int | None
    interface: str = ""
    interface_mtu: int | None = None
    known: int | None = None
    announced: int | None = None
    limits: tuple[MtuLimit, ...] = ()
    black_hole: bool = False
    behind: str = ""
    kept_out: bool = False
    raw: bool = True
    note: str = ""

    @property
    def told(self) -> str:
        """One line: which size arrives, and who limits it."""
        ip, named = self.aim.ip, ", ".join(f"{limit.by} names {limit.mtu}" for limit in self.limits)
        parts = [f"packets of {self.size} bytes arrive at {ip}", named]
        if self.size is None:
            parts[0] = f"no packet to {ip} was answered"
        elif self.kept_out:
            parts[0] = (
                f"packets to {ip} over {self.size} bytes vanish: this machine's own rules drop the ICMP errors"
            )
        elif self.black_hole:
            place = f"behind {self.behind}" if self.behind else "on the first link"
            parts[0] = f"packets to {ip} over {self.size} bytes vanish {place} without an ICMP error"
        if self.size is not None and self.announced is not None and self.announced > self.size:
            parts.append(f"it announces {self.announced}, so its large answers need ICMP errors to reach it")
        if self.interface:
            parts.append(f"{self.interface} here takes {self.interface_mtu}")
        if self.known is not None and self.size is not None and self.known < self.size:
            parts.append(f"the kernel here holds {self.known} for it (learnt before, or the route's)")
        return "; ".join(part for part in (*parts, self.note) if part)
