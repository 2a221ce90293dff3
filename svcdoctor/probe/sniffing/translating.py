"""How this node translates connections, told by the kernel's connection tracking: those that are, and each new one."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

from svcdoctor.capture.ctnetlink import GROUP_NEW, Translation, listing_request, messages

_NETFILTER = 12
_ROOM = 8 << 20  # bytes of messages that the kernel keeps for us
_AT_ONCE = 1 << 16
_PATIENCE = 5.0  # seconds for the listing


class Translations:
    """Listens from its making to `close`. ``why`` says in words why it does not, where it does not."""

    def __init__(self) -> None:
        self.why = ""
        self.lost = False  # the kernel had more to tell than there was room for
        self._socket: socket.socket | None = None
        try:
            made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        except OSError as e:
            self.why = _why(e.errno or 0)
            return
        try:
            # Root may go beyond the system's limit (SO_RCVBUFFORCE), others get what it allows.
            made.setsockopt(socket.SOL_SOCKET, 33, _ROOM)
        except OSError:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        try:
            made.bind((0, GROUP_NEW))
            made.settimeout(_PATIENCE)
            made.sendto(listing_request(1), (0, 0))
        except OSError as e:
            self.why = _why(e.errno or 0)
            made.close()
            return
        self._socket = made

    def listed(self) -> Iterator[Translation]:
        """What there was at the beginning, and what came about meanwhile."""
        while self._socket is not None:
            try:
                data = self._socket.recv(_AT_ONCE)
            except OSError as e:
                if e.errno == errno.ENOBUFS:
                    self.lost = True
                    continue
                self._stop(e.errno or errno.ETIMEDOUT)
                return
            for message in messages(data):
                if isinstance(message, Translation):
                    yield message
                elif message.error:
                    self._stop(message.error)
                    return
                else:
                    self._socket.setblocking(False)
                    return

    def new(self) -> Iterator[Translation]:
        """What came about since the last time."""
        while self._socket is not None:
            try:
                data = self._socket.recv(_AT_ONCE)
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    self._stop(e.errno or 0)
                    return
                self.lost = True
                continue
            yield from (message for message in messages(data) if isinstance(message, Translation))

    def _stop(self, number: int) -> None:
        self.why = _why(number)
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _why(number: int) -> str:
    if number in (errno.EPERM, errno.EACCES):
        return "it takes the capability NET_ADMIN"
    return os.strerror(number)
