"""Every command that people read, on narrow and wide terminals, in other locales, in pipes that end early."""

import contextlib
import gc
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from screen import Screen

from svcdoctor.cli.main import main

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
CAPTURE = "fixtures/captures/iptables.tar.gz"
FAULT = "fixtures/faults/OBJ002"
COMMANDS = {
    "trace": ("trace", "svc/np-cluster", "-n", "truth", "--snapshot", CAPTURE),
    "trace broken": (
        "trace",
        "svc/bq-api-service-1",
        "-n",
        "sales",
        "--snapshot",
        f"{FAULT}/broken.yaml",
        "-v",
    ),
    "check": ("check", "-n", "sales", "--snapshot", f"{FAULT}/broken.yaml"),
    "lint": ("lint", "-f", "fixtures/minikube-manifests"),
    "dns": ("dns", "bq-api-service-1", "-n", "sales", "--snapshot", f"{FAULT}/broken.yaml"),
    "diff": ("diff", f"{FAULT}/healthy.yaml", f"{FAULT}/broken.yaml", "-A"),
    "rules show": (
        "rules",
        "show",
        "svc/np-cluster",
        "--node",
        "node1",
        "-n",
        "truth",
        "--snapshot",
        CAPTURE,
    ),
    "rules audit": ("rules", "audit", "-A", "--snapshot", CAPTURE),
    "explain": ("explain", "OBJ002", "RUL004"),
    "codes": ("codes",),
    "test": ("test", "fixtures/reachability/capture.yaml", "--snapshot", CAPTURE),
}
DRAWN = ("trace broken", "check", "diff", "rules show", "test")
commands = pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)


def unbreakable(line):
    """Whether a line is one word of a command, which is broken nowhere."""
    return len(line.strip(" \\│├╰|+-").split()) <= 1


@pytest.fixture
def printed(monkeypatch, capsys):
    """``printed(words, columns)``: what a command prints, without starting a process for each width."""

    def call(words, columns):
        monkeypatch.setattr("sys.argv", ["svcdoctor", *words])
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as ended:
            main()
        gc.enable()  # lint leaves it off for the process that ends
        assert ended.value.code in (None, 0, 1)
        return capsys.readouterr().out.splitlines()

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", "/nonexistent")
    return call


@commands
def test_no_line_is_wider_than_the_terminal(printed, words):
    for columns in (20, 80, 120, 200):
        lines = printed(words, columns)
        assert len(lines) > 2
        assert [line for line in lines if cell_len(line) > columns and not unbreakable(line)] == []
        assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("words", [COMMANDS[n] for n in DRAWN], ids=DRAWN)
def test_the_c_locale_gets_ascii(run, printed, words):
    done = run(*words, LC_ALL="C", COLUMNS="40")
    assert done.returncode in (0, 1) and done.stderr == ""
    assert done.stdout.isascii()
    assert "?" not in done.stdout.replace("??", "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if len(line) > 40 and not unbreakable(line)] == []
    addresses = r"\d+\.\d+\.\d+\.\d+(?::\d+)?"
    assert re.findall(addresses, done.stdout) == re.findall(addresses, "\n".join(printed(words, 40)))


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LANG": "POSIX", "LC_ALL": ""},
        {"LC_CTYPE": "C", "LANG": "C", "LC_ALL": ""},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONUTF8": "1", "LC_ALL": "C"},
        {"LANG": "", "LC_ALL": "", "LC_CTYPE": ""},
    ],
    ids=str,
)
def test_every_locale(run, environment):
    """What cannot be written is spelled otherwise; where nothing says that it cannot, it is drawn."""
    done = run(*COMMANDS["trace broken"], **environment)
    assert (done.returncode, done.stderr) == (1, "")
    drawn = "PYTHONUTF8" in environment or ("LANG" in environment and not environment["LANG"])
    assert ("✘ broken" in done.stdout, "╰─" in done.stdout) == (drawn, drawn)


def test_help_in_every_locale(run):
    for environment in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}):
        for words in (("--help",), ("trace", "--help"), ("rules", "eval", "--help")):
            done = run(*words, **environment)
            assert (done.returncode, done.stderr) == (0, "")
    assert run("trace", "--help", LC_ALL="C").stdout.isascii()
    done = run("trace", "svc/größe", "--snapshot", FAULT, LC_ALL="C")
    assert done.returncode == 2 and done.stderr.isascii()


@pytest.mark.parametrize("words", [COMMANDS[n] for n in ("trace", "check", "codes")], ids=lambda w: w[0])
def test_a_reader_that_goes_away_is_no_error(run, words):
    line = shlex.join(["svcdoctor", *words])
    done = run(
        "bash", "-c", f"{line} | head -n 1; echo ${{PIPESTATUS[0]}}; {line} | true; echo ${{PIPESTATUS[0]}}"
    )
    assert done.stderr == ""
    first, *ends = done.stdout.splitlines()
    assert first and set(ends) <= {"0", "1"}


def test_closed_streams(run):
    line = shlex.join(["svcdoctor", *COMMANDS["trace"]])
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = run("bash", "-c", f"{line} {closed}; echo $?")
        assert done.stdout.splitlines()[-1] == "0", closed
        assert done.stderr == ""
    assert run("bash", "-c", f"{line} > /dev/full; echo $?").stdout == "2\n"


def test_a_home_that_cannot_be_written(run):
    for home in ("/proc", "/dev/null"):
        done = run(*COMMANDS["check"], HOME=home)
        assert (done.returncode, done.stderr) == (1, "")


@pytest.fixture
def screen(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(*words, columns=80, **environment):
            kept = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "xterm-256color"}
            kept |= {"KUBECONFIG": str(tmp_path / "none"), "PWD": str(ROOT)}
            snapshot = [str(ROOT / w) if w.startswith("fixtures/") else w for w in words]
            made = Screen(["svcdoctor", *snapshot], kept | environment, columns, 200)
            stack.callback(made.close)
            return made

        yield start


def test_colours_and_their_absence(screen):
    words = COMMANDS["trace broken"]
    coloured = screen(*words)
    assert coloured.wait() == 1 and "red" in coloured.colours
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = screen(*words, **environment)
        assert plain.wait() == 1
        assert plain.colours == {"default"}
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]", plain.seen)


@pytest.mark.parametrize("columns", [20, 120])
def test_the_terminals_own_width_counts(screen, columns):
    shown = screen(*COMMANDS["trace"], columns=columns, NO_COLOR="1")
    assert shown.wait() == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.seen).split("\r\n")
    assert max(map(cell_len, lines)) <= columns
    assert max(map(cell_len, lines)) > columns * 0.6
