"""The single-file program on a machine that has nothing else: started, started again, and what it refuses to trust."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from svcdoctor import __version__
from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.store import ObjectStore
from svcdoctor.sources.files import raw_objects

ROOT = Path(__file__).parents[2]
SINGLE = ROOT / "plugins/single-file"
PYTHON = os.path.realpath(sys._base_executable)
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
STRANGER = 65533

# A machine of its own as far as files go: a home that nobody can write to, an empty /tmp, only the program on the path.
MACHINE = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/bin /mnt/home /mnt/empty
cp "$1" /mnt/bin/svcdoctor
cp -r "$3" /mnt/snapshot
cp "$4" /mnt/kubeconfig
ln -s svcdoctor /mnt/bin/kubectl-svcdoctor
ln -s svcdoctor /mnt/bin/kubectl_complete-svcdoctor
ln -s "$2" /mnt/bin/python3
mount -t tmpfs -o ro none /mnt/home
mount -t tmpfs -o mode=1777 none /tmp
mount -t tmpfs -o mode=1777 none /var/tmp
cd /mnt/empty
exec env -i PATH=/mnt/bin HOME=/mnt/home /bin/sh -c "$5"
"""

# Where the program unpacks itself, somebody was before: what lies there would leave a trace if it were run.
TRAP = """
export PATH=$PATH:/usr/bin:/bin
svcdoctor --version
mv /tmp/svcdoctor-0 /tmp/real
set_trap() {
    rm -rf /tmp/svcdoctor-0 "$1"
    for folder in /tmp/real/*; do
        package="$1/${folder##*/}/lib/pythonMINOR/site-packages/svcdoctor/cli"
        mkdir -p "$package"
        echo 'open("/mnt/bin/caught", "w")' | tee "$package/__init__.py" > "$package/../__init__.py"
        echo 'def main(): pass' > "$package/entry.py"
    done
}
caught() { ls /mnt/bin/caught; rm -f /mnt/bin/caught; }
set_trap /tmp/svcdoctor-0; svcdoctor --version; echo own; caught
set_trap /tmp/svcdoctor-0; chown -R STRANGER /tmp/svcdoctor-0; svcdoctor --version; echo of a stranger; caught
set_trap /tmp/svcdoctor-0; chmod 777 /tmp/svcdoctor-0; svcdoctor --version; echo open to all; caught
set_trap /tmp/other; ln -s other /tmp/svcdoctor-0; svcdoctor --version; echo a link; caught
set_trap /tmp/alice/.cache/svcdoctor; chown STRANGER /tmp/alice
HOME=/tmp/alice svcdoctor --version; echo at home with a stranger; caught
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, SINGLE / "build.py", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = [path for path in folder.iterdir() if path.name.startswith("svcdoctor-") and path.suffix != ".gz"]
    assert {path.name for path in folder.iterdir()} > {found[0].name, "svcdoctor.yaml"}
    return found[0]


@pytest.fixture(scope="module")
def server():
    with ApiServer(ObjectStore(raw_objects(ROOT / "fixtures/nodeport"))) as server:
        yield server


@pytest.fixture
def machine(program, server, tmp_path):
    """``machine(script)`` runs it there with an empty environment but for PATH and HOME; what it prints, and stderr."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        reason = "mounting takes root, and unshare"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    server.write_kubeconfig(tmp_path / "kubeconfig")

    def run(script):
        given = [program, PYTHON, ROOT / "fixtures/nodeport", tmp_path / "kubeconfig", script]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", MACHINE, "sh", *given],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout, done.stderr

    return run


def test_the_file_alone_traces_a_snapshot_and_a_cluster(machine):
    out, err = machine(
        "svcdoctor --version; echo $?; "
        "svcdoctor trace svc/bq-api-service-1 --snapshot /mnt/snapshot -o name; echo $?; "
        "kubectl-svcdoctor trace svc/bq-api-service-1 --kubeconfig /mnt/kubeconfig; echo $?; "
        "kubectl-svcdoctor trace svc/nosuch --kubeconfig /mnt/kubeconfig -o name; echo $?; "
        "kubectl-svcdoctor explain NONE1; "
        "kubectl_complete-svcdoctor trace --kubeconfig /mnt/kubeconfig svc/bq; "
        "svcdoctor __complete wai; "
        # What svcdoctor starts with its own Python finds everything.
        "exec /tmp/svcdoctor-0/*/bin/python -c 'import svcdoctor.proxy.serving.worker, yaml; "
        'from importlib.metadata import version; print(version("svcdoctor"), yaml.__name__)\''
    )
    assert out.startswith(f"svcdoctor {__version__}\n0\n")
    assert "10.244.1.45:8080" in out
    assert "svc/bq-api-service-1\n:4\n" in out
    assert "\nwait\t" in out
    assert out.endswith(f"\n{__version__} yaml\n")
    assert re.findall(r"^\d+$", out, re.M) == ["0", "0", "0", "1"]
    assert err.startswith("kubectl svcdoctor: error: no code NONE1")
    assert err.count("\n") == 1


