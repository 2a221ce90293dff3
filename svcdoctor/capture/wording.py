"""What a leg is, in words: for packets' comments and for reports."""

from __future__ import annotations

from collections.abc import Mapping

from svcdoctor.capture.connection import Half, Leg
from svcdoctor.capture.doors import Role, address_text


def end_text(end: tuple[str, int]) -> str:
    """An address with its port."""
    ip, port = end
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def role_words(leg: Leg, names: Mapping[str, str]) -> str:
    """Where a leg goes to: ``nodePort of node k8s-node1``, ``pod web-1``; empty where that is not known."""
    name = names.get(leg.destination[0], "")
    if leg.entered is None or leg.entered.role is Role.ENDPOINT:
        return name or ("" if leg.entered is None else str(Role.ENDPOINT))
    role = str(leg.entered.role)
    return f"{role} of {name}" if name else role


def comment(half: Half, names: Mapping[str, str]) -> str:
    """What a packet is, for its comment in a file."""
    leg = half.leg
    connection = leg.connection
    at = connection.legs.index(leg)
    done = " and ".join(leg.translations)
    words = f"connection {connection.number}, leg {at + 1}"
    if done:
        words += f" after {done}"
    role = role_words(leg, names)
    if role:
        words += f", to {role}"
    return words if half.forward else f"{words}: answer"


def sender_words(sender: bytes, names: Mapping[str, str], client: str) -> str:
    """Who sent something: an address, and whose it is."""
    ip = address_text(sender)
    name = names.get(ip, "the client" if ip == client else "")
    return f"{ip} ({name})" if name else ip
