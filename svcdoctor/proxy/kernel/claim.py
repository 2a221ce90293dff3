"""One process at a time has the table of a network namespace: who claims it holds a socket's name there.

Theory. Abstract names of Unix sockets belong to the network namespace, and go with the process that bound them, however
it ends (unix(7)); a lock in a file would be of one mount namespace, and tables are not.
"""

from __future__ import annotations

import socket
import struct

from svcdoctor.model.errors import SvcdoctorError

_NAME = "\0svcdoctor-nftables"
_CREDENTIALS = struct.Struct("3i")


class Claim:
    """Held until `release`. Raises SvcdoctorError where another process has it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(_NAME)
            self._socket.listen(1)
        except OSError:
            self._socket.close()
            raise SvcdoctorError(
                f"process {holder() or '?'} carries Services by rules on this node already: end it first, or have it "
                "serve these as well"
            ) from None

    def release(self) -> None:
        self._socket.close()


def holder() -> int:
    """The process that has the table, 0 where there is none. In a container it may be one that cannot be seen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(_NAME)
            held = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0
    pid, _, _ = _CREDENTIALS.unpack(held)
    return int(pid)
