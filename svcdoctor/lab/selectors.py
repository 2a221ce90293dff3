"""Label and field selectors, read and matched as the API server does it.

A selector is a conjunction of requirements. Labels have a small grammar of their own, parsed here with one
token of look-ahead; fields know `=`, `==` and `!=` only, and only the fields that each resource declares.

Specification: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors and
https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from svcdoctor.lab.resources import Object, Resource
from svcdoctor.lab.status import ApiError, bad_request

_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_SYMBOLS = frozenset({"=", "==", "!=", "!", "(", ")", ",", "<", ">", ""})
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")


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


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of one resource a request asks for: all terms of both selectors must hold."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()
    read_fields: Callable[[Object], Mapping[str, str]] = dict

    def __bool__(self) -> bool:
        """Whether anything is left out at all."""
        return bool(self.labels or self.fields)

    def matches(self, obj: Object) -> bool:
        """Whether the object is selected."""
        if self.labels:
            labels = obj["metadata"].get("labels") or {}
            if not all(term.matches(labels) for term in self.labels):
                return False
        if self.fields:
            fields = self.read_fields(obj)
            return all(term.matches(fields) for term in self.fields)
        return True


def selection(resource: Resource, label_selector: str = "", field_selector: str = "") -> Selection:
    """Both selectors of a request, read for one resource.

    Raises `ApiError` 400 for what the grammar or the resource does not allow.
    """
    return Selection(
        parse_labels(label_selector),
        parse_fields(resource, field_selector),
        _READERS.get(resource.qualified, _common_fields),
    )


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The terms of a label selector such as `app in (web,edge),!canary`. Raises `ApiError` 400."""
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
            raise bad_request(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
        while True:
            terms.append(self._requirement())
            separator = self._next()
            if not separator:
                return tuple(terms)
            if separator != ",":
                raise bad_request(f"found '{separator}', expected: ',' or 'end of string'")
            if self._peek() in _SYMBOLS - {"!"}:
                raise bad_request(f"found '{self._peek()}', expected: identifier after ','")

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


def _requirement_error(problem: str) -> ApiError:
    return bad_request(f"unable to parse requirement: {problem}")


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


def parse_fields(resource: Resource, text: str) -> tuple[Requirement, ...]:
    """The terms of a field selector such as `spec.nodeName=node1,status.phase!=Failed`.

    Raises `ApiError` 400 for a term without an operator and for fields that the resource does not declare.
    """
    known = set(_READERS.get(resource.qualified, _common_fields)({"metadata": {}}))
    terms = []
    for part in re.split(r"(?<!\\),", text) if text else ():
        if not part:
            continue
        found = re.match(r"((?:[^=!\\]|\\.)*)(==|!=|=)(.*)\Z", part)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        key, operator, value = found.groups()
        if key not in known:
            raise bad_request(_unknown_field(resource, key))
        value = re.sub(r"\\([,=\\])", r"\1", value)
        terms.append(Requirement(key, "notin" if operator == "!=" else "in", frozenset({value})))
    return tuple(terms)


def _unknown_field(resource: Resource, key: str) -> str:
    if resource.qualified in _READERS:
        return f"field label not supported: {key}"
    return f'"{key}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _common_fields(obj: Object) -> dict[str, str]:
    metadata = obj["metadata"]
    return {"metadata.name": metadata.get("name", ""), "metadata.namespace": metadata.get("namespace", "")}


def _pod_fields(obj: Object) -> dict[str, str]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    addresses = status.get("podIPs") or [{}]
    return _common_fields(obj) | {
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.restartPolicy": spec.get("restartPolicy", ""),
        "spec.schedulerName": spec.get("schedulerName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase", ""),
        "status.podIP": addresses[0].get("ip", "") or status.get("podIP", ""),
        "status.nominatedNodeName": status.get("nominatedNodeName", ""),
    }


def _service_fields(obj: Object) -> dict[str, str]:
    spec = obj.get("spec") or {}
    return _common_fields(obj) | {
        "spec.clusterIP": spec.get("clusterIP", ""),
        "spec.type": spec.get("type", ""),
    }


def _node_fields(obj: Object) -> dict[str, str]:
    unschedulable = (obj.get("spec") or {}).get("unschedulable")
    return _common_fields(obj) | {"spec.unschedulable": "true" if unschedulable else "false"}


def _namespace_fields(obj: Object) -> dict[str, str]:
    return _common_fields(obj) | {"status.phase": (obj.get("status") or {}).get("phase", "")}


def _event_fields(obj: Object) -> dict[str, str]:
    about = obj.get("involvedObject") or {}
    names = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    component = obj.get("reportingComponent", "")
    return (
        _common_fields(obj)
        | {f"involvedObject.{name}": about.get(name, "") for name in names}
        | {
            "reason": obj.get("reason", ""),
            "reportingComponent": component,
            "source": (obj.get("source") or {}).get("component", "") or component,
            "type": obj.get("type", ""),
        }
    )


_READERS: Mapping[str, Callable[[Object], dict[str, str]]] = {
    "events": _event_fields,
    "namespaces": _namespace_fields,
    "nodes": _node_fields,
    "pods": _pod_fields,
    "services": _service_fields,
}
