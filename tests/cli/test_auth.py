"""``svcdoctor auth can-i`` as a user runs it: what it says, what it prints to grant, and that this is enough."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from node_spaces import skip_or_fail
from typer.testing import CliRunner

from svcdoctor.cli.main import app
from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.report.machine import schema
from svcdoctor.sources.features import COMMANDS

ROBOT = "system:serviceaccount:ops:smoke.check"
RBAC = "rbac.authorization.k8s.io"

Call = Callable[..., "Done"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    names = ("shop", "kube-system", "svcdoctor", "ops")
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    only = {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list"]}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "rules": [only]}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "some", "namespace": "shop"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "some"},
        "subjects": [{"kind": "User", "name": "Ann O'Neil <ann@shop>", "apiGroup": RBAC}],
    }
    objects = [*spaces, role | {"metadata": {"name": "some", "namespace": "shop"}}, binding]
    users = (ADMIN, User("carol"), User("Ann O'Neil <ann@shop>"), User(ROBOT))
    with ApiServer(ObjectStore(objects), users=users) as server:
        yield server


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def can(server: ApiServer, tmp_path: Path) -> Call:
    """``auth can-i`` in this process: its own would cost more than what it does."""

    def made(*words: str, user: str = "carol") -> Done:
        done = CliRunner().invoke(app, ["auth", "can-i", *words, "--kubeconfig", str(config(user))])
        if isinstance(done.exception, SvcdoctorError):
            return Done(done.exception.exit_code, done.stdout, f"{done.stderr}{done.exception.message}\n")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def config(user: str) -> Path:
        path = tmp_path / f"user-{user.rpartition(':')[2].partition(' ')[0]}.config"
        server.write_kubeconfig(path, user, namespace="shop")
        return path

    return made


def states(done: Done) -> dict[str, str]:
    answer = json.loads(done.stdout)
    jsonschema.validate(answer, schema())
    return {f["name"]: f["state"] for f in answer["features"]}


def apply(server: ApiServer, text: str, tmp_path: Path) -> None:
    """As an administrator does it."""
    if shutil.which("kubectl") is None:
        skip_or_fail("kubectl is not installed")
    server.write_kubeconfig(tmp_path / "admin.config")
    done = subprocess.run(
        ["kubectl", "--kubeconfig", tmp_path / "admin.config", "apply", "-f", "-"],
        input=text, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_administrator_may_everything(can: Call, run: Any, server: ApiServer, tmp_path: Path) -> None:
    server.write_kubeconfig(tmp_path / "config", namespace="shop")
    done = run("auth", "can-i", kubeconfig=tmp_path / "config")
    assert (done.returncode, done.stderr) == (0, "")
    rows = done.stdout.splitlines()
    assert rows[0].split() == ["FEATURE", "ALLOWED", "MISSING", "COMMAND"]
    assert [row.split()[:2] for row in rows[1:]] == [[name, "yes"] for name in COMMANDS]
    assert set(states(can("-o", "json", "-A", user="admin")).values()) == {"allowed"}
    assert can("-o", "yaml", user="admin").stdout == ""


def test_nobody_in_particular_may_nothing(can: Call) -> None:
    done = can()
    assert done.returncode == 1
    assert next(r for r in done.stdout.splitlines() if r.startswith("trace ")).split()[:2] == ["trace", "no"]
    assert "allowed" not in states(can("-o", "json")).values()


def test_each_missing_rule_is_told_with_its_place(can: Call) -> None:
    done = can("nodes-exec", "nodes-daemonset")
    assert done.returncode == 1
    told = [line.split() for line in done.stdout.splitlines()]
    assert ["nodes-exec", "create,get", "pods/exec", "namespace", "kube-system", "it", "fails"] in told
    assert ["nodes-daemonset", "get", "pods/log", "namespace", "svcdoctor", "it", "fails"] in told
    assert "auth can-i nodes-exec nodes-daemonset -n shop --kubeconfig " in done.stdout


def test_what_is_half_granted_says_what_is_left(can: Call) -> None:
    done = can("trace", "-o", "json", user="Ann O'Neil <ann@shop>")
    (trace,) = json.loads(done.stdout)["features"]
    missing = {(m["namespace"], m["apiGroup"], m["resource"]) for m in trace["missing"]}
    assert ("shop", "", "services") not in missing
    assert ("shop", "discovery.k8s.io", "endpointslices") in missing
    assert (None, "", "nodes") in missing


@pytest.mark.parametrize(("user", "scope"), [("Ann O'Neil <ann@shop>", ()), (ROBOT, ("-A",))])
def test_what_it_prints_to_grant_is_enough_and_no_more(
    can: Call, server: ApiServer, tmp_path: Path, user: str, scope: tuple[str, ...]
) -> None:
    words = ("trace", "nodes-daemonset", *scope)
    done = can(*words, "-o", "yaml", user=user)
    assert done.returncode == 1
    kinds = {(o["kind"], o["metadata"].get("namespace")) for o in yaml.safe_load_all(done.stdout)}
    assert ("RoleBinding", "shop") in kinds if not scope else ("RoleBinding", "shop") not in kinds
    apply(server, done.stdout, tmp_path)
    granted = states(can("-o", "json", *scope, user=user))
    assert granted["trace"] == granted["nodes-daemonset"] == "allowed"
    assert granted["forward"] == granted["nodes-exec"] == "not"
    if not scope:
        assert states(can("trace", "-n", "ops", "-o", "json", user=user)) == {"trace": "not"}
        # Where the namespace is one of those that are always read, too.
        apply(server, can("trace", "-n", "kube-system", "-o", "yaml", user=user).stdout, tmp_path)
    # Applied again, or for another feature, it takes nothing away.
    apply(server, can("nodes-exec", *scope, "-o", "yaml", user=user).stdout, tmp_path)
    all_of_them = can(*words, "nodes-exec", "-o", "json", user=user)
    assert (all_of_them.returncode, set(states(all_of_them).values())) == (0, {"allowed"})


def test_kubectl_gives_the_same_answers(can: Call, server: ApiServer, tmp_path: Path) -> None:
    apply(server, can("probe", "-o", "yaml").stdout, tmp_path)
    path = tmp_path / "carol.config"
    server.write_kubeconfig(path, "carol", namespace="shop")

    def kubectl(*words: str) -> str:
        command = ["kubectl", "--kubeconfig", path, "auth", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    for verb, resource, sub in (
        ("get", "pods", "portforward"),
        ("list", "services", ""),
        ("delete", "pods", ""),
    ):
        said = kubectl("can-i", verb, resource, *([f"--subresource={sub}"] if sub else []))
        assert said.strip() == ("yes" if sub else "no")
    assert "carol" in kubectl("whoami")


def test_somebody_else_is_asked_for_by_impersonation(can: Call) -> None:
    done = can("trace", "--as", "carol", "-o", "json", user="admin")
    assert json.loads(done.stdout)["user"] == "carol"
    assert states(done) == {"trace": "not"}
    refused = can("trace", "--as", "admin")
    assert refused.returncode == 3
    assert "cannot impersonate" in refused.stderr and refused.stderr.count("\n") == 1


def test_groups_that_a_cluster_does_not_serve_are_not_asked_for(can: Call) -> None:
    (trace,) = json.loads(can("trace", "-o", "json").stdout)["features"]
    groups = {m["apiGroup"] for m in trace["missing"]}
    assert "networking.k8s.io" in groups
    assert "gateway.networking.k8s.io" not in groups


def test_before_kubernetes_tells_who_asks_the_roles_are_printed_alone(can: Call, server: ApiServer) -> None:
    server.faults.forbid("selfsubjectreviews")
    done = can("nodes-daemonset", "-o", "yaml")
    assert done.stdout.startswith("# The server does not tell who asks")
    assert {o["kind"] for o in yaml.safe_load_all(done.stdout)} == {"ClusterRole", "Role"}
    assert json.loads(can("trace", "-o", "json").stdout)["user"] is None


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["trase"], 2, "no feature 'trase'; did you mean trace?"),
        (["everything"], 2, "there are trace, check,"),
        (["-o", "xml"], 2, "Invalid value"),
    ],
)
def test_mistakes(can: Call, words: list[str], code: int, says: str) -> None:
    done = can(*words)
    assert done.returncode == code
    assert says in done.stderr


def test_a_server_that_does_not_answer_such_questions(can: Call, server: ApiServer) -> None:
    server.faults.forbid("selfsubjectaccessreviews")
    done = can("trace")
    assert done.returncode == 3
    assert "what the user may cannot be asked" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_for_the_roles_asks_for_the_same_user(can: Call) -> None:
    done = can("trace", "-n", "shop", "--as", "Ann O'Neil <ann@shop>", "--as-group", "a b", user="admin")
    last = done.stdout.splitlines()[-1]
    assert " -n shop --kubeconfig " in last
    assert last.endswith(""" --as 'Ann O'"'"'Neil <ann@shop>' --as-group 'a b' -o yaml""")


def test_a_name_of_any_script_reaches_the_server(can: Call) -> None:
    for name in ("Łukasz", "Jürgen", "李"):
        assert name in can("trace", "-n", "shop", "--as", name, user="admin").stdout


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("-n", "a\nb: c"), "--namespace"),
        (("-n", "a b"), "--namespace"),
        (("-n", "a/b"), "--namespace"),
        (("-n", "\udcff"), "--namespace"),
        (("--as", "a\nX: y"), "--as"),
        (("--as", "a", "--as-group", "\x1b"), "--as-group"),
        (("--token", "a\nb"), "--token"),
        (("--context", "a\x1b[31m"), "--context"),
    ],
)
def test_words_that_are_no_names_are_one_line(can: Call, words: tuple[str, ...], flag: str) -> None:
    done = can("trace", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(flag)
