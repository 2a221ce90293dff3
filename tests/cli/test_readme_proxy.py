"""The README's section on forwarding itself: each command serves on a node, and is ended or cleans up."""

import shlex

from documents import ROOT, section, shell_lines
from test_proxy_command import node, world  # noqa: F401  (the node that the commands run on)

COMMANDS = shell_lines(section((ROOT / "README.md").read_text(), "When kube-proxy does not forward"))


def test_every_command_of_the_section_runs(node):  # noqa: F811
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        program, proxy, *words = shlex.split(command)
        assert (program, proxy) == ("svcdoctor", "proxy")
        if words == ["cleanup"]:
            assert node.proxy(*words).wait() == 0
            continue
        running = node.serving(*words, api="--endpoints" not in words)
        assert running.out[0].startswith("Serving"), command
        if "--metrics" in words:
            metrics, healthz = (words[words.index(option) + 1] for option in ("--metrics", "--healthz"))
            assert "endpoint_answers{" in node.sh(node.node, f"curl -s http://{metrics}/metrics")
            assert "200 OK" in node.sh(node.node, f"curl -s -D - http://{healthz}/healthz")
        if "--endpoints" in words:
            assert {node.ask("127.0.0.1", 8080, node.node) for _ in range(40)} == {"web-1", "web-2"}
        assert running.end() == 0, command
