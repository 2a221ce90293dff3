"""Probing from where a command can be run: in a pod, on a node. With what is there: Python, else sh and a program.

Theory. A first command says which programs there are; then one command tries many aims, so that the time of exec is
paid once, not for every try. What the script is given is short, because it travels in a URL; longer lists of aims are
split. In somebody's own container few processes run at once: a probe must not use up its memory.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Aim, Met, Place, ProbeKind, Sample
from svcdoctor.probe import shellscript
from svcdoctor.probe.attempts import AT_ONE_AIM
from svcdoctor.probe.origin import Order, Tell
from svcdoctor.probe.shellanswers import samples
from svcdoctor.probe.spoken import shown
from svcdoctor.sources.collecting import NotRun, Run
from svcdoctor.sources.podexec import Output

LONGEST = 2400
"""Letters of the aims of one command. With the script it stays below 8 KiB, which some proxies take at most."""

PROCESSES = 16
"""Workers of sh that try aims at once, a few processes each: more would slow each other down, and look like losses."""

THREADS = 64
"""Threads of Python that try aims at once, for the same reason."""

_SLACK = 10.0  # seconds beyond the tries' own, for the command to start and to end
_FIND_SECONDS = 15.0
_LINE = 3 * shellscript.KEPT + 200  # letters of a line of sh; Python's has a certificate too
_CERTIFICATE = 16 << 10


@dataclass(frozen=True, slots=True)
class _Work:
    """One command: aims that are alike but for their address, each with its position in all."""

    positions: tuple[int, ...]
    aims: tuple[Aim, ...]


class InShell:
    """An `Origin`. ``run`` runs a command there; ``end`` cuts all that are running, and is called when the probe is
    cancelled."""

    def __init__(self, place: Place, run: Run, end: Callable[[], None], processes: int = PROCESSES) -> None:
        self.place = place
        self._run = run
        self._end = end
        self._processes = processes
        self._found: frozenset[str] | None = None

    async def observe(self, aims: Sequence[Aim], order: Order, tell: Tell) -> None:
        work = _work(aims)
        pool = ThreadPoolExecutor(max(1, len(work)), thread_name_prefix="probe-exec")
        try:
            if self._found is None:
                self._found = await asyncio.get_running_loop().run_in_executor(pool, self._find)
            async with asyncio.TaskGroup() as tasks:
                for one in work:
                    tasks.create_task(self._try(one, order, len(work), pool, tell))
        except asyncio.CancelledError:
            self._end()
            raise
        finally:
            pool.shutdown()

    def _find(self) -> frozenset[str]:
        """The programs that there are. Raises SvcdoctorError where nothing can be run."""
        try:
            output = self._run(("sh", "-c", shellscript.FIND), _FIND_SECONDS, 4096)
            return frozenset(output.stdout.decode("ascii", "replace").split())
        except NotRun as e:
            if not e.program:
                raise SvcdoctorError(f"no probe from {self.place}: {e.reason}", 3) from None
        try:
            self._run(("python3", "-c", ""), _FIND_SECONDS, 4096)
        except NotRun:
            raise SvcdoctorError(
                f"no probe from {self.place}: it has neither sh nor python3; use a pod that is made for it", 3
            ) from None
        return frozenset(("python3",))

    async def _try(
        self, work: _Work, order: Order, shares: int, pool: ThreadPoolExecutor, tell: Tell
    ) -> None:
        tool = _tool(work.aims[0], self._found or frozenset())
        if tool is None:
            self._untried(work, order, _lacking(work.aims[0]), tell)
            return
        tries = len(work.aims) * order.count
        most = min(THREADS if tool == "python3" else self._processes, order.concurrency)
        workers = min(max(1, most // shares), tries, AT_ONE_AIM * len(work.aims))
        each = order.seconds if tool == "python3" else float(max(1, math.ceil(order.seconds)))
        arguments = self._arguments(work, order, tool, workers)
        seconds = math.ceil(tries / workers) * (each + 1) + _SLACK
        limit = tries * (_LINE + (_CERTIFICATE if tool == "python3" else 0)) + 4096
        try:
            output = await asyncio.get_running_loop().run_in_executor(
                pool, self._run, arguments, seconds, limit
            )
        except NotRun as e:
            self._untried(work, order, e.reason, tell)
            return
        self._tell(work, order, samples(output.stdout, work.aims, tool, each, order.names), output, tell)

    def _arguments(self, work: _Work, order: Order, tool: str, workers: int) -> tuple[str, ...]:
        """The command."""
        aim = work.aims[0]
        listed = " ".join(f"{one.ip},{one.port}" for one in work.aims)
        if tool == "python3":
            options = msgspec.json.encode(_python_options(aim, order, workers)).decode()
            return ("python3", "-c", shellscript.PYTHON, options, listed)
        host = _host_header(aim)
        sent = aim.payload if tool.startswith("post") else _said(aim)
        if aim.kind is ProbeKind.UDP and not aim.sent:
            sent = b"\n"  # what goes through a pipe cannot be an empty datagram
        arguments = (
            str(max(1, math.ceil(order.seconds))),
            str(order.count),
            str(workers),
            aim.host,
            "https" if aim.tls else "http",
            aim.path or "/",
            str(max(0, aim.payload_size - len(aim.payload))),
            shellscript.printf_format(sent, b"" if tool.startswith("post") else host),
            listed,
        )
        return ("sh", "-c", shellscript.script(tool, "timeout" in (self._found or ())), "sh", *arguments)

    def _tell(
        self, work: _Work, order: Order, found: list[tuple[int, Sample]], output: Output, tell: Tell
    ) -> None:
        """Tell what the lines say, and of each try that has none that it has none."""
        left = [order.count] * len(work.aims)
        for position, sample in found:
            if left[position]:
                left[position] -= 1
                tell(work.positions[position], sample)
        said = shown(b" ".join(output.stderr.split())[-200:], 200)
        why = f"the command there ended without a result (exit code {output.exit_code}){': ' if said else ''}{said}"
        for position, count in enumerate(left):
            for _ in range(count):
                tell(work.positions[position], Sample(Met.ERROR, 0.0, detail=why))

    def _untried(self, work: _Work, order: Order, why: str, tell: Tell) -> None:
        for position in work.positions:
            for _ in range(order.count):
                tell(position, Sample(Met.ERROR, 0.0, detail=why))


def _work(aims: Sequence[Aim]) -> list[_Work]:
    """The aims by what is asked, in lists that are short enough."""
    alike: dict[Aim, list[tuple[int, Aim]]] = {}
    for position, aim in enumerate(aims):
        key = msgspec.structs.replace(aim, ip="", port=0, pod="")
        alike.setdefault(key, []).append((position, aim))
    work = []
    for listed in alike.values():
        size, part = 0, list[tuple[int, Aim]]()
        for position, aim in listed:
            size += len(aim.ip) + 7
            if size > LONGEST:
                work.append(_of(part))
                size, part = len(aim.ip) + 7, []
            part.append((position, aim))
        work.append(_of(part))
    return work


def _of(part: list[tuple[int, Aim]]) -> _Work:
    return _Work(tuple(position for position, _ in part), tuple(aim for _, aim in part))


def _tool(aim: Aim, found: frozenset[str]) -> str | None:
    """The best of the programs that there are for an aim: ``python3``, or a key of the scripts' tools."""
    if "python3" in found:
        return "python3"
    if "od" not in found:
        return None
    wanted: tuple[str, ...]
    match aim.kind:
        case ProbeKind.TCP:
            wanted = (
                ("said bash", "said nc-z", "said nc-e")
                if aim.sent
                else ("tcp bash", "tcp nc-z", "tcp nc-e", "tcp curl")
            )
        case ProbeKind.HTTP if aim.tls:
            wanted = ("post curl",) if aim.sent else ("http curl",)
        case ProbeKind.HTTP:
            # The last one ends its side of the connection at once, which some servers take for a leave.
            wanted = ("post curl", "said bash", "said nc-z", "said nc-e")
            if not aim.sent:
                wanted = ("http curl", "said bash", "said nc-z", "http wget-gnu", "http wget", "said nc-e")
        case ProbeKind.TLS:
            wanted = ("tls curl",)
        case ProbeKind.UDP:
            wanted = ("udp bash",)
        case ProbeKind.GRPC:
            wanted = ()
    return next((tool for tool in wanted if tool.partition(" ")[2] in found), None)


