"""A whole cluster's Services by one control: how soon it serves them, how soon a change, and in how much memory."""

import statistics
import time
from pathlib import Path

import pytest
from msgspec import structs
from served_world import as_json, ask, endpoint, endpoint_slice, node, served, service

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN
from svcdoctor.lab.store import ObjectStore

SERVICES, ENDPOINTS = 5000, 10


def cluster_ip(n):
    return f"10.96.{n // 250}.{n % 250 + 1}"


def many():
    for n in range(SERVICES):
        ip = cluster_ip(n)
        yield service(f"s{n}", cluster_ip=ip, cluster_ips=(ip,))
        yield slice_of(n)


def slice_of(n, last=ENDPOINTS):
    """Endpoints on 100 nodes."""
    ends = (
        endpoint(f"10.{1 + n % 100}.{n // 100}.{e + 1}", node=f"node{n % 100}") for e in (*range(9), last)
    )
    return endpoint_slice(*ends, owner=f"s{n}")


def memory(pid):
    """MiB that the process holds, and held at most."""
    lines = dict(line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_five_thousand_services(short, control, capsys):
    objects = [as_json(o) for o in (*many(), node())]
    with ApiServer(ObjectStore(objects), users=(ADMIN,)) as api:
        api.write_kubeconfig(short / "config", namespace="shop")
        started = time.monotonic()
        process = control(kubeconfig=str(short / "config"), listens="apart", node="node1", workers=1)
        ports = process.next("serving", 60)["ports"]
        start = time.monotonic() - started
        assert len(ports) == SERVICES
        latencies = []
        for n in range(20, 40):
            wanted = f"10.{1 + n % 100}.{n // 100}.{n + 100}:8080"
            port = structs.replace(
                served(), listens=(served(port=8080, ip="127" + cluster_ip(n)[2:]).listens)
            )
            changed = time.monotonic()
            api.store.update(as_json(slice_of(n, n + 99)))
            while wanted not in ask(port)[1]:
                assert time.monotonic() < changed + 5
                time.sleep(0.001)
            latencies.append(time.monotonic() - changed)
        held, most = memory(process.pid)
    with capsys.disabled():
        print(
            f"\n{SERVICES} services of {ENDPOINTS} endpoints: served after {start:.2f} s, a change after "
            f"{1000 * statistics.median(latencies):.0f} ms (at most {1000 * max(latencies):.0f}), "
            f"{held:.0f} MiB (at most {most:.0f})"
        )
    assert start < 5
    assert statistics.median(latencies) < 0.1
    assert most < 300
