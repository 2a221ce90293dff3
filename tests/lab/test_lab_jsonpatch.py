"""JSON Patch: the examples of RFC 6902, and what cannot be done."""

from __future__ import annotations

from typing import Any

import pytest

from svcdoctor.lab.jsonpatch import json_patch


def op(op: str, path: str, **more: Any) -> Any:
    return {"op": op, "path": path, **more}


@pytest.mark.parametrize(
    ("current", "operations", "expected"),
    [
        # RFC 6902, appendix A.
        ({"foo": "bar"}, [op("add", "/baz", value="qux")], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [op("add", "/foo/1", value="qux")], {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, [op("remove", "/baz")], {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, [op("remove", "/foo/1")], {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, [op("replace", "/baz", value="boo")], {"baz": "boo"}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [op("move", "/qux/thud", **{"from": "/foo/waldo"})],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            [op("move", "/foo/3", **{"from": "/foo/1"})],
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        ({"a": [1, 2]}, [op("test", "/a/1", value=2), op("add", "/a/-", value=3)], {"a": [1, 2, 3]}),
        ({"foo": "bar"}, [op("add", "/child", value={"grandchild": {}})], {"foo": "bar", "child": {"grandchild": {}}}),
        ({"/": 9, "~1": 10}, [op("replace", "/~01", value=11)], {"/": 9, "~1": 11}),
        ({"a": {}}, [op("copy", "/c", **{"from": "/a"}), op("add", "/c/b", value=2)], {"a": {}, "c": {"b": 2}}),
        ({"a": 1}, [op("replace", "", value={"b": 2})], {"b": 2}),
        ({"foo": None}, [op("add", "/foo", value=1)], {"foo": 1}),
    ],
)  # fmt: skip
def test_what_is_done(current: Any, operations: Any, expected: Any) -> None:
    before = repr(current)
    assert json_patch(current, operations) == expected
    assert repr(current) == before


@pytest.mark.parametrize(
    ("current", "operation", "says"),
    [
        ({}, op("add", "/a/b", value=1), "/a does not exist"),
        ({}, op("remove", "/a"), "/a does not exist"),
        ({}, op("replace", "/a", value=1), "/a does not exist"),
        ({"a": [1]}, op("add", "/a/2", value=1), "/a/2: '2' is no index of a list of 1"),
        ({"a": [1]}, op("remove", "/a/-"), "'-' is no index"),
        ({"a": [1]}, op("replace", "/a/00", value=1), "'00' is no index"),
        ({"a": [1]}, op("remove", "/a/1"), "'1' is no index of a list of 1"),
        ({"a": 1}, op("add", "/a/b", value=1), "/a is no object and no list"),
        ({"a": 1}, op("test", "/a", value=2), "testing value /a failed"),
        ({"a": {}}, op("move", "/a/b", **{"from": "/a"}), "cannot be moved into itself"),
        ({"a": 1}, op("add", "/b"), "add without a value"),
        ({"a": 1}, op("add", "b", value=1), "'b' is no JSON pointer"),
        ({"a": 1}, op("grow", "/b", value=1), "unexpected operation 'grow'"),
        ({"a": 1}, op("remove", ""), "the result is no object"),
        ({"a": 1}, op("replace", "", value=[]), "the result is no object"),
        ({"a": 1}, "add", "each operation must be an object"),
    ],
)
def test_what_cannot_be_done(current: Any, operation: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        json_patch(current, [operation])
