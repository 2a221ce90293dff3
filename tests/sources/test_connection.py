"""kubectl's connection flags over real kubeconfig files: which server, as whom, in which namespace."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Script, kubeconfig, refuse, reply

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.connection import Connection, Target, open_connection, parse_timeout, resolve

NOWHERE = Path("/nowhere")


def target(connection: Connection = Connection(), **environ: str) -> Target:  # noqa: B008
    return resolve(connection, {"HOME": "/nowhere"} | environ, NOWHERE)


def refused(connection: Connection, **environ: str) -> str:
    """The message that resolving ends in, with exit code 2."""
    with pytest.raises(SvcdoctorError) as error:
        target(connection, **environ)
    assert error.value.exit_code == 2
    assert "\n" not in error.value.message
    return error.value.message


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


@pytest.mark.parametrize("text", ["", "soon", "-1", "-1s", "5 s", "1d", "s", "1m 30s"])
def test_what_is_no_timeout(text: str) -> None:
    message = refused(Connection(server="https://a", request_timeout=text))
    assert message.startswith(f'--request-timeout "{text}": not a duration')


def test_thirty_seconds_unless_said_otherwise() -> None:
    assert target(Connection(server="https://a")).timeout == 30


# --- what is wrong with them


def test_an_unknown_context_lists_near_names(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config")
    message = refused(Connection(kubeconfig=path, context="prdo"))
    assert message == f'context "prdo" does not exist in {path}; choose one of: prod'
    assert 'cluster "x" does not exist' in refused(Connection(kubeconfig=path, cluster="x"))
    assert 'user "x" does not exist' in refused(Connection(kubeconfig=path, user="x"))


def test_of_many_contexts_the_near_ones_are_listed(tmp_path: Path) -> None:
    document = yaml.safe_load(kubeconfig(tmp_path / "config").read_text())
    document["contexts"] = [
        {"name": f"{name}-{n}", "context": {}} for name in ("gke-prod", "kind") for n in range(9)
    ]
    (tmp_path / "config").write_text(yaml.safe_dump(document))
    message = refused(Connection(kubeconfig=tmp_path / "config", context="gke-prod3"))
    assert "choose one of: gke-prod-3, " in message and "kind" not in message
    assert message.endswith("(kubectl config get-contexts lists all 18)")
    assert refused(Connection(kubeconfig=tmp_path / "config", context="x")).count(", ") == 7


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"current-context": ""}, "sets no current-context; choose one of: prod, with --context"),
        ({"current-context": "gone"}, 'context "gone" does not exist'),
        ({"current-context": 7}, "current-context must be text"),
        ({"clusters": []}, 'cluster "prod" does not exist'),
        ({"clusters": [{"name": "prod", "cluster": {}}]}, 'cluster "prod" in'),
        ({"clusters": [{"name": "prod", "cluster": {"server": 6443}}]}, "server must be text"),
        ({"users": None}, 'user "prod" does not exist'),
        ({"contexts": {"prod": {}}}, "contexts must be a list"),
        ({"contexts": [{"context": {}}]}, "contexts, entry 1: it has no name"),
        ({"users": [{"name": "prod", "user": "secret"}]}, 'user "prod" must be a mapping'),
        ({"contexts": [{"name": "prod", "context": {"user": "prod"}}]}, 'context "prod" in'),
        ({"users": [{"name": "prod", "user": {"as-groups": ["x"]}}]}, "need --as"),
    ],
)
def test_a_kubeconfig_with_something_missing(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = kubeconfig(tmp_path / "config")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    message = refused(Connection(kubeconfig=path))
    assert expected in message and "secret" not in message
    assert str(path) in message or "--as" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"users:\n- name: a\n\tuser: {token: secret}\n", "line 3: not YAML: "),
        (b"token secret", "not a kubeconfig: it must be a mapping"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
    ],
)
def test_a_malformed_kubeconfig(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "config").write_bytes(content)
    message = refused(Connection(), KUBECONFIG=str(tmp_path / "config"))
    assert f"kubeconfig {tmp_path / 'config'}" in message and expected in message
    assert "secret" not in message


def test_a_kubeconfig_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refused(Connection(kubeconfig=missing)) == f"--kubeconfig {missing}: no such file"
    assert (
        refused(Connection(kubeconfig=tmp_path)) == f"kubeconfig {tmp_path}: cannot be read: Is a directory"
    )


def test_no_kubeconfig_at_all() -> None:
    assert refused(Connection()).startswith(
        "no kubeconfig found, and no service account of a pod: set KUBECONFIG"
    )
    assert 'context "a" does not exist in any kubeconfig file' in refused(Connection(context="a"))


@pytest.mark.parametrize("url", ["https://[::1", "https://host:port", "ftp://127.0.0.1:1", "https://"])
def test_a_server_that_is_no_url(url: str) -> None:
    assert (
        refused(Connection(server=url)) == f"{url}: the server is no URL; it must look like https://HOST:PORT"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"certificate-authority": "gone.crt"}, "File does not exist: "),
        ({"certificate-authority-data": "a"}, "mend the kubeconfig"),
        (
            {"certificate-authority-data": "eA=="},
            "certificate-authority-data: no certificate in PEM form in it",
        ),
    ],
)
def test_an_authority_that_cannot_be_used(tmp_path: Path, fields: dict[str, str], expected: str) -> None:
    path = kubeconfig(tmp_path / "config", cluster=fields)
    with pytest.raises(SvcdoctorError) as error:
        open_connection(Connection(kubeconfig=path), environ={})
    assert error.value.exit_code == 2
    assert error.value.message.startswith("https://10.0.0.1:6443 (context prod): ")
    assert expected in error.value.message


def test_a_client_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    data = base64.b64encode(b"nothing").decode()
    path = kubeconfig(tmp_path / "config", user={"client-certificate-data": data, "client-key-data": data})
    with pytest.raises(SvcdoctorError, match='certificate and key of user "prod" cannot be used') as error:
        open_connection(Connection(kubeconfig=path), environ={})
    assert error.value.exit_code == 2


def test_help_does_not_pay_for_the_client() -> None:
    code = "import sys, svcdoctor.sources.connection; print(*{'kubernetes', 'urllib3', 'yaml'} & set(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=20
    )
    assert shown.stdout.strip() == ""


# --- logging in to a real server


@pytest.mark.parametrize("by_certificate", [False, True])
def test_token_and_certificate_log_in(api: ApiServer, tmp_path: Path, by_certificate: bool) -> None:
    api.write_kubeconfig(tmp_path / "config", "alice", by_certificate=by_certificate, namespace="shop")
    session = open_connection(Connection(kubeconfig=tmp_path / "config"), environ={})
    assert session.get("/api/v1/namespaces/shop/pods").status == 200
    assert next(iter(api.requests)).user == "alice"
    assert (session.server, session.context, session.namespace) == (api.url, "svcdoctor-lab", "shop")


def test_acting_as_somebody_else(api: ApiServer, tmp_path: Path) -> None:
    api.write_kubeconfig(tmp_path / "config")
    connection = Connection(kubeconfig=tmp_path / "config", as_user="alice", as_groups=("a", "b"))
    session = open_connection(connection, environ={})
    assert session.get("/api/v1/namespaces/shop/pods").status == 200
    assert session.get("/api/v1/namespaces/web/pods").status == 403


def test_the_kubeconfigs_own_impersonation(script: Script, tmp_path: Path) -> None:
    user = {
        "token": "t",
        "as": "bob",
        "as-groups": ["g1", "g2"],
        "as-uid": "7",
        "as-user-extra": {"reason/why": ["x", "y"]},
    }
    script.steps = [reply()]
    path = kubeconfig(tmp_path / "config", script.url, user=user)
    open_connection(Connection(kubeconfig=path), environ={}).get("/")
    open_connection(Connection(kubeconfig=path, as_user="eve", as_groups=("g3",)), environ={}).get("/")
    first, second = script.headers
    assert first["Impersonate-User"] == "bob"
    assert first.get_all("Impersonate-Group") == ["g1", "g2"]
    assert first["Impersonate-Uid"] == "7"
    assert first.get_all("Impersonate-Extra-reason%2Fwhy") == ["x", "y"]
    assert second["Impersonate-User"] == "eve"
    assert second.get_all("Impersonate-Group") == ["g3"]


def test_user_name_and_password(script: Script, tmp_path: Path) -> None:
    script.steps = [reply()]
    path = kubeconfig(tmp_path / "config", script.url, user={"username": "me", "password": "secret"})
    open_connection(Connection(kubeconfig=path), environ={}).get("/")
    assert script.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


def test_a_pods_service_account(api: ApiServer, tmp_path: Path) -> None:
    document = yaml.safe_load(api.kubeconfig("alice"))
    token = document["users"][0]["user"]["token"]
    authority = base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "ca.crt").write_bytes(authority)
    (tmp_path / "namespace").write_text("shop")
    host, _, port = api.address.rpartition(":")
    environ = {"HOME": "/nowhere", "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    session = open_connection(Connection(), environ=environ, service_account=tmp_path)
    assert (session.context, session.namespace, session.server) == ("in-cluster", "shop", api.url)
    assert session.get("/api/v1/namespaces/shop/pods").status == 200
    # The kubelet replaces the token from time to time; the old one is refused some day.
    (tmp_path / "token").write_text("expired")
    other = open_connection(Connection(namespace="web"), environ=environ, service_account=tmp_path)
    assert other.namespace == "web"
    (tmp_path / "token").write_text(token)
    assert other.get("/api/v1/namespaces/shop/pods").status == 200
    # A kubeconfig comes before it.
    path = kubeconfig(tmp_path / "config")
    assert resolve(Connection(kubeconfig=path), environ, tmp_path).context == "prod"


def test_a_service_account_over_ipv6_without_its_files(tmp_path: Path) -> None:
    environ = {"HOME": "/nowhere", "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(SvcdoctorError, match="no kubeconfig found"):
        resolve(Connection(), environ, tmp_path)
    (tmp_path / "token").write_text("t")
    pod = resolve(Connection(), environ | {"POD_NAMESPACE": "shop"}, tmp_path)
    assert (pod.server, pod.namespace) == ("https://[fd00::1]:443", "shop")


# --- exec plugins and token files


def plugin(folder: Path, status: object, *, before: str = "") -> Path:
    """A shell script that prints an ExecCredential and counts its runs in the file ``runs``."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    path = folder / "plugin.sh"
    text = json.dumps(answer).replace("$RUN", "'$RUN'")
    path.write_text(
        f"#!/bin/sh\necho run >> '{folder}/runs'\nRUN=$(wc -l < '{folder}/runs' | tr -d ' ')\n{before}\n"
        f"echo '{text}'\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def exec_user(command: object, **more: object) -> dict[str, Any]:
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(command), **more}}


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


