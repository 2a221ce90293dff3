"""Every way not to reach an API server ends in one line that names the server and says what to do."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from conftest import Script, kubeconfig, refuse
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.connection import Connection, open_connection

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


def certificate(
    folder: Path, *, address: str = "127.0.0.1", start: datetime = NOW - DAY, end: datetime = NOW + DAY
) -> Path:
    """A self-signed certificate with its key, in one PEM file, without key identifiers as old ones are."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    names = x509.SubjectAlternativeName(
        [x509.IPAddress(ip_address(address)), x509.DNSName("kubernetes.default.svc")]
    )
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(start).not_valid_after(end).add_extension(names, False)
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / "server.pem"
    path.write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(pem)
        + key.private_bytes(pem, private, serialization.NoEncryption())
    )
    return path


Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Listen over TLS with a certificate, give every request the same empty answer, and give the URL."""
    stops: list[Callable[[], None]] = []

    def start(pem: Path, *, client_authority: Path | None = None, answer: bytes = b"200 OK") -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        if client_authority is not None:
            context.load_verify_locations(client_authority)
            context.verify_mode = ssl.CERT_REQUIRED
            context.maximum_version = ssl.TLSVersion.TLSv1_2  # refuses within the handshake
        listener = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(65536)
                        secure.sendall(
                            b"HTTP/1.1 " + answer + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
                        )
                except OSError:
                    connection.close()

        thread = threading.Thread(target=run)
        thread.start()

        def stop() -> None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()

        stops.append(stop)
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for stop in stops:
        stop()


def failure(connection: Connection, **environ: str) -> str:
    """The message that asking for something ends in."""
    with pytest.raises(SvcdoctorError) as error:
        open_connection(connection, environ={"HOME": "/nowhere"} | environ).get("/version")
    assert error.value.exit_code == 3
    assert "\n" not in error.value.message
    return error.value.message


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# --- the network


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_refused(tmp_path: Path, host: str) -> None:
    url = f"https://{host}:{free_port()}"
    message = failure(Connection(kubeconfig=kubeconfig(tmp_path / "config", url)))
    assert message == (
        f"{url} (context prod) refused the connection: nothing listens there; check that the API server runs and "
        "that this is its address"
    )


def test_no_such_name() -> None:
    url = "https://api.cluster.invalid:6443"
    message = failure(Connection(server=url, token="t"))
    assert message.startswith(f"{url}: the host name api.cluster.invalid cannot be resolved; check")


def test_a_timeout_says_how_to_allow_more() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        message = failure(Connection(server=url, token="t", request_timeout="200ms"))
    assert message == (
        f"{url} did not answer within 0.2 s; check the address, the VPN and firewalls, or allow more with "
        "--request-timeout"
    )


@pytest.fixture
def proxy() -> Iterator[str]:
    """A proxy that lets nobody through."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
                    )

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://me:secret@127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_proxy_of_the_environment_that_refuses(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    message = failure(Connection(server="https://10.0.0.1:6443", token="t"))
    shown = proxy.replace("me:secret@", "")
    assert message.startswith(f"https://10.0.0.1:6443: the proxy {shown} does not let the request through: ")
    assert "407 Proxy Authentication Required" in message and "secret" not in message


def test_a_proxy_of_the_kubeconfig_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "10.0.0.0/8")  # which is about the environment's proxy
    proxy = f"http://127.0.0.1:{free_port()}"
    path = kubeconfig(tmp_path / "config", cluster={"proxy-url": proxy})
    message = failure(Connection(kubeconfig=path))
    assert f"(context prod): the proxy {proxy} does not let the request through: " in message
    assert "Connection refused" in message


