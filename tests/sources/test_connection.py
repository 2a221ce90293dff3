"""kubectl's connection flags over real kubeconfig files: which server, as whom, in which namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import kubeconfig

from svcdoctor.sources.apitarget import Target
from svcdoctor.sources.connection import Connection, parse_timeout, resolve

NOWHERE = Path("/nowhere")


def target(connection: Connection = Connection(), **environ: str) -> Target:  # noqa: B008
    return resolve(connection, {"HOME": "/nowhere"} | environ, NOWHERE)


@pytest.fixture
def merged(tmp_path: Path) -> str:
    """A KUBECONFIG of two files that both say something about ``prod``, one that is empty, one missing."""
    (tmp_path / "empty").write_text("# nothing yet\n")
    first = kubeconfig(tmp_path / "first", "https://first:6443", current="")
    (tmp_path / "more").mkdir()
    second = tmp_path / "more" / "second"
    kubeconfig(second, "https://second:6443", current="stage")
    document = yaml.safe_load(second.read_text())
    document["clusters"].append(
        {"name": "stage", "cluster": {"server": "https://stage:6443", "certificate-authority": "ca.crt"}}
    )
    document["users"].append({"name": "stage", "user": {"token": "stage-token"}})
    document["contexts"].append(
        {"name": "stage", "context": {"cluster": "stage", "user": "stage", "namespace": "shop"}}
    )
    second.write_text(yaml.safe_dump(document))
    third = kubeconfig(tmp_path / "third", "https://third:6443", name="third")
    paths = (tmp_path / "missing", tmp_path / "empty", first, second, third)
    return os.pathsep.join(map(str, paths))


# --- merging


def test_the_first_file_that_says_anything_wins(merged: str, tmp_path: Path) -> None:
    current = target(KUBECONFIG=merged)
    assert (current.server, current.context, current.namespace) == ("https://stage:6443", "stage", "shop")
    assert current.cluster["certificate-authority"] == str(tmp_path / "more" / "ca.crt")
    prod = target(Connection(context="prod"), KUBECONFIG=merged)
    assert (prod.server, prod.namespace) == ("https://first:6443", "default")


def test_kubectl_merges_the_same(merged: str, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    for context in ("", "prod", "third"):
        flags = [f"--context={context}"] if context else []
        shown = subprocess.run(
            [kubectl, "config", "view", "--minify", "-o", "json", *flags],
            env={"HOME": str(tmp_path), "KUBECONFIG": merged, "PATH": os.environ["PATH"]},
            capture_output=True,
            check=True,
            timeout=20,
        )
        view = json.loads(shown.stdout)
        ours = target(Connection(context=context), KUBECONFIG=merged)
        assert view["current-context"] == ours.context
        assert view["clusters"][0]["cluster"]["server"] == ours.server
        assert view["contexts"][0]["context"].get("namespace", "default") == ours.namespace


def test_without_kubeconfig_variable_the_home_folder_counts(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config")
    assert target(HOME=str(tmp_path)).place == "https://10.0.0.1:6443 (context prod)"


def test_a_named_file_counts_alone(merged: str, tmp_path: Path) -> None:
    connection = Connection(kubeconfig=tmp_path / "third")
    assert target(connection, KUBECONFIG=merged).server == "https://third:6443"


# --- flags over the kubeconfig


def test_cluster_and_user_choose_others(merged: str) -> None:
    chosen = target(Connection(cluster="third", user="prod", namespace="web"), KUBECONFIG=merged)
    assert (chosen.server, chosen.user, chosen.namespace) == ("https://third:6443", "prod", "web")
    assert chosen.credentials == {"token": "token-of-prod"}


def test_server_replaces_the_name_to_verify_as_well(tmp_path: Path) -> None:
    path = kubeconfig(
        tmp_path / "config", cluster={"tls-server-name": "old", "insecure-skip-tls-verify": True}
    )
    moved = target(Connection(kubeconfig=path, server="https://new:6443/"))
    assert moved.server == moved.cluster["server"] == "https://new:6443"
    assert not moved.cluster["tls-server-name"] and moved.cluster["insecure-skip-tls-verify"]
    both = target(Connection(kubeconfig=path, server="https://new:6443", tls_server_name="name"))
    assert both.cluster["tls-server-name"] == "name"


def test_an_authority_replaces_data_and_ends_skipping(tmp_path: Path) -> None:
    path = kubeconfig(
        tmp_path / "config",
        cluster={"certificate-authority-data": "eA==", "insecure-skip-tls-verify": True},
        user={"client-certificate-data": "eA==", "client-key-data": "eA=="},
    )
    own = target(
        Connection(
            kubeconfig=path,
            certificate_authority=Path("/ca"),
            client_certificate=Path("/crt"),
            client_key=Path("/key"),
        )
    )
    assert own.cluster == {
        "server": "https://10.0.0.1:6443",
        "certificate-authority": "/ca",
        "insecure-skip-tls-verify": False,
    }
    assert own.credentials == {"client-certificate": "/crt", "client-key": "/key"}
    skipped = target(Connection(kubeconfig=path, insecure_skip_tls_verify=True))
    assert skipped.cluster["insecure-skip-tls-verify"] and "certificate-authority-data" not in skipped.cluster


def test_a_token_replaces_every_other_way_but_a_certificate(tmp_path: Path) -> None:
    user = {"exec": {"command": "x"}, "tokenFile": "f", "username": "u", "password": "p", "client-key": "k"}
    path = kubeconfig(tmp_path / "config", user=user)
    connection = Connection(kubeconfig=path, token="mine")
    assert target(connection).credentials == {"token": "mine", "client-key": str(tmp_path / "k")}
    assert "mine" not in repr(connection) and "mine" not in repr(target(connection))


def test_a_server_alone_needs_no_kubeconfig() -> None:
    alone = target(Connection(server="https://[fd00::1]:6443", token="t"))
    assert (alone.place, alone.namespace) == ("https://[fd00::1]:6443", "default")


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        (Connection(server="localhost:8080"), "http://localhost:8080"),
        (Connection(server="10.0.0.1:6443", insecure_skip_tls_verify=True), "https://10.0.0.1:6443"),
    ],
)
def test_a_server_without_a_scheme(connection: Connection, url: str) -> None:
    assert target(connection).server == url


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", None),
        ("0s", None),
        ("5", 5.0),
        ("30s", 30.0),
        ("1m", 60.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
    ],
)
def test_timeouts_in_kubectls_syntax(text: str, seconds: float | None) -> None:
    assert parse_timeout(text) == seconds


def test_thirty_seconds_unless_said_otherwise() -> None:
    assert target(Connection(server="https://a")).timeout == 30


def test_help_does_not_pay_for_the_client() -> None:
    code = "import sys, svcdoctor.sources.connection; print(*{'kubernetes', 'urllib3', 'yaml'} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=20
    )
    assert shown.stdout.strip() == ""
