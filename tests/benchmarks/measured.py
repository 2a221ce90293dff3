"""What the benchmarks measure with: one process's time and memory, and whether a ratio keeps its bound."""

import os
import sys
import time


def timed(command):
    """Seconds and peak memory (bytes) of one process."""
    started = time.perf_counter()
    pid = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def report(what, value, bound, unit="", least=False):
    ok = value >= bound if least else value <= bound
    print(f"{'ok ' if ok else 'BAD'} {what}: {value:,.2f}{unit} (bound {bound:,}{unit})")
