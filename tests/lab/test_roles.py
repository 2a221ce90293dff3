"""plugins/rbac: the least roles for each use, recorded from what the commands ask for, and tried in the lab.

After a change they are written anew by ``WRITE_ROLES=1 pytest tests/lab/test_roles.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from role_needs import asked_for, shown
from role_trials import TRIALS
from test_lab_network import possible  # noqa: F401 (the fixture runs by itself)

from svcdoctor.lab.net.command import environment
from svcdoctor.lab.resources import RESOURCES
from svcdoctor.model.permission import CLUSTER, NAMESPACE, Allowance, Feature, Rule
from svcdoctor.report.roles import Role, role_manifest, roles_of
from svcdoctor.sources import features as packaged
from svcdoctor.sources.features import COMMANDS, features

ROOT = Path(__file__).parents[2]
RBAC = ROOT / "plugins" / "rbac"
DATA = Path(packaged.__file__).with_name("features.json")
PROGRAM = Path(__file__).with_name("role_trials.py")
NEEDS = Path(__file__).with_name("role_needs.json")
WRITE = os.environ.get("WRITE_ROLES")
SERVED = {resource.group for resource in RESOURCES if not resource.optional}


def tried(folder: Path, question: Any, seconds: float) -> Any:
    """The answer of role_trials, run as the lab's first process in namespaces of its own."""
    (folder / "question.json").write_text(json.dumps(question))
    own = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.getuid() != 0:
        own[1:1] = ["--user", "--map-root-user"]
    done = subprocess.run(
        [*own, sys.executable, str(PROGRAM), str(seconds)],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=seconds + 10, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "answer.json").read_text())


def bound(role: Role) -> str:
    """The command that gives a role to a user."""
    if role.namespace or role.where == NAMESPACE:
        kind, where = "rolebinding", f" -n {role.namespace or 'NAMESPACE'}"
    else:
        kind, where = "clusterrolebinding", ""
    return f"#   kubectl create {kind} {role.name} --{role.kind.lower()}={role.name} --user=USER{where}"


def role_file(feature: Feature) -> str:
    """The file of plugins/rbac for a feature."""
    roles = roles_of(feature)
    head = [
        f"# What svcdoctor {feature.command} asks the API server for, and nothing else.",
        "# Recorded by tests/lab/test_roles.py. To give it to somebody, in one namespace:",
        *map(bound, roles),
    ]
    if any(role.where == NAMESPACE for role in roles):
        head.append("# In all namespaces: the first by a clusterrolebinding, without -n.")
    return "".join(f"{line}\n" for line in head) + "---\n".join(map(role_manifest, roles))


@pytest.fixture(scope="module")
def needs() -> list[Any]:
    """What was written down when the rules were recorded."""
    if WRITE:
        NEEDS.write_text(json.dumps(sorted(asked_for() | shown(), key=str), indent=1) + "\n")
    found: list[Any] = json.loads(NEEDS.read_text())
    return found


@pytest.fixture(scope="module")
def held(needs: list[Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What role_trials says of the packaged rules, which are recorded anew before where that is asked for."""
    if WRITE:
        rules = tried(tmp_path_factory.mktemp("record"), {"needs": needs}, seconds=1200)
        written = (
            f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, found)) + "\n ]"
            for name, found in rules.items()
        )
        DATA.write_text("{\n" + ",\n".join(written) + "\n}\n")
        features.cache_clear()
        for feature in features():
            (RBAC / f"{feature.name}.yaml").write_text(role_file(feature))
    rules = {f.name: msgspec.to_builtins(f.rules) for f in features()}
    found: dict[str, Any] = tried(
        tmp_path_factory.mktemp("hold"), {"needs": needs, "hold": rules}, seconds=300
    )
    assert list(found) == list(COMMANDS)
    return found


def test_what_the_checks_ask_for_was_recorded(needs: list[Any]) -> None:
    assert asked_for() <= set(map(tuple, needs))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_feature_asks_for_its_rules_and_for_nothing_else(held: dict[str, Any], name: str) -> None:
    assert held[name]["more"] == [], "WRITE_ROLES=1 records them anew"
    # What only somebody without other rights asks for comes up where those are missing.
    assert held[name]["never"] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_feature_works_with_what_is_required_and_not_without(held: dict[str, Any], name: str) -> None:
    assert held[name]["least"]
    assert held[name]["without"] == []


def test_the_files_are_the_packaged_rules() -> None:
    assert {p.name for p in RBAC.glob("*.yaml")} == {f"{name}.yaml" for name in COMMANDS}
    for feature in features():
        text = (RBAC / f"{feature.name}.yaml").read_text()
        assert text == role_file(feature)
        granted = set()
        for obj in yaml.safe_load_all(text):
            where = obj["metadata"].get("namespace") or (
                CLUSTER if obj["metadata"]["name"].endswith("-cluster") else NAMESPACE
            )
            for rule in obj["rules"]:
                granted |= {
                    (where, group, resource, name, verb)
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for name in rule.get("resourceNames", [""])
                    for verb in rule["verbs"]
                }
        assert granted == {
            (r.where, r.group, r.resource, r.name, verb) for r in feature.rules for verb in r.verbs
        }


def test_no_role_reads_secrets_or_changes_what_svcdoctor_did_not_make() -> None:
    changing = {"create", "update", "patch", "delete", "deletecollection", "impersonate", "escalate", "bind"}
    made = {"nodes-pods", "probe-pods", "capture-pods", "cleanup", "dns-debug"}
    streams = ("pods/exec", "pods/portforward")
    for feature in features():
        for rule in feature.rules:
            assert "*" not in (rule.group, rule.resource, *rule.verbs)
            assert rule.resource != "secrets"
            if rule.resource == "configmaps":
                assert rule.name
            if rule.resource not in streams and feature.name not in made:
                assert not changing & set(rule.verbs), feature.name


@pytest.mark.parametrize("name", COMMANDS)
def test_under_each_role_it_says_exactly_which_features_work(held: dict[str, Any], name: str) -> None:
    """As RBAC only adds up: a feature fails for all who lack a verb without which it fails for who has all others."""
    by_name = {f.name: f for f in features()}
    base = TRIALS[name].base
    beneath = tuple(rule for rule in by_name[base].rules if rule.required) if base else ()
    granted = granted_by((*by_name[name].rules, *beneath))
    promised = {f.name: str(Allowance(f, lacking(f, granted)).state) for f in features()}
    assert held[name]["can"] == promised
    assert promised[name] == "allowed"
    assert held[name]["code"] == int(set(promised.values()) != {"allowed"})


Held = set[tuple[str, str, str, str, str]]


def granted_by(rules: tuple[Rule, ...]) -> Held:
    return {(r.where, r.group, r.resource, r.name, v) for r in rules for v in r.verbs}


def lacking(feature: Feature, held: Held) -> tuple[Rule, ...]:
    """What of a feature's rules is missing, as RBAC adds up what is granted, on a cluster of the lab's groups."""

    def allowed(rule: Rule, verb: str) -> bool:
        places = {rule.where, CLUSTER}
        names = {rule.name, ""}
        return any((w, rule.group, rule.resource, n, verb) in held for w in places for n in names)

    served = (rule for rule in feature.rules if rule.group in SERVED)
    left = ((rule, tuple(v for v in rule.verbs if not allowed(rule, v))) for rule in served)
    return tuple(replace(rule, verbs=verbs) for rule, verbs in left if verbs)
