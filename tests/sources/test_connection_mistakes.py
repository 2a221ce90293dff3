"""Flags and kubeconfig files that cannot be used: one line that names what is wrong, and exit code 2."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import kubeconfig

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.connection import Connection, open_connection, resolve


def refused(connection: Connection, **environ: str) -> str:
    """The message that resolving ends in, with exit code 2."""
    with pytest.raises(SvcdoctorError) as error:
        resolve(connection, {"HOME": "/nowhere"} | environ, Path("/nowhere"))
    assert error.value.exit_code == 2
    assert "\n" not in error.value.message
    return error.value.message


@pytest.mark.parametrize("text", ["", "soon", "-1", "-1s", "5 s", "1d", "s", "1m 30s"])
def test_what_is_no_timeout(text: str) -> None:
    message = refused(Connection(server="https://a", request_timeout=text))
    assert message.startswith(f'--request-timeout "{text}": not a duration')


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
