"""The README's section for pipelines: each command runs, and ends as the text says."""

import shlex

import pytest
import yaml
from documents import ROOT, blocks, section, shell_lines

SECTION = section((ROOT / "README.md").read_text(), "In a pipeline")
COMMANDS = shell_lines(SECTION)
# What is broken in the fixtures on purpose ends with 1.
BROKEN = ("check -n truth --snapshot fixtures/captures", "lint -f", "diff ")


def ending(command):
    if "--baseline" in command:
        return 0
    return 1 if any(words in command for words in BROKEN) else 0


@pytest.fixture
def here(tmp_path):
    """A folder with the repository's fixtures, in which a command may write its reports."""
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    return tmp_path


def test_every_command_of_the_section_runs(run, serve, here):
    live = serve("fixtures/captures/iptables.tar.gz")
    assert len(COMMANDS) > 8
    for command in COMMANDS:
        done = run(*shlex.split(command), cwd=here, kubeconfig=live.kubeconfig_file)
        assert done.returncode == ending(command), f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout or "json=" in command
    assert (here / "report.xml").read_text().startswith("<?xml")
    assert (here / "report.sarif").exists()


def test_its_reachability_test_is_a_real_one(run, here):
    [block] = blocks(SECTION, "yaml")
    assert yaml.safe_load(block.text)["kind"] == "ReachabilityTest"
    (here / "reach.yaml").write_text(block.text)
    done = run("test", "reach.yaml", "--snapshot", "fixtures/captures/iptables.tar.gz", cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
