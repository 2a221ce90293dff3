"""``svcdoctor`` alone: a picker in a real pseudo-terminal against the lab's API server, and help elsewhere."""

import contextlib
import json
import os
import signal
import sys
import tarfile
import termios
from pathlib import Path

import pytest
import yaml
from screen import ALTERNATE, HIDDEN, NORMAL, SHOWN, Screen

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
CAPTURE = "fixtures/captures/iptables.tar.gz"


@pytest.fixture
def kubeconfig(serve):
    """A kubeconfig of the captured cluster, whose namespace is ``truth``."""

    def made(namespace="truth", user=None, path=CAPTURE):
        file = serve(path).kubeconfig_file
        config = yaml.safe_load(file.read_text())
        config["contexts"][0]["context"]["namespace"] = namespace
        if user:
            config["users"][0]["user"] |= {"as": user}
        file.write_text(yaml.safe_dump(config))
        return file

    return made


@pytest.fixture
def screen(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(kubeconfig, *words, columns=100, rows=30, **environment):
            kept = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "xterm-256color"}
            kept |= {"KUBECONFIG": str(kubeconfig), "PYTHONUTF8": "1"}
            made = Screen(words or ["svcdoctor"], kept | environment, columns, rows)
            stack.callback(made.close)
            return made

        yield start


def ended(shown):
    """Its exit code, when the terminal is as it was."""
    shown.process.wait(20)
    assert termios.tcgetattr(shown.slave) == shown.modes
    return shown.wait()


def test_a_service_is_found_by_a_few_letters_and_traced(screen, kubeconfig):
    shown = screen(kubeconfig())
    shown.until(lambda: shown.line(r"^Services in truth  (\d+) of \1"))
    shown.until(lambda: shown.line(r"^. ✘  \S+ +broken +[A-Z]{3}\d{3}"))
    first = next(line for line in shown.lines[2:] if line)
    assert first.startswith("> ✘")  # the worst stands first, and the cursor there
    assert "red" in shown.colours
    shown.type(b"npclus")
    shown.until(lambda: shown.line("^> npclus_$"))
    shown.until(lambda: shown.line(r"^> ✔  np-cluster +healthy +\d/\d ready +NodePort "))
    shown.type(b"\x1b[B\x1b[A")
    shown.type(b"\r")
    assert ended(shown) == 0
    assert [shown.seen.count(c) for c in (ALTERNATE, NORMAL, HIDDEN, SHOWN)] == [1, 1, 1, 1]
    assert shown.below[0] == "$ svcdoctor trace svc/np-cluster -n truth"
    assert any("Service truth/np-cluster" in line for line in shown.below)


def test_as_kubectls_plugin(screen, kubeconfig):
    shown = screen(kubeconfig(), "kubectl", "svcdoctor")
    shown.until(lambda: shown.line(r"^> ✘  "))
    shown.type(b"noep\r")
    assert shown.wait() == 1
    assert shown.below[0] == "$ kubectl svcdoctor trace svc/noep -n truth"


@pytest.mark.parametrize("key", [b"\x1b", b"\x03", b"\x04"], ids=["Escape", "Ctrl-C", "Ctrl-D"])
def test_who_leaves_leaves_the_terminal_as_it_was(screen, kubeconfig, key):
    shown = screen(kubeconfig())
    shown.until(lambda: shown.line("^Services in truth"))
    shown.type(key)
    assert ended(shown) == 130
    assert shown.below == [""]


def test_a_signal_leaves_the_terminal_as_it_was(screen, kubeconfig):
    shown = screen(kubeconfig())
    shown.until(lambda: shown.line("^Services in truth"))
    shown.process.send_signal(signal.SIGTERM)
    assert ended(shown) == 143
    assert shown.seen.endswith(SHOWN + NORMAL)


def test_small_then_large_and_nothing_that_fits(screen, kubeconfig):
    shown = screen(kubeconfig(), columns=20, rows=6)
    shown.until(lambda: shown.line(r"^> ✘  \S+"))
    shown.resize(200, 40)
    shown.until(lambda: shown.line(r"^> ✘ .*/TCP"))
    shown.type(b"zzzz\r")
    shown.until(lambda: shown.line("^  none fits$"))
    shown.type(b"\x15np-c")
    shown.until(lambda: shown.line("^> .*np-cluster"))
    shown.type(b"\x03")
    assert shown.wait() == 130


def test_without_colours_or_letters(screen, kubeconfig):
    file = kubeconfig()
    plain = screen(file, NO_COLOR="1")
    letters = screen(file, PYTHONUTF8="", LC_ALL="C")
    plain.until(lambda: plain.line("^> ✘ "))
    letters.until(lambda: letters.line("^> xx "))
    assert plain.colours == {"default"}
    for shown in (plain, letters):
        shown.type(b"\x1b")
        assert shown.wait() == 130
    assert letters.seen.isascii()


RBAC = "rbac.authorization.k8s.io"
HERE = {"name": "lists-services", "namespace": "truth"}
LISTS_SERVICES = [
    {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": HERE,
     "rules": [{"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list"]}]},
    {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": HERE,
     "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "lists-services"},
     "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "eve"}]},
]  # fmt: skip


def test_what_may_not_be_checked_can_be_chosen_all_the_same(screen, kubeconfig, serve, tmp_path):
    more = tmp_path / "cluster"
    more.mkdir()
    (more / "roles.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": LISTS_SERVICES})
    )
    with tarfile.open(ROOT / CAPTURE) as tar:
        tar.extractall(more, filter="data")
    shown = screen(kubeconfig(user="eve", path=more))
    shown.until(lambda: shown.line(r"^Services in truth  (\d+) of \1  \d+ (unknown|broken)"))
    shown.until(lambda: shown.line(r"^. \?  np-cluster +unknown"))
    shown.type(b"np-cluster\r")
    assert ended(shown) == 3


def test_a_service_can_be_chosen_before_the_check_has_ended(screen, kubeconfig):
    shown = screen(kubeconfig())
    shown.until(lambda: shown.line("^Services in truth"))
    shown.type(b"np-cluster\r")
    assert ended(shown) == 0


def test_mistakes_are_a_line_and_no_screen(screen, kubeconfig, tmp_path):
    nobody = screen(kubeconfig(user="nobody"))
    empty = screen(kubeconfig(namespace="nowhere"))
    assert (nobody.wait(), empty.wait()) == (3, 1)
    assert ALTERNATE not in nobody.seen + empty.seen
    assert "services" in nobody.seen and nobody.seen.count("\n") == 1
    assert empty.seen.startswith("svcdoctor: error: namespace nowhere has no Services")
    broken = tmp_path / "broken"
    broken.write_text("}{")
    shown = screen(broken)
    assert shown.wait() == 2
    assert f"kubeconfig {broken}" in shown.seen


def test_help_where_nobody_can_choose(screen, kubeconfig, run, tmp_path):
    expected = run("--help").stdout.split()
    done = run("svcdoctor", kubeconfig=kubeconfig())
    assert (done.stdout + done.stderr).split() == expected
    for shown in (screen(kubeconfig(), TERM="dumb"), screen(tmp_path / "none")):
        shown.wait()
        assert "Usage: svcdoctor" in shown.seen and ALTERNATE not in shown.seen
