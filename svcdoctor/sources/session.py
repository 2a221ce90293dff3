"""Questions to one API server: authenticated requests that are bounded in time and size, and tried again.

Theory. A question has one deadline for all its attempts. What is likely to pass is tried again after a
pause that doubles and is drawn at random, or as long as Retry-After says: 429, 5xx, and an answer that is
cut off. What is not (refused, unknown authority, no such name) ends at once with a line for the user.
What creates something is tried again only where the server says that it did nothing (429). Answers stay bytes:
whoever asks decodes them straight into what he needs.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import DecodeError, HTTPError, ProtocolError, ReadTimeoutError
from urllib3.exceptions import TimeoutError as HTTPTimeout

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.apitarget import Target
from svcdoctor.sources.credentials import Client
from svcdoctor.sources.streaming import Streaming
from svcdoctor.sources.unreachable import unauthorized, unreachable

MAX_ANSWER = 256 << 20
"""Bytes of one answer, after decompression."""

MOST_ASKED = 10_000
"""Requests that are remembered; a session may last for days."""

ATTEMPTS = 5
_FIRST_PAUSE = 0.25  # seconds
_CHUNK = 1 << 20
_PASSING = frozenset({429, 500, 502, 503, 504})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its HTTP status, headers (names in lower case) and body, decompressed."""

    status: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it was sent. ``status`` is 0 where no answer came; ``seconds`` is what it took."""

    path: str
    status: int
    seconds: float
    size: int


class _Status(msgspec.Struct):
    message: str = ""


_STATUS = msgspec.json.Decoder(_Status)  # made once: two threads that make the first of one struct crash


def message_of(response: Response) -> str:
    """What a refusal says, in one line and without the reasons of single role bindings."""
    try:
        message = _STATUS.decode(response.data).message
    except msgspec.DecodeError:
        message = ""
    return " ".join(message.partition(": RBAC: ")[0].split()) or f"the API server answers {response.status}"


class Truncated(Exception):
    """The answer is cut off, though HTTP did not notice; asking again may help."""


class ApiSession:
    """A session with one API server as one user. Safe to use from many threads.

    ``renew`` makes a new client when credentials expire or are refused. Clocks, ``sleep`` and ``draw`` (a
    number in [0, 1)) are parameters for tests.
    """

    def __init__(
        self,
        target: Target,
        client: Client,
        *,
        renew: Callable[[], Client],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._target = target
        self._client = client
        self._renew = renew
        self._clock, self._now, self._sleep, self._draw = clock, now, sleep, draw
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._asked: deque[Asked] = deque(maxlen=MOST_ASKED)
        self._requests = 0

    @property
    def server(self) -> str:
        """The server's URL."""
        return self._target.server

    @property
    def context(self) -> str:
        """The name of the context, empty where a server was named without one."""
        return self._target.context

    @property
    def place(self) -> str:
        """The server with its context, as messages name it."""
        return self._target.place

    @property
    def namespace(self) -> str:
        """The namespace of what is named without one."""
        return self._target.namespace

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The last 10,000 requests, oldest first, attempts that failed among them."""
        with self._lock:
            return tuple(self._asked)

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self._requests

    def close(self) -> None:
        """Close all connections that are kept open."""
        self._client.pool.clear()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Response:
        """The answer to a GET of ``path`` (``/api/v1/pods``), whatever its status but 401.

        Raises SvcdoctorError, exit code 3, where no answer can be had in time, and for 401.
        """
        return self.fetch(path, params or {}, lambda response: response)

    def fetch(self, path: str, params: Mapping[str, str], read: Callable[[Response], T]) -> T:
        """Like ``get``, and ``read`` makes a value of the answer; where it raises ``Truncated`` the question
        is asked again."""
        return self._answered("GET", path, params, b"", read, _PASSING)

    def create(self, path: str, body: bytes) -> Response:
        """The answer to a POST of JSON, whatever its status but 401. Raises SvcdoctorError, exit code 3."""
        return self._answered("POST", path, {}, body, lambda response: response, frozenset({429}))

    def replace(self, path: str, body: bytes) -> Response:
        """The answer to a PUT of JSON, whatever its status but 401. Raises SvcdoctorError, exit code 3."""
        return self._answered("PUT", path, {}, body, lambda response: response, frozenset({429}))

    def delete(self, path: str) -> Response:
        """The answer to a DELETE, whatever its status but 401. Raises SvcdoctorError, exit code 3."""
        return self._answered("DELETE", path, {}, b"", lambda response: response, _PASSING)

    def stream(self, path: str, params: Mapping[str, str], seconds: float) -> Streaming:
        """The answer to a GET whatever its status but 401, its head within ``seconds``, its body yet to come.

        Whoever gets it closes it. Raises SvcdoctorError, exit code 3, as ``get`` does, but nothing is tried again.
        """
        url = path + ("?" + urlencode(params) if params else "")

        def broken(error: Exception, waited: float) -> SvcdoctorError:
            return unreachable(error, self._target, self._client, waited)

        try:
            # Compressed, the end of one piece might be held back until the next one comes.
            return Streaming(self.upgrade(url, {"Accept-Encoding": "identity"}, seconds), broken)
        except TimeoutError:
            raise broken(HTTPTimeout(), seconds) from None

    def upgrade(
        self, url: str, headers: Mapping[str, str], seconds: float, method: str = "GET"
    ) -> BaseHTTPResponse:
        """The unread answer to a request to switch protocols, each step within ``seconds``.

        After 101 its connection is the caller's, who closes it. Raises TimeoutError, and SvcdoctorError with
        exit code 3 where the server cannot be reached.
        """
        client = self._current()
        raw = self._head(client, method, url, headers, seconds)
        if raw.status == 401:
            raw.close()
            client = self._renewed(client)
            raw = self._head(client, method, url, headers, seconds)
        if raw.status == 401:
            raw.close()
            raise unauthorized(self._target, client)
        return raw

    def _head(
        self, client: Client, method: str, url: str, headers: Mapping[str, str], seconds: float
    ) -> BaseHTTPResponse:
        started, status = self._clock(), 0
        try:
            raw = self._sent(client, method, url, b"", seconds, headers)
            status = raw.status
            return raw
        except ReadTimeoutError:
            raise TimeoutError from None
        except HTTPError as e:
            raise unreachable(e, self._target, client, seconds) from None
        finally:
            self._note(url.partition("?")[0], status, started, 0)

    def _answered(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        body: bytes,
        read: Callable[[Response], T],
        passing: frozenset[int],
    ) -> T:
        timeout = self._target.timeout
        end = None if timeout is None else self._clock() + timeout
        problem: Exception = Truncated()
        client = self._current()
        for attempt in range(ATTEMPTS):
            response = None
            try:
                response = self._once(client, method, path, params, body, end)
                if response.status == 401:
                    client = self._renewed(client)
                    response = self._once(client, method, path, params, body, end)
                if response.status == 401:
                    raise unauthorized(self._target, client)
                if response.status not in passing:
                    return read(response)
            except (ProtocolError, DecodeError, Truncated) as e:
                problem, response = e, None
                if method == "POST":
                    break
            pause = self._pause(attempt, response)
            if attempt + 1 == ATTEMPTS or (end is not None and self._clock() + pause >= end):
                break
            self._sleep(pause)
        if response is not None:
            return read(response)
        if isinstance(problem, Truncated):
            raise SvcdoctorError(
                f"{self.place}: the answer to {path} is no JSON, or cut off every time; check that it is the "
                "address of an API server, and what stands between",
                3,
            )
        raise unreachable(problem, self._target, client, timeout or 0)

    def _pause(self, attempt: int, response: Response | None) -> float:
        """Seconds until the next attempt: what the server asks for, or twice as long each time; with jitter,
        so that not all clients that it sent away come back at once."""
        wanted = response.headers.get("retry-after", "") if response is not None else ""
        if wanted.isascii() and wanted.isdigit():
            return float(wanted) + _FIRST_PAUSE * self._draw()
        return float(_FIRST_PAUSE * 2**attempt * (0.5 + self._draw()))

    def _current(self) -> Client:
        """The client, made anew where its credentials expire within seconds."""
        client = self._client
        if client.expires is not None and client.expires < self._now() + 10:
            return self._renewed(client)
        return client

    def _renewed(self, old: Client) -> Client:
        """A client with newer credentials than ``old``; of many threads that ask, the first makes it."""
        if not old.renewable:
            raise unauthorized(self._target, old)
        with self._renewing:
            if self._client is old:
                self._client = self._renew()
                old.pool.clear()
            return self._client

    def _once(
        self,
        client: Client,
        method: str,
        path: str,
        params: Mapping[str, str],
        body: bytes,
        end: float | None,
    ) -> Response:
        """One attempt. Raises SvcdoctorError for what it is no use to try again."""
        url = path + ("?" + urlencode(params) if params else "")
        started = self._clock()
        status = size = 0
        left = None if end is None else max(end - started, 0.001)
        try:
            raw = self._sent(client, method, url, body, left)
            try:
                data = self._body(raw, end, path)
                status, size = raw.status, len(data)
                return Response(status, {k.lower(): v for k, v in raw.headers.items()}, data)
            finally:
                if not status:
                    raw.close()
                raw.release_conn()
        except (ProtocolError, DecodeError):
            raise
        except HTTPError as e:
            waited = self._target.timeout or self._clock() - started
            raise unreachable(e, self._target, client, waited) from None
        finally:
            shown = {k: v if k != "continue" else "..." for k, v in params.items()}
            shown_url = path + ("?" + urlencode(shown, safe="=,/") if shown else "")
            self._note(shown_url, status, started, size)

    def _sent(
        self,
        client: Client,
        method: str,
        url: str,
        body: bytes,
        seconds: float | None,
        more: Mapping[str, str] | None = None,
    ) -> BaseHTTPResponse:
        headers = client.headers
        if body:
            more = {"Content-Type": "application/json"}
        if more:
            headers = headers.copy()
            for name, value in more.items():
                headers[name] = value
        # urllib3 would follow redirects and try again by itself, without regard to the deadline.
        return client.pool.request(
            method,
            self.server + url,
            body=body or None,
            headers=headers,
            preload_content=False,
            redirect=False,
            retries=False,
            timeout=Timeout(connect=seconds, read=seconds),
        )

    def _note(self, url: str, status: int, started: float, size: int) -> None:
        with self._lock:
            self._asked.append(Asked(url, status, self._clock() - started, size))
            self._requests += 1

    def _body(self, raw: BaseHTTPResponse, end: float | None, path: str) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            if end is not None:
                self._shorten(raw, end - self._clock(), path)
            chunk = raw.read1(_CHUNK)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER:
                raise SvcdoctorError(
                    f"{self.place}: the answer to {path} has more than {MAX_ANSWER >> 20} MiB; ask for one "
                    "namespace with -n",
                    3,
                )

    @staticmethod
    def _shorten(raw: BaseHTTPResponse, left: float, path: str) -> None:
        """Lets the next piece take no longer than what is left of the deadline."""
        if left <= 0:
            pool: Any = None
            raise ReadTimeoutError(pool, path, "the deadline has passed")
        sock = getattr(raw.connection, "sock", None)
        if sock is not None:
            sock.settimeout(left)
