"""How a packet ended that was followed through the nodes' real rules."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.dataplane.language import Rule
from svcdoctor.model.trace import Result


@dataclass(frozen=True, slots=True)
class Passage:
    """What one node did: the rules that the packet passed through there."""

    node: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class End:
    """One way that the packet can end.

    ``result`` is DELIVERED where it reaches ``ip:port`` at all; what answers there is not decided here.
    ``node`` is where it ended; ``local`` that it was handed to the node itself. ``source`` is the address that
    the receiver sees. ``code`` names the finding that explains a failure.
    """

    result: Result
    probability: float
    node: str
    ip: str
    port: int
    source: str
    passages: tuple[Passage, ...]
    local: bool = False
    kept: bool = True  # the receiver sees the address that the packet set out with
    translated: bool = False
    reason: str = ""
    code: str | None = None
