"""--node-facts daemonset as a user runs it: the manifest's pods as processes in real network namespaces."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from node_spaces import Spaces, check_possible, nft_rules, node, nodes_made, rules, service, until
from reporting_nodes import BIN, ReportingNodes, pod_of

from svcdoctor.cluster.decode import decode_json
from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.store import ObjectStore
from svcdoctor.report.roles import binding_manifest, role_manifest, roles_of
from svcdoctor.sources import nodereports
from svcdoctor.sources.archive import node_dumps, read_snapshot
from svcdoctor.sources.collecting import Limits
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.features import of_names
from svcdoctor.sources.nodereports import NodeReports
from svcdoctor.sources.podexec import Streams
from svcdoctor.sources.reportform import read_report, report_lines

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "plugins" / "manifests" / "node-facts.yaml"
NAMESPACE = "svcdoctor"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def spaces() -> Iterator[Spaces]:
    check_possible()
    with nodes_made("n1", "n2", "n3") as made:
        yield made


@pytest.fixture(scope="module")
def manifest() -> dict[str, Object]:
    return {obj["kind"]: obj for obj in yaml.safe_load_all(MANIFEST.read_text())}


@pytest.fixture(scope="module")
def nodes(spaces: Spaces) -> Iterator[ReportingNodes]:
    made = ReportingNodes(spaces)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(
    nodes: ReportingNodes, manifest: dict[str, Object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """n1 and n2 have pods of the DaemonSet, n3 has none. alice may what the roles allow, and no more."""
    granted: list[Object] = []
    for feature in of_names(("trace", "nodes-daemonset")):
        for role in roles_of(feature):
            granted += map(yaml.safe_load, (role_manifest(role), binding_manifest(role, "alice", "shop")))
    objects = [*(node(number) for number in (1, 2, 3)), *service(), manifest["Namespace"], *granted]
    nodes.store = ObjectStore(objects)
    with ApiServer(nodes.store, users=(ADMIN, User("alice"), User("bob")), runtime=nodes) as server:
        for name in ("n1", "n2"):
            nodes.store.create(pod_of(manifest["DaemonSet"], name))
        until(lambda: all(b"lines=" in nodes.log(NAMESPACE, pod_name(n), "") for n in ("n1", "n2")))
        yield server


@pytest.fixture
def call(run: Run, server: ApiServer, tmp_path: Path) -> Run:
    """The program as a process, as alice."""

    def made(*words: Any, user: str = "alice") -> subprocess.CompletedProcess[str]:
        server.write_kubeconfig(tmp_path / user, user, namespace="shop")
        return run(*words, kubeconfig=tmp_path / user)

    return made


def pod_name(node: str) -> str:
    return f"svcdoctor-node-facts-{node}"


def test_what_the_pods_report_is_what_the_nodes_have(call: Run, spaces: Spaces, tmp_path: Path) -> None:
    done = call("snapshot", "save", tmp_path / "out", "-n", "shop", "--node-facts", "daemonset")
    assert done.returncode == 0, done.stderr
    assert "2 nodes' dumps" in done.stdout
    assert "node n3: no facts: the DaemonSet svcdoctor-node-facts has no pod on this node" in done.stderr
    dumps = node_dumps(tmp_path / "out")
    for name in ("n1", "n2"):
        for program in ("iptables-save", "ip6tables-save", "iptables-legacy-save"):
            real = spaces.run(name, program)
            assert rules(dumps[name][f"{program}.txt"]) == rules(real) != [], program
        assert nft_rules(dumps[name]["nft.json"]) == nft_rules(
            spaces.run(name, "nft", "-j", "list", "ruleset")
        )
    facts = read_snapshot(tmp_path / "out").node_facts
    assert {"10.9.0.2", "fd00:9::2", "127.0.0.1"} <= set(facts["n2"].addresses or ())
    assert b"\nnet.ipv4.conf.eth0.rp_filter = " in dumps["n1"]["sysctl.txt"]
    assert b"fd00:9::/64" in dumps["n1"]["ip-6-route.json"]


@pytest.mark.parametrize("flag", ["--node-facts", "--nodes-from"])
def test_a_trace_takes_the_reported_rules(call: Run, flag: str) -> None:
    done = call("trace", "svc/web", flag, "daemonset", "-o", "json")
    answer = json.loads(done.stdout)
    assert answer["paths"]
    assert not any(u["fact"] == "nodes/*/rules" for u in answer["unknowns"])
    assert any("node n3: no facts" in note for note in answer["notes"])


def test_who_may_not_read_the_logs_is_told_what_to_grant(call: Run, tmp_path: Path) -> None:
    words = ("snapshot", "save", tmp_path / "out", "-n", "shop", "--node-facts", "daemonset", "--node", "n1")
    done = call(*words, user="bob")
    assert done.returncode == 0
    assert node_dumps(tmp_path / "out") == {}
    assert "grant verb list on pods in namespace svcdoctor: kubectl create role" in done.stderr


def test_without_the_daemonset_it_is_named(call: Run, tmp_path: Path) -> None:
    words = ("snapshot", "save", tmp_path / "out", "--node-facts", "daemonset", "--node-facts-namespace")
    done = call(*words, "shop", user="admin")
    assert done.returncode == 0
    assert "namespace shop has no pod of the DaemonSet svcdoctor-node-facts; apply" in done.stderr


# --- logs as they really are --------------------------------------------------------------------------


@pytest.fixture
def reports(server: ApiServer, tmp_path: Path) -> Iterator[Callable[..., tuple[Any, list[str]]]]:
    """``reports(user)`` reads n1's report: the facts, and the warnings."""

    def read(user: str = "admin", seconds: float = 2.5, now: datetime | None = None) -> tuple[Any, list[str]]:
        server.write_kubeconfig(tmp_path / user, user, namespace="shop")
        session = open_connection(Connection(kubeconfig=tmp_path / user))
        warned: list[str] = []
        clock = {"now": lambda: now} if now is not None else {}
        reader = NodeReports(session, Limits(node=seconds), Streams(), warned.append, **clock)  # type: ignore[arg-type]
        held = server.store.get(PODS, NAMESPACE, pod_name("n1"))
        pod = decoded(held)
        return reader.facts("n1", pod), warned

    return read


