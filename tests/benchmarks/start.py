"""Benchmarks of starting, run by hand: python tests/benchmarks/start.py

Prints ratios of things measured in turns in this one run, best of many, and whether each keeps its bound: the second
start of the single file against the installed program's, and completion against kubectl's own question to the same API
server. Asked through kubectl, completion takes kubectl's own time besides, which is told too.

Installed is what pip would have installed: an environment of its own with the same packages, compiled.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from measured import report, timed

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.store import ObjectStore
from svcdoctor.sources.files import raw_objects

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ROUNDS = 15


def in_turns(*commands):
    """The best time of each command in seconds."""
    rounds = [[timed(command)[0] for command in commands] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def installed(single, folder):
    """The folder of programs of an environment that has what the single file holds."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    with (
        zipfile.ZipFile(single) as outer,
        outer.open(next(n for n in outer.namelist() if n.endswith(".zip"))) as held,
    ):
        zipfile.ZipFile(held).extractall(packages)
    subprocess.run([folder / "bin/python", "-m", "compileall", "-q", packages], stdout=subprocess.DEVNULL)
    for name in ("svcdoctor", "kubectl-svcdoctor", "kubectl_complete-svcdoctor"):
        lines = (BIN / name).read_text().splitlines(keepends=True)
        (folder / "bin" / name).write_text("".join([f"#!{folder / 'bin/python'}\n", *lines[1:]]))
        (folder / "bin" / name).chmod(0o755)
    return folder / "bin"


def starts(single, programs):
    first, _ = timed([single, "--version"])
    print(f"{Path(single).stat().st_size >> 20} MiB; the first start, which unpacks, takes {first:.2f} s")
    snapshot = ["trace", "svc/bq-api-service-1", "--snapshot", str(ROOT / "fixtures/nodeport"), "-o", "json"]
    for what, words in (("--help", ["--help"]), ("trace of a snapshot", snapshot)):
        ours, theirs = in_turns([single, *words], [str(programs / "svcdoctor"), *words])
        report(
            f"single file, {what}: {ours * 1e3:.0f} ms / installed {theirs * 1e3:.0f} ms", ours / theirs, 1.5
        )


def completions(single, programs, folder):
    with ApiServer(ObjectStore(raw_objects(ROOT / "fixtures/captures/iptables.tar.gz"))) as server:
        server.write_kubeconfig(folder / "kubeconfig", namespace="truth")
        kubectl = next(p for d in os.environ["PATH"].split(":") if (p := Path(d) / "kubectl").is_file())
        os.environ |= {"KUBECONFIG": str(folder / "kubeconfig"), "PATH": f"{programs}:{os.environ['PATH']}"}
        asked = [str(kubectl), "get", "svc", "-o", "name"]
        timed(asked)  # kubectl keeps what the server can do in a cache of its own
        words = ["__complete", "trace", "svc/"]
        ours, alone, short, through, theirs = in_turns(
            [str(programs / "svcdoctor"), *words],
            [single, *words],
            [str(programs / "svcdoctor"), "__complete", "tra"],
            [str(kubectl), "__complete", "svcdoctor", *words[1:]],
            asked,
        )
    shown = f"kubectl get svc -o name {theirs * 1e3:.0f} ms"
    report(f"trace svc/<TAB> {ours * 1e3:.0f} ms / {shown}", ours / theirs, 2)
    report(f"trace svc/<TAB> of the single file {alone * 1e3:.0f} ms / {shown}", alone / theirs, 2)
    report(f"tra<TAB> {short * 1e3:.0f} ms / {shown}", short / theirs, 2)
    print(f"    through kubectl, with its own time: {through * 1e3:.0f} ms, {through / theirs:.2f}")


def main():
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, ROOT / "plugins/single-file/build.py", folder], check=True, capture_output=True
        )
        single = next(str(p) for p in folder.glob("svcdoctor-*-py*"))
        programs = installed(single, folder / "installed")
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        starts(single, programs)
        completions(single, programs, folder)


if __name__ == "__main__":
    main()
