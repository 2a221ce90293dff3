"""nftables' ``match`` statement: an expression, an operator and what it is compared with, as a test.

``==`` and ``!=`` compare with a value, a range, a prefix, an anonymous set or ``@name``; ``in`` and ``!`` look at
the flags of a bit mask: whether one of them is set, or none. A value that the packet does not have fails them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from svcdoctor.dataplane import nftselectors as selectors
from svcdoctor.dataplane.language import Test
from svcdoctor.dataplane.nftexpressions import Draw, Expressions, Reader, flags_of
from svcdoctor.dataplane.nftfields import Types, type_of
from svcdoctor.dataplane.nftsets import MISSING, Elements
from svcdoctor.dataplane.nfttypes import DataType
from svcdoctor.dataplane.nftvalues import Single, Span, Unmodelled, Vague, Value, bitwise, compare, within
from svcdoctor.dataplane.packet import Packet

ORDERED = ("<", ">", "<=", ">=")


def match(expressions: Expressions, about: Any) -> Test | float:
    """The test that a match means, or its chance where it draws a random number. Raises Unmodelled."""
    if not isinstance(about, dict) or "left" not in about or "right" not in about:
        raise Unmodelled("a match that is not as nft writes it")
    op, left, right = about.get("op", "=="), about["left"], about["right"]
    draw = expressions.draw(left)
    if draw is not None:
        return _chance(expressions, draw, str(op), right)
    if isinstance(right, bool) and isinstance(left, dict) and "fib" in left:
        return _route_exists(expressions, left["fib"], right is (op != "!="))
    read = expressions.reader(left)
    try:
        holds = _comparison(expressions, str(op), type_of(left, expressions.family), right)
    except Unmodelled as e:
        why = str(e)
        return lambda packet: False if read(packet) is None else _why(read(packet), why)
    return _test(read, holds)


def _why(value: Value, why: str) -> str:
    """The selector's own reason comes first: what it is compared with matters only once it is known."""
    return value.why if isinstance(value, Vague) else why


def _test(read: Reader, holds: Callable[[Any, Packet], bool | str]) -> Test:
    def test(packet: Packet) -> bool | str:
        value = read(packet)
        return False if value is None else holds(value, packet)

    return test


def _comparison(
    expressions: Expressions, op: str, kind: Types, right: Any
) -> Callable[[Any, Packet], bool | str]:
    """How a value is compared, once it is there."""
    if op in ("==", "!="):
        equal = _membership(expressions, kind, right)
        if op == "==":
            return equal
        return lambda value, packet: _not(equal(value, packet))
    if not isinstance(kind, DataType):
        raise Unmodelled(f"{op} of a concatenation is not modelled")
    single = kind.single(right)
    if isinstance(single, str):
        raise Unmodelled(f"{op} of names is not modelled")
    if op in ORDERED:
        return lambda value, packet: compare(op, value, single)
    if op in ("in", "!"):
        return lambda value, packet: _flags(value, single, op == "in")
    raise Unmodelled(f"the operator {op!r} is not modelled")


def _membership(expressions: Expressions, kind: Types, right: Any) -> Callable[[Any, Packet], bool | str]:
    if isinstance(right, str) and right.startswith("@"):
        name = right[1:]
        elements, _ = expressions.table.elements(name)
        return lambda value, packet: name in packet.remembered or _found(elements, value)
    if isinstance(right, dict) and isinstance(right.get("set"), list):
        members = Elements(kind, right["set"], is_map=False)
        return lambda value, packet: _found(members, value)
    if isinstance(right, dict) and "concat" in right:
        members = Elements(kind, [right], is_map=False)
        return lambda value, packet: _found(members, value)
    if isinstance(right, dict) and any(name in right for name in ("payload", "meta", "ct", "&", "^", "map")):
        other = expressions.reader(right, kind)
        return lambda value, packet: _same(value, other(packet))
    if not isinstance(kind, DataType):
        raise Unmodelled("a concatenation compared with a single value")
    pattern = kind.pattern(right)
    if (
        isinstance(pattern, Span)
        and "prefix" in right
        and kind.single(right["prefix"]["addr"]) != pattern.low
    ):
        return lambda value, packet: False  # nft writes masks as prefixes, and no masked value has these bits
    return lambda value, packet: within(value, pattern)


def _found(elements: Elements, value: Single | tuple[Single, ...]) -> bool | str:
    found = elements.find(value)
    return found.why if isinstance(found, Vague) else found is not MISSING


def _same(value: Single, other: Value) -> bool | str:
    """Two values that are both read from the packet."""
    if isinstance(other, Vague):
        return other.why
    if other is None or isinstance(other, tuple):
        return False
    return within(value, other)


def _not(answer: bool | str) -> bool | str:
    return not answer if isinstance(answer, bool) else answer


def _flags(value: Single | tuple[Single, ...], flags: int, some: bool) -> bool | str:
    """Whether one of the flags is set (``some``), or none of them."""
    if not isinstance(value, (int, Vague)):
        return "flags of names are not modelled"
    left = bitwise("&", value, flags, 128)
    if isinstance(left, int):
        return (left != 0) is some
    return some if left.low > 0 else left.why


def _chance(expressions: Expressions, draw: Draw, op: str, right: Any) -> float:
    kind = type_of({"numgen": {}}, expressions.family)
    if op in ("==", "!="):
        if isinstance(right, dict) and isinstance(right.get("set"), list):
            elements = Elements(kind, right["set"], is_map=False)
        else:
            elements = Elements(kind, [right], is_map=False)
        chance = sum((share for share, data in draw.share(elements) if data is not MISSING), 0.0)
        return chance if op == "==" else 1.0 - chance
    if op not in ORDERED or not isinstance(right, int):
        raise Unmodelled(f"numgen {op} is not modelled")
    hits = sum(compare(op, number, right) is True for number in range(draw.low, draw.high + 1))
    return hits / (draw.high - draw.low + 1)


def _route_exists(expressions: Expressions, about: Any, wanted: bool) -> Test:
    exists = selectors.fib_exists(flags_of(about), expressions.table.surroundings)

    def test(packet: Packet) -> bool | str:
        answer = exists(packet)
        return answer is wanted if isinstance(answer, bool) else answer

    return test
