"""The interface that packets to an address leave this machine by, as the kernel's routing decides (rtnetlink(7))."""

from __future__ import annotations

import fcntl
import socket
import struct
from ipaddress import ip_address
from typing import NamedTuple

RTM_GETROUTE = 26
NLM_F_REQUEST = 1
RTA_DST, RTA_OIF = 1, 4
SIOCGIFMTU = 0x8921

_MESSAGE = struct.Struct("=LHHLL")  # nlmsghdr
_ROUTE = struct.Struct("=BBBBBBBBL")  # rtmsg
_ATTRIBUTE = struct.Struct("=HH")


class OutRoute(NamedTuple):
    """An interface's name and its MTU in bytes."""

    interface: str
    mtu: int


def out_route(ip: str) -> OutRoute | None:
    """Where packets to ``ip`` leave; ``None`` where there is no route. Linux only. Raises OSError."""
    address = ip_address(ip)
    destination = address.packed
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    body = _ROUTE.pack(family, len(destination) * 8, 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(destination), RTA_DST) + destination
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.settimeout(5)
        sock.send(_MESSAGE.pack(_MESSAGE.size + len(body), RTM_GETROUTE, NLM_F_REQUEST, 1, 0) + body)
        answer = sock.recv(1 << 16)
    if _MESSAGE.unpack_from(answer)[1] != 24:  # RTM_NEWROUTE; an error is "no route"
        return None
    index = _interface(answer)
    return None if index is None else OutRoute(name := socket.if_indextoname(index), _mtu(name))


def _interface(answer: bytes) -> int | None:
    at = _MESSAGE.size + _ROUTE.size
    while at + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, at)
        if kind == RTA_OIF:
            number: int = struct.unpack_from("=L", answer, at + _ATTRIBUTE.size)[0]
            return number
        at += max(4, (length + 3) & ~3)
    return None


def _mtu(interface: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16si12x", interface.encode(), 0)
        mtu: int = struct.unpack_from("=i", fcntl.ioctl(sock, SIOCGIFMTU, request), 16)[0]
        return mtu
