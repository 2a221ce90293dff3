"""Why a forward failed, out of the text that the container runtime writes to its error stream.

The runtimes word it freely and wrap it several times: containerd's text begins with kubelet's "error forwarding
port 7 to pod …, uid :", goes on with "failed to execute portforward in network namespace …", whatever went
wrong, and ends with what the kernel said. So only the words that matter are looked for; a text that is not
understood is OTHER, and is kept.
"""

from __future__ import annotations

import re
from enum import Enum

MAX_TEXT = 4096
"""Bytes of a text that are kept; the longest that was seen has 450."""


class Reason(Enum):
    """What the text says. The value goes well after "port 80 inside the pod: "."""

    REFUSED = "connection refused"
    UNREACHABLE = "no route to it"
    TIMEOUT = "timed out"
    NO_NAMESPACE = "no such network namespace; the pod is gone or is being stopped"
    NO_SANDBOX = "the container runtime does not know the pod; it is gone or was started again"
    NO_SOCAT = "the node has no socat, which its container runtime forwards with"
    CUT = "the application cut the connection"
    OTHER = "the container runtime reports an error"


_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (r"connection refused", Reason.REFUSED),
        (r"no route to host|network is unreachable|cannot assign requested address", Reason.UNREACHABLE),
        (r"i/o timeout|connection timed out|deadline exceeded", Reason.TIMEOUT),
        (r"connection reset by peer|broken pipe", Reason.CUT),
        (r"socat.{0,20}not found|failed to find socat", Reason.NO_SOCAT),
        (r"network namespace for sandbox .* is closed", Reason.NO_NAMESPACE),
        (r"(/netns/|/ns/net).*no such file or directory", Reason.NO_NAMESPACE),
        (r"sandbox.*(not found|not running|does not exist)|container (is )?not running", Reason.NO_SANDBOX),
    )
)
_BEFORE = {Reason.REFUSED, Reason.UNREACHABLE, Reason.NO_NAMESPACE, Reason.NO_SANDBOX, Reason.NO_SOCAT}
_DIALLING = re.compile(r"failed to (connect|dial)|\bdial tcp", re.IGNORECASE)


def reason_of(text: str) -> Reason:
    """What the text says went wrong."""
    return next((reason for pattern, reason in _PATTERNS if pattern.search(text)), Reason.OTHER)


def before_connection(text: str) -> bool:
    """Whether it failed before the application had a connection, so that trying elsewhere repeats nothing."""
    return reason_of(text) in _BEFORE or _DIALLING.search(text) is not None
