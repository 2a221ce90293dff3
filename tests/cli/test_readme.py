"""Every command of the README runs, and its picture is what the program prints."""

import re
import shlex

import pytest
from documents import ROOT, blocks, inline, section, shell_lines

README = (ROOT / "README.md").read_text()
WORLD = "tests/cli/readme_world.yaml"


# tests/lab/test_lab_readme.py has these, test_the_forwards here this.
ELSEWHERE = (
    "What the nodes really do",
    "A network to break",
    "A port-forward that stays",
    "Seen, not predicted",
    "In a pipeline",
    "When kube-proxy does not forward",  # tests/cli/test_readme_proxy.py
    "Pages and pictures",
)


def here():
    """The commands of the other sections."""
    elsewhere = {line for name in ELSEWHERE for line in shell_lines(section(README, name))}
    return [line for line in shell_lines(README) if line not in elsewhere]


def table_commands():
    return re.findall(r"\| `(svcdoctor [^`]+)` \|", README)


def inline_commands():
    return [c for c in inline(README) if c.startswith("svcdoctor ") and c not in table_commands()]


def test_the_picture_is_what_the_program_prints(run):
    [block] = blocks(README, "console")
    [step] = block.steps
    done = run(*shlex.split(step.command))
    assert done.returncode == 0
    assert done.stdout.splitlines() == list(step.printed)


def test_the_two_commands_of_a_newcomer():
    one, two = [line for line in here() if "venv" in line]
    assert one.endswith("svcdoctor trace svc/bq-api-service-1 --snapshot fixtures/nodeport")
    assert two.endswith(".venv/bin/pytest -q")
    # .ci/run sets up and runs the tests in the same words.
    ci = (ROOT / ".ci" / "run").read_text()
    assert "python3 -m venv .venv" in ci
    assert "-e '.[test]'" in ci
    assert ".venv/bin/pytest -q" in ci


@pytest.mark.parametrize(
    "command", [*table_commands(), *(c for c in here() if c.startswith("kubectl svcdoctor"))]
)
def test_the_commands_for_a_cluster(run, serve, tmp_path, command):
    server = serve(WORLD)
    kubeconfig = tmp_path / "prod"
    text = server.kubeconfig_file.read_text()
    context = re.search(r"current-context: (\S+)", text)[1]
    kubeconfig.write_text(text.replace(context, "prod"))
    words = shlex.split(command)
    if "-f" in words:
        words[words.index("-f") + 1] = str(ROOT / WORLD)
    done = run(*words, kubeconfig=kubeconfig)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "healthy" in done.stdout
    assert "10.244.1." in done.stdout or "-f" in words


def test_without_a_cluster_at_hand(run, serve, tmp_path):
    server = serve(WORLD)
    dump, trace = [c for c in here() if "cluster.json" in c]
    made = run("bash", "-c", dump, kubeconfig=server.kubeconfig_file, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = run(*shlex.split(trace), cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "10.244.1.6:8080" in done.stdout
    assert "not known" not in done.stdout


def test_the_commands_in_sentences(run, serve, tmp_path):
    server = serve(WORLD)
    seen = []
    for command in inline_commands():
        words = shlex.split(command)
        if words[1] == "lab":
            continue  # tests/cli/test_lab_command.py and tests/lab
        done = run(*words, kubeconfig=server.kubeconfig_file, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        seen.append(words[1])
    assert seen == ["snapshot", "snapshot", "cleanup"]


def test_the_pages_and_pictures(run, serve, tmp_path):
    server = serve(WORLD)
    lines = shell_lines(section(README, "Pages and pictures"))
    for line in lines:
        done = run(*shlex.split(line), kubeconfig=server.kubeconfig_file, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("flowchart")  # the last one's
    assert (tmp_path / "check.xml").read_text().startswith("<?xml")
    for name in ("check.html", "web.html"):
        assert (tmp_path / name).read_text().startswith("<!doctype html>")


def test_the_forwards(forward, world, tmp_path):
    """Each as it stands there, but for local ports that may be taken, and names that this world has otherwise."""
    names = {"8080:80": "0:80", "http": "web", "svc/db": "svc/headless", "5432": "0:28080", "1080": "0"}
    script = tmp_path / "smoke-test.sh"
    script.write_text("#!/bin/sh\necho tested $SVCDOCTOR_PORT\nexit 4\n")
    script.chmod(0o755)
    ended = []
    for line in shell_lines(section(README, "A port-forward that stays")):
        program, words = shlex.split(line)[:3], [names.get(w, w) for w in shlex.split(line)[3:]]
        assert program == ["kubectl", "svcdoctor", "forward"]
        running = forward(*words, program=program)
        if "--" in words:
            ended.append(running.wait())
            assert any(re.fullmatch(r"tested \d+", line) for line in running.out)
            continue
        running.until(lambda found=running: found.out)
        if "--socks5" in words:
            assert running.out[0].startswith("SOCKS 5 on 127.0.0.1:")
        else:
            assert running.ask(running.ports[0][1]).startswith("web-")
        ended.append(running.end())
    assert ended == [0, 0, 0, 4, 0]
