"""The elements of sets and maps, named and anonymous, and how a value is found among them.

Elements without intervals are found in constant time, intervals of one field by bisection. In a concatenation
the elements are grouped by their prefix lengths, as routing tables are: one dictionary for each combination.
Ranges that are no prefix, and wildcards in a concatenation, are gone through one by one.

kube-proxy's largest sets hold plain IPv4 addresses, protocols and ports. Their elements are kept as they are
written: then the one lookup of a packet is put into writing, instead of 50,000 elements into numbers.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise, product
from typing import Any, Final

import msgspec

from svcdoctor.dataplane.nftfields import Types
from svcdoctor.dataplane.nfttypes import TYPES, DataType
from svcdoctor.dataplane.nftvalues import Pattern, Single, Span, Unmodelled, Vague, Wildcard, within
from svcdoctor.dataplane.packet import address_text


class Missing:
    """The answer for a value that no element has."""


MISSING: Final = Missing()
PRESENT: Final = True  # what a set keeps for each element; a map keeps its data as it is written


# Types whose values nft writes in one way, or, protocols, in the few ways that are known.
PLAIN: Final = frozenset({"ipv4_addr", "inet_proto", "inet_service"})
_KEYS = msgspec.json.Decoder(list[msgspec.Raw])
_PAIRS = msgspec.json.Decoder(list[tuple[msgspec.Raw, Any]])
_BLANKS = b" \t\r\n"
_WORD = re.compile(rb'"[0-9.]+"|("[^"]*"|[\\{a-z]+)')  # one group: what is neither address nor number
_WORDS = frozenset({b"", b"{", b'"concat"', *(f'"{name}"'.encode() for name in TYPES["inet_proto"].symbols)})
_AT_ONCE = 1000  # elements looked at together


class _Loose(Exception):
    """A written value is no single one."""


class _Singles(dict[Any, Any]):
    """Written values with the number or text that each means, filled as they are met."""

    def __init__(self, kind: DataType) -> None:
        super().__init__()
        self.kind = kind

    def __missing__(self, written: Any) -> int | str:
        pattern = self.kind.pattern(written)
        if isinstance(pattern, (Span, Wildcard)):
            raise _Loose
        self[written] = pattern
        return pattern


KEPT = 50_000  # values whose element is remembered


class Elements:
    """What one set or map holds. Raises Unmodelled for elements that cannot be read."""

    __slots__ = (
        "_exact",
        "_known",
        "_lows",
        "_prefixes",
        "_rest",
        "_spans",
        "_written",
        "concatenated",
        "default",
        "kinds",
    )

    def __init__(self, types: Types, written: Iterable[Any] = (), is_map: bool = False) -> None:
        self.concatenated = isinstance(types, tuple)
        self.kinds = kinds = types if isinstance(types, tuple) else (types,)
        self.default: Any = MISSING  # of the element * that catches all
        self._written: dict[Any, Any] = {}
        self._known: dict[tuple[Single, ...], Any] = {}  # what was found among the written
        self._exact: dict[Any, Any] = {}
        self._spans: list[tuple[int, int, Any]] = []
        self._prefixes: dict[tuple[int, ...], dict[tuple[Any, ...], Any]] = {}
        self._rest: list[tuple[tuple[Pattern, ...], Any]] = []
        try:
            self._read(kinds, written, is_map)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise Unmodelled("an element that is not as nft writes them") from None
        self._spans.sort(key=lambda span: span[0])
        if any(low <= before for (_, before, _), (low, _, _) in pairwise(self._spans)):
            raise Unmodelled("intervals that overlap")
        self._lows = [low for low, _, _ in self._spans]

    @classmethod
    def of_json(cls, types: Types, elem: msgspec.Raw, is_map: bool) -> Elements:
        """What the JSON list of a named set or map says. Raises Unmodelled."""
        kinds = types if isinstance(types, tuple) else (types,)
        try:
            if PLAIN.issuperset(kind.name for kind in kinds):
                new = cls(types)
                pairs = _PAIRS.decode(elem) if is_map else ((key, PRESENT) for key in _KEYS.decode(elem))
                new._written = {bytes(key).translate(None, _BLANKS): data for key, data in pairs}
                if new._is_plain():
                    return new
            written = msgspec.json.decode(elem)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise Unmodelled(str(e)) from None
        if not isinstance(written, list):
            raise Unmodelled("elements that are no list")
        return cls(types, written, is_map)

    def _is_plain(self) -> bool:
        """Whether the written elements are single values: no comments, prefixes, ranges, names of ports."""
        start = b'{"concat":[' if self.concatenated else b""
        keys = iter(self._written)
        while some := list(islice(keys, _AT_ONCE)):
            if not _WORDS.issuperset(_WORD.findall(b"".join(some))):
                return False
            if not all(key.startswith(start) and key.count(b"{") == self.concatenated for key in some):
                return False
        return True

    def _read(self, kinds: Sequence[DataType], written: Iterable[Any], is_map: bool) -> None:
        singles = [_Singles(kind) for kind in kinds]
        exact, first, concatenated = self._exact, singles[0], self.concatenated
        for element in written:
            key, data = element if is_map else (element, PRESENT)
            if isinstance(key, dict) and "elem" in key:
                key = key["elem"]["val"]
            if key == "*":
                self.default = data
                continue
            try:
                if concatenated:
                    parts = key["concat"]
                    if len(parts) != len(singles):
                        raise Unmodelled("an element with another number of fields than its set")
                    exact[tuple([known[part] for known, part in zip(singles, parts, strict=True)])] = data
                else:
                    exact[first[key]] = data
            except (_Loose, TypeError):
                parts = key["concat"] if concatenated else (key,)
                self._add(
                    tuple(kind.pattern(part) for kind, part in zip(kinds, parts, strict=True)), kinds, data
                )

    def _add(self, patterns: tuple[Pattern, ...], kinds: Sequence[DataType], data: Any) -> None:
        only = patterns[0]
        if not self.concatenated:
            if isinstance(only, Span):
                self._spans.append((only.low, only.high, data))
            elif isinstance(only, Wildcard):
                self._rest.append((patterns, data))
            else:
                self._exact[only] = data
            return
        masks = tuple(_host_bits(pattern, kind) for pattern, kind in zip(patterns, kinds, strict=True))
        if None in masks:
            self._rest.append((patterns, data))
            return
        key = tuple(pattern.low if isinstance(pattern, Span) else pattern for pattern in patterns)
        shape = tuple(mask or 0 for mask in masks)
        self._prefixes.setdefault(shape, {})[key] = data

    def find(self, value: Single | tuple[Single, ...]) -> Any:
        """The element's data, MISSING, or, as Vague, why that cannot be said."""
        parts = value if isinstance(value, tuple) else (value,)
        if parts in self._known:
            return self._known[parts]
        if any(isinstance(part, Vague) for part in parts):
            return self._search(parts)
        if self._written:
            return self._find_written(parts)
        found = self._exact.get(value, MISSING)
        if found is not MISSING:
            return found
        if self._spans and isinstance(value, int):
            at = bisect_right(self._lows, value) - 1
            if at >= 0 and value <= self._spans[at][1]:
                return self._spans[at][2]
        for masks, among in self._prefixes.items():
            key = tuple(p & ~m if isinstance(p, int) else p for p, m in zip(parts, masks, strict=False))
            found = among.get(key, MISSING)
            if found is not MISSING:
                return found
        if self._rest:
            found = self._search(parts, self._rest)
        return self.default if found is MISSING else found

    def _find_written(self, parts: tuple[Single, ...]) -> Any:
        found = MISSING
        for texts in product(*map(_writings, parts, self.kinds)):
            key = f'{{"concat":[{",".join(texts)}]}}' if self.concatenated else texts[0]
            found = self._written.get(key.encode(), MISSING)
            if found is not MISSING:
                break
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[parts] = found
        return found

    def _search(
        self, parts: tuple[Single, ...], among: Iterable[tuple[tuple[Pattern, ...], Any]] | None = None
    ) -> Any:
        """Every element compared, for a value of which only a part is known."""
        covered = 0
        perhaps: Vague | None = None
        try:
            among = tuple(self.items()) if among is None else among
        except Unmodelled as e:
            return Vague(str(e))
        for patterns, data in among:
            holds: bool | str = len(patterns) == len(parts)
            for part, pattern in zip(parts, patterns, strict=False):
                one = within(part, pattern)
                if one is False:
                    holds = False
                    break
                if one is not True:
                    holds = one
            if holds is True:
                return data
            if holds is not False:
                perhaps = Vague(str(holds))
                covered += _overlap(parts[0], patterns[0]) if len(parts) == 1 and data is PRESENT else 0
        if perhaps is None:
            return self.default
        only = parts[0]
        if isinstance(only, Vague) and covered == only.high - only.low + 1:
            return PRESENT
        return perhaps

    def items(self) -> Iterable[tuple[tuple[Pattern, ...], Any]]:
        """Every element: the patterns of its fields and its data. Raises Unmodelled for one that cannot be read."""
        if self._written:
            pairs = ((msgspec.json.decode(text), data) for text, data in self._written.items())
            kinds = self.kinds if self.concatenated else self.kinds[0]
            yield from Elements(kinds, pairs, is_map=True).items()
        for key, data in self._exact.items():
            yield key if self.concatenated else (key,), data
        for low, high, data in self._spans:
            yield (Span(low, high),), data
        for masks, among in self._prefixes.items():
            for key, data in among.items():
                yield tuple(Span(k, k | m) if m else k for k, m in zip(key, masks, strict=True)), data
        yield from self._rest