def test_an_exec_plugin_logs_in(script: Script, tmp_path: Path) -> None:
    script.steps = [reply()]
    plugin(tmp_path, {"token": "from-$RUN"}, before='test "$WHO" = me && test "$1" = arg || exit 9')
    user = exec_user("./plugin.sh", args=["arg"], env=[{"name": "WHO", "value": "me"}])
    path = kubeconfig(tmp_path / "config", script.url, user=user)
    session = open_connection(Connection(kubeconfig=path), environ={})
    assert session.get("/").status == session.get("/").status == 200
    assert [h["Authorization"] for h in script.headers] == ["Bearer from-1"] * 2
    assert runs(tmp_path) == 1


def test_an_exec_plugin_is_run_again_when_its_token_is_refused(script: Script, tmp_path: Path) -> None:
    script.steps = [reply(), refuse(401), reply(200, "in again"), refuse(401)]
    path = kubeconfig(
        tmp_path / "config", script.url, user=exec_user(plugin(tmp_path, {"token": "from-$RUN"}))
    )
    session = open_connection(Connection(kubeconfig=path), environ={})
    assert session.get("/").status == 200
    assert session.get("/").data == b"in again"
    assert [h["Authorization"] for h in script.headers] == ["Bearer from-1", "Bearer from-1", "Bearer from-2"]
    with pytest.raises(SvcdoctorError, match="401 Unauthorized"):
        session.get("/")
    assert runs(tmp_path) == 3


