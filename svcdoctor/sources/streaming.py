"""An answer whose body is read piece by piece as it comes, and that another thread can end.

Theory. A watch is a body without end, and whoever waits for its next piece sits in a read. Only shutting the socket
down wakes him, past the TLS layer, whose own shutdown would wait for him.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError

from svcdoctor.model.errors import SvcdoctorError

_CHUNK = 1 << 16
_LINE_END = 2  # bytes between two HTTP chunks, which may be there long before the second one


class Streaming:
    """The answer to a request; its head has been read. One thread reads, any thread may `end` it.

    ``broken`` makes the user's error of what goes wrong underneath, given the seconds that were waited.
    """

    def __init__(self, raw: BaseHTTPResponse, broken: Callable[[Exception, float], SvcdoctorError]) -> None:
        self.status = raw.status
        self.headers = {name.lower(): value for name, value in raw.headers.items()}
        self._raw = raw
        self._broken = broken
        # urllib3 has no public name for what the answer's head was read from, nor for its socket.
        untyped: Any = raw
        reader = getattr(untyped._fp, "fp", None)
        self._reader: Any = reader
        self._socket: Any = reader.raw._sock if reader is not None else None

    def piece(self, seconds: float) -> bytes:
        """The next bytes, at most 64 KiB of them; none at the end.

        Raises TimeoutError where nothing comes within ``seconds``, after which there is nothing more to be had,
        and SvcdoctorError, exit code 3, where the connection is cut.
        """
        if self._open:
            self._socket.settimeout(seconds)
        try:
            return self._raw.read1(_CHUNK) or b""
        except ReadTimeoutError:
            raise TimeoutError from None
        except HTTPError as e:
            raise self._broken(e, seconds) from None

    def more(self) -> bool:
        """Whether some of the next piece has arrived already."""
        if not self._open:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if poll.poll(0) or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            return True
        self._socket.settimeout(0)
        with contextlib.suppress(OSError):
            return len(self._reader.peek(1)) > _LINE_END
        return False

    def end(self) -> None:
        """Wakes the thread that reads: for it the connection is cut."""
        connection = self._socket if self._open else None
        while connection is not None and not isinstance(connection, socket.socket):
            connection = connection.socket  # TLS to a proxy, and to the server within
        if connection is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    @property
    def _open(self) -> bool:
        """Whether there is more to come; at the end the connection may be another request's at once."""
        return self._reader is not None and not self._reader.closed

    def close(self) -> None:
        """Give the connection back where the body was read to its end, and close it otherwise."""
        self._raw.close()
