"""The PROXY protocol's header, which tells an endpoint its client: version 2, for TCP.

Specification: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt (2.2. Binary header format)
"""

from __future__ import annotations

import socket
import struct

from svcdoctor.proxy.descriptors import family_of
from svcdoctor.proxy.listener import Address

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_PROXY = 0x21  # version 2, on behalf of a client
_STREAM = {socket.AF_INET: 0x11, socket.AF_INET6: 0x21}
_HEAD = struct.Struct("!12sBBH")
_PORTS = struct.Struct("!HH")


def proxy_header(client: Address, listen: Address) -> bytes:
    """The bytes that go before a connection's own, ``listen`` being where the client connected to."""
    family = family_of(client[0])
    source, target = (socket.inet_pton(family, ip.partition("%")[0]) for ip, _ in (client, listen))
    body = source + target + _PORTS.pack(client[1], listen[1])
    return _HEAD.pack(_SIGNATURE, _PROXY, _STREAM[family], len(body)) + body
