"""The README's section on forwarding itself: each command serves on a node, and is ended or cleans up."""

import re
import shlex
from pathlib import Path

from test_proxy_command import node, world  # noqa: F401  (the node that the commands run on)

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = next(s for s in README.split("\n## ") if s.startswith("When kube-proxy does not forward"))


def test_every_command_of_the_section_runs(node):  # noqa: F811
    [block] = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    commands = block.strip().splitlines()
    assert len(commands) == 6
    for command in commands:
        program, proxy, *words = shlex.split(command)
        assert (program, proxy) == ("svcdoctor", "proxy")
        if words == ["cleanup"]:
            assert node.proxy(*words).wait() == 0
            continue
        running = node.serving(*words)
        assert running.out[0].startswith("Serving"), command
        assert running.end() == 0, command
