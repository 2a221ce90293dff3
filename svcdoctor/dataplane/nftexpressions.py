"""nftables' expressions as functions from a Packet to a value.

``Expressions`` reads those of one table: selectors, bit operations, concatenations, lookups in maps. A random
number (numgen) has no value that a test could read; it has outcomes with their chances instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from svcdoctor.dataplane import nftselectors as selectors
from svcdoctor.dataplane.nftfields import Types, address_type, type_of
from svcdoctor.dataplane.nftsets import MISSING, Elements
from svcdoctor.dataplane.nfttypes import DataType
from svcdoctor.dataplane.nftvalues import Single, Span, Unmodelled, Vague, Value, bitwise
from svcdoctor.dataplane.packet import Packet
from svcdoctor.dataplane.surroundings import Surroundings

Reader: TypeAlias = Callable[[Packet], Value]
MOST_DRAWN = 65536  # numbers that numgen draws from; kube-proxy draws one for each endpoint


@dataclass(frozen=True, slots=True)
class Draw:
    """numgen: one of the numbers from ``low`` to ``high``, each with the same chance.

    ``inc`` counts up instead; which number is next depends on packets before, so its chances are the same.
    """

    low: int
    high: int

    def share(self, elements: Elements) -> list[tuple[float, Any]]:
        """The data of a map's elements with their chances, and MISSING for the rest."""
        numbers = self.high - self.low + 1
        left = numbers
        shares: list[tuple[float, Any]] = []
        for (pattern,), data in elements.items():
            if isinstance(pattern, int):
                hits = int(self.low <= pattern <= self.high)
            elif isinstance(pattern, Span):
                hits = max(0, min(pattern.high, self.high) - max(pattern.low, self.low) + 1)
            else:
                hits = 0
            if hits:
                left -= hits
                shares.append((hits / numbers, data))
        if left > 0:
            shares.append((left / numbers, elements.default))
        return shares


class Tables(Protocol):
    """What a table offers to its expressions."""

    family: str
    surroundings: Surroundings

    def elements(self, name: str) -> tuple[Elements, Types | None]:
        """A named set's or map's elements, and the type of a map's data. Raises Unmodelled if there is none."""


