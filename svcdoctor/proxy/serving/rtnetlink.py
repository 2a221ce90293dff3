"""Devices and addresses of this network namespace, asked of the kernel and changed there.

What may live here: messages of rtnetlink. Which addresses are wanted is the caller's.

Specification: rtnetlink(7), netlink(7); linux/if_addr.h, linux/if_link.h
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from svcdoctor.proxy.descriptors import family_of

# linux/netlink.h, linux/rtnetlink.h
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_CREATE = 0x400 | 0x200  # NLM_F_CREATE, and NLM_F_EXCL: what is there already is an error
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _GETADDR = 16, 17, 20, 21, 22

# linux/if_link.h, linux/if_addr.h
_IFNAME, _LINKINFO, _INFO_KIND = 3, 18, 1
_ADDRESS, _LOCAL, _CACHEINFO, _FLAGS = 1, 2, 6, 8
_NODAD = 0x02
_SCOPE_HOST = 254
_FOREVER = 0xFFFFFFFF

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBi")
_ATTRIBUTE = struct.Struct("=HH")
_CHUNK = 1 << 16

LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Held:
    """An address and the index of the device that has it."""

    ip: str
    device: int


class RouteLink:
    """A connection to the kernel, to be closed. Calls raise OSError with what the kernel answered; changes need
    CAP_NET_ADMIN."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
        self._serial = 0

    def close(self) -> None:
        self._socket.close()

    def make_device(self, name: str, kind: str) -> None:
        """A device of a kind that needs nothing else, and up."""
        info = _attribute(_LINKINFO, _attribute(_INFO_KIND, kind.encode()))
        up = _LINK.pack(socket.AF_UNSPEC, 0, 0, 1, 1)  # IFF_UP, and the mask that says so
        self._ask(_NEWLINK, _CREATE, up + _attribute(_IFNAME, name.encode() + b"\0") + info)

    def remove_device(self, index: int) -> None:
        self._ask(_DELLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0))

    def add(self, ip: str, device: int) -> bool:
        """Give a device the address, for this machine alone: nothing is sent from it that does not belong to a
        connection to it. Returns False where the device has it already."""
        try:
            self._ask(_NEWADDR, _CREATE, _address_message(ip, device))
        except FileExistsError:
            return False
        return True

    def remove(self, ip: str, device: int) -> None:
        """Take the address away; nothing happens where the device has it no longer."""
        try:
            self._ask(_DELADDR, 0, _address_message(ip, device))
        except OSError as e:
            if e.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                raise

    def addresses(self) -> tuple[Held, ...]:
        """All addresses of all devices."""
        found = []
        for body in self._ask(_GETADDR, _DUMP, _ADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            family, _, _, _, index = _ADDR.unpack_from(body)
            held = dict(_attributes(body[_ADDR.size :]))
            raw = held.get(_LOCAL) or held.get(_ADDRESS)  # of IPv6 there is the second alone
            if raw is not None and family in (socket.AF_INET, socket.AF_INET6):
                found.append(Held(socket.inet_ntop(family, raw), index))
        return tuple(found)

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """The bodies of the answers to a request."""
        self._serial += 1
        answer = flags if flags & _DUMP == _DUMP else flags | _ACK
        head = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | answer, self._serial, 0)
        self._socket.send(head + body)
        found: list[bytes] = []
        while True:
            data = self._socket.recv(_CHUNK)
            for answered, serial, content in _messages(data):
                if serial != self._serial:
                    continue
                if answered == _DONE:
                    return found
                if answered == _ERROR:
                    number = -struct.unpack_from("=i", content)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return found
                found.append(content)


def _address_message(ip: str, device: int) -> bytes:
    family = family_of(ip)
    packed = socket.inet_pton(family, ip)
    body = _ADDR.pack(family, 8 * len(packed), 0, _SCOPE_HOST, device)
    body += _attribute(_LOCAL, packed) + _attribute(_ADDRESS, packed)
    if family == socket.AF_INET6:
        # There is nobody to ask whether it is taken; and a deprecated address is no source for anything else.
        body += _attribute(_FLAGS, struct.pack("=I", _NODAD))
        body += _attribute(_CACHEINFO, struct.pack("=IIII", 0, _FOREVER, 0, 0))
    return body


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += length + -length % 4


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, serial and body of each message."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, serial, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, serial, data[at + _HEADER.size : at + length]
        at += length + -length % 4