def _writings(part: Single, kind: DataType) -> Sequence[str]:
    """Every way in which nft's JSON has a value of a plain type."""
    if kind.name == "ipv4_addr" and isinstance(part, int):
        return (f'"{address_text(4, part)}"',)
    if kind.name == "inet_proto":
        return (*_PROTOCOLS.get(part, ()), str(part))
    return (str(part),)


_PROTOCOLS: dict[Single, tuple[str, ...]] = {}
for _name, _number in TYPES["inet_proto"].symbols.items():
    _PROTOCOLS[_number] = (*_PROTOCOLS.get(_number, ()), f'"{_name}"')


def _host_bits(pattern: Pattern, kind: DataType) -> int | None:
    """The bits below a prefix: 0 for a single value, ``None`` where the pattern is no prefix."""
    if isinstance(pattern, Wildcard):
        return None
    if not isinstance(pattern, Span):
        return 0
    mask = pattern.low ^ pattern.high
    if mask & mask + 1 or pattern.low & mask or mask >= 1 << kind.bits:
        return None
    return mask


def _overlap(value: Single, pattern: Pattern) -> int:
    """How many of the values that a Vague one may have are in a pattern; they are taken as disjoint."""
    if not isinstance(value, Vague) or isinstance(pattern, (str, Wildcard)):
        return 0
    if isinstance(pattern, int):
        return 1
    return max(0, min(pattern.high, value.high) - max(pattern.low, value.low) + 1)
