"""The source distribution and the wheel: built from this tree without a network, and what is in them."""

import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from svcdoctor import __version__

ROOT = Path(__file__).parents[2]
NAMES = ("LICENSE", "MANIFEST.in", "README.md", "docs", "plugins", "pyproject.toml", "svcdoctor")
SHARED = {
    "share/bash-completion/completions/svcdoctor",
    "share/fish/vendor_completions.d/svcdoctor.fish",
    "share/man/man1/kubectl-svcdoctor.1",
    "share/man/man1/svcdoctor.1",
    "share/zsh/site-functions/_svcdoctor",
}
SCRIPTS = {"svcdoctor", "kubectl-svcdoctor", "kubectl_complete-svcdoctor"}


def made(kind, tree, folder):
    """The one file that setuptools makes of a tree."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for name in NAMES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
            )
        else:
            shutil.copy(ROOT / name, tree / name)
    return made("sdist", tree, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Made of the source distribution, so that nothing is lacking there."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return made("wheel", next(folder.iterdir()), tmp_path_factory.mktemp("wheel"))


def own_files():
    """Every file of the package, compiled ones left out."""
    files = (
        path for path in (ROOT / "svcdoctor").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_holds_the_package_and_what_is_shared(wheel):
    assert wheel.name == f"svcdoctor-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"svcdoctor-{__version__}.dist-info"
        entries = archive.read(f"{info}/entry_points.txt").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
    data = f"svcdoctor-{__version__}.data/data/"
    assert {name for name in names if name.startswith("svcdoctor/")} == own_files()
    assert {name.removeprefix(data) for name in names if name.startswith(data)} == SHARED
    assert {name for name in names if not name.startswith(("svcdoctor/", data, info))} == set()
    assert {line.partition(" =")[0] for line in entries.splitlines() if " = " in line} == SCRIPTS
    assert f"{info}/licenses/LICENSE" in names
    assert "Requires-Python: >=3.11" in metadata


def test_the_source_distribution_holds_what_people_build_with(sdist):
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive if member.isfile()}
    assert own_files() <= set(members)
    assert {
        "README.md",
        "LICENSE",
        "docs/architecture.md",
        "plugins/container/Containerfile",
        "plugins/krew/svcdoctor.yaml",
        "plugins/kubectl_complete-svcdoctor",
        "plugins/man/svcdoctor.1",
        "plugins/single-file/bootstrap.py",
    } <= set(members)
    assert members["plugins/kubectl_complete-svcdoctor"].mode & stat.S_IXUSR
    assert not [name for name in members if "__pycache__" in name or name.endswith(".pyc")]
