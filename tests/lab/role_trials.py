"""Every feature tried in the lab's network by a user who may do this or that: one program, in namespaces of its own.

It works in the current folder. question.json has ``needs`` (kind, namespace, whether by labels, name), lists that
checks ask for beside what happens here, and perhaps ``hold``, the rules of each feature. Without these answer.json
becomes the rules of each feature as they are recorded, with them what holds of them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml
from typer.testing import CliRunner

import svcdoctor.report.forwarding  # noqa: F401 (its default stream is to be this program's, not one command's)
from svcdoctor.cli.main import app
from svcdoctor.lab.net.lab import Lab
from svcdoctor.lab.rbac import Action, User
from svcdoctor.lab.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    Object,
    resource_of,
)
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Need, Scope
from svcdoctor.model.permission import CLUSTER, NAMESPACE, Feature, Rule
from svcdoctor.report.roles import binding_manifest, role_manifest, roles_of
from svcdoctor.sources import collecting
from svcdoctor.sources.collecting import DEFAULT_LIMITS, collect
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.dumpnames import COLLECTED, MODES
from svcdoctor.sources.live import LiveSource
from svcdoctor.sources.localnode import run as run_here
from svcdoctor.sources.nodereports import CONTAINER, LABELS
from svcdoctor.sources.nodereports import DEFAULT_NAMESPACE as REPORTING
from svcdoctor.sources.podmanifest import LABELS as LEFT
from svcdoctor.sources.reportform import report_lines

USER, HERE, NODE = "robot", "default", "k8s-node1"
SERVICE = "svc/bq-api-service-1"
FIXED = ("kube-system", REPORTING)
"""Namespaces that are always the same ones, wherever the Service is."""

CHECKING = ("trace", "check", "wait", "test", "watch")
"""The features that run the checks, which may ask for more where something is wrong."""

_TRACE = ("trace", SERVICE)
_FROM = ("--from", "pod/client")
_PROBE = (*_TRACE, "--probe", "--count", "1", "-o", "json")
_FACTS = ("--node", NODE, "--yes", "-o", "json", "--node-facts")


@dataclass(frozen=True)
class Trial:
    """``words`` are a feature's command, ``shows`` what its output has where it works; ``more`` are others of its
    commands, which only ask for more. ``base`` is the feature that it comes on top of, ``then`` a command that works
    with what it left."""

    words: Sequence[str]
    shows: str
    more: Sequence[Sequence[str]] = ()
    base: str = ""
    then: Sequence[str] = ()


TRIALS: dict[str, Trial] = {
    "trace": Trial(
        _TRACE,
        "healthy",
        (
            ("trace", "192.168.0.6:31372"),
            ("trace", "http://bq-api-service-1.default:32111", *_FROM),
            ("trace", "deploy/bq-api-service-deploy-sample"),
            ("trace", "pod/client"),
            ("trace", "svc/bq-api-service-9"),
            ("trace", SERVICE, "-A"),
            ("trace", "pod/nobody:80"),
            ("trace", "deploy/nobody"),
            ("trace", "ingress/nobody"),
            ("trace", "httproute/nobody"),
            ("trace", "grpcroute/nobody"),
        ),
    ),
    "check": Trial(("check",), "all sound"),
    "wait": Trial(("wait", SERVICE, "--timeout", "0"), ""),
    "test": Trial(("test", "expectations.yaml"), ""),
    "dns": Trial(("dns", "bq-api-service-1", *_FROM), "healthy"),
    "snapshot": Trial(
        ("snapshot", "save", "saved.tar.gz", "--force", "-n", HERE),
        "",
        then=("trace", SERVICE, "--snapshot", "saved.tar.gz"),
    ),
    "watch": Trial(("watch", SERVICE, "--seconds", "1"), "3 of 3 endpoints ready"),
    "forward": Trial(
        (
            "forward",
            SERVICE,
            "18080:32111",
            "--dial",
            "tunnel",
            "--",
            "curl",
            "-sSm5",
            "http://127.0.0.1:18080",
        ),
        "",
        (("forward", "deploy/bq-api-service-deploy-sample", "18080:8080", "--dial", "tunnel", "--", "true"),),
    ),
    "proxy": Trial(("proxy", SERVICE, "--listen", "127.0.0.1:18081", "--dry-run"), "18081"),
    "nodes-exec": Trial((*_TRACE, *_FACTS, "exec"), '"basis": "rules"', base="trace"),
    "nodes-pods": Trial((*_TRACE, *_FACTS, "pods"), '"basis": "rules"', base="trace"),
    "nodes-daemonset": Trial((*_TRACE, *_FACTS, "daemonset"), '"basis": "rules"', base="trace"),
    "probe": Trial(_PROBE, '"sent": 1', base="trace"),
    "probe-exec": Trial((*_PROBE, *_FROM, "--yes"), '"sent": 1', base="trace"),
    "probe-pods": Trial((*_PROBE, "--from", f"node/{NODE}", "--yes"), '"sent": 1', base="trace"),
    "dns-exec": Trial(("dns", "bq-api-service-1", *_FROM, "--ask", "exec"), "getent", base="dns"),
    "dns-debug": Trial(("dns", "bq-api-service-1", *_FROM, "--ask", "debug", "--yes"), "getent", base="dns"),
    "dns-tunnel": Trial(("dns", "bq-api-service-1", "--ask", "tunnel"), "TCP", base="dns"),
    "capture-pods": Trial(
        ("capture", SERVICE, "--node", NODE, "--capture-image", "tools", "--yes", "--seconds", "0.5"), ""
    ),
    "cleanup": Trial(("cleanup", "-n", HERE, "--yes"), "deleted: 1"),
}


class World(Lab):
    """The lab, with a pod on each node that reports its facts as ``snapshot node`` does, and what was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__("iptables", folder)
        self.asked: dict[Action, None] = {}
        self.controller.follow = lambda: None  # type: ignore[method-assign]  # nothing of the network changes
        check = self.server.authorizer.check

        def noted(user: User, action: Action) -> None:
            if user.name == USER:
                self.asked[action] = None
            check(user, action)

        self.server.authorizer.check = noted  # type: ignore[method-assign]
        self.told = ""
        self.runner = CliRunner()
        self._reports: dict[str, bytes] = {}
        self._granted: list[tuple[Any, str, str]] = []

    def begin(self) -> None:
        self.start()
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"][0]["user"]["as"] = USER
        Path("robot.kubeconfig").write_text(yaml.safe_dump(config))
        os.environ["KUBECONFIG"] = str(Path("robot.kubeconfig").absolute())
        self.store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": REPORTING}})
        metadata = {"name": "svcdoctor-node-facts-1", "namespace": REPORTING, "labels": dict(LABELS)}
        spec = {"nodeName": NODE, "hostNetwork": True, "containers": [{"name": CONTAINER, "image": "i"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        self.store.create(pod | {"status": {"phase": "Running"}})
        Path("expectations.yaml").write_text(
            "apiVersion: svcdoctor/v1\nkind: ReachabilityTest\nnamespace: default\ntests:\n- name: it answers\n"
            f"  from: pod/client\n  to: {SERVICE}\n  via: clusterIP\n  expect: delivered\n"
        )

    def log(self, namespace: str, pod: str, container: str) -> bytes:
        node = self.store.get(PODS, namespace, pod)["spec"]["nodeName"]
        if node not in self._reports:
            facts = collect(
                node,
                lambda words, seconds, limit: run_here(
                    tuple(self.spaces.command(node, words, mounts=True)), seconds, limit
                ),
                DEFAULT_LIMITS,
            )
            self._reports[node] = report_lines(facts, datetime.now(UTC), 60.0)
        return self._reports[node]

    def allow(self, *features: Feature) -> None:
        """The user may what these features' roles allow, and nothing else."""
        for resource, namespace, name in self._granted:
            self.store.delete(resource, namespace, name)
        self._granted.clear()
        for feature in features:
            for role in roles_of(feature):
                for text in (role_manifest(role), binding_manifest(role, USER, HERE)):
                    obj: Object = yaml.safe_load(text)
                    resource = resource_of(obj)
                    assert resource in (ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)
                    self.store.create(obj)
                    metadata = obj["metadata"]
                    self._granted.append((resource, metadata.get("namespace", ""), metadata["name"]))

    def call(self, *words: str) -> tuple[int, str]:
        """A command's exit code and output, as the user."""
        done = self.runner.invoke(app, list(words))
        error = done.exception
        if isinstance(error, SvcdoctorError):
            return error.exit_code, f"{done.output}\n{error.message}"
        if error is not None and not isinstance(error, SystemExit):
            raise error
        return done.exit_code, done.output

    def works(self, name: str) -> bool:
        """Whether a feature's command does what it promises."""
        if name == "cleanup":
            metadata = {"name": "left", "namespace": HERE, "labels": dict(LEFT)}
            spec = {"nodeName": NODE, "containers": [{"name": "sleep", "image": "i"}]}
            with contextlib.suppress(Exception):
                self.store.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        trial = TRIALS[name]
        code, self.told = self.call(*trial.words)
        return code == 0 and trial.shows in self.told and not (trial.then and self.call(*trial.then)[0])


EVERYTHING = Feature("all", "", (Rule(CLUSTER, "*", "*", ("*",)),))

Key = tuple[str, str, str, str]  # where, group, resource, and the name where only that one object is meant
Verb = tuple[Key, str]


def wanted(actions: Iterable[Action], target: str) -> set[Verb]:
    """What must be granted, verb by verb, for a command about this namespace."""
    found = set()
    for action in actions:
        if action.path:
            continue  # discovery, which everybody may
        where = NAMESPACE if action.namespace else CLUSTER
        if action.namespace in FIXED and action.namespace != target:
            where = action.namespace
        elif (
            action.namespace == "istio-system"
        ):  # which most clusters do not have, so that no role can be in it
            where = CLUSTER
        name = action.name if action.resource == "configmaps" else ""
        found.add(((where, action.group, action.full_resource, name), action.verb))
    return found


def record(world: World, needs: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The rules of every feature; those that it cannot do without are found out by taking away what can be."""
    found: dict[str, Feature] = {}
    for name, trial in TRIALS.items():
        world.allow(EVERYTHING)
        asked = requests_of(world, name, needs)
        base = [found[trial.base]] if trial.base else []
        held = asked | verbs_of(*base)
        held = shrunk(world, name, held, sorted(held - required_of(*base), key=_widest_first))
        needed = held - required_of(*base)
        found[name] = feature(name, (asked - verbs_of(*base)) | needed, needed)
    return {name: msgspec.to_builtins(one.rules) for name, one in found.items()}


def _widest_first(verb: Verb) -> tuple[int, Verb]:
    """What is granted for the cluster also allows what is granted for a namespace: it is taken away before that."""
    return {CLUSTER: 0, NAMESPACE: 2}.get(verb[0][0], 1), verb


def shrunk(world: World, name: str, held: set[Verb], candidates: Sequence[Verb]) -> set[Verb]:
    """``held`` without those of the candidates that a feature can do without, taken away in their order."""
    if not candidates:
        return held
    if works_with(world, name, held - set(candidates)):
        return held - set(candidates)
    if len(candidates) == 1:
        return held
    half = len(candidates) // 2
    return shrunk(world, name, shrunk(world, name, held, candidates[:half]), candidates[half:])


def requests_of(world: World, name: str, needs: Sequence[Sequence[Any]]) -> set[Verb]:
    """What a feature asks for, granted or not, when its commands run; they must work."""
    trial = TRIALS[name]
    world.asked.clear()
    assert world.works(name), f"{name} does not work: {world.told}"
    for words in trial.more:
        world.call(*words)
    if name == "proxy":
        live = ["svcdoctor", "proxy", SERVICE, "--listen", "127.0.0.1:18081", "--dial", "tunnel"]
        proxy = subprocess.Popen(live, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        page = ["curl", "-sS", "-m", "5", "http://127.0.0.1:18081"]
        until = time.monotonic() + 15
        while subprocess.run(page, check=False, capture_output=True).returncode and time.monotonic() < until:
            time.sleep(0.1)
        proxy.send_signal(signal.SIGINT)
        proxy.wait(20)
    if name in CHECKING:
        source = LiveSource(open_connection(Connection()))
        for kind, namespace, labelled, one in needs:
            scope = Scope(namespace, (("a", "b"),) if labelled else (), one)
            source.refill(source.snapshot(), (Need(Kind(kind), scope),))
    return wanted(world.asked, HERE)


def works_with(world: World, name: str, verbs: set[Verb]) -> bool:
    """Whether a feature works for who may do just this."""
    world.allow(feature(name, verbs, set()))
    return world.works(name)


def verbs_of(*features: Feature) -> set[Verb]:
    return {((r.where, r.group, r.resource, r.name), v) for f in features for r in f.rules for v in r.verbs}


def required_of(*features: Feature) -> set[Verb]:
    return verbs_of(*(Feature(f.name, "", tuple(r for r in f.rules if r.required)) for f in features))


def feature(name: str, own: set[Verb], needed: set[Verb]) -> Feature:
    """The feature with these verbs, of which it cannot do without the ``needed`` ones."""
    verbs: dict[tuple[Key, bool], list[str]] = {}
    for key, verb in sorted(own):
        verbs.setdefault((key, (key, verb) in needed), []).append(verb)
    rules = [
        Rule(where, group, resource, tuple(found), required, one)
        for ((where, group, resource, one), required), found in sorted(verbs.items())
    ]
    return Feature(name, "", tuple(rules))


def hold(world: World, features: dict[str, Feature], needs: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Under each feature's roles, and what it cannot do without of those beneath: what it asks for, and what
    ``auth can-i`` says; whether it works with what is required alone, and without which of that it still works."""
    found = {}
    for name, one in features.items():
        base = [features[TRIALS[name].base]] if TRIALS[name].base else []
        beneath = required_of(*base)
        world.allow(*([feature("beneath", beneath, set())] if base else []), one)
        asked = requests_of(world, name, needs)
        code, output = world.call("auth", "can-i", "-o", "json")
        own, needed = verbs_of(one), required_of(one)
        found[name] = {
            "more": sorted(asked - own - verbs_of(*base)),
            "never": sorted(own - asked),
            "code": code,
            "can": {f["name"]: f["state"] for f in json.loads(output)["features"]},
            "least": needed == own or works_with(world, name, needed | beneath),
            "without": [v for v in sorted(needed) if works_with(world, name, (needed | beneath) - {v})],
        }
    return found


def main() -> None:
    """Answers the question of the current folder."""
    faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True)
    # Of a node's 35 dumps those will do that a trace by rules takes: each is one more exec.
    collecting.COLLECTED = tuple(one for one in COLLECTED if one.name in MODES or one.name.startswith("ip-"))
    question = json.loads(Path("question.json").read_text())
    world = World(Path.cwd())
    world.begin()
    if "hold" not in question:
        answer: Any = record(world, question["needs"])
    else:
        rules = msgspec.convert(question["hold"], dict[str, tuple[Rule, ...]])
        answer = hold(world, {n: Feature(n, "", held) for n, held in rules.items()}, question["needs"])
    Path("answer.json").write_text(json.dumps(answer))
    world.server.stop()


if __name__ == "__main__":
    code = 1
    try:
        main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # with whatever still runs in these namespaces
