"""Builds the single-file program, and krew's archive and manifest with it, into a folder (``dist`` by default):

    .venv/bin/python plugins/single-file/build.py [FOLDER [PYTHON …]]

It holds svcdoctor as it is here, and what it depends on as the running Python has it installed, so that what was
tested is what is shipped. The same for every further PYTHON that is named, each of which must have svcdoctor's
dependencies too. Some of these are compiled: a file works with the minor versions of Python that it was built with, on
this platform.

shiv and pex make such files too, and were tried on the same machine. shiv's second start takes twice the installed
program's time, and ends with a traceback where the home cannot be written to. pex's takes no longer (``--sh-boot
--venv``; this one takes a seventh more for ``--help``, and nothing measurable for a trace), but its first takes ten
times as long, it unpacks itself anew at every start with such a home, and a Python that is too old gets nine lines.
"""

from __future__ import annotations

import hashlib
import io
import platform
import re
import stat
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from svcdoctor import __version__  # noqa: E402 (this tree's, whatever is installed)

PACKAGE = ROOT / "svcdoctor"
MANIFEST = ROOT / "plugins/krew/svcdoctor.yaml"
WHEN = (2026, 1, 1, 0, 0, 0)  # the same files make the same archive, whenever it is built
GATHER = "--gather"  # how this program calls itself with another Python

# A second client of the API, for asyncio, which is two fifths of everything and imported by nobody.
UNUSED = ("kubernetes/aio/",)


def dependencies() -> list[str]:
    """What svcdoctor itself depends on, as its project file says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def metadata() -> tuple[str, bytes]:
    """The name and text of the file that tells a Python which distribution svcdoctor is."""
    lines = ["Metadata-Version: 2.1", "Name: svcdoctor", f"Version: {__version__}"]
    lines += [f"Requires-Dist: {one}" for one in dependencies()]
    return f"svcdoctor-{__version__}.dist-info/METADATA", "\n".join([*lines, ""]).encode()


def needed() -> list[str]:
    """The distributions that svcdoctor depends on, directly or not, as far as this Python has them.

    What only an extra needs is left out.
    """
    found: set[str] = set()
    waiting = dependencies()
    while waiting:
        name = re.split(r"[^A-Za-z0-9._-]", waiting.pop(), maxsplit=1)[0]
        name = re.sub(r"[-_.]+", "-", name).lower()
        if name in found:
            continue
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for another platform or an older Python
        found.add(name)
        waiting += [r for r in requirements if "extra ==" not in r]
    return sorted(found)


def gathered() -> bytes:
    """An archive of svcdoctor and all that it needs, as they lie in site-packages."""
    files: dict[str, Path] = {}
    for name in needed():
        held = distribution(name)
        for file in held.files or ():
            if not file.as_posix().startswith(UNUSED) and not {"..", "__pycache__"} & {*file.parts}:
                files[file.as_posix()] = Path(str(held.locate_file(file)))
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            files[path.relative_to(ROOT).as_posix()] = path
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(_entry(name), files[name].read_bytes(), zipfile.ZIP_DEFLATED)
        name, text = metadata()
        archive.writestr(_entry(name), text, zipfile.ZIP_DEFLATED)
    return data.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, WHEN)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def _asked(python: str) -> tuple[tuple[int, int], bytes]:
    """The version of a Python, and the archive that it gathers."""
    version = "import sys; print(*sys.version_info[:2])"
    said = subprocess.run([python, "-c", version], check=True, capture_output=True, text=True).stdout.split()
    archive = subprocess.run([python, __file__, GATHER], check=True, capture_output=True).stdout
    return (int(said[0]), int(said[1])), archive


def single_file(archives: dict[tuple[int, int], bytes]) -> bytes:
    """The program: a line for the kernel, and an archive of archives that Python runs."""
    builds = {version: hashlib.sha256(data).hexdigest()[:16] for version, data in archives.items()}
    start = Path(__file__).with_name("bootstrap.py").read_text(encoding="utf-8")
    filled = start.replace("\nBUILDS = {}", f"\nBUILDS = {builds!r}", 1)
    data = io.BytesIO(b"#!/usr/bin/env python3\n")
    data.seek(0, io.SEEK_END)
    with zipfile.ZipFile(data, "a") as program:
        program.writestr(_entry("__main__.py"), filled)
        for (major, minor), archive in archives.items():
            program.writestr(_entry(f"cp{major}{minor}.zip"), archive)
    return data.getvalue()


def krew_archive(program: Path, system: str, machine: str) -> Path:
    """krew's archive of a platform: the plugin, its completion, and the licence."""
    made = program.parent / f"svcdoctor-{system}-{machine}.tar.gz"
    members = {
        "kubectl-svcdoctor": (program, 0o755),
        "kubectl_complete-svcdoctor": (ROOT / "plugins/kubectl_complete-svcdoctor", 0o755),
        "LICENSE": (ROOT / "LICENSE", 0o644),
    }
    with tarfile.open(made, "w:gz") as archive:
        for name, (path, mode) in members.items():
            entry = archive.gettarinfo(path, name)
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            entry.mode = mode
            with path.open("rb") as content:
                archive.addfile(entry, content)
    return made


def manifest(folder: Path, version: str) -> str:
    """krew's manifest for the archives in a folder; platforms without one are left out."""
    held = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    template = held["spec"]["version"]
    held["spec"]["version"] = f"v{version}"
    platforms = []
    for one in held["spec"]["platforms"]:
        one["uri"] = one["uri"].replace(template, f"v{version}")
        archive = folder / one["uri"].rpartition("/")[2]
        if archive.is_file():
            platforms.append(one | {"sha256": hashlib.sha256(archive.read_bytes()).hexdigest()})
    held["spec"]["platforms"] = platforms
    return str(yaml.safe_dump(held, sort_keys=False))


def main() -> None:
    if sys.argv[1:] == [GATHER]:
        sys.stdout.buffer.write(gathered())
        return
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    folder.mkdir(parents=True, exist_ok=True)
    archives = dict(_asked(python) for python in [sys.executable, *sys.argv[2:]])
    system = platform.system().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    pythons = ".".join(f"{major}{minor}" for major, minor in sorted(archives))
    program = folder / f"svcdoctor-{__version__}-py{pythons}-{system}-{machine}"
    program.write_bytes(single_file(archives))
    program.chmod(0o755)
    archive = krew_archive(program, system, machine)
    plugin = folder / "svcdoctor.yaml"
    plugin.write_text(manifest(folder, __version__), encoding="utf-8")
    for made in (program, archive, plugin):
        print(f"{made}: {made.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
