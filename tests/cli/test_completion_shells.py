"""``svcdoctor completion``: the real shells complete by its scripts, on a terminal, against the lab's API server."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from asuser import environment
from screen import Screen

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.store import ObjectStore
from svcdoctor.sources.files import raw_objects

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server():
    with ApiServer(ObjectStore(raw_objects(ROOT / "fixtures/captures/iptables.tar.gz"))) as server:
        yield server


@pytest.fixture
def user(server, tmp_path):
    """A user's environment, in a folder with one file."""
    (tmp_path / "dump.json").write_text("{}")
    server.write_kubeconfig(tmp_path / "kubeconfig", namespace="truth")
    return environment(tmp_path, tmp_path / "kubeconfig", TERM="xterm", HISTFILE="", LC_ALL="C.UTF-8")


@pytest.fixture
def terminal(user, tmp_path):
    """``terminal("bash", "-i")``: the shell on a terminal, in the user's folder."""
    with contextlib.ExitStack() as stack:

        def start(*words):
            needed(words[0])
            screen = Screen(words, user, columns=120, before=lambda: os.chdir(tmp_path))
            stack.callback(screen.close)
            return screen

        yield start


def needed(shell):
    if shutil.which(shell) is None:
        reason = f"{shell} is not installed"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def complete(screen, typed, completed):
    """Types a line and Tab; the shell makes the other one of it."""
    screen.type(b"\x15")  # the line before is dropped
    screen.type(f"{typed}\t".encode())
    screen.until(lambda: any(line.endswith(f"$ {completed}".rstrip()) for line in screen.lines))


ROWS = [
    ("svcdoctor tra", "svcdoctor trace "),
    ("svcdoctor trace --conte", "svcdoctor trace --context "),
    ("svcdoctor trace --context=svcd", "svcdoctor trace --context=svcdoctor-lab "),
    ("svcdoctor trace svc/np-cl", "svcdoctor trace svc/np-cluster "),
    ("svcdoctor trace svc/np-cluster:8", "svcdoctor trace svc/np-cluster:80 "),
    ("svcdoctor trace svc/np-cluster:adm", "svcdoctor trace svc/np-cluster:admin "),
    ("svcdoctor trace -n default svc/kub", "svcdoctor trace -n default svc/kubernetes "),
    ("svcdoctor trace ingr", "svcdoctor trace ingress/"),
    ("svcdoctor trace --snapshot du", "svcdoctor trace --snapshot dump.json "),
    ("kubectl-svcdoctor trace svc/np-cl", "kubectl-svcdoctor trace svc/np-cluster "),
]


@pytest.mark.parametrize(
    ("shell", "script"),
    [
        (["bash", "--norc", "--noprofile", "-i"], "source <(svcdoctor completion bash); PS1='$ '"),
        (
            ["zsh", "-f", "-i"],
            "autoload -Uz compinit; compinit -u -D; source <(svcdoctor completion zsh); PS1='$ '",
        ),
    ],
    ids=["bash", "zsh"],
)
def test_a_shell_completes_on_a_terminal(terminal, shell, script):
    screen = terminal(*shell)
    screen.type(f"{script}; clear; echo rea''dy\n".encode())
    screen.until(lambda: screen.lines[0] == "ready" and "$" in screen.lines[1])
    for typed, completed in ROWS:
        complete(screen, typed, completed)
    screen.type(b"\x15echo go''ne on\n")
    screen.until(lambda: "gone on" in screen.lines)


def test_fish_completes(user, tmp_path):
    needed("fish")
    asked = dict(ROWS)
    lines = "; ".join(f"complete -C '{typed}'; echo end" for typed in asked)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"svcdoctor completion fish | source; {lines}"],
        env=user,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    answers = done.stdout.split("end\n")
    for (typed, completed), answer in zip(asked.items(), answers, strict=False):
        values = [line.partition("\t")[0] for line in answer.splitlines()]
        assert values == [completed.split()[-1]], typed


def test_bash_without_bash_completion_keeps_quotes_and_evaluates_nothing(user, tmp_path):
    """What stands on the line is never run: completion functions that evaluate it would."""
    script = ROOT / "svcdoctor/cli/shells/bash/svcdoctor"
    line = 'svcdoctor trace $(touch evil) `touch evil` "svc/np-cl'
    words = ["svcdoctor", "trace", "$(touch evil)", "`touch evil`", '"svc/np-cl']
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    code = (
        f"source {script}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({quoted}); COMP_CWORD=4; "
        'compopt() { :; }; _svcdoctor; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", code], env=user, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_the_script_is_printed_and_nothing_else(user, shell, tmp_path):
    done = subprocess.run(
        ["svcdoctor", "completion", shell], env=user, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "__complete" in done.stdout


def looked_at(environment, *words):
    """All that a person sees who prints the script."""
    screen = Screen(words, environment, columns=200)
    try:
        assert screen.wait() == 0
        return screen.seen.replace("\r\n", "\n")
    finally:
        screen.close()


def test_who_prints_it_is_told_that_kubectl_does_not_find_the_plugin(user, tmp_path):
    program = Path(sys.executable).with_name("svcdoctor")
    (tmp_path / "kubectl").symlink_to(shutil.which("kubectl") or "/bin/true")
    elsewhere = user | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    lacking = "kubectl-svcdoctor and kubectl_complete-svcdoctor"
    note = f"note: kubectl does not find {lacking} on PATH: add {program.parent} to PATH\n"
    assert looked_at(elsewhere, str(program), "completion", "bash").endswith(note)
    assert "note:" not in looked_at(user, str(program), "completion", "bash")
    # A shell that reads it when it starts is told nothing.
    assert "note:" not in looked_at(elsewhere, "sh", "-c", f"{program} completion bash | cat")
