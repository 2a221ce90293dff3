"""Benchmarks of ``svcdoctor trace``, run by hand: python tests/benchmarks/trace.py [SERVICES ENDPOINTS]

Prints ratios of things measured side by side in this one run, best of five, and whether each keeps its bound:
the whole process against orjson.loads of the same bytes, its peak memory against their size, --help against
importing typer, and the number of traces per second once a snapshot is loaded.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cluster
from measured import report, timed

from svcdoctor.model.request import ClientSpec, ObjectTarget, Request
from svcdoctor.model.trace import ClientKind, EntryKind
from svcdoctor.path.service_ways import service_paths
from svcdoctor.path.tracing import Tracing
from svcdoctor.path.view import View
from svcdoctor.sources.archive import read_snapshot

BIN = Path(sys.executable).parent
ROUNDS = 5


def side_by_side(one, other):
    """The best time of each, measured in turns."""
    pairs = [(timed(one), timed(other)) for _ in range(ROUNDS)]
    return min(a[0] for a, _ in pairs), min(b[0] for _, b in pairs), max(a[1] for a, _ in pairs)


def traces_per_second(snapshot, kind, numbers):
    """How many paths of one entry are traced in a second, each Service once.

    What answers where belongs to the snapshot and is built once, as for --batch.
    """
    view = View(snapshot)
    outside = kind is EntryKind.NODE_PORT
    client = ClientSpec(ClientKind.EXTERNAL if outside else ClientKind.POD)
    traced, started = 0, time.perf_counter()
    for s in numbers:
        target = ObjectTarget("Service", f"svc-{s}", f"ns-{s % cluster.NAMESPACES}")
        one = Tracing(view, Request(target, client, frozenset({kind}), "n7" if outside else None), "default")
        traced += len(service_paths(one, snapshot.service(target.namespace, target.name)))
    return traced / (time.perf_counter() - started)


def main():
    services, endpoints = (int(x) for x in sys.argv[1:3]) if len(sys.argv) > 2 else (5000, 10)
    folder = Path(tempfile.gettempdir()) / f"svcdoctor-benchmark-{services}x{endpoints}"
    # In a process of its own: a child's peak memory counts from what its parent had.
    make = f"import cluster, pathlib; cluster.write(pathlib.Path({str(folder)!r}), {services}, {endpoints})"
    subprocess.run([sys.executable, "-c", make], cwd=Path(__file__).parent, check=True)
    size = sum(f.stat().st_size for f in folder.iterdir())
    number = services // 4 - 6
    ns = f"ns-{number % cluster.NAMESPACES}"
    program = str(BIN / "svcdoctor")
    files = f"pathlib.Path({str(folder)!r}).glob('*.json')"
    loads = f"import orjson, pathlib\nfor f in {files}: orjson.loads(f.read_bytes())"
    trace = [program, "trace", f"svc/svc-{number}", "-n", ns, "--snapshot", str(folder), "-o", "json"]
    ours, theirs, peak = side_by_side(trace, [sys.executable, "-c", loads])
    print(f"{services} Services, {services * endpoints} pods and endpoints, {size >> 20} MiB of dumps")
    report(f"trace {ours:.2f} s / orjson.loads {theirs:.2f} s", ours / theirs, 0.35)
    report(f"peak memory {peak >> 20} MiB / dumps", peak / size, 2.5)
    ours, theirs, _ = side_by_side([program, "--help"], [sys.executable, "-c", "import typer"])
    report(f"--help {ours * 1000:.0f} ms / import typer {theirs * 1000:.0f} ms", ours / theirs, 2.5)

    for kind, numbers in (
        (EntryKind.CLUSTER_IP, range(services)),
        (EntryKind.NODE_PORT, range(0, services, 5)),
    ):
        rate = max(traces_per_second(read_snapshot(folder), kind, numbers) for _ in range(3))
        report(f"traces per second by {kind} after loading", rate, 5000, least=True)

    questions = "".join(
        f'{{"id":{i},"from":"external/172.30.0.100","to":"172.30.0.1{i % 3 + 1}:3008{i % 4}"}}\n'
        for i in range(20000)
    )
    capture = Path(__file__).parents[2] / "fixtures/captures/iptables.tar.gz"
    started = time.perf_counter()
    done = subprocess.run(
        [program, "trace", "--batch", "-", "--snapshot", capture],
        input=questions,
        capture_output=True,
        text=True,
        check=True,
    )
    rate = done.stdout.count("\n") / (time.perf_counter() - started)
    report("batch answers per second on the real capture, whole process", rate, 2000, least=True)


if __name__ == "__main__":
    main()
