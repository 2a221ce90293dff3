"""Where a connection can go to: one pod's port, or an address that is no pod's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port, and the pod that has it, where one has."""

    ip: str
    port: int
    namespace: str = ""
    pod: str = ""

    def __hash__(self) -> int:
        return hash(self.ip)  # strings keep theirs; this is asked for several times for each connection

    def __str__(self) -> str:
        where = f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"
        return f"{self.namespace}/{self.pod} at {where}" if self.pod else where
