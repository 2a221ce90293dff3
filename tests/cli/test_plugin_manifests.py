"""plugins/manifests: linted, applied by the real kubectl, and enough for what they run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from node_spaces import node, service, skip_or_fail

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import Object
from svcdoctor.lab.store import ObjectStore

PLUGINS = Path(__file__).parents[2] / "plugins"
MANIFESTS = sorted((PLUGINS / "manifests").glob("*.yaml"))
CHECKER = "system:serviceaccount:svcdoctor-check:svcdoctor-check"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def objects(path: Path) -> list[Object]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in ("shop", "kube-system")
    ]
    store = ObjectStore([*spaces, node(1), *service()])
    with ApiServer(store, users=(ADMIN, User(CHECKER))) as server:
        server.write_kubeconfig(tmp_path / "config")
        yield server


@pytest.fixture
def kubectl(server: ApiServer, tmp_path: Path) -> Run:
    if shutil.which("kubectl") is None:
        skip_or_fail("kubectl is not installed")

    def made(*words: Any) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config")}
        return subprocess.run(
            ["kubectl", *words], env=env, capture_output=True, text=True, timeout=60, check=False
        )

    return made


def test_lint_finds_nothing(run: Run) -> None:
    done = run("lint", *(word for path in MANIFESTS for word in ("-f", str(path))), "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["findings"] == []


def test_kubectl_applies_them_twice(kubectl: Run) -> None:
    files = [PLUGINS / "rbac" / "check.yaml", PLUGINS / "rbac" / "nodes-daemonset.yaml", *MANIFESTS]
    files.sort(key=lambda path: path.parent.name == "rbac")  # namespaces come before the roles in them
    words = [word for path in files for word in ("-f", path)]
    first = kubectl("apply", *words)
    assert first.returncode == 0, first.stderr
    assert "daemonset.apps/svcdoctor-node-facts created" in first.stdout
    assert "cronjob.batch/svcdoctor-check created" in first.stdout
    again = kubectl("apply", *words)
    assert {line.rpartition(" ")[2] for line in again.stdout.splitlines()} == {"unchanged"}, again.stdout
    assert "svcdoctor-check" in kubectl("get", "cronjobs", "-n", "svcdoctor-check").stdout


def test_the_checks_account_may_check_and_nothing_else(
    run: Run, server: ApiServer, kubectl: Run, tmp_path: Path
) -> None:
    files = (PLUGINS / "rbac" / "check.yaml", PLUGINS / "manifests" / "smoke-check.yaml")
    done = kubectl("apply", *(word for path in files for word in ("-f", path)))
    assert done.returncode == 0, done.stderr
    server.write_kubeconfig(tmp_path / "account", CHECKER, namespace="svcdoctor-check")
    (job,) = (o for o in objects(files[1]) if o["kind"] == "CronJob")
    template = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = template["containers"]
    assert template["serviceAccountName"] == "svcdoctor-check"
    checked = run(*container["command"], kubeconfig=tmp_path / "account")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert ["healthy", "Service", "shop", "web"] in [line.split()[:4] for line in checked.stdout.splitlines()]
    can = run("auth", "can-i", "-A", "-o", "json", kubeconfig=tmp_path / "account")
    states = {f["name"]: f["state"] for f in json.loads(can.stdout)["features"]}
    assert states["check"] == "allowed"
    for name in ("forward", "nodes-exec", "nodes-pods", "probe-pods", "capture-pods", "cleanup", "dns-debug"):
        assert states[name] == "not", name


def test_what_they_bind_exists() -> None:
    roles = {
        (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"])
        for path in (PLUGINS / "rbac").glob("*.yaml")
        for o in objects(path)
    }
    for path in MANIFESTS:
        made = objects(path)
        accounts = {
            (o["metadata"]["namespace"], o["metadata"]["name"]) for o in made if o["kind"] == "ServiceAccount"
        }
        for obj in made:
            if not obj["kind"].endswith("RoleBinding"):
                continue
            reference = obj["roleRef"]
            where = obj["metadata"].get("namespace") if reference["kind"] == "Role" else None
            assert (reference["kind"], where, reference["name"]) in roles
            for subject in obj["subjects"]:
                assert (subject["namespace"], subject["name"]) in accounts


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_pods_are_locked_down(path: Path) -> None:
    for obj in objects(path):
        template = {
            "DaemonSet": lambda o: o["spec"]["template"],
            "CronJob": lambda o: o["spec"]["jobTemplate"]["spec"]["template"],
        }.get(obj["kind"])
        if template is None:
            continue
        spec = template(obj)["spec"]
        assert spec["automountServiceAccountToken"] is ("serviceAccountName" in spec)
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["privileged"] is False
            assert context["capabilities"]["drop"] == ["ALL"]
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"]["limits"]["memory"]
