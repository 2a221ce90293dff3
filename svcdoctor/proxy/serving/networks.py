"""Whether an address is within networks, fast enough to be asked for every client."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from svcdoctor.proxy.descriptors import family_of


class Networks:
    """Networks in CIDR notation; texts that are none hold nobody."""

    __slots__ = ("_networks",)

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks: list[tuple[int, int, int]] = []
        for text in texts:
            try:
                network = ipaddress.ip_network(text, strict=False)
            except ValueError:
                continue
            self._networks.append((network.version, int(network.network_address), int(network.netmask)))

    def hold(self, ip: str) -> bool:
        """Whether an address, as the kernel says it, is in one of them."""
        plain = ip.partition("%")[0]
        version = 6 if ":" in plain else 4
        number = int.from_bytes(socket.inet_pton(family_of(plain), plain), "big")
        return any(v == version and number & mask == base for v, base, mask in self._networks)
