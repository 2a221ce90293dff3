"""A capture from its beginning to its end: live on this node, or from a file. Bounded, and ended in good order."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from svcdoctor.capture.captured import Capture, Frame, Window, frames_of
from svcdoctor.capture.connection import NANOSECONDS
from svcdoctor.capture.doorfilter import compiled
from svcdoctor.capture.doors import Doors
from svcdoctor.capture.frame import LINKS
from svcdoctor.capture.joiner import Joiner
from svcdoctor.capture.news import Tally, Tell
from svcdoctor.capture.ringblock import ring_frames
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.probe.sniffing.file import CaptureFile
from svcdoctor.probe.sniffing.sniff import RETIRED, Sniffer
from svcdoctor.probe.sniffing.translating import Translations

SETTLED = NANOSECONDS // 5
"""How old a connection is when it is told of live: its legs and an answer have mostly been seen by then."""

Names = dict[int, str]
"""Names of interfaces by the numbers that frames have them by; filled as they are met."""

_TICK = 100  # milliseconds
_SIGNALS = tuple(s for s in signal.Signals if s.name in ("SIGINT", "SIGTERM", "SIGHUP"))


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a capture ends at the latest, ``None`` for never."""

    packets: int | None = None
    seconds: float | None = None
    octets: int | None = None


@dataclass(slots=True)
class Ended:
    """How it went. ``packets`` and ``octets`` are those of the Service, at each interface on which they were seen.

    ``dropped`` are packets lost for want of room, ``None`` where the file does not say; ``apart`` says why connection
    tracking did not help; ``written`` are the packets in the new file; ``skipped`` are link types that are not decoded,
    with their frames; ``cut`` says where a file is not whole.
    """

    tally: Tally
    reason: str = ""
    packets: int = 0
    octets: int = 0
    seconds: float = 0.0
    dropped: int | None = None
    apart: str = ""
    written: int = 0
    cut: str = ""
    skipped: dict[int, int] = field(default_factory=dict)
    interfaces: dict[int, str] = field(default_factory=dict)


class Stop:
    """Whether a signal has told us to end. A second one ends the process as if nobody listened."""

    def __init__(self) -> None:
        self.reason = ""
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Stop:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._told)
        return self

    def _told(self, number: int, frame: FrameType | None) -> None:
        self.reason = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.__exit__()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()


Open = Callable[[], CaptureFile | None]
"""Makes the file that is written, if there is to be one: when it is certain that there is something to capture."""


class _Taking:
    """What live captures and files have in common: frames to the joiner, the Service's to the file, and the bounds."""

    def __init__(self, doors: Doors, tell: Tell, limits: Limits, live: bool) -> None:
        self.joiner = Joiner(doors, tell, live=live)
        self.file: CaptureFile | None = None
        self.limits = limits
        self.ended = Ended(self.joiner.tally)
        self._most = limits.packets if limits.packets is not None else sys.maxsize
        self._room = limits.octets if limits.octets is not None else sys.maxsize

    @contextmanager
    def writing(self, opened: Open) -> Iterator[None]:
        """With the file, which is whole afterwards, whatever happens meanwhile."""
        self.file = file = opened()
        try:
            yield
        except BaseException:
            if file is not None:
                file.abandon()
            raise
        self.joiner.table.finish()
        if file is not None:
            self.ended.written = file.packets
            file.close(self.ended.dropped)

    def counted(self, wire: int) -> bool:
        """Counts a packet of the Service, and whether it was the last one."""
        ended = self.ended
        ended.packets += 1
        ended.octets += wire
        if ended.packets >= self._most:
            ended.reason = f"{self._most:,} packets"
        elif ended.octets >= self._room:
            ended.reason = f"{self._room:,} bytes"
        return bool(ended.reason)


def capture_live(doors: Doors, tell: Tell, opened: Open, limits: Limits, stop: Stop, names: Names) -> Ended:
    """Capture on this node until a limit is reached or ``stop`` says so.

    Raises SvcdoctorError where that is not permitted, or the file cannot be written.
    """
    taking = _Taking(doors, tell, limits, live=True)
    ended = taking.ended
    translations = Translations()
    try:
        for t in translations.listed():
            taking.joiner.table.translate(t.protocol, t.original, t.translated, 0)
        sniffer = Sniffer(compiled(doors.doors))
        try:
            with taking.writing(opened):
                _sniff(taking, doors, sniffer, translations, stop, names)
                ended.dropped = sniffer.dropped()
        finally:
            sniffer.close()
    finally:
        translations.close()
    ended.apart = translations.why or ("there was too much of it at once" if translations.lost else "")
    return ended


