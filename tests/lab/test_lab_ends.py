"""How a lab ends, and what is left of it: nothing, however it was ended and by whom."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_lab_network import Lab, possible, processes  # noqa: F401 (possible is a fixture)


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    made("down", check=False)
    assert processes(tmp_path / f"svcdoctor-lab-{os.getuid()}") == []


def ended(folder, seconds=10):
    until = time.monotonic() + seconds
    while processes(folder) and time.monotonic() < until:
        time.sleep(0.05)
    return processes(folder) == []


def test_no_file_is_left(lab, tmp_path):
    for words in (["status"], ["down"], ["shell", "--", "true"]):
        assert "no lab is up" in lab(*words, check=False).stderr
        assert list(tmp_path.iterdir()) == []
    lab("up")
    lab("down")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_killed_lab_after_down(lab, tmp_path, tmp_path_factory):
    lab.env["TMPDIR"] = str(tmp_path_factory.mktemp("tmp"))
    lab("up")
    [folder] = tmp_path.iterdir()
    assert list(Path(lab.env["TMPDIR"]).iterdir()) == []
    os.kill(int(max(processes(folder), key=int)), signal.SIGKILL)
    assert ended(folder)
    assert "no lab is up" in lab("status", check=False).stderr
    assert "no lab is up" in lab("down", check=False).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("files", [1, 2, 4])
def test_an_interrupted_start_is_undone(lab, tmp_path, files):
    """Ctrl-C in the moment in which the lab has written so many files."""
    starting = subprocess.Popen(
        ["svcdoctor", "lab", "up"], env=lab.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    folder = tmp_path / f"svcdoctor-lab-{os.getuid()}"
    until = time.monotonic() + 30
    while (not folder.exists() or len(list(folder.iterdir())) < files) and time.monotonic() < until:
        time.sleep(0.002)
    starting.send_signal(signal.SIGINT)
    _, said = starting.communicate(timeout=60)
    if starting.returncode == 0:
        pytest.skip("it was up already")
    assert starting.returncode == 130 and "Traceback" not in said
    assert ended(folder)
    assert list(tmp_path.iterdir()) == []


def test_of_two_starts_at_once_one_is_refused(lab, tmp_path):
    starts = [
        subprocess.Popen(
            ["svcdoctor", "lab", "up"],
            env=lab.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    said = [start.communicate(timeout=120)[1] for start in starts]
    assert sorted(start.returncode for start in starts) == [0, 2], said
    assert "a lab is up already" in "".join(said)
    [folder] = tmp_path.iterdir()
    assert len(processes(folder)) == 2  # unshare and one lab's first process


@pytest.mark.parametrize("kind", ["link", "file", "open"])
def test_a_folder_that_others_may_have_made_is_refused(lab, tmp_path, kind):
    folder = tmp_path / f"svcdoctor-lab-{os.getuid()}"
    if kind == "file":
        folder.touch(mode=0o600)
    elif kind == "open":
        folder.mkdir(mode=0o755)
    else:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        folder.symlink_to(private)
    for words in (["up"], ["status"], ["down"]):
        done = lab(*words, check=False)
        assert done.returncode == 2 and f"{folder} belongs to somebody else" in done.stderr
