"""The kernel as oracle: one node in a network namespace of its own for all tests that ask it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from oracle import Oracle, missing


@pytest.fixture(scope="session")
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """Skips with the reason where there can be none, but fails in CI."""
    reason = missing()
    if not reason:
        try:
            node = Oracle.start(tmp_path_factory.mktemp("oracle") / "lock")
        except (OSError, ValueError) as e:
            reason = str(e)
    if reason:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no oracle: {reason}")
    request.config.compared_with_the_kernel = node.compared  # tests/conftest.py prints it
    yield node
    node.close()