def decoded(obj: Object) -> Any:
    return next(iter(decode_json(json.dumps(obj).encode(), "the pod") or ()))


def test_a_log_that_was_just_begun_anew_is_waited_for(
    nodes: ReportingNodes, reports: Callable[..., tuple[Any, list[str]]]
) -> None:
    """A kubelet shows the newest file only; what it began with is the end of a report."""
    whole = nodes.log(NAMESPACE, pod_name("n1"), "")
    nodes.logs[pod_name("n1")] = b"".join(whole.splitlines(keepends=True)[1:2])
    try:
        facts, _ = reports(seconds=1.5)
        assert facts.dumps == ()
        assert "its log does not end with a report" in facts.missing["nft.json"]
    finally:
        nodes.logs.clear()
    facts, warned = reports()
    assert "nft.json" in facts.dumps
    assert warned == []


def test_a_report_of_another_version_is_not_waited_for(
    nodes: ReportingNodes, reports: Callable[..., tuple[Any, list[str]]]
) -> None:
    body = base64.b64encode(b"of another time")
    end = f"svcdoctor-node-facts/1 lines=1 sha256={hashlib.sha256(body).hexdigest()}\n"
    nodes.logs[pod_name("n1")] = body + b"\n" + end.encode()
    try:
        before = time.monotonic()
        facts, _ = reports(seconds=60)
        assert time.monotonic() - before < 10
        assert "let both be of one version of svcdoctor" in facts.missing["nft.json"]
    finally:
        nodes.logs.clear()


def test_old_facts_are_used_with_a_warning(
    nodes: ReportingNodes, reports: Callable[..., tuple[Any, list[str]]]
) -> None:
    log = nodes.log(NAMESPACE, pod_name("n1"), "")
    newest = read_report("n1", log[: log.rindex(b"\n") + 1], 1 << 28)
    nodes.logs[pod_name("n1")] = report_lines(newest.facts, newest.time, 60.0)
    try:
        facts, warned = reports(now=newest.time + timedelta(seconds=170))
        assert facts.dumps and warned == []
        facts, warned = reports(now=newest.time + timedelta(hours=2))
        assert facts.dumps
        (line,) = warned
        assert "node n1: its facts are 7,200 seconds old" in line
    finally:
        nodes.logs.clear()


def test_a_pod_that_does_not_run_is_named(
    server: ApiServer, reports: Callable[..., tuple[Any, list[str]]]
) -> None:
    session_pod = decoded(
        server.store.get(PODS, NAMESPACE, pod_name("n1")) | {"status": {"phase": "Pending"}}
    )
    reader = NodeReports(None, Limits(), Streams(), print)  # type: ignore[arg-type]
    facts = reader.facts("n1", session_pod)
    assert facts.missing["nft.json"] == "its pod svcdoctor/svcdoctor-node-facts-n1 is Pending"


# --- the pods -----------------------------------------------------------------------------------------


def test_the_pods_have_no_more_rights_than_they_need(manifest: dict[str, Object]) -> None:
    spec = manifest["DaemonSet"]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostPID", "hostIPC", "volumes", "serviceAccountName"} & spec.keys()
    (container,) = spec["containers"]
    assert not {"ports", "volumeMounts", "env"} & container.keys()
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (False, False)
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert container["name"] == nodereports.CONTAINER
    labels = manifest["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert set(nodereports.LABELS) <= labels.items()
    assert "app.kubernetes.io/managed-by" not in labels, "svcdoctor cleanup would delete them"


def test_with_these_rights_a_process_reads_the_rules_of_its_node(spaces: Spaces) -> None:
    """All capabilities but those of the manifest dropped, no new privileges, every file system read-only."""
    caps = "-all,+net_admin,+net_raw"
    script = "mount -o remount,bind,ro / && exec setpriv --bounding-set {0} --inh-caps {0} --no-new-privs {1}"
    command = script.format(caps, f"{BIN}/svcdoctor snapshot node")
    done = subprocess.run(
        ["unshare", "--mount", *spaces.command("n1", "sh", "-c", command)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = read_report("n1", done.stdout, 1 << 28)
    for program in ("iptables-save", "ip6tables-save", "iptables-legacy-save"):
        assert rules(report.facts.raw[f"{program}.txt"].data) == rules(spaces.run("n1", program)), program
    assert nft_rules(report.facts.raw["nft.json"].data) == nft_rules(
        spaces.run("n1", "nft", "-j", "list", "ruleset")
    )
    assert abs(report.time - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_pod_ends_when_it_is_told_to(nodes: ReportingNodes, manifest: dict[str, Object]) -> None:
    pod = pod_of(manifest["DaemonSet"], "n3")
    nodes.created(pod)
    name = pod["metadata"]["name"]
    until(lambda: nodes.log(NAMESPACE, name, "").count(b"lines=") >= 2)
    assert nodes.end(name) == 143
    assert b"Traceback" not in nodes.log(NAMESPACE, name, "")


def test_only_root_reads_a_node() -> None:
    code = "import os; from svcdoctor.sources.localnode import check_local; os.seteuid(65534); check_local('here')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "SvcdoctorError: here: only root can read a node's rules; run it with sudo" in done.stderr
