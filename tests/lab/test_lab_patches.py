"""Merge patches and strategic merge patches."""

from __future__ import annotations

from typing import Any

import pytest

from svcdoctor.lab.patches import merge_patch, strategic_patch


@pytest.mark.parametrize(
    ("current", "patch", "expected"),
    [
        # The examples of RFC 7396, appendix A, that begin with an object.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge(current: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(current, patch) == expected


def service(*ports: Any) -> Any:
    return {"kind": "Service", "spec": {"ports": list(ports)}}


@pytest.mark.parametrize(
    ("current", "patch", "expected"),
    [
        (
            service({"port": 80, "name": "http"}, {"port": 81}),
            {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}},
            service({"port": 80, "name": "http", "targetPort": 8080}, {"port": 81}),
        ),
        (
            service({"port": 80}),
            {
                "spec": {
                    "$setElementOrder/ports": [{"port": 82}],
                    "ports": [{"port": 82}, {"port": 80, "$patch": "delete"}],
                }
            },
            service({"port": 82}),
        ),
        (
            service({"port": 80}),
            {"spec": {"ports": [{"$patch": "replace"}, {"port": 1}]}},
            service({"port": 1}),
        ),
        (service(1), {"spec": {"ports": [2]}}, service(2)),
        (
            {"kind": "EndpointSlice", "ports": [{"port": 1}]},
            {"ports": [{"port": 2}]},
            {"kind": "EndpointSlice", "ports": [{"port": 2}]},
        ),
        (
            {"kind": "Pod", "spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1}]}]}},
            {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 2}]}]}},
            {
                "kind": "Pod",
                "spec": {
                    "containers": [{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 2}]}]
                },
            },
        ),
        (
            {"kind": "Service", "spec": {"selector": {"a": "b"}}},
            {"spec": {"selector": {"$patch": "replace", "c": "d"}}},
            {"kind": "Service", "spec": {"selector": {"c": "d"}}},
        ),
        (
            {"kind": "Service", "metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
            {"kind": "Service", "metadata": {"finalizers": ["b"]}},
        ),
    ],
)
def test_strategic(current: Any, patch: Any, expected: Any) -> None:
    assert strategic_patch(current, patch) == expected
