"""Benchmarks of ``svcdoctor check -A``, run by hand: python tests/benchmarks/check.py [ENDPOINTS]

Prints ratios of things measured side by side in this one run, best of three, and whether each keeps its bound: the
whole process against orjson.loads of the same bytes, its peak memory against their size, and how the cost of one
Service grows from 500 over 5,000 to 20,000 of them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from measured import report, timed

BIN = Path(sys.executable).parent
SIZES = (500, 5000, 20000)
ROUNDS = 3
START = [str(BIN / "svcdoctor"), "codes", "-o", "name"]  # a process that only loads the checks


def folder_of(services, endpoints):
    """A cluster as kubectl dumps, made once; in a process of its own, whose memory nobody inherits."""
    folder = Path(tempfile.gettempdir()) / f"svcdoctor-benchmark-{services}x{endpoints}"
    make = f"import cluster, pathlib; cluster.write(pathlib.Path({str(folder)!r}), {services}, {endpoints})"
    subprocess.run([sys.executable, "-c", make], cwd=Path(__file__).parent, check=True)
    return folder


def main():
    endpoints = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    each = {}
    start = min(timed(START)[0] for _ in range(ROUNDS))
    for services in SIZES:
        folder = folder_of(services, endpoints)
        size = sum(f.stat().st_size for f in folder.iterdir())
        loads = [
            sys.executable,
            "-c",
            "import orjson, pathlib, sys\n"
            "for f in pathlib.Path(sys.argv[1]).glob('*.json'): orjson.loads(f.read_bytes())",
            str(folder),
        ]
        check = [str(BIN / "svcdoctor"), "check", "-A", "--snapshot", str(folder), "-o", "json"]
        pairs = [(timed(check), timed(loads)) for _ in range(ROUNDS)]
        mine, theirs = min(a[0] for a, _ in pairs), min(b[0] for _, b in pairs)
        peak = max(a[1] for a, _ in pairs)
        each[services] = (mine - start) / services
        print(
            f"{services} Services x {endpoints}, {size >> 20} MiB: {mine:.2f} s, orjson.loads {theirs:.2f} s"
        )
        if services >= 5000:
            report("whole process / orjson.loads", mine / theirs, 1.0)
            report("peak memory / size of the dumps", peak / size, 3.0)
    report("cost of one Service, 20,000 against 5,000", each[20000] / each[5000], 1.3)
    report("cost of one Service, 5,000 against 500", each[5000] / each[500], 1.3)


if __name__ == "__main__":
    main()
