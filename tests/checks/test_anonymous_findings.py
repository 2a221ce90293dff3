"""A bug report: the same findings as in the cluster, and nothing of the cluster's own words in any byte."""

from __future__ import annotations

import json
import random
import re
import string
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from codecases import CAPTURE as CAPTURE_CHANGED
from codecases import FIXTURE, OBJECTS
from faultpairs import FAULTS
from hypothesis import given, settings
from hypothesis import strategies as st
from ordinary_world import changed, snapshot_of, sound_cluster
from test_every_code import CASES

from svcdoctor.checks.diagnose import REJECTED, answer_once
from svcdoctor.cli.bugreport import Held, Packed, pack
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Trace
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target
from svcdoctor.path.world import World
from svcdoctor.report.bugreport import compared
from svcdoctor.sources import vocabulary
from svcdoctor.sources.anonymize import anonymize
from svcdoctor.sources.anonymousrequest import Question
from svcdoctor.sources.archive import node_dumps, read_snapshot

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"


def bytes_of(archive: Path) -> str:
    """All that the archive holds, its files' names too."""
    with tarfile.open(archive) as tar:
        members = [(m.name, tar.extractfile(m)) for m in tar.getmembers()]
        return "\n".join(name + "\n" + (f.read().decode() if f else "") for name, f in members)


def asked_again(packed: Packed) -> tuple[Snapshot, Request, str]:
    """The question as README.txt says it, of the archive as it was written."""
    words = list(packed.command)
    snapshot = read_snapshot(packed.written.path)
    assert not snapshot.warnings
    namespace = words[words.index("-n") + 1]
    client = parse_client(words[words.index("--from") + 1]) if "--from" in words else None
    return snapshot, Request(parse_target(words[2], namespace, client), client), namespace


ASKED = {
    case.code: number
    for number, case in enumerate(CASES)
    if case.how in (CAPTURE_CHANGED, OBJECTS, FIXTURE) and case.code not in REJECTED
}


