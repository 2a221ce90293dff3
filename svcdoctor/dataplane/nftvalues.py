"""What nftables compares: values that a packet gives, and patterns that rules and sets hold.

A value is a number, a text (an interface's name), or a tuple of them for a concatenation. ``None`` is a value
that the packet does not have (a port of ICMP, an IPv4 address of IPv6): the kernel then leaves the rule, so it
matches neither ``==`` nor ``!=``. ``Vague`` is a value of which only a part is known. A pattern is one value, a
``Span`` of numbers, or a ``Wildcard`` of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

ALL = (1 << 128) - 1


class Unmodelled(Exception):
    """Something in a rule has no meaning here; the text names it."""


class Vague:
    """A number between ``low`` and ``high`` whose bits in ``known`` are those of ``bits``; ``why`` for people."""

    __slots__ = ("bits", "high", "known", "low", "why")

    def __init__(self, why: str, low: int = 0, high: int = ALL, known: int = 0, bits: int = 0) -> None:
        self.why = why
        self.known = known
        self.bits = bits & known
        self.low = max(low, self.bits)
        self.high = min(high, self.bits | (ALL & ~known))


@dataclass(frozen=True, slots=True)
class Span:
    """The numbers from ``low`` to ``high``, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Wildcard:
    """The names that begin with ``prefix``."""

    prefix: str


Single: TypeAlias = "int | str | Vague"
Value: TypeAlias = "int | str | Vague | tuple[int | str | Vague, ...] | None"
Pattern: TypeAlias = "int | str | Span | Wildcard"


def within(value: Single, pattern: Pattern) -> bool | str:
    """Whether a value is one that a pattern means, or why that cannot be said."""
    if isinstance(value, Vague):
        if isinstance(pattern, int):
            if not value.low <= pattern <= value.high or (pattern ^ value.bits) & value.known:
                return False
            return value.why
        if isinstance(pattern, Span):
            if pattern.high < value.low or pattern.low > value.high:
                return False
            return True if pattern.low <= value.low and value.high <= pattern.high else value.why
        return value.why
    if isinstance(pattern, Span):
        return isinstance(value, int) and pattern.low <= value <= pattern.high
    if isinstance(pattern, Wildcard):
        return isinstance(value, str) and value.startswith(pattern.prefix)
    return value == pattern


def compare(op: str, value: Single, bound: int) -> bool | str:
    """``<``, ``>``, ``<=`` or ``>=`` of two numbers."""
    if op == ">=":
        return within(value, Span(bound, ALL))
    if op == ">":
        return within(value, Span(bound + 1, ALL))
    return within(value, Span(0, bound if op == "<=" else bound - 1))


def bitwise(op: str, left: int | Vague, right: int | Vague, bits: int) -> int | Vague:
    """``&``, ``|``, ``^``, ``<<`` or ``>>`` of two numbers in a register of ``bits`` bits."""
    mask = (1 << bits) - 1
    if isinstance(right, Vague):
        if isinstance(left, Vague) or op in ("<<", ">>"):
            return Vague(right.why, high=mask)
        return bitwise(op, right, left, bits)  # the order does not matter to the others
    if isinstance(left, int):
        return _exact(op, left, right) & mask
    known, value = left.known | (ALL & ~mask), left.bits
    if op == "&":
        known |= ALL & ~right
        value &= right
    elif op == "|":
        known |= right
        value |= right
    elif op == "^":
        value ^= right & known
    elif op == "<<":
        known = known << right | (1 << right) - 1 | (ALL & ~mask)
        value = value << right & mask
    else:
        known, value = known >> right | (ALL & ~(ALL >> right)), value >> right
    if mask & ~known == 0:
        return value & mask
    return Vague(left.why, known=known, bits=value)


def _exact(op: str, left: int, right: int) -> int:
    if op == "&":
        return left & right
    if op == "|":
        return left | right
    if op == "^":
        return left ^ right
    if right >= 128:
        return 0
    return left << right if op == "<<" else left >> right
