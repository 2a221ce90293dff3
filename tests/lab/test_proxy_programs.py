"""Programs that people have, through ``svcdoctor proxy`` on a node without any Service rule, in both modes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from proxy_lab import ProxyLab, ended, proxied, until
from proxy_table import DEPLOYMENT, NODE4, NODE6, READY, cluster_ips, endpoint_slice
from test_lab_network import possible  # noqa: F401 (a fixture)

KERNEL = ("--mode", "nftables")
POD = f"pod/{DEPLOYMENT}-c8zlp"
PORTS = {
    "psql": (5432, 31910, ("TCP",)),
    "iperf": (5201, 31911, ("TCP", "UDP")),
    "web": (8080, 31912, ("TCP",)),
}
ROWS = 20000


def found(program, package):
    """Where a program is; Debian keeps PostgreSQL's server out of PATH."""
    places = [os.environ["PATH"], "/usr/sbin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    path = shutil.which(program, path=os.pathsep.join(places))
    if path is None:
        reason = f"{program} is not installed (Debian's package {package})"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = ProxyLab(tmp_path_factory.mktemp("lab"), "nftables")
    try:
        made("break", "RUL001")
        made.create(obj for number, name in enumerate(PORTS) for obj in objects(name, 80 + number))
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module", params=[(), KERNEL], ids=["user space", "kernel"])
def served(request, lab):
    """All Services are served."""
    with proxied(lab, "-A", *request.param):
        yield lab


def objects(name, number):
    port, node_port, protocols = PORTS[name]
    ips = cluster_ips(number)
    ports = [
        {"name": p.lower(), "port": port, "targetPort": port, "nodePort": node_port, "protocol": p}
        for p in protocols
    ]
    spec = {"type": "NodePort", "clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": ["IPv4", "IPv6"]}
    spec |= {"ipFamilyPolicy": "PreferDualStack", "internalTrafficPolicy": "Cluster", "ports": ports}
    metadata = {"name": name, "namespace": "default"}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    for family in (4, 6):
        yield endpoint_slice(name, family, {"c8zlp": READY}, {p.lower(): (port, p) for p in protocols})


def ran(lab, *words, where="client"):
    done = lab.shell(*words, where=where)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_curl(served):
    curl = found("curl", "curl")
    for host in (NODE4, f"[{NODE6}]"):
        urls = [f"http://{host}:31912/?[1-50]"]
        assert ran(served, curl, "-sS", "-m", "20", *urls).count("c8zlp on k8s-node0 saw ") == 50
    inside = f"http://{cluster_ips(82)[0]}:8080/"
    assert "c8zlp on k8s-node0 saw " in ran(served, curl, "-sS", "-m", "5", inside, where="pod/client")


def test_dig(served):
    dig = found("dig", "bind9-dnsutils")
    name = "bq-api-service-1.default.svc.cluster.local"
    for server in ("10.96.0.10", "fd00:10:96::a"):
        for protocol in ("+notcp", "+tcp"):
            asked = [dig, "+short", "+tries=1", "+time=5", protocol, f"@{server}", name, "A", name, "AAAA"]
            assert ran(served, *asked, where="pod/client").split() == ["10.105.158.88", "fd00:10:96::5888"]


@pytest.fixture(scope="module")
def iperf(lab):
    iperf3 = found("iperf3", "iperf3")
    program = lab.start(POD, iperf3, "-s", "--forceflush")
    assert program.stdout is not None
    while "listening" not in program.stdout.readline():
        pass
    yield iperf3
    ended(program)


@pytest.mark.parametrize("words", [("-P", "8"), ("-R", "-6")], ids=" ".join)
def test_iperf3_streams(served, iperf, words):
    where = NODE6 if "-6" in words else NODE4
    said = json.loads(ran(served, iperf, "-c", where, "-p", "31911", "-t", "1", "-J", *words))
    assert "error" not in said, said["error"]
    received = said["end"]["sum_received"]
    print(f"iperf3 {' '.join(words)}: {received['bits_per_second'] / 1e9:.1f} Gbit/s")
    assert received["bytes"] > 10 << 20


def test_iperf3_datagrams(served, iperf):
    asked = ["-u", "-b", "2M", "-l", "1000", "-t", "1", "-J"]
    said = json.loads(ran(served, iperf, "-c", NODE4, "-p", "31911", *asked))
    lost, sent = said["end"]["sum"]["lost_packets"], said["end"]["sum"]["packets"]
    print(f"iperf3 -u: {lost} of {sent} datagrams lost")
    assert sent > 200
    assert lost <= sent / 20


@pytest.fixture(scope="module")
def postgres(lab):
    """A server in the pod. It does not run as root."""
    initdb, server = found("initdb", "postgresql"), found("postgres", "postgresql")
    other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    with tempfile.TemporaryDirectory(prefix="postgres-") as name, contextlib.ExitStack() as stack:
        shutil.chown(name, "nobody", "nogroup")
        data = f"{name}/data"
        ran(
            lab,
            *other,
            initdb,
            "-D",
            data,
            "-U",
            "tester",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
            where=POD,
        )
        with Path(data, "pg_hba.conf").open("a") as file:
            file.write("host all all all trust\n")
        settings = ["listen_addresses=*", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB"]
        options = [word for setting in settings for word in ("-c", setting)]
        program = lab.start(POD, *other, server, "-D", data, *options, log=Path(lab.folder / "postgres.log"))
        stack.callback(ended, program)
        ready = found("pg_isready", "postgresql-client")
        until(lambda: lab.shell(ready, "-h", "10.244.2.104", where="pod/client").returncode == 0)
        yield


def test_psql(served, postgres):
    psql = found("psql", "postgresql-client")
    for ip in (NODE4, NODE6):
        where = f"host={ip} port=31910 user=tester dbname=postgres sslmode=disable connect_timeout=10"
        words = [psql, "-XAtq", "-v", "ON_ERROR_STOP=1", where]
        script = f"create temp table t as select n, md5(n::text) from generate_series(1, {ROWS}) n; table t;"
        assert len(ran(served, *words, "-c", script).splitlines()) == ROWS
