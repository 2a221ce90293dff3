"""Label selectors as people and requests write them: ``app in (web,edge),!canary``.

A selector is a conjunction of requirements, with a small grammar of its own that is parsed here with one token of
look-ahead. The messages are the API server's.

Specification: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_SYMBOLS = frozenset({"=", "==", "!=", "!", "(", ")", ",", "<", ">", ""})
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")


class SelectorError(ValueError):
    """A text is no label selector; the message says why."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a selector. `operator` is `in`, `notin`, `exists`, `!`, `>` or `<`."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy the term; a missing label satisfies `notin`."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        try:
            found, bound = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return found > bound if self.operator == ">" else found < bound


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The terms of a label selector such as `app in (web,edge),!canary`. Raises SelectorError."""
    parser = _LabelParser(_TOKEN.findall(text))
    return parser.selector()


class _LabelParser:
    """Recursive descent over the tokens; the end of the text is the empty token."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*tokens, ""]
        self._position = 0

    def _peek(self) -> str:
        return self._tokens[self._position]

    def _next(self) -> str:
        token = self._peek()
        if token:
            self._position += 1
        return token

    def selector(self) -> tuple[Requirement, ...]:
        terms: list[Requirement] = []
        if not self._peek():
            return ()
        if self._peek() in _SYMBOLS - {"!"}:
            raise SelectorError(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
        while True:
            terms.append(self._requirement())
            separator = self._next()
            if not separator:
                return tuple(terms)
            if separator != ",":
                raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
            if self._peek() in _SYMBOLS - {"!"}:
                raise SelectorError(f"found '{self._peek()}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        absent = self._peek() == "!"
        if absent:
            self._next()
        key = self._identifier()
        _check_key(key)
        if absent:
            return Requirement(key, "!")
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        operator = self._next()
        match operator:
            case "=" | "==":
                return Requirement(key, "in", frozenset({self._value(key)}))
            case "!=":
                return Requirement(key, "notin", frozenset({self._value(key)}))
            case "in" | "notin":
                return Requirement(key, operator, self._set(key))
            case "<" | ">":
                bound = self._value(key)
                if not re.fullmatch(r"-?[0-9]+", bound):
                    raise _requirement_error(
                        f"for 'Gt', 'Lt' operators, the value must be an integer: {bound}"
                    )
                return Requirement(key, operator, frozenset({bound}))
        raise _requirement_error(f"found '{operator}', expected: {_OPERATORS}")

    def _identifier(self) -> str:
        token = self._next()
        if token in _SYMBOLS:
            raise _requirement_error(f"found '{token}', expected: identifier")
        return token

    def _value(self, key: str) -> str:
        if self._peek() in ("", ","):
            return ""
        return _check_value(key, self._identifier())

    def _set(self, key: str) -> frozenset[str]:
        if (token := self._next()) != "(":
            raise _requirement_error(f"found '{token}' expected: '('")
        values = {self._member(key)}
        while (token := self._next()) == ",":
            values.add(self._member(key))
        if token != ")":
            raise _requirement_error(f"found '{token}', expected: ',' or ')'")
        return frozenset(values)

    def _member(self, key: str) -> str:
        # "(a,,b)" and "()" hold the empty value; that is how the API server reads them.
        return "" if self._peek() in (",", ")") else _check_value(key, self._identifier())


def _requirement_error(problem: str) -> SelectorError:
    return SelectorError(f"unable to parse requirement: {problem}")


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    bad_prefix = slash and (len(prefix) > 253 or not _SUBDOMAIN.match(prefix))
    if bad_prefix or not _NAME.match(name):
        raise _requirement_error(
            f'<nil>: Invalid value: "{key}": a label key is a name of at most 63 letters, digits, '
            "'-', '_' and '.', with an optional DNS subdomain prefix and '/'"
        )


def _check_value(key: str, value: str) -> str:
    if not _NAME.match(value):
        raise _requirement_error(
            f'values[0][{key}]: Invalid value: "{value}": a label value is at most 63 letters, digits, '
            "'-', '_' and '.', and begins and ends with a letter or digit"
        )
    return value
