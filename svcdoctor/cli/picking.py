"""``svcdoctor`` alone on a terminal: the Services of the current namespace with their state, and which one to trace.

Theory. The list is there after one request. What the Services suffer from is found meanwhile on a thread, by what
``check`` does, and written beside them. Whatever is chosen is traced anew: the facts of a list that stood open for
minutes are old.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from svcdoctor.cli.defaults import user_defaults
from svcdoctor.cli.keys import ESCAPE_SECONDS, Key, Keys, key_by_key
from svcdoctor.cli.nodefacts import ended_by_signals
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.report.glyphs import glyphs_for
from svcdoctor.report.pickpicture import Choice, Offer, picture

if TYPE_CHECKING:
    from svcdoctor.model.checkup import Row
    from svcdoctor.model.snapshot import Snapshot
    from svcdoctor.sources.live import LiveSource
    from svcdoctor.sources.session import ApiSession

LEFT = 130  # the exit code of who leaves without a choice, as of other pickers


def pick(program: str) -> list[str]:
    """The words of the command that was chosen; none where no cluster is configured.

    ``program`` is how the user calls it. Raises SvcdoctorError where the Services cannot be listed, or there are
    none, and SystemExit where nothing was chosen.
    """
    from svcdoctor.model.facts import Kind, Need, Scope
    from svcdoctor.sources.live import LiveSource

    session = _session()
    if session is None:
        return []
    live = LiveSource(session)
    scope = Scope(live.namespace)
    snapshot = live.refill(live.snapshot(), (Need(Kind.SERVICE, scope),))
    unknown = snapshot.why_unknown(Kind.SERVICE, scope)
    if unknown is not None:
        raise SvcdoctorError(f"services in namespace {live.namespace}: {unknown.reason}; {unknown.grant}", 3)
    names = tuple(sorted(s.name for s in snapshot.services if s.namespace == live.namespace))
    if not names:
        raise SvcdoctorError(
            f"namespace {live.namespace} has no Services; name one elsewhere ({program} trace svc/NAME -n NAMESPACE) "
            f"or look at all ({program} check -A)",
            1,
        )
    name = _picked(names, live.namespace, lambda tell: _Check(live, snapshot, tell))
    if name is None:
        raise SystemExit(LEFT)
    words = ["trace", f"svc/{name}", "-n", live.namespace]
    print(f"$ {program} {' '.join(words)}", flush=True)
    return words


def _session() -> ApiSession | None:
    """The session with the configured cluster; ``None`` where none is configured. Raises SvcdoctorError."""
    from svcdoctor.sources.connection import DEFAULT_TIMEOUT, Connection, open_connection
    from svcdoctor.sources.kubeconfig import read_kubeconfig

    timeout = user_defaults().get("request-timeout", DEFAULT_TIMEOUT)
    try:
        return open_connection(Connection(request_timeout=timeout))
    except SvcdoctorError:
        if read_kubeconfig(None, os.environ).empty:
            return None
        raise


class _Stopped(Exception):
    """Nobody looks any more."""


class _Check(threading.Thread):
    """Checks the namespace; ``tell`` is called where there is more to see in ``states`` and ``about``."""

    def __init__(self, live: LiveSource, snapshot: Snapshot, tell: Callable[[], None]) -> None:
        super().__init__(name="check", daemon=True)  # a request under way is not waited for
        self._live = live
        self._snapshot = snapshot
        self._tell = tell
        self._stopped = False
        self.states: dict[str, Row] = {}
        self.about = "checking"

    def run(self) -> None:
        from svcdoctor.checks.checkup import checkup
        from svcdoctor.report.checkupwords import by_verdict
        from svcdoctor.sources.nodeways import PreparedSource

        source = PreparedSource(self._live, lambda: self._snapshot)
        try:
            answer = checkup(source, self._live.namespace, progress=self._progress)
        except _Stopped:
            return
        except SvcdoctorError as e:
            self.about = f"their state is not known: {e.message}"
        else:
            rows = [row for row in answer.rows if row.kind == "Service"]
            self.states, self.about = {row.name: row for row in rows}, by_verdict(rows)
        self._tell()

    def stop(self) -> None:
        """Let it end at the next Service."""
        self._stopped = True

    def _progress(self, done: int, of: int) -> None:
        if self._stopped:
            raise _Stopped
        if done % 50 == 0:
            self.about = f"checking: {done:,} of {of:,}"
            self._tell()


def _picked(
    names: tuple[str, ...], namespace: str, start: Callable[[Callable[[], None]], _Check]
) -> str | None:
    """The name that was chosen on the screen; ``None`` for none."""
    from rich.console import Console, Group
    from rich.live import Live

    console = Console(highlight=False)
    glyphs = glyphs_for(console.encoding)
    terminal = sys.stdin.fileno()
    with ended_by_signals(), _wakened() as (wakened, wake), key_by_key(terminal):
        check = start(wake)
        picker = Picker(Offer(namespace, names, {}, check.about))
        check.start()
        try:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                for events in _events(terminal, wakened):
                    picker.now(Offer(namespace, names, check.states, check.about))
                    for event in events:
                        if event is Key.LEAVE or (event is Key.ENTER and picker.name is not None):
                            return None if event is Key.LEAVE else picker.name
                        picker.press(event, console.height)
                    lines = picture(picker.offer, picker.choice, console.size, glyphs)
                    live.update(Group(*lines), refresh=True)
        finally:
            check.stop()
    return None


class Picker:
    """What is offered, what was typed, and which Service is meant."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.choice = Choice()
        self._touched = False

    @property
    def name(self) -> str | None:
        """The Service under the cursor; ``None`` where none fits."""
        fitting = self.offer.fitting(self.choice.query)
        return fitting[self.choice.at][0] if fitting else None

    def now(self, offer: Offer) -> None:
        """More is known. The cursor stays with its Service once it was moved, whatever place that has now."""
        if offer == self.offer:
            return
        meant, self.offer = self.name, offer
        if self._touched:
            names = [name for name, _ in offer.fitting(self.choice.query)]
            self.choice = Choice(self.choice.query, names.index(meant) if meant in names else 0)

    def press(self, key: Key | str, page: int) -> None:
        """A key that chooses nothing yet: it changes what was typed, or moves the cursor."""
        self._touched = True
        query, at = self.choice.query, self.choice.at
        match key:
            case Key.ERASE:
                query = query[:-1]
            case Key.CLEAR:
                query = ""
            case Key.UP:
                at -= 1
            case Key.DOWN:
                at += 1
            case Key.PAGE_UP:
                at -= page
            case Key.PAGE_DOWN:
                at += page
            case Key.FIRST:
                at = 0
            case Key.LAST:
                at = len(self.offer.names)
            case Key.ENTER | Key.LEAVE:
                pass
            case _:
                query += key
        if query != self.choice.query:
            at = 0
        last = len(self.offer.fitting(query)) - 1
        self.choice = Choice(query, max(0, min(at, last)))


def _events(terminal: int, wakened: int) -> Iterator[Iterable[Key | str]]:
    """Keys as they are pressed, none where there is only more to see; it ends where the terminal does."""
    keys = Keys()
    yield ()
    while True:
        ready, _, _ = select.select([terminal, wakened], [], [], ESCAPE_SECONDS if keys.open else None)
        if wakened in ready:
            os.read(wakened, 4096)
        if terminal in ready:
            data = b""
            with contextlib.suppress(OSError):  # it has gone
                data = os.read(terminal, 4096)
            if not data:
                return
            yield list(keys.feed(data))
        else:
            yield () if ready else list(keys.ended())


@contextlib.contextmanager
def _wakened() -> Iterator[tuple[int, Callable[[], None]]]:
    """What becomes readable where there is more to see: when the function is called, or the window's size changes.

    The pipe stays open as long as the process, for a thread that ends later.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wake() -> None:
        with contextlib.suppress(BlockingIOError):  # enough is waiting there
            os.write(writing, b"\0")

    before = signal.signal(signal.SIGWINCH, lambda number, frame: wake())
    try:
        yield reading, wake
    finally:
        signal.signal(signal.SIGWINCH, before)
