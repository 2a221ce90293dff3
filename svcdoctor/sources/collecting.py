"""Collecting facts of nodes: what ``--node-facts`` does alike, whatever way leads to a node.

Theory. A way to a node is one function that runs an argument list there (``Run``). The table in ``dumpnames``
says what is run; each command is bounded in time and output, and each node in time. What cannot be had is
missing with its reason, for that dump and that node alone. A few nodes are asked at once; when somebody
interrupts, all running commands are ended before the interruption goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import Dump, NodeFacts
from svcdoctor.sources.dumpnames import COLLECTED, Arguments, Collected
from svcdoctor.sources.nodedumps import kept, usable_facts
from svcdoctor.sources.podexec import Output, Streams

AT_ONCE = 4
"""Nodes that are asked at the same time."""

MAX_NODES = 200
"""Nodes that are asked at most, where none are named."""

_ENDING = 15.0  # seconds that running work may take to end after an interruption


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that one command and that one node may take, and the bytes that one command may write."""

    command: float = 20.0
    node: float = 75.0
    output: int = 256 << 20


DEFAULT_LIMITS = Limits()


class NotRun(Exception):
    """A command has no usable output. ``program`` is set where there is no such program; ``node`` is true
    where no other command would fare better."""

    def __init__(self, reason: str, *, program: str = "", node: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.program = program
        self.node = node


Run = Callable[[Arguments, float, int], Output]
"""Runs an argument list within so many seconds and bytes of output. Raises NotRun."""


def collect(
    node: str,
    run: Run,
    limits: Limits,
    clock: Callable[[], float] = time.monotonic,
    names: Collection[str] | None = None,
) -> NodeFacts:
    """All dumps of a node that can be had, or those of the given names, and why the others are missing."""
    one_node = _Node(run, limits, clock)
    dumps: dict[str, Dump] = {}
    missing: dict[str, str] = {}
    over: NotRun | None = None
    for wanted in COLLECTED:
        if wanted.unless in dumps or (names is not None and wanted.name not in names):
            continue
        try:
            if over is not None:
                raise over
            arguments, output = one_node.first(wanted)
            where = f"node {node}: {' '.join(arguments)}"
            dumps[wanted.name] = Dump(where, kept(wanted.name, output.stdout))
        except NotRun as e:
            missing[wanted.name] = e.reason
            over = e if e.node else None
    return usable_facts(node, dumps, missing)


def nothing_known(node: str, reason: str) -> NodeFacts:
    """The facts of a node that could not be asked at all."""
    return NodeFacts(node, missing={one.name: reason for one in COLLECTED})


class _Node:
    """The commands of one node: its deadline, and what it turned out to lack."""

    def __init__(self, run: Run, limits: Limits, clock: Callable[[], float]) -> None:
        self._run = run
        self._limits = limits
        self._clock = clock
        self._end = clock() + limits.node
        self._absent: dict[str, str] = {}
        self._loaded: dict[str, bool] = {}

    def first(self, wanted: Collected) -> tuple[Arguments, Output]:
        """The first of the dump's commands that works, and its output. Raises NotRun."""
        if wanted.shows and not self._is_loaded(wanted.shows):
            program = wanted.commands[0][0]
            raise NotRun(
                f"{wanted.shows} cannot be read: the kernel has not loaded what {program} asks for, so there is "
                "nothing to see"
            )
        problems: list[str] = []
        for arguments in wanted.commands:
            try:
                output = self._once(arguments)
            except NotRun as e:
                if e.node:
                    raise
                problems.append(e.reason)
                continue
            if output.exit_code == 0 or (wanted.tolerant and output.stdout):
                return arguments, output
            problems.append(f"{' '.join(arguments)} ended with {output.exit_code}: {_said(output)}")
        raise NotRun("; ".join(dict.fromkeys(problems)))

    def _is_loaded(self, path: str) -> bool:
        if path not in self._loaded:
            self._loaded[path] = self._once(("cat", path)).exit_code == 0
        return self._loaded[path]

    def _once(self, arguments: Arguments) -> Output:
        program = arguments[0]
        if program in self._absent:
            raise NotRun(self._absent[program], program=program)
        left = self._end - self._clock()
        if left <= 0:
            raise NotRun(f"the {self._limits.node:.3g} s that one node may take were over", node=True)
        try:
            return self._run(arguments, min(left, self._limits.command), self._limits.output)
        except NotRun as e:
            if e.program:
                self._absent[e.program] = e.reason
            raise


def _said(output: Output) -> str:
    lines = (output.stderr or output.stdout)[:2000].decode("utf-8", "replace").splitlines()
    text = next((line.strip() for line in lines if line.strip()), "without a word")
    return text if len(text) <= 200 else f"{text[:200]}…"


def each_node(
    nodes: Iterable[str],
    ask: Callable[[str], NodeFacts],
    streams: Streams,
    progress: Callable[[str], None],
) -> dict[str, NodeFacts]:
    """The facts of every node, several asked at once; ``progress`` hears a line for each that is done.

    A node whose ``ask`` raises SvcdoctorError is unknown. Any other exception ends the running commands, waits
    for the work that is under way, and goes on to the caller.
    """
    wanted = tuple(nodes)
    facts: dict[str, NodeFacts] = {}

    def asked(node: str) -> NodeFacts:
        try:
            return ask(node)
        except SvcdoctorError as e:
            return nothing_known(node, e.message)

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="svcdoctor-node")
    futures = {pool.submit(asked, node): node for node in wanted}
    try:
        for done in as_completed(futures):
            node = futures[done]
            facts[node] = done.result()
            got = len(facts[node].dumps)
            said = f"{got} dumps" if got else f"no facts: {next(iter(facts[node].missing.values()), '')}"
            progress(f"node {node} ({len(facts)} of {len(wanted)}): {said}")
    except BaseException:
        streams.end()
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in futures if not future.cancelled()], _ENDING)
        raise
    pool.shutdown()
    return {node: facts[node] for node in wanted}
