"""A node's kernel settings: ``sysctl -a`` (Documentation/networking/ip-sysctl.rst)."""

from __future__ import annotations


class Sysctls:
    """Settings by name; ``None`` for one that was not collected."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def __bool__(self) -> bool:
        return bool(self.values)

    def get(self, name: str) -> str | None:
        return self.values.get(name)

    def number(self, name: str) -> int | None:
        value = self.values.get(name, "")
        return int(value) if value.lstrip("-").isdecimal() else None

    def forwards(self, family: int) -> bool | None:
        """Whether the node forwards packets of the family."""
        name = "net.ipv4.ip_forward" if family == 4 else "net.ipv6.conf.all.forwarding"
        value = self.number(name)
        return None if value is None else value != 0

    def rp_filter(self, interface: str) -> int | None:
        """The reverse path filter of an IPv4 interface: the higher of its own and ``all``; 1 strict, 2 loose."""
        found = [self.number(f"net.ipv4.conf.{name}.rp_filter") for name in ("all", _key(interface))]
        known = [v for v in found if v is not None]
        return max(known) if len(known) == 2 else None

    def route_localnet(self, interface: str | None) -> bool | None:
        """Whether 127.0.0.0/8 may come in or leave by an interface: its own setting or ``all``'s."""
        if self.number("net.ipv4.conf.all.route_localnet"):
            return True
        if interface is None:
            return None
        value = self.number(f"net.ipv4.conf.{_key(interface)}.route_localnet")
        return None if value is None else value != 0


def _key(interface: str) -> str:
    """An interface in a setting's name: sysctl writes a slash for a dot."""
    return interface.replace(".", "/")


def read_sysctls(data: bytes) -> Sysctls:
    """The settings; lines that are none, such as errors, are passed over."""
    values = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() and " " not in name.strip():
            values[name.strip()] = value.strip()
    return Sysctls(values)
