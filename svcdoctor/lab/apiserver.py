"""The lab's API server: the Kubernetes API over a set of objects, for the unmodified kubectl and clients.

A request goes through the stations of the real one: who is it (bearer token or client certificate), on whose
behalf (impersonation), may they (RBAC), and only then what is it about. Routes come last, in order; parts of
the lab put their own in front.

    with ApiServer(ObjectStore(objects)) as server:
        server.write_kubeconfig(path)
        subprocess.run(["kubectl", "--kubeconfig", path, "get", "pods"])

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import hmac
import os
import secrets
import ssl
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

from svcdoctor.lab.certificates import Authority
from svcdoctor.lab.discovery import page_not_found
from svcdoctor.lab.faults import Fault, Faults, internal_error, throttled
from svcdoctor.lab.forwardfaults import ForwardFaults
from svcdoctor.lab.impersonation import impersonated
from svcdoctor.lab.kubeconfig import Credentials, kubeconfig_text
from svcdoctor.lab.listener import Connection, Listener
from svcdoctor.lab.paging import CURRENT, decode_token, expired_token
from svcdoctor.lab.podruntime import PodFollower, PodRuntime
from svcdoctor.lab.rbac import ADMIN, Authorizer, User, forbidden
from svcdoctor.lab.request_log import LoggedRequest, RequestLog
from svcdoctor.lab.requests import Answer, Request, Response, target_of
from svcdoctor.lab.rest import RestVerbs
from svcdoctor.lab.routes import StandardRoutes, pod_routes
from svcdoctor.lab.status import ApiError, unauthorized
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.errors import SvcdoctorError

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_LONGEST_NAME = 64  # X.520, ub-common-name


class ApiServer:
    """Serves a store over HTTPS from `start` to `stop`, or within a `with` statement.

    `users` can log in by token and by certificate; `host` is the address to listen on, `port` 0 takes a
    free one. `groups` are API groups to serve though the store holds none of their objects (the Gateway
    API's). `now` is the clock of what is shown; `bookmark_interval` is in seconds. `runtime` is what runs
    pods; without one there is no exec, there are no logs, and port-forward finds no pod. Certificates live in a
    temporary directory that `stop` removes.

    Raises `SvcdoctorError` for a user name that no certificate can hold.

    `faults` is the switchboard of failures, `forward_faults` that of port-forward's tunnels, `requests` the log,
    `routes` the handlers in order.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        users: Sequence[User] = (ADMIN,),
        host: str = "127.0.0.1",
        port: int = 0,
        groups: Iterable[str] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        bookmark_interval: float = 60.0,
        runtime: PodRuntime | None = None,
    ) -> None:
        for user in users:
            if len(user.name) > _LONGEST_NAME:
                limit = f"a certificate holds at most {_LONGEST_NAME} letters"
                raise SvcdoctorError(f"the user name {user.name!r} is too long: {limit}")
        self.store = store
        self.faults = Faults()
        self.forward_faults = ForwardFaults()
        self.requests = RequestLog()
        self.authorizer = Authorizer(store)
        self._users = {user.name: user for user in users}
        self._host, self._port = host, port
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._context: ssl.SSLContext | None = None
        self._listener: Listener | None = None
        self._authority = Path()
        self._credentials: dict[str, Credentials] = {}
        rest = RestVerbs(store, now, bookmark_interval)
        self._runtime = runtime
        self._follower: PodFollower | None = None
        self.routes = [
            *pod_routes(store, self.authorizer, rest, runtime, self.forward_faults),
            *StandardRoutes(store, self.authorizer, rest, groups).routes(),
        ]

    def __enter__(self) -> ApiServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make the certificates, if there are none, and listen. Raises `SvcdoctorError` where the address cannot be
        bound."""
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="svcdoctor-lab-")
        try:
            if self._context is None:
                self._context = self._certified(Path(self._directory.name))
            self._listener = Listener(self._host, self._port, self._context, self._respond)
        except OSError as error:
            self._forget()
            raise SvcdoctorError(
                f"the lab's API server cannot listen on {self._host} port {self._port}: {error.strerror}; "
                "choose another address or port"
            ) from error
        self._listener.start()
        if self._runtime is not None:
            self._follower = PodFollower(self.store, self._runtime)
            self._follower.start()

    def _certified(self, directory: Path) -> ssl.SSLContext:
        """Issue the certificates and tokens; what the server speaks TLS with."""
        authority = Authority(directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue_server((*_LOOPBACK_NAMES, self._host)))
        context.load_verify_locations(authority.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        self._authority = authority.certificate
        self._credentials = {
            user.name: Credentials(
                secrets.token_urlsafe(32), *authority.issue_client(number, user.name, user.groups)
            )
            for number, user in enumerate(self._users.values())
        }
        return context

    def halt(self) -> None:
        """Close all connections and wait for their threads. After `start` it is the same server again, with the
        port, the certificates and the tokens that it had."""
        if self._follower is not None:
            self._follower.stop()
            self._follower = None
        if self._listener is not None:
            self._port = self._listener.server_address[1]
            self._listener.stopping.set()
            self.store.wake()
            self._listener.stop()
            self._listener = None

    def stop(self) -> None:
        """`halt`, and remove the certificates."""
        self.halt()
        self._forget()

    def _forget(self) -> None:
        if self._directory is not None:
            self._directory.cleanup()
        self._directory = self._context = None

    @property
    def address(self) -> str:
        """Host and port as they stand in a URL. Raises `SvcdoctorError` while the server is not running."""
        if self._listener is None:
            raise SvcdoctorError("the lab's API server is not running: start it first")
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        host = everywhere.get(self._host, self._host)
        port = self._listener.server_address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"https://{self.address}"

    def kubeconfig(
        self, user: str = ADMIN.name, *, by_certificate: bool = False, namespace: str = "default"
    ) -> str:
        """The kubeconfig of a user as YAML text, with a token or, `by_certificate`, a client certificate.

        Raises `SvcdoctorError` for a user that the server was not given, or while it is not running.
        """
        server = self.url
        if user not in self._credentials:
            known = ", ".join(self._credentials)
            raise SvcdoctorError(f"the lab's API server has no user {user!r}: its users are {known}")
        return kubeconfig_text(
            server,
            self._authority,
            self._credentials[user],
            by_certificate=by_certificate,
            namespace=namespace,
        )

    def write_kubeconfig(
        self,
        path: Path,
        user: str = ADMIN.name,
        *,
        by_certificate: bool = False,
        namespace: str = "default",
    ) -> None:
        """Write `kubeconfig` into a file that only its owner can read, replacing the one that is there."""
        text = self.kubeconfig(user, by_certificate=by_certificate, namespace=namespace)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def _respond(self, connection: Connection, body: bytes) -> tuple[Answer, bool]:
        """The answer to one request, and whether to cut it; everything that is answered is logged."""
        url = urlsplit(connection.path)
        user_name, status = "", 500
        try:
            user = self._authenticate(connection)
            user_name = user.name
            user = impersonated(user, connection.headers, self.authorizer)
            query = parse_qs(url.query, keep_blank_values=True)
            path = unquote(url.path)
            request = Request(
                connection.command,
                path,
                query,
                connection.headers,
                body,
                user,
                target_of(connection.command, path, query),
                connection.connection,
                connection.rfile,
            )
            answer, cut = self._answer(request)
            status = answer.status if isinstance(answer, Response) else 101 if answer is None else 200
            return answer, cut
        except ApiError as error:
            status = error.code
            raise
        finally:
            agent = connection.headers.get("User-Agent", "")
            self.requests.add(
                LoggedRequest(connection.command, url.path, url.query, user_name, agent, status)
            )

    def _authenticate(self, connection: Connection) -> User:
        header = connection.headers.get("Authorization", "")
        if header.startswith("Bearer "):
            token = header.removeprefix("Bearer ").strip().encode()
            for name, credentials in self._credentials.items():
                if hmac.compare_digest(credentials.token.encode(), token):
                    return self._users[name]
            raise unauthorized()
        certificate = connection.connection.getpeercert() or {}
        subject = [pair for part in certificate.get("subject", ()) for pair in part]
        names = [value for kind, value in subject if kind == "commonName"]
        if not names:
            raise unauthorized()
        return User(names[0], tuple(value for kind, value in subject if kind == "organizationName"))

    def _answer(self, request: Request) -> tuple[Answer, bool]:
        self._strike(request)
        self.authorizer.check(request.user, request.target.action)
        for route in self.routes:
            if route.pattern.fullmatch(request.path):
                answer = route.handler(request)
                cut = answer is not None and self._struck(Fault.CUT, request) is not None
                return answer, cut
        raise page_not_found()

    def _struck(self, fault: Fault, request: Request) -> float | None:
        return self.faults.take(fault, request.target.action.resource)

    def _strike(self, request: Request) -> None:
        if (seconds := self._struck(Fault.DELAY, request)) is not None and self._listener is not None:
            self._listener.stopping.wait(seconds)
        if (pause := self._struck(Fault.THROTTLE, request)) is not None:
            raise throttled(pause)
        if self._struck(Fault.FAIL, request) is not None:
            raise internal_error("a fault was switched on")
        if self._struck(Fault.FORBID, request) is not None:
            raise forbidden(request.user, request.target.action)
        if token := request.text("continue"):
            namespace = request.target.action.namespace or None
            version, after = decode_token(token, namespace)
            if version != CURRENT and self._struck(Fault.EXPIRE, request) is not None:
                raise expired_token(after, namespace)