@pytest.mark.parametrize("number", ASKED.values(), ids=ASKED)
def test_every_code_is_found_in_its_bug_report(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue's own cases, but for those that rest on requests which were sent, and on rejected manifests."""
    answered: list[tuple[Trace, Snapshot, Request, str]] = []

    def answer(snapshot: Snapshot, request: Request, namespace: str, world: World | None = None) -> Trace:
        trace = answer_once(snapshot, request, namespace, world)
        answered.append((trace, snapshot, request, namespace))
        return trace

    for module in ("captured", "cases_objects", "faultpairs", "twins"):
        monkeypatch.setattr(f"{module}.answer_once", answer)
    case = CASES[number]
    trace = case.broken()
    snapshot, request, namespace = next(rest for found, *rest in answered if found is trace)
    if case.how == CAPTURE_CHANGED:  # whose dumps take their time: nothing is written
        dumps = {n: {k: d.data for k, d in f.raw.items()} for n, f in snapshot.node_facts.items()}
        result = anonymize(snapshot, dumps, Question(request, namespace))
        assert result.question is not None and result.question.request is not None
        again = answer_once(result.snapshot, result.question.request, result.question.namespace or "")
        assert compared(trace, again).same, compared(trace, again)
        return
    path = tmp_path / "report.tar.gz"
    packed = pack(Held(snapshot), Question(request, namespace), path, None, {})
    assert packed.comparison.same, packed.comparison
    shown = json.loads(_file(path, "answer.json"))
    assert case.code in codes(shown)
    if case.how == FIXTURE:
        back, again, where = asked_again(packed)
        again = replace(again, via=request.via)
        assert sorted(f.code for f in answer_once(back, again, where).findings) == codes(shown)
        assert own_words(FAULTS / case.code / "broken.yaml") & words_of(bytes_of(path)) == set()


def _file(archive: Path, name: str) -> str:
    with tarfile.open(archive) as tar:
        found = tar.extractfile(f"snapshot/{name}")
        assert found is not None
        return found.read().decode()


def codes(answer: dict[str, Any]) -> list[str]:
    return sorted(f["code"] for f in answer["findings"])


def own_words(path: Path) -> set[str]:
    """The names of a cluster's objects, of their ports, containers, labels and hosts: what is nobody else's."""
    found: set[str] = set()
    for document in yaml.safe_load_all(path.read_text()):
        found |= names_in(document)
    return {w for w in found if w not in KEPT and not re.fullmatch(r"[\d.:/-]*", w) and len(w) > 3}


NAMING = {
    "name",
    "namespace",
    "hostname",
    "host",
    "serviceName",
    "nodeName",
    "uid",
    "externalName",
    "path",
    "ip",
}
KEPT = (
    vocabulary.NAMES
    | vocabulary.LABEL_KEYS
    | vocabulary.LABEL_NAMES
    | vocabulary.ENUMS
    | vocabulary.NETFILTER
    | vocabulary.COREDNS
    | {word for group in vocabulary.GROUPS for word in group.split(".")}
    | {"istio-injection", "enabled"}  # what a fix says
    | set(vocabulary.ENGLISH)
)


def names_in(value: Any, key: str = "") -> set[str]:
    if isinstance(value, dict):
        if key in ("labels", "matchLabels", "selector", "annotations", "nodeSelector"):
            own = {k for k in value if k.rpartition("/")[0] not in vocabulary.LABEL_DOMAINS} - {"matchLabels"}
            own |= {v for k, v in value.items() if isinstance(v, str) and key != "annotations"}
            return own | {w for v in value.values() for w in names_in(v)}
        return {w for k, v in value.items() for w in names_in(v, k)}
    if isinstance(value, list):
        return {w for v in value for w in names_in(v, key)}
    return {value} if isinstance(value, str) and key in NAMING else set()


def words_of(text: str) -> set[str]:
    found = set(re.findall(r"[\w.-]+", text))
    return found | {w for word in found for w in re.findall(r"[\w-]+", word)}


@pytest.mark.parametrize(("mode", "target"), [("iptables", "svc/np-cluster"), ("nftables", None)])
def test_a_real_cluster_with_its_nodes_rules(mode: str, target: str | None, tmp_path: Path) -> None:
    path, to = CAPTURES / f"{mode}.tar.gz", tmp_path / "report.tar.gz"
    request = None if target is None else Request(parse_target(target, "truth"))
    packed = pack(
        Held(read_snapshot(path)), Question(request, "truth"), to, node_dumps(path), {"svcdoctor": "1"}
    )
    assert packed.comparison.same, packed.comparison
    assert not re.search("truth|np-cluster|example.internal", bytes_of(to))
    shown = json.loads(_file(to, "bug-report.json"))
    assert shown["versions"] == {"svcdoctor": "1"} and shown["sameFindings"] is True
    assert "--snapshot THIS-FILE" in _file(to, "README.txt")


LETTERS = string.ascii_lowercase + string.digits


def under_other_names(
    objects: list[dict[str, Any]], chance: random.Random
) -> tuple[list[dict[str, Any]], set[str]]:
    """The objects with names that nothing else can hold, and these."""
    others: dict[str, str] = {}

    def renamed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            labelled = key in ("labels", "matchLabels", "selector")
            return {
                other(k) if labelled and "/" not in k else k: renamed(v, "name" if labelled else k)
                for k, v in value.items()
            }
        if isinstance(value, list):
            return [renamed(v, key) for v in value]
        if isinstance(value, str) and (
            value in others or key in ("name", "namespace", "nodeName", "zone", "uid")
        ):
            return other(value)
        return value

    def other(name: str) -> str:
        return others.setdefault(name, "x" + "".join(chance.choices(LETTERS, k=9)) + "x") if name else name

    made = renamed(objects)
    return made, set(others.values()) - {""}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 4))
def test_whatever_the_cluster_nothing_of_its_names_is_left(seed: int, times: int) -> None:
    chance = random.Random(seed)
    objects = sound_cluster()
    for _ in range(times):
        objects = changed(objects, chance)
    objects, names = under_other_names(objects, chance)
    try:
        snapshot = snapshot_of(objects)
        name, namespace = next(((s.name, s.namespace) for s in snapshot.services), ("none", "nowhere"))
        asked = Request(parse_target(f"svc/{name}", namespace))
    except SvcdoctorError:
        return  # the change made something that is no object, or has no name, which reading says
    with tempfile.TemporaryDirectory() as folder:
        for request in (None, asked):
            path = Path(folder, f"{request is None}.tar.gz")
            try:
                packed = pack(Held(snapshot), Question(request, namespace), path, {}, {})
            except SvcdoctorError:
                continue  # nothing that could be answered
            text = bytes_of(path)
            assert [n for n in names if n in text] == []
            assert packed.comparison.same, packed.comparison