def _lacking(aim: Aim) -> str:
    needed = {
        ProbeKind.TCP: "python3, bash, nc or curl",
        ProbeKind.HTTP: "python3 or curl" if aim.tls else "python3, curl, bash, nc or wget",
        ProbeKind.TLS: "python3 or curl",
        ProbeKind.UDP: "python3 or bash",
        ProbeKind.GRPC: "python3",
    }
    return f"{aim.kind} takes {needed[aim.kind]} there (and od and head), and it has none"


def _host_header(aim: Aim) -> bytes:
    """What the Host header of `_said` has."""
    if aim.kind is not ProbeKind.HTTP:
        return b""
    from svcdoctor.probe.http import host

    return host(aim).encode()


def _said(aim: Aim) -> bytes:
    """The bytes that are sent before the filling."""
    match aim.kind:
        case ProbeKind.HTTP:
            from svcdoctor.probe.http import request

            whole = request(aim)
            return whole[: len(whole) - len(aim.sent) + len(aim.payload)]
        case ProbeKind.GRPC:
            from svcdoctor.probe.grpc import Call

            return Call(aim).start()
        case ProbeKind.TLS:
            return b""
        case _:
            return aim.payload


def _python_options(aim: Aim, order: Order, workers: int) -> dict[str, object]:
    ends = {ProbeKind.HTTP: "http", ProbeKind.GRPC: "frames", ProbeKind.UDP: "any"}
    end = ends.get(aim.kind, "any" if aim.sent else "connect")
    sent = _said(aim)
    host = _host_header(aim)
    if host and not aim.host:
        sent = sent.replace(host, b"\0host\0", 1)
    return {
        "t": order.seconds,
        "n": order.count,
        "c": workers,
        "send": sent.hex(),
        "fill": max(0, aim.payload_size - len(aim.payload)),
        "end": end,
        "udp": aim.kind is ProbeKind.UDP,
        "tls": aim.tls or aim.kind is ProbeKind.TLS,
        "sni": aim.host,
        "alpn": {ProbeKind.GRPC: "h2", ProbeKind.HTTP: "http/1.1"}.get(aim.kind, ""),
        "host": not aim.host,
    }
