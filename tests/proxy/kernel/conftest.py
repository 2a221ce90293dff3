"""What a test of kernel mode needs: the oracle's node for packets, and a node with clients and pods for connections."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "dataplane"))

from kernel_world import KernelWorld
from oracle import Oracle, missing
from piping import Namespaces


def _absent(reason: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture(scope="session")
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    reason = missing()
    if reason:
        _absent(f"no oracle: {reason}")
    node = Oracle.start(tmp_path_factory.mktemp("oracle") / "lock")
    request.config.compared_with_the_kernel.update(node.compared)
    node.compared = request.config.compared_with_the_kernel  # tests/conftest.py prints it
    yield node
    node.close()


@pytest.fixture(scope="session")
def world() -> Iterator[KernelWorld]:
    """One for all tests."""
    wanted = ("unshare", "nsenter", "ip", "nft", "conntrack", "sysctl")
    absent = [name for name in wanted if shutil.which(name) is None]
    if absent or os.getuid() != 0:
        _absent(f"network namespaces need root and {', '.join(absent) or 'nothing else'}")
    made = Namespaces()
    try:
        found = KernelWorld(made)
        yield found
        found.close()
    finally:
        made.close()


@pytest.fixture
def node(world: KernelWorld) -> Iterator[KernelWorld]:
    """The world with no rules on its node."""
    world.clear()
    yield world
    world.clear()
