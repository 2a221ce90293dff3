"""A command of a process that has all modules in memory is the command of a process from its beginning."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import warm
from asuser import environment

from svcdoctor.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
DUMP = ("--snapshot", "fixtures/nodeport")
CAPTURE = "fixtures/captures/iptables.tar.gz"
SERVICE = "svc/bq-api-service-1"
WORDS = {
    "trace": (SERVICE, *DUMP, "-o", "json"),
    "check": (*DUMP, "--color", "always"),
    "lint": ("fixtures/nodeport",),
    "wait": (SERVICE,),
    "test": ("nowhere.yaml", *DUMP),
    "dns": ("bq-api-service-1", *DUMP),
    "snapshot": ("show", "fixtures/nodeport"),
    "forward": ("svc/web", "nonsense"),
    "proxy": ("svc/web",),
    "watch": (SERVICE,),
    "capture": ("svc/nobody", *DUMP),
    "rules": ("audit", "-A", "--snapshot", CAPTURE, "-o", "yaml"),
    "diff": ("fixtures/nodeport", CAPTURE),
    "explain": ("RUL001",),
    "codes": ("-o", "markdown"),
    "auth": ("can-i", "trace"),
    "cleanup": (),
    "completion": ("bash",),
    "lab": ("status",),
}
EVALUATED = ("rules", "eval", "--rules", "-", "192.0.2.1", "198.51.100.2:80")


@pytest.fixture
def both(tmp_path):
    """``both("trace", …)``: what came of a command, started in both ways."""

    def started(*words, **more):
        env = environment(tmp_path, XDG_RUNTIME_DIR=str(tmp_path))
        more |= {"env": env, "cwd": ROOT, "timeout": 60}
        command = ["svcdoctor", *words]
        whole = subprocess.run(command, capture_output=True, text=True, check=False, **more)
        return warm.run(command, **more), whole

    return started


@pytest.mark.parametrize(
    "words", [*((c, *WORDS.get(c, ("--help",))) for c in COMMANDS), ("--help",), ("nope",)]
)
def test_it_says_the_same_and_ends_alike(both, words):
    mine, whole = both(*words)
    assert (mine.returncode, mine.stdout, mine.stderr) == (whole.returncode, whole.stdout, whole.stderr)
    assert mine.stdout or mine.stderr


def test_standard_input_is_its_own(both):
    save = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
    mine, whole = both(*EVALUATED, input=save)
    assert (mine.returncode, mine.stdout) == (whole.returncode, whole.stdout)
    assert "dropped" in mine.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_are_its_own(tmp_path, number):
    """While it waits for a server that says nothing."""
    ends = []
    for start in (warm.Popen, subprocess.Popen):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(20)
            process = start(
                ["svcdoctor", "trace", "svc/web", "--server", f"http://127.0.0.1:{silent.getsockname()[1]}"],
                env=environment(tmp_path),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            with silent.accept()[0] as asked:
                asked.recv(1)
                assert process.poll() is None
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.05)
                process.send_signal(number)
                ends.append((*process.communicate(timeout=20), process.returncode))
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("changes", "words", "is_warm"),
    [
        ({}, ["svcdoctor", "--version"], True),
        ({"PYTHONUNBUFFERED": "1"}, ["svcdoctor", "--version"], True),
        ({"LC_ALL": "C"}, ["svcdoctor", "--version"], False),
        ({"PYTHONIOENCODING": "ascii"}, ["svcdoctor", "--version"], False),
        ({}, ["sh", "-c", "svcdoctor --version"], False),
    ],
)
def test_what_is_started_from_its_beginning(tmp_path, changes, words, is_warm):
    env = {**environment(tmp_path), **changes}
    with warm.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        parent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1]
        assert (int(parent) != os.getpid()) == is_warm
        assert process.communicate(timeout=20)[0].startswith("svcdoctor ")
    assert process.returncode == 0
