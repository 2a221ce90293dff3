"""A pure function over many parts, in as many processes as there are processors.

The processes are forks: they have everything that was read already, and only results are sent back. Where no
process can be forked, or one is killed, its parts are done here.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

P = TypeVar("P")
R = TypeVar("R")

FEW = 4  # parts for which a fork is not worth it


def spread(work: Callable[[P], R], parts: Sequence[P]) -> Iterator[R]:
    """``map(work, parts)``. What ``work`` returns must be picklable."""
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    count = min(processors, len(parts) // FEW)
    if count < 2:
        yield from map(work, parts)
        return
    bounds = [len(parts) * n // count for n in range(count + 1)]
    shares = [parts[first:end] for first, end in pairwise(bounds)]
    children = [_fork(work, share) for share in shares[:-1]]
    try:
        last = _without_collections(work, shares[-1])
        for (_, pipe), share in zip(children, shares, strict=False):
            with os.fdopen(pipe, "rb", closefd=False) as stream:
                data = stream.read()
            try:
                yield from pickle.loads(data)
            except (pickle.UnpicklingError, EOFError):
                yield from map(work, share)
        yield from last
    finally:
        for child, pipe in children:
            os.close(pipe)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
            os.waitpid(child, 0)


def _without_collections(work: Callable[[P], R], share: Sequence[P]) -> list[R]:
    """What is made here is mostly kept, so that looking for what is not takes time and finds nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return list(map(work, share))
    finally:
        if enabled:
            gc.enable()


def _fork(work: Callable[[P], R], share: Sequence[P]) -> tuple[int, int]:
    """The child's number, and the pipe from which its results are read to the end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    # Whatever happens here, the child must not go on as if it were the program itself.
    try:
        os.close(reading)
        gc.disable()  # a collection would write to, and so copy, everything that is shared
        with os.fdopen(writing, "wb") as stream:
            pickle.dump(list(map(work, share)), stream, pickle.HIGHEST_PROTOCOL)
    except BaseException:
        pass  # the parent does these parts, and meets the same error
    finally:
        os._exit(0)
