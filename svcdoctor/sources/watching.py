"""The objects of one kind as they change: a list, and then a watch that goes on for ever.

Theory. A list tells a state and its resourceVersion, a watch everything that happens after it. A watch that ends is
asked for again from the last version that was seen (a bookmark is one, too), which loses nothing; where the
server has forgotten that version (410) the list is asked for again. What does not work is tried again after pauses
that grow. Who may list and not watch gets a list every five seconds, who may only get one object that object;
``polling`` hears what to grant.
Changes that arrive together are told together.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import msgspec

from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import Forbidden, SvcdoctorError
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.sources.grants import grant, refused_user, shortened
from svcdoctor.sources.pages import PAGE, Refusal, decode_object, object_of, page_of
from svcdoctor.sources.session import MAX_ANSWER, ApiSession, Response, Truncated
from svcdoctor.sources.streaming import Streaming
from svcdoctor.sources.watchevents import Changes, Name, WatchError

MAX_PAUSE = 30.0
"""Seconds between two attempts, at most."""

POLL_SECONDS = 5.0
"""Between two lists where watching is forbidden."""

HEAD_SECONDS = 30.0
"""How long a request may take to be answered."""

SILENT_SECONDS = 90.0
"""How long a watch may be silent before it is asked for again: servers send a bookmark about once a minute."""

_WATCH_SECONDS = 300  # and up to twice as long, so that not all watches end together
_POLLS = 12
_SETTLE_SECONDS = 1.0  # for the rest of an event whose beginning has come
_FIRST_PAUSE = 0.25
_LASTING_SECONDS = 10.0  # a watch that held so long was a good one

# What may pass, though the server answered.
_PASSING = frozenset({410, 429})


class _Final(Exception):
    """What no further attempt can change."""

    def __init__(self, error: SvcdoctorError) -> None:
        self.error = error


class _Again(Exception):
    """Why it must be tried again, and after how many seconds at least."""

    def __init__(self, error: SvcdoctorError, pause: float = 0.0) -> None:
        self.error = error
        self.pause = pause


class Watcher:
    """Watches the objects of one kind in one namespace (an empty one: in all), on a thread of its own between
    `start` and `close`.

    ``labels`` is a selector as the API takes it, ``name`` narrows to one object. The thread calls, and they must not
    raise: ``changed`` with all objects after the first list and after every change; ``outage`` with why nothing is
    known of changes, from the second attempt in vain on, and with None when that is over; ``failed`` at its end,
    for what no attempt changes: listing is forbidden, or the kind is not served.

    ``known_until`` is the clock's time up to which all changes were told, while there is an outage.

    ``sleep`` ends early when the watcher is closed; it, the clock and ``draw`` (in [0, 1)) are parameters for tests.
    """

    def __init__(
        self,
        session: ApiSession,
        kind: Kind,
        namespace: str,
        *,
        labels: str = "",
        name: str = "",
        changed: Callable[[tuple[KubeObject, ...]], None],
        failed: Callable[[SvcdoctorError], None],
        outage: Callable[[SvcdoctorError | None], None] = lambda error: None,
        polling: Callable[[SvcdoctorError], None] = lambda error: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._session = session
        self._info = KINDS[kind]
        self._scope = Scope(namespace or None, name=name or None)
        self._path = self._info.path(quote(namespace, safe=""))
        self._selected = {"labelSelector": labels} if labels else {}
        if name:
            self._selected["fieldSelector"] = f"metadata.name={name}"
        self._changed, self._failed, self._outage, self._polling = changed, failed, outage, polling
        self._closed = threading.Event()
        self._clock, self._sleep, self._draw = clock, sleep or self._closed.wait, draw
        self.known_until = clock()
        self._lock = threading.Lock()
        self._stream: Streaming | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch-{self._info.plural}", daemon=True)
        self._objects: dict[Name, KubeObject] = {}
        self._told = False
        self._version = ""
        self._watching = True
        self._polls = 0
        self._attempts = 0
        self._down = False

    def start(self) -> None:
        """Begin; call it once."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, and wait until it has ended; nothing is called any more.

        Where a server keeps it waiting for the head of an answer it is left to end by itself.
        """
        with self._lock:
            self._closed.set()
            if self._stream is not None:
                self._stream.end()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                if not self._version:
                    self._list()
                if self._watching:
                    self._watch()
                else:
                    self._poll()
            except _Final as final:
                if not self._closed.is_set():
                    self._failed(final.error)
                return
            except _Again as again:
                self._pause(again.error, again.pause)
            except Truncated:
                self._pause(self._problem("the answer is cut off"))
            except SvcdoctorError as error:
                self._pause(error)

    def _poll(self) -> None:
        """Waits for the next list; once in a while that tries whether more is granted by now."""
        self._works()
        self._version = ""
        self._attempts = 0
        self._polls += 1
        self._watching = self._polls % _POLLS == 0
        self._sleep(POLL_SECONDS)

    def _pause(self, error: SvcdoctorError, least: float = 0.0) -> None:
        if self._closed.is_set():
            return
        # The first attempt in vain is mostly the only one: a server that restarts, a proxy's idle limit.
        if self._attempts and not self._down:
            self._down = True
            self._outage(error)
        doubled = _FIRST_PAUSE * 2 ** min(self._attempts, 10)
        self._attempts += 1
        self._sleep(min(MAX_PAUSE, least + doubled * (0.5 + self._draw())))

    def _works(self) -> None:
        if self._down and not self._closed.is_set():
            self._down = False
            self._outage(None)

    def _problem(self, text: str) -> SvcdoctorError:
        return SvcdoctorError(f"{self._session.place}: {self._path}: {text}", 3)

    def _list(self) -> None:
        """Makes the objects those that the server has now, and the version theirs."""
        query = self._selected | {"limit": str(PAGE)}
        objects: dict[Name, KubeObject] = {}
        while True:
            response = self._whole(self._path, query)
            page = page_of(self._session, self._info, self._path, response)
            if isinstance(page, Refusal):
                if page.status == 403 and self._scope.name:
                    return self._get(page)
                raise self._refused(page, response)
            objects.update(((obj.namespace, obj.name), obj) for obj in page.items or ())
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        self._version = page.metadata.resource_version
        self.known_until = self._clock()
        self._tell(objects)
        return None

    def _get(self, refusal: Refusal) -> None:
        """Like `_list` for who may get one object and not list; ``refusal`` is the list's."""
        self._watching = False
        path = f"{self._path}/{quote(self._scope.name or '', safe='')}"
        response = self._whole(path, {})
        objects = object_of(self._session, self._info, path, response)
        if isinstance(objects, Refusal):
            if objects.status != 404:
                raise self._refused(refusal if objects.status == 403 else objects, response)
            objects = ()
        if not self._told:
            self._polling(self._forbidden(refusal))
        self.known_until = self._clock()
        self._tell({(obj.namespace, obj.name): obj for obj in objects})

    def _tell(self, objects: dict[Name, KubeObject]) -> None:
        if self._closed.is_set() or (self._told and objects == self._objects):
            return
        self._objects, self._told = objects, True
        self._changed(tuple(objects.values()))

    def _refused(self, refusal: Refusal, response: Response) -> _Again | _Final:
        message = shortened(refusal.message)
        if refusal.status == 403:
            error: SvcdoctorError = self._forbidden(refusal)
            # What was allowed before is so again when a server that starts has read its roles.
            return _Again(error) if self._told else _Final(error)
        error = self._problem(f"the API server answers {refusal.status}: {message}")
        if refusal.status < 500 and refusal.status not in _PASSING:
            return _Final(error)
        wanted = response.headers.get("retry-after", "")
        return _Again(error, float(wanted) if wanted.isascii() and wanted.isdigit() else 0.0)

    def _forbidden(self, refusal: Refusal) -> Forbidden:
        needed = grant(self._info, self._scope, refused_user(refusal.message), watch=True)
        return Forbidden(f"{self._session.place}: {shortened(refusal.message)}; grant {needed}", 3)

    def _watch(self) -> None:
        """Follows the changes after the version until the watch ends in the way that it should."""
        query = self._selected | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(_WATCH_SECONDS * (1 + self._draw()))),
        }
        started, since = self._clock(), self._version
        try:
            with self._opened(self._path, query) as stream:
                if stream.status != 200:
                    return self._not_watched(self._read(stream))
                self._works()
                try:
                    self._follow(stream)
                    self.known_until = self._clock()
                except TimeoutError:
                    pass  # since the last piece nothing is known
                except SvcdoctorError:
                    self.known_until = self._clock()
                    raise
        finally:
            if self._clock() - started >= _LASTING_SECONDS:
                self._attempts = 0
        if self._version == since and self._clock() - started < _SETTLE_SECONDS:
            raise _Again(self._problem("a watch ends as soon as it begins"))
        return None

    def _not_watched(self, response: Response) -> None:
        refusal = page_of(self._session, self._info, self._path, response)
        if isinstance(refusal, Refusal) and refusal.status == 403:
            if not self._polls:
                self._polling(self._forbidden(refusal))
            self._watching = False
            return
        self._version = ""
        if isinstance(refusal, Refusal):
            refused = self._refused(refusal, response)
            raise refused if isinstance(refused, _Again) else _Again(refused.error)

    def _follow(self, stream: Streaming) -> None:
        """Applies events until the stream ends. Raises TimeoutError where it falls silent."""
        changes = Changes(self._version)
        try:
            while piece := stream.piece(_SETTLE_SECONDS if changes.pending else SILENT_SECONDS):
                self.known_until = self._clock()
                changes.feed(piece)
                if not stream.more():
                    self._settle(changes)
        except WatchError as error:
            changes.version = ""
            raise self._problem(str(error)) from None
        finally:
            self._settle(changes)

    def _settle(self, changes: Changes) -> None:
        """Takes over what has changed since the last time."""
        self._version = changes.version
        if changes.seen:
            self._attempts = 0
        objects = dict(self._objects)
        try:
            for name, raw in changes.take().items():
                if raw is None:
                    objects.pop(name, None)
                else:
                    objects[name] = self._decoded(bytes(raw))
        except (SvcdoctorError, Truncated):
            # What cannot be decoded is not skipped: the next list names it, if it is still there.
            self._version = changes.version = ""
            raise
        self._tell(objects)

    def _decoded(self, data: bytes) -> KubeObject:
        """An object as items of lists are, so that what is the same in both is equal."""
        obj = decode_object(self._session, self._info, self._path, data)
        return msgspec.structs.replace(obj, api_version="")

    def _whole(self, path: str, query: dict[str, str]) -> Response:
        with self._opened(path, query) as stream:
            return self._read(stream)

    def _read(self, stream: Streaming) -> Response:
        pieces: list[bytes] = []
        size = 0
        try:
            while piece := stream.piece(HEAD_SECONDS):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_ANSWER:
                    raise self._problem(f"an answer of more than {MAX_ANSWER >> 20} MiB")
        except TimeoutError:
            raise self._problem(f"the answer stops for {HEAD_SECONDS:.0f} s") from None
        return Response(stream.status, stream.headers, b"".join(pieces))

    @contextlib.contextmanager
    def _opened(self, path: str, query: dict[str, str]) -> Iterator[Streaming]:
        """A stream that `close` can end."""
        stream = self._session.stream(path, query, HEAD_SECONDS)
        try:
            with self._lock:
                if self._closed.is_set():
                    raise self._problem("closed")
                self._stream = stream
            yield stream
        finally:
            with self._lock:
                self._stream = None
            stream.close()
