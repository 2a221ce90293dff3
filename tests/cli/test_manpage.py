"""The manual page: made of the commands as they are, and roff that its readers take without a word."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from svcdoctor.cli.commandtree import root
from svcdoctor.cli.main import COMMANDS
from svcdoctor.cli.manpage import page

PAGE = Path(__file__).parents[2] / "plugins/man/svcdoctor.1"


def test_the_page_is_that_of_the_commands():
    """After a change of commands or options: python -m svcdoctor.cli.manpage > plugins/man/svcdoctor.1"""
    assert page() == PAGE.read_text()


@pytest.fixture(scope="module")
def shown():
    """What a person reads."""
    if shutil.which("groff") is None:
        reason = "groff is not installed"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-cbou", "-rLL=200n"],
        input=page(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_command_and_option_is_in_it(shown):
    words = re.sub(r"\s+", " ", shown)
    commands = root().commands
    assert list(commands) == list(COMMANDS)
    for name, command in commands.items():
        assert f"svcdoctor {name} " in words
        assert command.help in words
    trace = commands["trace"]
    for option in trace.options:
        assert f"{option.words[0]}" in words
        assert option.help in words


def test_examples_can_be_copied(shown):
    assert re.search(r"^ +svcdoctor check -A -o junit=report.xml$", shown, re.M)
    assert re.search(r"^ +kubectl svcdoctor trace svc/web -n shop --context prod$", shown, re.M)
    assert "-\\" not in shown
    assert "‐" not in shown, "a hyphen that no shell takes for a minus"