def test_an_exec_plugin_is_run_again_before_its_token_expires(script: Script, tmp_path: Path) -> None:
    script.steps = [reply()]
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    command = plugin(tmp_path, {"token": "from-$RUN", "expirationTimestamp": soon})
    path = kubeconfig(tmp_path / "config", script.url, user=exec_user(command))
    open_connection(Connection(kubeconfig=path), environ={}).get("/")
    assert script.headers[0]["Authorization"] == "Bearer from-2"


def test_an_exec_plugin_gives_a_client_certificate(api: ApiServer, tmp_path: Path) -> None:
    document = yaml.safe_load(api.kubeconfig("alice", by_certificate=True))
    fields = document["users"][0]["user"]
    status = {
        "clientCertificateData": base64.b64decode(fields["client-certificate-data"]).decode(),
        "clientKeyData": base64.b64decode(fields["client-key-data"]).decode(),
    }
    (tmp_path / "answer").write_text(
        json.dumps(
            {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
        )
    )
    document["users"][0]["user"] = exec_user("cat", args=[str(tmp_path / "answer")])
    (tmp_path / "config").write_text(yaml.safe_dump(document))
    session = open_connection(Connection(kubeconfig=tmp_path / "config"), environ={})
    assert session.get("/api/v1/namespaces/shop/pods").status == 200
    assert next(iter(api.requests)).user == "alice"


@pytest.mark.parametrize(
    ("status", "before", "expected"),
    [
        (
            {"token": "t"},
            "echo 'no valid session' >&2; exit 3",
            "failed: process returned 3. no valid session",
        ),
        ({}, "", "failed: its answer has neither a token nor a client certificate with its key"),
        (None, "", "failed: its answer has no status"),
        ({"clientCertificateData": "x"}, "", "neither a token nor a client certificate"),
        ({"token": "t", "expirationTimestamp": "soon"}, "", "failed: Invalid isoformat string"),
        ({"token": "t"}, "echo hello; exit 0", "failed: failed to decode process output"),
    ],
)
def test_an_exec_plugin_that_fails(tmp_path: Path, status: object, before: str, expected: str) -> None:
    command = plugin(tmp_path, status, before=before)
    path = kubeconfig(tmp_path / "config", user=exec_user(command))
    with pytest.raises(SvcdoctorError) as error:
        open_connection(Connection(kubeconfig=path), environ={})
    assert error.value.exit_code == 3
    assert error.value.message.startswith(
        f'https://10.0.0.1:6443 (context prod): the exec plugin "{command}" of user "prod" '
    )
    assert expected in error.value.message and "\n" not in error.value.message


def test_an_exec_plugin_that_is_missing_says_how_to_install_it(tmp_path: Path) -> None:
    hint = "Install it from\nhttps://example.com/plugin\n"
    path = kubeconfig(tmp_path / "config", user=exec_user("no-such-plugin", installHint=hint))
    with pytest.raises(SvcdoctorError) as error:
        open_connection(Connection(kubeconfig=path), environ={})
    assert error.value.exit_code == 3
    assert error.value.message.endswith(
        'the exec plugin "no-such-plugin" of user "prod" is not installed: Install it from '
        "https://example.com/plugin"
    )
    (tmp_path / "plain").write_text("")
    path = kubeconfig(tmp_path / "config", user=exec_user("./plain"))
    with pytest.raises(SvcdoctorError, match="cannot be run: Permission denied"):
        open_connection(Connection(kubeconfig=path), environ={})


def test_a_token_file_is_read_anew_when_its_token_is_refused(script: Script, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old\n")
    script.steps = [refuse(401), reply()]
    path = kubeconfig(tmp_path / "config", script.url, user={"tokenFile": "token"})
    session = open_connection(Connection(kubeconfig=path), environ={})
    (tmp_path / "token").write_text("new\n")
    assert session.get("/").status == 200
    assert [h["Authorization"] for h in script.headers] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), (" \n", "it is empty")])