def _sniff(
    taking: _Taking, doors: Doors, sniffer: Sniffer, translations: Translations, stop: Stop, names: Names
) -> None:
    joiner, ended, limits = taking.joiner, taking.ended, taking.limits
    table = joiner.table
    poll = select.poll()
    poll.register(sniffer.fileno(), select.POLLIN)
    began = time.monotonic()
    until = began + limits.seconds if limits.seconds is not None else float("inf")
    swept = began
    last = False  # what is in the ring when the time is over still counts
    while not ended.reason:
        if last:
            ended.reason = stop.reason or f"{limits.seconds:g} s"
        else:
            left = max(until - time.monotonic(), 0) * 1000
            poll.poll(min(left, _TICK))
        for block in sniffer.blocks():
            now = time.time_ns()
            for t in translations.new():  # what the block's packets were translated to has been told by now
                table.translate(t.protocol, t.original, t.translated, now)
            if _frames(taking, block, names):
                break
            if not last and (stop.reason or time.monotonic() > until):
                break  # it cannot keep up with what comes
        if taking.file is not None:
            taking.file.flush()
        now = time.time_ns()
        for t in translations.new():
            table.translate(t.protocol, t.original, t.translated, now)
        if table.learned:
            doors = _also(doors, joiner)
            with suppress(OSError):
                sniffer.attach(compiled(doors.doors))
        table.settle(now, SETTLED)
        tick = time.monotonic()
        if tick - swept > 1:
            table.sweep(now)
            swept = tick
        if not last and (stop.reason or tick >= until):
            last = True
            time.sleep(RETIRED * 1.5 / 1000)
    ended.seconds = time.monotonic() - began


def _also(doors: Doors, joiner: Joiner) -> Doors:
    for door in joiner.table.learned:
        doors = doors.also(door)
    joiner.table.learned.clear()
    return doors


def _frames(taking: _Taking, block: bytes, names: Names) -> bool:
    """Takes a block's frames, and whether that was enough."""
    take, file = taking.joiner.take, taking.file
    met = taking.ended.interfaces
    for frame in ring_frames(block):
        buf, start, end, wire, at, interface, way, link = frame
        name = names[interface]  # what is told while it is taken names it
        half = take(*frame)
        if half is None:
            continue
        met[interface] = name
        if file is not None:
            file.add(half, buf[start:end], wire, at, interface, way, name, link)
        if taking.counted(wire):
            return True
    return False


def capture_read(
    name: str, doors: Doors, tell: Tell, opened: Open, limits: Limits, stop: Stop, names: Names
) -> Ended:
    """The same with the frames of a file; ``-`` is standard input. ``limits.seconds`` are the file's own time.

    What comes by a pipe is told of as it comes.

    Raises SvcdoctorError where it cannot be read or is no capture.
    """
    with _opened(name) as fd:
        piped = not stat.S_ISREG(os.fstat(fd).st_mode)
        taking = _Taking(doors, tell, limits, live=piped)
        window = Window(_reader(fd, taking, stop) if piped else lambda size: os.read(fd, size))
        capture = Capture(window)
        frames = frames_of(capture, _label(name))
        with taking.writing(opened):
            _read(taking, capture, frames, stop, names)
        return taking.ended


def _read(taking: _Taking, capture: Capture, frames: Iterator[Frame], stop: Stop, names: Names) -> None:
    ended, limits, file = taking.ended, taking.limits, taking.file
    take = taking.joiner.take
    table = taking.joiner.table
    first = latest = -1
    for frame in frames:
        buf, start, end, wire, at, interface, way, link = frame
        if first < 0:
            first = at
        if at > latest:
            table.settle(at, SETTLED)
            latest = at
        if limits.seconds is not None and at - first > limits.seconds * NANOSECONDS:
            ended.reason = f"{limits.seconds:g} s"
            break
        if link not in LINKS:
            ended.skipped[link] = ended.skipped.get(link, 0) + 1
            continue
        if interface not in names:
            names[interface] = capture.interfaces[interface]
        half = take(*frame)
        if half is not None:
            ended.interfaces[interface] = names[interface]
            if file is not None:
                file.add(half, buf[start:end], wire, at, interface, way, names[interface], link)
            if taking.counted(wire):
                break
        if stop.reason:
            break
    ended.reason = ended.reason or stop.reason or "the end of the file"
    ended.seconds = max(latest - first, 0) / NANOSECONDS
    ended.cut = "" if stop.reason else capture.cut
    ended.dropped = capture.dropped if capture.dropped else None


def _label(name: str) -> str:
    return "standard input" if name == "-" else name


@contextmanager
def _opened(name: str) -> Iterator[int]:
    try:
        fd = os.dup(sys.stdin.fileno()) if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise SvcdoctorError(f"{_label(name)} cannot be read: {e.strerror}") from None
    try:
        yield fd
    except IsADirectoryError:
        raise SvcdoctorError(f"{_label(name)} is a folder, no capture") from None
    finally:
        os.close(fd)


def _reader(fd: int, taking: _Taking, stop: Stop) -> Callable[[int], bytes]:
    """Reads from what may say nothing for long: with an ear for signals, and what has come is told meanwhile."""

    def read(size: int) -> bytes:
        while not stop.reason:
            if select.select([fd], [], [], _TICK / 1000)[0]:
                return os.read(fd, size)
            taking.joiner.table.settle(sys.maxsize, 0)
            if taking.file is not None:
                taking.file.flush()
        return b""

    return read