class Expressions:
    """Reads the expressions of one table."""

    __slots__ = ("family", "table")

    def __init__(self, table: Tables) -> None:
        self.table = table
        self.family = table.family

    def reader(self, expression: Any, kind: Types | None = None) -> Reader:
        """What the expression reads; a constant is read as one of ``kind``. Raises Unmodelled."""
        if not isinstance(expression, dict):
            return self._constant(expression, kind)
        if len(expression) != 1:
            raise Unmodelled("an expression that is not as nft writes them")
        name, about = next(iter(expression.items()))
        if name in ("&", "|", "^", "<<", ">>"):
            return self._bitwise(name, about, kind)
        if name == "concat":
            return self._concat(about)
        if name == "map":
            return self._lookup(about, kind)
        if name in ("numgen", "jhash", "symhash"):
            raise Unmodelled(f"{name} is not modelled here")
        return self._selector(name, about)

    def _constant(self, written: Any, kind: Types | None) -> Reader:
        if not isinstance(kind, DataType):
            raise Unmodelled(f"the constant {str(written)[:40]} is not modelled here")
        value = kind.single(written)
        return lambda packet: value

    def _selector(self, name: str, about: Any) -> Reader:
        if not isinstance(about, dict):
            raise Unmodelled(f"{name} is not modelled")
        if name == "payload":
            if "protocol" not in about:
                base, offset, length = about.get("base"), about.get("offset"), about.get("len")
                vague = Vague(f"@{base},{offset},{length} is not modelled")
                return lambda packet: vague
            return selectors.payload(str(about["protocol"]), str(about.get("field")))
        if name == "meta":
            return selectors.meta(str(about.get("key")))
        if name == "ct":
            direction = about.get("dir")
            return selectors.ct(str(about.get("key")), str(direction) if direction else None, self.family)
        if name == "fib":
            return selectors.fib(str(about.get("result")), flags_of(about), self.table.surroundings)
        return selectors.other(name, about)

    def _bitwise(self, op: str, operands: Any, kind: Types | None) -> Reader:
        if not isinstance(operands, list) or len(operands) < 2:
            raise Unmodelled(f"{op} is not as nft writes it")
        own = type_of(operands[0], self.family)
        register = own if isinstance(operands[0], dict) and isinstance(own, DataType) else kind
        if not isinstance(register, DataType):
            raise Unmodelled(f"{op} of a concatenation is not modelled")
        bits = register.bits
        readers = [self.reader(operands[0], register)]
        for operand in operands[1:]:
            count = op in ("<<", ">>") and isinstance(operand, int)
            readers.append(_always(operand) if count else self.reader(operand, register))

        def read(packet: Packet) -> Value:
            total: int | Vague | None = None
            for reader in readers:
                value = reader(packet)
                if value is None:
                    return None
                if isinstance(value, (str, tuple)):
                    return Vague(f"{op} of names is not modelled")
                total = value if total is None else bitwise(op, total, value, bits)
            return total

        return read

    def _concat(self, parts: Any) -> Reader:
        if not isinstance(parts, list) or not parts:
            raise Unmodelled("a concatenation that is not as nft writes it")
        readers = [self.reader(part) for part in parts]

        def read(packet: Packet) -> Value:
            values: list[Single] = []
            for reader in readers:
                value = reader(packet)
                if value is None:
                    return None
                if isinstance(value, tuple):
                    values.extend(value)
                else:
                    values.append(value)
            return tuple(values)

        return read

    def _lookup(self, about: Any, kind: Types | None) -> Reader:
        key, elements, data_type = self.map_of(about)
        read_key = self.reader(key)
        if data_type is None:
            data_type = kind

        def read(packet: Packet) -> Value:
            value = read_key(packet)
            if value is None:
                return None
            found = elements.find(value)
            if found is MISSING:
                return None
            if isinstance(found, Vague):
                return found
            return constants(found, data_type)

        return read

    def map_of(self, about: Any) -> tuple[Any, Elements, Types | None]:
        """A map's or vmap's key expression, its elements and the declared type of its data."""
        if not isinstance(about, dict) or "key" not in about or "data" not in about:
            raise Unmodelled("a map that is not as nft writes it")
        key, data = about["key"], about["data"]
        if isinstance(data, str) and data.startswith("@"):
            elements, data_type = self.table.elements(data[1:])
            return key, elements, data_type
        if isinstance(data, dict) and isinstance(data.get("set"), list):
            return key, Elements(type_of(key, self.family), data["set"], is_map=True), None
        raise Unmodelled("a map that is not as nft writes it")

    def draw(self, expression: Any) -> Draw | None:
        """What numgen draws, where the expression is one."""
        if not isinstance(expression, dict) or "numgen" not in expression:
            return None
        about = expression["numgen"]
        if not isinstance(about, dict):
            raise Unmodelled("numgen is not as nft writes it")
        modulus, offset = about.get("mod"), about.get("offset", 0)
        if not isinstance(modulus, int) or not isinstance(offset, int) or not 0 < modulus <= MOST_DRAWN:
            raise Unmodelled(f"numgen mod {modulus} is not modelled")
        return Draw(offset, offset + modulus - 1)

    def addresses(self, family: str | None) -> DataType:
        """The type of the addresses that a NAT statement names."""
        return address_type(family or self.family)


def constants(written: Any, kind: Types | None) -> Value:
    """A map's data as a value: its parts as a tuple when it is a concatenation."""
    try:
        if isinstance(written, dict) and "concat" in written:
            kinds = kind if isinstance(kind, tuple) else ()
            return tuple(k.single(part) for k, part in zip(kinds, written["concat"], strict=True))
        if not isinstance(kind, DataType):
            return Vague("data of a type that is not modelled")
        return kind.single(written)
    except (Unmodelled, ValueError, TypeError) as e:
        return Vague(str(e))


def flags_of(about: dict[str, Any]) -> list[str]:
    """The flags of an expression or statement, which nft writes as one text or a list."""
    flags = about.get("flags") or []
    return [flags] if isinstance(flags, str) else [str(flag) for flag in flags]


def _always(value: int) -> Reader:
    return lambda packet: value
