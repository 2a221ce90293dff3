"""Who sent a datagram, and to which address of this machine, in the kernel's own form: a key of bytes.

A key is the sender's sockaddr. Of sockets that `ask_for_target` was called for, the control message is behind it that
lets an answer go out from the address that the datagram was sent to; a socket that is bound to no address would
answer from the one that routing prefers, and the client would not take that for an answer.

Specification: ip(7), IP_PKTINFO; ipv6(7), IPV6_PKTINFO
"""

from __future__ import annotations

import socket
import sys

NAME = 28
"""Bytes of a sockaddr_in6, the longest here."""

CONTROL = 40
"""Bytes of the longest control message, IPv6's."""

_IPV4_NAME = 16
_IP_PKTINFO = 8
_IPV6_RECVPKTINFO = 49
_HEADER = 16
_IPV4_INTERFACE = slice(_HEADER, _HEADER + 4)
_IPV4_LOCAL = slice(_HEADER + 4, _HEADER + 8)
_IPV6_LOCAL = slice(_HEADER, _HEADER + 16)
_IPV6_INTERFACE = slice(_HEADER + 16, _HEADER + 20)
_LINK_LOCAL = b"\xfe\x80"


def ask_for_target(sock: socket.socket) -> None:
    """Let the kernel tell with each datagram which address it was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def parts(key: bytes) -> tuple[bytes, bytes]:
    """A key's sockaddr and control message, which may be empty."""
    length = NAME if int.from_bytes(key[:2], sys.byteorder) == socket.AF_INET6 else _IPV4_NAME
    return key[:length], key[length:]


def sender(key: bytes) -> tuple[str, int]:
    """The IP address, with its scope if it has one, and the port."""
    name, _ = parts(key)
    port = int.from_bytes(name[2:4], "big")
    if len(name) == _IPV4_NAME:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    scope = int.from_bytes(name[24:28], sys.byteorder)
    return socket.inet_ntop(socket.AF_INET6, name[8:24]) + (f"%{scope}" if scope else ""), port


def target(key: bytes) -> str:
    """The address that it was sent to, empty where the key does not hold it."""
    name, control = parts(key)
    if not control:
        return ""
    if len(name) == _IPV4_NAME:
        return socket.inet_ntop(socket.AF_INET, control[_IPV4_LOCAL])
    return socket.inet_ntop(socket.AF_INET6, control[_IPV6_LOCAL])


def without_interface(control: bytearray) -> bytes:
    """The control message for answers. They need not go out where the question came in; but of a link-local address
    the interface is a part."""
    if len(control) < CONTROL:
        control[_IPV4_INTERFACE] = bytes(4)
    elif control[_IPV6_LOCAL][:2] != _LINK_LOCAL:
        control[_IPV6_INTERFACE] = bytes(4)
    return bytes(control)