def test_another_users_files_are_not_run(machine):
    out, err = machine(TRAP.replace("MINOR", MINOR).replace("STRANGER", str(STRANGER)))
    version = f"svcdoctor {__version__}"
    assert out.splitlines() == [
        *(version, "own", "/mnt/bin/caught"),  # so a trap does catch
        *(version, "of a stranger"),
        *(version, "open to all"),
        *(version, "a link"),
        *(version, "at home with a stranger"),
    ]
    assert err.count("/mnt/bin/caught") == err.count("\n") == 4


def test_without_a_folder_to_write_to_it_says_so_in_one_line(machine):
    out, err = machine(
        "PATH=$PATH:/usr/bin:/bin; mount -t tmpfs -o ro none /tmp; mount -t tmpfs -o ro none /var/tmp; "
        "svcdoctor --version; echo $?"
    )
    assert out == "1\n"
    assert err.count("\n") == 1
    assert err.startswith(
        "svcdoctor: error: no folder to unpack into: /mnt/home/.cache/svcdoctor: Read-only file system; "
    )
    assert err.endswith("set XDG_CACHE_HOME to one of your own\n")


def environment(tmp_path, **more):
    path = tmp_path / "bin"
    path.mkdir(exist_ok=True)
    if not (path / "python3").exists():
        (path / "python3").symlink_to(PYTHON)
    return {"PATH": str(path), "XDG_CACHE_HOME": str(tmp_path / "cache"), **more}


def test_several_first_starts_at_once_and_a_second_one_that_writes_nothing(program, tmp_path):
    env = environment(tmp_path)
    started = [subprocess.Popen([program, "--version"], env=env, stdout=subprocess.PIPE) for _ in range(2)]
    assert [one.communicate(timeout=60)[0] for one in started] == [f"svcdoctor {__version__}\n".encode()] * 2
    unpacked = list((tmp_path / "cache/svcdoctor").iterdir())
    assert len(unpacked) == 1, "and nothing half done is left"
    before = {path: path.stat().st_mtime_ns for path in unpacked[0].rglob("*")}
    subprocess.run([program, "--version"], env=env, check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in unpacked[0].rglob("*")} == before


def test_the_same_files_make_the_same_program(program):
    with zipfile.ZipFile(program) as outer, outer.open(f"cp{MINOR.replace('.', '')}.zip") as inner:
        entries = zipfile.ZipFile(inner).infolist() + outer.infolist()
    assert {entry.date_time for entry in entries} == {(2026, 1, 1, 0, 0, 0)}
    names = [entry.filename for entry in entries]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.endswith(".pyc") or "direct_url" in name]


def old_pythons():
    """Pythons beside the one that runs this, which the program is not made for."""
    beside = sorted(Path(sys.base_prefix).resolve().parent.glob("*/bin/python"))
    found = []
    for python in beside:
        done = subprocess.run(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and done.stdout.strip() != MINOR:
            found.append((done.stdout.strip(), python))
    return found


def test_another_python_is_told_in_one_line(program, tmp_path):
    for version, python in old_pythons():
        done = subprocess.run(
            [python, program, "--version"], env={}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        made_for = f"svcdoctor: error: this file is made for Python {MINOR}; {python} is {version}: "
        assert done.stderr.startswith(made_for), done.stderr
        assert (f": it is too old; start the file with another: python{MINOR} " in done.stderr) == (
            tuple(map(int, version.split("."))) < sys.version_info[:2]
        )


def test_old_pythons_can_read_where_the_program_begins():
    for path in (SINGLE / "bootstrap.py", ROOT / "svcdoctor/cli/entry.py"):
        ast.parse(path.read_text(), feature_version=(3, 4))


def test_a_copied_package_tells_an_old_python_in_one_line():
    code = "import sys; sys.version_info = (3, 10, 2); from svcdoctor.cli.entry import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"svcdoctor: error: Python 3.11 is needed or newer; this is 3.10, {sys.executable}\n"
    )
    for version, python in old_pythons():
        if tuple(map(int, version.split("."))) >= (3, 11) or version.startswith("2."):
            continue
        code = "from svcdoctor.cli.entry import main; main()"
        done = subprocess.run([python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (
            done.stderr == f"svcdoctor: error: Python 3.11 is needed or newer; this is {version}, {python}\n"
        )
