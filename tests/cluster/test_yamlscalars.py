"""Scalars as kubectl reads them: go-yaml's resolution (its own tests' and code's cases), not PyYAML's."""

import pytest

from svcdoctor.cluster.yamldoc import NotYaml, load_documents
from svcdoctor.cluster.yamlscalars import plain_scalar, tagged_scalar

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("True", True), ("TRUE", True), ("tRUE", "tRUE"),
        ("y", True), ("Y", True), ("yes", True), ("n", False), ("No", False), ("on", True), ("Off", False),
        ("yep", "yep"),
        ("", None), ("~", None), ("null", None), ("Null", None), ("nil", "nil"), ("None", "None"),
        ("0", 0), ("-0", 0), ("+7", 7), ("1_000", 1000), ("0777", 511), ("0o17", 15), ("0x1F", 31), ("0b11", 3),
        ("08", 8.0), ("0o8", "0o8"), ("0x", "0x"), ("1.10", 1.1), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0),
        ("1e", "1e"), ("-.inf", -INFINITE), (".inf", INFINITE), (".x", ".x"),
        ("12:30", "12:30"), ("12:30:45", "12:30:45"), ("10.0.0.1", "10.0.0.1"), ("1.2.3", "1.2.3"), ("25%", "25%"),
        ("2024-04-07", "2024-04-07"), ("2024-04-07T14:44:56Z", "2024-04-07T14:44:56Z"), ("100m", "100m"), ("-", "-"),
        ("18446744073709551616", 18446744073709551616), ("<none>", "<none>"), ("http", "http"),
    ],
)  # fmt: skip
def test_a_scalar_without_quotes(text, value):
    found = plain_scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_quotes_and_tags_say_what_it_is():
    (document,) = load_documents(
        "a: 'yes'\nb: \"80\"\nc: !!str 80\nd: !!int '80'\ne: |\n  no\nf: !!float 8\n", "m"
    )
    assert document == {"a": "yes", "b": "80", "c": "80", "d": 80, "e": "no\n", "f": 8.0}
    with pytest.raises(ValueError, match="no !!int"):
        tagged_scalar("tag:yaml.org,2002:int", "many")
    with pytest.raises(NotYaml, match="m: not YAML: 'many' is no !!int"):
        load_documents("a: !!int many", "m")


def test_keys_become_text_as_in_json():
    (document,) = load_documents("on: a\n80: b\n1.5: c\n", "m")
    assert document == {"true": "a", "80": "b", "1.5": "c"}
    with pytest.raises(NotYaml, match="line 2: not YAML that Kubernetes takes: a map as a key"):
        load_documents("a: b\n{c: d}: e\n", "m")


def test_merges_and_aliases():
    text = "base: &b {app: web, tier: one}\nlabels:\n  <<: *b\n  tier: two\nagain: [*b, *b]\n"
    (document,) = load_documents(text, "m")
    assert document["labels"] == {"app": "web", "tier": "two"}
    assert document["again"] == [{"app": "web", "tier": "one"}] * 2
    with pytest.raises(NotYaml, match="map merge"):
        load_documents("a: &a 1\nb: {<<: *a}", "m")
