"""The same requests as a real API server was sent, and answers of the same shape and wording."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab_client import FIXTURES, Call

RECORDED = [json.loads(line) for line in (FIXTURES / "recorded.jsonl").read_text().splitlines()]
FAILURES = [record for record in RECORDED if record["status"] >= 400]
TABLES = [record for record in RECORDED if "as=Table" in (record["accept"] or "")]


def label(record: dict[str, Any]) -> str:
    return str(record["path"])


def recorded(path: str) -> Any:
    return next(json.loads(record["body"]) for record in RECORDED if record["path"] == path)


@pytest.mark.parametrize("record", FAILURES, ids=label)
def test_failures_are_the_same_to_the_letter(call: Call, record: dict[str, Any]) -> None:
    reply = call(record["path"], accept=record["accept"] or "*/*", headers=record.get("requestHeaders"))
    assert (reply.status, reply.headers["Content-Type"]) == (record["status"], record["contentType"])
    answer, expected = reply.json(), json.loads(record["body"])
    if reply.status == 406:
        # The real one speaks protobuf too.
        answer.pop("message"), expected.pop("message")
    assert answer == expected
    assert list(answer) == list(expected)


@pytest.mark.parametrize("record", TABLES, ids=label)
def test_tables_have_the_same_columns_and_rows(call: Call, record: dict[str, Any]) -> None:
    reply = call(record["path"], accept=record["accept"])
    answer, expected = reply.json(), json.loads(record["body"])
    assert reply.headers["Content-Type"] == record["contentType"]
    assert list(answer) == list(expected)
    assert answer["columnDefinitions"] == expected["columnDefinitions"]
    row, known = answer["rows"][0], expected["rows"][0]
    assert list(row) == list(known)
    assert [type(cell) for cell in row["cells"]] == [type(cell) for cell in known["cells"]]
    assert (row["object"]["kind"], row["object"]["apiVersion"]) == (
        known["object"]["kind"],
        known["object"]["apiVersion"],
    )
    assert {"continue", "remainingItemCount"} & set(answer["metadata"]) in (
        {"continue", "remainingItemCount"},
        set(),
    )


def test_the_row_of_an_unchanged_object_is_the_same(call: Call) -> None:
    path = "/api/v1/namespaces?limit=3"
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    row = call(path, accept=accept).json()["rows"][0]
    assert row["cells"][:2] == recorded(path)["rows"][0]["cells"][:2] == ["default", "Active"]


@pytest.mark.parametrize("path", ["/apis/discovery.k8s.io/v1", "/apis/networking.k8s.io/v1"])
def test_discovery_lists_the_same_resources(call: Call, path: str) -> None:
    answer, expected = call(path).json(), recorded(path)
    for resource in expected["resources"]:
        resource.pop("storageVersionHash", None)
    expected["resources"] = [r for r in expected["resources"] if "/" not in r["name"]]
    assert answer == expected


def test_the_list_of_a_missing_namespace_is_empty(call: Call, store: Any) -> None:
    answer = call("/api/v1/namespaces/nosuch/services").json()
    expected = recorded("/api/v1/namespaces/nosuch/services")
    expected["metadata"]["resourceVersion"] = str(store.version)
    assert answer == expected
    assert list(answer) == list(expected)


def test_a_watch_that_is_too_old(call: Call, store: Any) -> None:
    record = recorded("/api/v1/namespaces/truth/pods?watch=true&resourceVersion=1&timeoutSeconds=2")
    record["object"]["message"] = f"too old resource version: 1 ({store.version})"
    reply = call("/api/v1/namespaces/truth/pods?watch=true&resourceVersion=1&timeoutSeconds=2")
    assert (reply.status, reply.json()) == (200, record)