def test_a_token_file_without_a_token(tmp_path: Path, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    path = kubeconfig(tmp_path / "config", user={"tokenFile": "token"})
    with pytest.raises(SvcdoctorError, match=problem) as error:
        open_connection(Connection(kubeconfig=path), environ={})
    assert error.value.exit_code == 2
    assert error.value.message.startswith(f"token file {tmp_path / 'token'}: ")


# --- auth-providers


def jwt(expiry: int) -> str:
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=")
        for p in ({}, {"exp": expiry}, {})
    )


def test_an_oidc_token_that_is_valid_is_used(script: Script, tmp_path: Path) -> None:
    script.steps = [reply()]
    token = jwt(99_999_999_999)
    user = {"auth-provider": {"name": "oidc", "config": {"id-token": token}}}
    path = kubeconfig(tmp_path / "config", script.url, user=user)
    open_connection(Connection(kubeconfig=path), environ={}).get("/")
    assert script.headers[0]["Authorization"] == f"Bearer {token}"


def test_an_oidc_token_that_expired_is_renewed_and_saved(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # the identity provider is on this machine
    monkeypatch.delenv("http_proxy", raising=False)
    config = {
        "id-token": jwt(1_700_000_000),
        "refresh-token": "first-refresh",
        "client-id": "kubectl",
        "client-secret": "s",
        "idp-issuer-url": script.url,
    }
    user = {"auth-provider": {"name": "oidc", "config": config}}
    path = kubeconfig(tmp_path / "config", script.url, user=user)
    renewed = {"access_token": "a", "token_type": "bearer", "id_token": jwt(99_999_999_999)}
    script.steps = [
        reply(200, {"token_endpoint": f"{script.url}/token"}),
        reply(200, renewed | {"refresh_token": "second-refresh"}),
        reply(),
    ]
    open_connection(Connection(kubeconfig=path), environ={}).get("/")
    assert script.paths == ["/.well-known/openid-configuration", "POST /token", "/"]
    assert script.headers[-1]["Authorization"] == f"Bearer {renewed['id_token']}"
    saved = yaml.safe_load(path.read_text())["users"][0]["user"]["auth-provider"]["config"]
    assert (saved["id-token"], saved["refresh-token"]) == (renewed["id_token"], "second-refresh")
    assert yaml.safe_load(path.read_text())["current-context"] == "prod"


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ({"name": "azure", "config": {}}, "is not supported, or its token is malformed; use an exec plugin"),
        ({"name": "oidc", "config": {"id-token": "secret"}}, "is not supported, or its token is malformed"),
        ({"name": "oidc", "config": {}}, "gives no token: "),
    ],
)
def test_an_auth_provider_that_gives_no_token(
    tmp_path: Path, provider: dict[str, Any], expected: str
) -> None:
    path = kubeconfig(tmp_path / "config", user={"auth-provider": provider})
    with pytest.raises(SvcdoctorError) as error:
        open_connection(Connection(kubeconfig=path), environ={})
    assert error.value.exit_code == 3
    assert f'the auth-provider "{provider["name"]}" of user "prod"' in error.value.message
    assert expected in error.value.message and "secret" not in error.value.message
