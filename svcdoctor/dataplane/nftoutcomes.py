"""The values that an expression may come to for a packet, with their chances.

Only numgen and ranges of targets have more than one. numgen's numbers have equal chances, whether it is ``random``
or counts (``inc``), for which packets before decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from svcdoctor.dataplane.nftexpressions import Expressions, constants
from svcdoctor.dataplane.nftfields import Types
from svcdoctor.dataplane.nftrule import Parts
from svcdoctor.dataplane.nftsets import MISSING
from svcdoctor.dataplane.nfttypes import DataType
from svcdoctor.dataplane.nftvalues import Span, Unmodelled, Vague, Value
from svcdoctor.dataplane.packet import Packet

MOST = 256  # values that become branches of their own

# None among the values: the kernel leaves the rule.
Outcomes: TypeAlias = Callable[[Packet], Sequence[tuple[float, Value]]]


def outcomes(expressions: Expressions, written: Any, kind: Types, parts: Parts) -> Outcomes:
    """The outcomes of a value of this type. Adds the test that there is one, where that depends on the packet.

    Raises Unmodelled.
    """
    drawn = expressions.draw(written)
    if drawn is not None:
        return _each(drawn.low, drawn.high)
    if isinstance(written, dict) and "map" in written:
        about = written["map"]
        draw = expressions.draw(about.get("key")) if isinstance(about, dict) else None
        if draw is not None:
            _, elements, declared = expressions.map_of(about)
            data_type = declared if declared is not None else kind
            shares = tuple(
                (share, None if data is MISSING else constants(data, data_type))
                for share, data in draw.share(elements)
            )
            return lambda packet: shares
    elif (
        isinstance(written, dict)
        and ("range" in written or "prefix" in written)
        and isinstance(kind, DataType)
    ):
        pattern = kind.pattern(written)
        assert isinstance(pattern, Span)
        return _each(pattern.low, pattern.high)
    read = expressions.reader(written, kind)

    def there(packet: Packet) -> bool | str:
        value = read(packet)
        return value.why if isinstance(value, Vague) else value is not None

    if isinstance(written, dict):
        parts.need(there)
    return lambda packet: ((1.0, read(packet)),)


def _each(low: int, high: int) -> Outcomes:
    numbers = high - low + 1
    if not 0 < numbers <= MOST:
        raise Unmodelled(f"one of {numbers} values is not modelled")
    each = tuple((1.0 / numbers, number) for number in range(low, high + 1))
    return lambda packet: each
