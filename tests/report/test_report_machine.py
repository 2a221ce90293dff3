"""JSON, YAML and names: the contract and what programs read of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from report_cluster import (
    EXTERNAL_NAME,
    FORBIDDEN,
    HEADLESS,
    INGRESS,
    OBJ002,
    RUL021,
    cluster,
    traced,
    with_findings,
)

from svcdoctor.model import finding, trace
from svcdoctor.path.batch import answers
from svcdoctor.path.jsonform import trace_json
from svcdoctor.report.machine import as_json, as_name, as_yaml, schema

VALIDATOR = Draft202012Validator(schema())
ALL_SORTS = {
    "nodePort": traced(cluster()),
    "local": traced(cluster(policy="Local")),
    "balancer": traced(cluster(kind="LoadBalancer", dual=True)),
    "ingress": traced(cluster(more=INGRESS), "ingress/front"),
    "no route": traced(cluster(more=INGRESS), "ingress/front/x"),
    "headless": traced(cluster(service=HEADLESS)),
    "ExternalName": traced(cluster(service=EXTERNAL_NAME)),
    "undeclared": traced(cluster(undeclared=(1,))),
    "no endpoint": traced(cluster(pods=0)),
    "pod": traced(cluster(), "pod/web-0"),
    "wrong port": traced(cluster(), "10.96.0.7:8080"),
    "node": traced(cluster(), "192.168.0.1:22"),
    "outside": traced(cluster(), "203.0.113.9:443"),
    "absent": traced(cluster(), "svc/other"),
    "told": replace(with_findings(traced(cluster()), OBJ002, RUL021), unknowns=(FORBIDDEN,), notes=("n",)),
}


def broken(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of ``document`` with another value at ``path`` (keys and indexes with slashes)."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    at: Any = copy
    *way, last = [int(p) if p.isdecimal() else p for p in path.split("/")]
    for step in way:
        at = at[step]
    at[last] = value
    return copy


def test_the_schema_is_one_and_names_every_enumeration_of_the_model() -> None:
    Draft202012Validator.check_schema(schema())
    defs = schema()["$defs"]
    for enum, found in (
        (trace.Verdict, defs["verdict"]),
        (trace.Basis, defs["basis"]),
        (trace.ClientKind, defs["client"]["properties"]["kind"]),
        (trace.EntryKind, defs["entry"]["properties"]["kind"]),
        (trace.HopKind, defs["hop"]["properties"]["kind"]),
        (trace.Status, defs["hop"]["properties"]["status"]),
        (trace.Result, defs["outcome"]["properties"]["result"]),
        (trace.SourceSeen, defs["outcome"]["properties"]["sourceSeen"]),
        (finding.Severity, defs["finding"]["properties"]["severity"]),
    ):
        assert found["enum"] == [m.value for m in enum]


@pytest.mark.parametrize("name", ALL_SORTS)
def test_every_sort_of_trace_is_valid_in_json_and_yaml(name: str) -> None:
    text = as_json(ALL_SORTS[name])
    document = json.loads(text)
    assert list(VALIDATOR.iter_errors(document)) == []
    assert yaml.safe_load(as_yaml(ALL_SORTS[name])) == document
    assert text.isascii() and text.endswith("}\n")
    assert list(document) == list(trace_json(ALL_SORTS[name]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("apiVersion", "svcdoctor/v2"),
        ("kind", "Report"),
        ("verdict", "fine"),
        ("target/kind", "Secret"),
        ("paths/0/entry/kind", "clusterip"),
        ("paths/0/entry/port", 65536),
        ("paths/0/entry/protocol", "tcp"),
        ("paths/0/outcomes/0/probability", 1.1),
        ("paths/0/outcomes/0/result", "lost"),
        ("paths/0/hops/0/status", "good"),
        ("findings/0/severity", "fatal"),
        ("findings/0/subjects", "Service/shop/web"),
    ],
)
def test_the_schema_refuses_what_is_not_the_contract(path: str, value: object) -> None:
    document = json.loads(as_json(ALL_SORTS["told"]))
    assert not VALIDATOR.is_valid(broken(document, path, value))


def test_the_schema_allows_fields_of_later_versions() -> None:
    document = json.loads(as_json(ALL_SORTS["told"]))
    for path in ("later", "target/later", "paths/0/later", "paths/0/hops/0/later", "findings/0/later"):
        assert VALIDATOR.is_valid(broken(document, path, {"x": 1}))


def test_the_answers_of_a_batch_are_valid() -> None:
    lines = [b'{"id": 1, "to": "10.96.0.7:80", "from": "pod"}', b'{"to": "192.168.0.4:30080"}', b"{"]
    found = [json.loads(a) for a in answers(cluster(policy="Local"), lines)]
    assert [("error" in a) for a in found] == [False, False, True]
    for answer in found:
        assert VALIDATOR.is_valid(answer)
    assert not VALIDATOR.is_valid({**found[0], "verdict": "fine"})


@pytest.mark.parametrize("port", ["yes", "8e0", "1e3", "0o17", "1.5", "0x1f", "null", "12", "1_000", "~"])
def test_yaml_quotes_names_that_look_like_something_else(port: str) -> None:
    trace_ = ALL_SORTS["nodePort"]
    told = replace(trace_, target=replace(trace_.target, ports=(port,)))
    text = as_yaml(told)
    assert f"  - '{port}'" in text or f'  - "{port}"' in text


def test_machine_answers_carry_no_control_characters_and_survive_any_encoding() -> None:
    told = replace(ALL_SORTS["nodePort"], notes=("é \x1b[31m \x9b \u202e \U0001f600 \udcff",))
    for text in (as_json(told), as_yaml(told)):
        assert text.isascii()
        assert "\x1b" not in text
    assert json.loads(as_json(told))["notes"] == ["é \x1b[31m \x9b \u202e \U0001f600 ?"]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("nodePort", ["service/web", "pod/web-0", "pod/web-1", "pod/web-2"]),
        ("ingress", ["ingress.networking.k8s.io/front", "pod/web-0", "pod/web-1", "pod/web-2"]),
        ("pod", ["pod/web-0"]),
        ("no endpoint", ["service/web"]),
        ("ExternalName", ["service/web"]),
        ("node", ["node/node-0"]),
        ("outside", []),
    ],
)
def test_names_are_those_of_kubectl(name: str, names: list[str]) -> None:
    assert as_name(ALL_SORTS[name]).splitlines() == names
