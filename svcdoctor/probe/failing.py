"""Why a try has no answer: the kernel's errors, and what was met instead, as one exception."""

from __future__ import annotations

import errno
import os

from svcdoctor.model.observed import Met, Speaks


class Failed(Exception):
    """A try that was not answered."""

    def __init__(self, met: Met, detail: str, speaks: Speaks | None = None) -> None:
        super().__init__(detail)
        self.met = met
        self.detail = detail
        self.speaks = speaks


_MET = {
    errno.ECONNREFUSED: Met.REFUSED,
    errno.ETIMEDOUT: Met.TIMEOUT,
    errno.ECONNRESET: Met.RESET,
    errno.ECONNABORTED: Met.RESET,
    errno.EPIPE: Met.RESET,
    errno.EHOSTUNREACH: Met.UNREACHABLE,
    errno.ENETUNREACH: Met.UNREACHABLE,
    errno.EHOSTDOWN: Met.UNREACHABLE,
    errno.ENETDOWN: Met.UNREACHABLE,
    errno.ENOPROTOOPT: Met.UNREACHABLE,  # ICMP protocol unreachable
    errno.EPROTO: Met.UNREACHABLE,  # ICMP parameter problem
    errno.EACCES: Met.UNREACHABLE,  # a route of type prohibit; ICMPv6 administratively prohibited
}
_HINTS = {
    errno.EHOSTUNREACH: "no route to the host: nothing answers for the address, or a router or firewall refuses",
    errno.ENETUNREACH: "no route to the network",
    errno.EACCES: "administratively prohibited, by a route or a firewall",
    errno.EPERM: "this machine's own firewall drops it, or a security policy forbids it",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n), or lower the concurrency",
    errno.ENFILE: "too many open files on this machine",
    errno.EADDRNOTAVAIL: "no address or no free source port here for it",
    errno.EAFNOSUPPORT: "this machine has no such IP family",
    errno.EMSGSIZE: "the datagram is longer than the way takes",
    errno.EINVAL: "the address cannot be connected to (a link-local one takes an interface)",
}


def met_of(error: OSError, received: int = 0) -> Failed:
    """What the kernel's error means, after so many bytes of an answer."""
    number = error.errno or 0
    met = _MET.get(number, Met.ERROR)
    text = _HINTS.get(number) or (os.strerror(number).lower() if number else str(error))
    if met is Met.RESET:
        text = f"reset after {received:,} bytes of an answer" if received else "reset before any answer"
    return Failed(met, text)
