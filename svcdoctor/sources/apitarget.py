"""Where to connect and as whom: what the flags and the kubeconfig come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect and as whom, with all flags applied.

    ``cluster`` and ``credentials`` are the fields of a kubeconfig's cluster and user, with absolute paths;
    ``headers`` are those of impersonation; ``timeout`` is in seconds, ``None`` for none. ``save`` writes the
    user's kubeconfig file back after an auth-provider renewed its tokens in ``credentials``.
    """

    server: str
    context: str
    user: str
    namespace: str
    cluster: dict[str, Any] = field(repr=False)
    credentials: dict[str, Any] = field(repr=False)
    headers: tuple[tuple[str, str], ...]
    timeout: float | None
    save: Callable[[], None] | None = None

    @property
    def place(self) -> str:
        """The server as messages name it: ``https://10.0.0.1:6443 (context prod)``."""
        return f"{self.server} (context {self.context})" if self.context else self.server
