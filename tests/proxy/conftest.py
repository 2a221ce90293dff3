"""Nothing may be left behind, and what a test needs of the kernel."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from piping import Forwarding, Namespaces


def descriptors() -> set[str]:
    return {f"{p.name} {p.readlink()}" for p in Path("/proc/self/fd").iterdir() if p.is_symlink()}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every test closes what it opened, without the garbage collector's help."""
    gc.disable()
    threads, before = set(threading.enumerate()), descriptors()
    yield
    until = time.monotonic() + 5  # what was told to end may need its turn
    while (set(threading.enumerate()) - threads or descriptors() - before) and time.monotonic() < until:
        time.sleep(0.01)
    gc.enable()
    assert not set(threading.enumerate()) - threads
    assert not descriptors() - before


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def forwarding() -> Iterator[Forwarding]:
    with Forwarding() as made:
        yield made


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        reason = f"network namespaces need root and {', '.join(missing) or 'nothing else'}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    made = Namespaces()
    yield made
    made.close()
