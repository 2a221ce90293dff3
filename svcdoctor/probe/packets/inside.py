"""Work in a network namespace of this machine: on a thread of its own, which enters it and ends there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.netns import setns

T = TypeVar("T")


def inside(namespace: Path | None, work: Callable[[], T]) -> T:
    """What ``work`` returns or raises. ``namespace`` is a path such as ``/proc/PID/ns/net``; ``None`` is our own.

    Raises SvcdoctorError where it cannot be entered.
    """
    if namespace is None:
        return work()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(fd)
            finally:
                os.close(fd)
        except OSError as e:
            text = (
                f"cannot enter the network namespace {namespace}: {e.strerror} (it needs root, CAP_SYS_ADMIN)"
            )
            errors.append(SvcdoctorError(text, 3))
            return
        try:
            results.append(work())
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run, name="inside-netns", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