def test_no_proxy_of_the_environment_stands_before_this_machine(
    api: ApiServer, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    api.write_kubeconfig(tmp_path / "config")
    session = open_connection(Connection(kubeconfig=tmp_path / "config"), environ={})
    assert session.get("/version").status == 200


# --- certificates


def test_a_valid_certificate_needs_no_more_than_go_asks_for(serve: Serve, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    session = open_connection(Connection(server=serve(pem), certificate_authority=pem), environ={})
    assert session.get("/version").status == 200


def test_expired(serve: Serve, tmp_path: Path) -> None:
    pem = certificate(tmp_path, start=NOW - 9 * DAY, end=NOW - DAY)
    url = serve(pem)
    message = failure(Connection(server=url, certificate_authority=pem))
    assert message.startswith(f"{url}: the server's certificate has expired; renew it")


def test_not_yet_valid(serve: Serve, tmp_path: Path) -> None:
    pem = certificate(tmp_path, start=NOW + DAY, end=NOW + 2 * DAY)
    assert "not valid yet; correct this machine's clock" in failure(
        Connection(server=serve(pem), certificate_authority=pem)
    )


def test_unknown_authority(serve: Serve, tmp_path: Path) -> None:
    url = serve(certificate(tmp_path))
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    for connection in (Connection(server=url), Connection(server=url, certificate_authority=other)):
        message = failure(connection)
        assert message.startswith(f"{url}: the server's certificate is signed by an unknown authority; put")


def test_skipping_verification(serve: Serve, tmp_path: Path) -> None:
    pem = certificate(tmp_path, address="10.0.0.1", start=NOW - 9 * DAY, end=NOW - DAY)
    session = open_connection(Connection(server=serve(pem), insecure_skip_tls_verify=True), environ={})
    assert session.get("/version").status == 200


def test_another_name(serve: Serve, tmp_path: Path) -> None:
    pem = certificate(tmp_path, address="10.0.0.1")
    url = serve(pem)
    message = failure(Connection(server=url, certificate_authority=pem))
    assert message.startswith(f"{url}: the server's certificate is not valid for 127.0.0.1; use an address")
    named = Connection(server=url, certificate_authority=pem, tls_server_name="kubernetes.default.svc")
    assert open_connection(named, environ={}).get("/version").status == 200


def test_no_tls_at_all(script: Script) -> None:
    script.steps = [refuse(400)]
    message = failure(Connection(server=script.url.replace("http:", "https:"), insecure_skip_tls_verify=True))
    assert "does not speak TLS; check the port, or use http://" in message


def test_a_client_certificate_that_the_server_refuses(serve: Serve, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    (tmp_path / "client").mkdir()
    client = certificate(tmp_path / "client")
    url = serve(pem, client_authority=pem)
    path = kubeconfig(
        tmp_path / "config",
        url,
        cluster={"certificate-authority": "server.pem"},
        user={"client-certificate": str(client), "client-key": str(client)},
    )
    message = failure(Connection(kubeconfig=path))
    assert message.startswith(
        f'{url} (context prod): the server refuses the client certificate of user "prod"'
    )


# --- credentials


def test_a_refused_token_names_user_and_context_and_never_the_token(api: ApiServer, tmp_path: Path) -> None:
    path = tmp_path / "config"
    api.write_kubeconfig(path)
    text = path.read_text()
    start = text.index("token: ") + 7
    token = text[start : text.index("\n", start)]
    path.write_text(text.replace(token, "not-the-token"))
    message = failure(Connection(kubeconfig=path))
    assert message == (
        f"{api.url} (context svcdoctor-lab): 401 Unauthorized: the credentials of user "
        '"svcdoctor-lab" are refused; log in again, or choose another user with --user or --context'
    )


@pytest.mark.parametrize(
    ("expiry", "expected"),
    [
        (1_700_000_000, "; the token expired at 2023-11-14 22:13 UTC;"),
        (99_999_999_999, "are refused; log in"),
        ("soon", "are refused; log in"),
        (10**30, "are refused; log in"),
    ],
)
def test_an_expired_token_says_since_when(
    script: Script, tmp_path: Path, expiry: object, expected: str
) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expiry}).encode()).decode().rstrip("=")
    script.steps = [refuse(401, "Unauthorized")]
    token = f"header.{claims}.signature"
    message = failure(
        Connection(kubeconfig=kubeconfig(tmp_path / "config", script.url, user={"token": token}))
    )
    assert expected in message
    assert claims not in message


def test_an_expired_client_certificate_says_since_when(serve: Serve, tmp_path: Path) -> None:
    server = certificate(tmp_path)
    (tmp_path / "client").mkdir()
    ended = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    client = certificate(tmp_path / "client", start=ended - DAY, end=ended)
    url = serve(server, answer=b"401 Unauthorized")
    message = failure(
        Connection(server=url, certificate_authority=server, client_certificate=client, client_key=client)
    )
    assert message.startswith(
        f"{url}: 401 Unauthorized: the credentials are refused; the client certificate expired at "
        "2026-01-02 03:04 UTC; name valid ones"
    )


def test_no_refresh_token_goes_to_an_identity_provider_that_nobody_vouches_for(
    serve: Serve, tmp_path: Path
) -> None:
    claims = base64.urlsafe_b64encode(b'{"exp": 1700000000}').decode().rstrip("=")
    config = {
        "id-token": f"e30.{claims}.e30",
        "refresh-token": "secret",
        "client-id": "kubectl",
        "client-secret": "secret",
        "idp-issuer-url": serve(certificate(tmp_path)),
    }
    user = {"auth-provider": {"name": "oidc", "config": config}}
    message = failure(Connection(kubeconfig=kubeconfig(tmp_path / "config", user=user)))
    assert 'the auth-provider "oidc" of user "prod" gives no token: ' in message
    assert "CERTIFICATE_VERIFY_FAILED" in message and "secret" not in message
