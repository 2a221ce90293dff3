"""conntrack's entries over netlink: which there are, forgetting some, and how many connections live. Needs
CAP_NET_ADMIN."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator

from svcdoctor.capture.ctnetlink import (
    ASSURED,
    SENT_ELSEWHERE,
    Translation,
    deletion_request,
    listing_request,
    messages,
)

TCP, UDP = 6, 17

_NETFILTER = 12
_AT_ONCE = 1 << 16
_ROOM = 8 << 20  # bytes of messages that the kernel keeps for us
_PATIENCE = 10.0  # seconds for the listing
_TIME_WAIT = 7  # TCP_CONNTRACK_TIME_WAIT; later states are of connections that are over, too


class Conntrack:
    """The connection table of this network namespace, between ``with`` and its end. Raises OSError."""

    def __enter__(self) -> Conntrack:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
            self._socket.bind((0, 0))
            self._socket.settimeout(_PATIENCE)
        except OSError:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def entries(self, status: int = 0) -> Iterator[Translation]:
        """All entries with ports that have these bits. Reads the whole table."""
        self._socket.send(listing_request(1, status))
        while True:
            for message in messages(self._socket.recv(_AT_ONCE)):
                if isinstance(message, Translation):
                    if message.status & status == status:
                        yield message
                elif message.error:
                    raise OSError(message.error, errno.errorcode.get(message.error, "conntrack"))
                else:
                    return

    def forget(self, entries: Iterable[Translation]) -> None:
        """Their next packets meet the rules."""
        for number, entry in enumerate(entries, 2):
            self._socket.send(deletion_request(number, entry))


def living(family: int, to: frozenset[bytes] | None = None) -> int:
    """How many connections of an IP family live whose destination NAT has translated, to any or to these (as
    `destination` has them). A datagram and its answer are none; of UDP it is what goes on for seconds."""
    size = 36 if family == 6 else 12
    with Conntrack() as table:
        return sum(
            len(entry.original) == size
            and _lives(entry)
            and (to is None or destination(entry.original) in to)
            for entry in table.entries(SENT_ELSEWHERE)
        )


def destination(key: bytes) -> bytes:
    """The destination's address and port."""
    size = (len(key) - 4) // 2
    return key[size : 2 * size] + key[-2:]


def _lives(entry: Translation) -> bool:
    if entry.protocol == TCP:
        return 0 < entry.tcp_state < _TIME_WAIT
    return bool(entry.status & ASSURED)
