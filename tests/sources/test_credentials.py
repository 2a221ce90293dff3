"""Who a request comes from: tokens, certificates, exec plugins, auth-providers and service accounts."""

from __future__ import annotations

import base64
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Script, kubeconfig, refuse, reply

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.connection import Connection, open_connection, resolve

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
        "as-user-extra": {"reason/why": ["x", "z"]},
    }
    script.steps = [reply()]
    path = kubeconfig(tmp_path / "config", script.url, user=user)
    open_connection(Connection(kubeconfig=path), environ={}).get("/")
    open_connection(Connection(kubeconfig=path, as_user="eve", as_groups=("g3",)), environ={}).get("/")
    first, second = script.headers
    assert first["Impersonate-User"] == "bob"
    assert first.get_all("Impersonate-Group") == ["g1", "g2"]
    assert first["Impersonate-Uid"] == "7"
    assert first.get_all("Impersonate-Extra-reason%2Fwhy") == ["x", "z"]
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
    assert saved == config | {"id-token": renewed["id_token"], "refresh-token": "second-refresh"}
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
