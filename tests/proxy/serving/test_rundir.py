"""The directory of a run: whose it is, who holds it, what is left of those that were in it."""

import os
import shutil
import stat
import subprocess
import sys

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.serving.rundir import RunDirectory, run_name, runs_directory

MAKE = """
import os, sys
from pathlib import Path
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.serving.rundir import RunDirectory
try:
    made = RunDirectory("proxy-x")
    made.lock()
    number, sock = made.new_worker()
    print(made.path)
    made.forget(number)
    made.release()
except SvcdoctorError as e:
    print(e.message)
"""


def with_run(options, **environment):
    """What becomes of root's run where /run is a file system with these options, in a mount namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs root and unshare")
    script = f'mount -t tmpfs -o {options} none /run && exec "$0" -c "$1"'
    words = ["unshare", "--mount", "sh", "-c", script, sys.executable, MAKE]
    kept = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"} | environment
    return subprocess.run(words, check=True, capture_output=True, text=True, env=kept).stdout.strip()


def test_roots_runs_are_in_run_and_others_in_their_own_directory(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert str(runs_directory({"XDG_RUNTIME_DIR": "/run/user/0"})) == "/run/svcdoctor"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert str(runs_directory({"XDG_RUNTIME_DIR": "/run/user/1000"})) == "/run/user/1000/svcdoctor"
    assert runs_directory({}).name == "svcdoctor-1000"
    assert runs_directory({"XDG_RUNTIME_DIR": "run"}).name == "svcdoctor-1000"


def test_where_root_cannot_write_in_run_the_hint_is_one_that_helps(short):
    assert with_run("size=1m", XDG_RUNTIME_DIR=str(short)) == "/run/svcdoctor/proxy-x"
    assert with_run("ro") == (
        "/run/svcdoctor: Read-only file system; svcdoctor proxy keeps its workers' sockets there: set XDG_RUNTIME_DIR "
        "to a directory of your own that can be written"
    )
    assert with_run("ro", XDG_RUNTIME_DIR=str(short)) == str(short / "svcdoctor/proxy-x")


@pytest.mark.parametrize("inodes", [1, 2, 3, 4])
def test_a_full_disk_is_told_whatever_it_is_that_has_no_room(inodes):
    """The directory of all runs, the run's own, its lock, a worker's socket."""
    said = with_run(f"nr_inodes={inodes}")
    assert said.startswith("/run/svcdoctor")
    assert said.endswith(
        ": No space left on device; svcdoctor proxy keeps its workers' sockets there: free some space there"
    )


def test_a_run_is_known_by_what_it_serves():
    assert run_name("svc/cart") == run_name("svc/cart") != run_name("svc/shop")


def test_nobody_else_may_enter(short):
    made = RunDirectory("proxy-x", short / "above")
    for path in (made.path, made.path.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    number, sock = made.new_worker()
    with sock:
        assert stat.S_IMODE((made.path / f"worker-{number}.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize("spoil", ["open", "file", "link"])
def test_a_directory_that_others_may_enter_is_not_used(short, spoil):
    path = short / "proxy-x"
    if spoil == "open":
        path.mkdir(mode=0o755)
        path.chmod(0o755)
    elif spoil == "file":
        path.write_text("")
    else:
        (short / "other").mkdir(mode=0o700)
        path.symlink_to(short / "other")
    with pytest.raises(SvcdoctorError) as error:
        RunDirectory("proxy-x", short)
    assert str(path) in error.value.message
    assert "XDG_RUNTIME_DIR" in error.value.message


def test_one_control_holds_a_run(short):
    first, second = RunDirectory("proxy-x", short), RunDirectory("proxy-x", short)
    first.lock()
    with pytest.raises(SvcdoctorError, match=f"another svcdoctor proxy .pid {os.getpid()}. serves the same"):
        second.lock()
    first.release()
    assert not first.path.exists()
    third = RunDirectory("proxy-x", short)
    third.lock()
    third.release()


def test_workers_have_numbers_of_their_own(short):
    run = RunDirectory("proxy-x", short)
    run.lock()
    one, a = run.new_worker()
    two, b = run.new_worker()
    with a, b:
        assert run.workers() == [one, two] == [1, 2]
        with run.connect(two), a.dup():
            pass
    with pytest.raises(ConnectionRefusedError):
        run.connect(one)
    run.forget(one)
    assert run.workers() == [two]
    with pytest.raises(FileNotFoundError):
        run.connect(one)
    run.release()
    assert run.path.exists()  # a worker has something in it


def test_the_last_line_of_a_log_is_found_in_a_long_one(short):
    run = RunDirectory("proxy-x", short)
    assert run.last_words(1) == ""
    run.log(1).write_bytes(b"word " * 10000 + b"\nthe last line\n\n")
    assert run.last_words(1) == "the last line"


def test_a_name_that_is_too_long_for_a_socket_is_said(short):
    run = RunDirectory("proxy-" + "x" * 100, short)
    with pytest.raises(SvcdoctorError, match="a worker needs this socket"):
        run.new_worker()
