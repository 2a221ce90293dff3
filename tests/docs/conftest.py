"""Following documents, each in a folder of its own."""

import os
import shutil

import pytest
from asuser import environment
from documents import ROOT
from reader import WRITE, reading
from test_lab_network import unusable


@pytest.fixture
def follow(tmp_path):
    """``follow("docs/tutorial.md")`` runs every command of a document, and fails with all that is not as it says."""
    with reading(tmp_path) as reader:

        def through(name):
            wrong = reader.follow(ROOT / name)
            head = f"{WRITE}=1 pytest tests/docs writes what is printed; {len(wrong)} differ:"
            assert not wrong, "\n\n".join([head, *wrong])
            return reader.ran

        yield through


@pytest.fixture
def kubectl_environment(tmp_path):
    """A home of its own for kubectl. Skips where it is not installed; never in CI."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI"):
            pytest.fail("kubectl is not installed")
        pytest.skip("kubectl is not installed")
    return environment(tmp_path)


@pytest.fixture
def lab_possible():
    """Skips where no lab can be made; never in CI."""
    why = unusable()
    if why is not None:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
