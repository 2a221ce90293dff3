"""``svcdoctor proxy`` on a node: what it opens and holds, what it says, and what is left when it ends or is killed."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest
from node_spaces import skip_or_fail
from proxy_world import (
    CLUSTER4,
    CLUSTER6,
    NODE4,
    NODE6,
    NODE_PORT,
    PODS,
    PROGRAMS,
    ProxyWorld,
    service,
    slices,
)

from svcdoctor.lab.resources import SERVICES

ALL = set(PODS)
WORKERS = ("--workers", "1")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    missing = [name for name in ("ip", "nft", "nsenter", "unshare", "capsh") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        skip_or_fail(f"needs root and {', '.join(missing) or 'nothing else'}")
    folder = tmp_path_factory.mktemp("proxy")
    kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "NO_COLOR", "PYTHONUNBUFFERED")}
    made = ProxyWorld(folder, kept | {"HOME": str(folder), "PATH": f"{PROGRAMS}:{kept['PATH']}"})
    yield made
    made.close()


@pytest.fixture
def node(world):
    """A node as it was; what a test starts ends, and leaves nothing."""
    before = state(world)
    yield world
    left = world.workers()
    world.end()
    assert state(world) == before
    assert not left


def state(world):
    """The node's addresses, tables and runs."""
    script = "ip -o addr | grep -v 'scope link'; nft list ruleset; ls /run/svcdoctor 2>/dev/null || true"
    return world.sh(world.node, script)


def held(node):
    """The addresses that the node holds for Services, with the scope or flags that they have."""
    lines = node.ip(node.node, "-o addr").splitlines()
    return {
        line.split()[3].partition("/")[0]: line for line in lines if "10.96." in line or "fd00:96:" in line
    }


def said(node, *words, api=True):
    """The exit code and the one line of a mistake."""
    running = node.proxy(*words, api=api)
    code = running.wait()
    [line] = [line for line in running.err if line.startswith("svcdoctor: error: ")]
    return code, line.removeprefix("svcdoctor: error: ")


def test_by_default_a_service_has_its_ports_on_loopback(node):
    running = node.serving("svc/web", "--dial", "direct", *WORKERS)
    assert running.out[0].startswith("Serving shop/web:80/TCP on 127.0.0.1:80, [::1]:80: 4 endpoints (")
    for ip in ("127.0.0.1", "::1"):
        assert {node.ask(ip, 80, node.node) for _ in range(40)} == ALL
    assert node.ask(NODE4, 80) == "refused"
    assert node.ask(NODE4, NODE_PORT) == "refused"
    assert running.end() == 0
    assert node.ask("127.0.0.1", 80, node.node) == "refused"


def test_a_nodeport_is_opened_on_the_nodes_addresses_alone(node):
    running = node.serving("svc/web", "--nodeport", *WORKERS)
    assert f"on {NODE4}:{NODE_PORT} (nodePort), [{NODE6}]:{NODE_PORT} (nodePort):" in running.out[0]
    for ip in (NODE4, NODE6):
        assert {node.ask(ip, NODE_PORT) for _ in range(40)} == ALL
    assert node.ask("127.0.0.1", NODE_PORT, node.node) == "refused"
    assert running.end(signal.SIGTERM) == 0


def test_a_cluster_ip_is_held_and_nobody_is_told(node):
    running = node.serving("svc/web", "--clusterip", *WORKERS)
    addresses = held(node)
    assert addresses.keys() == {CLUSTER4, CLUSTER6}
    has_dummy = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "name", "any", "type", "dummy"],
        check=False,
        capture_output=True,
    )
    device = "lo" if has_dummy.returncode else "svcdoctor0"
    assert f" {device} " in addresses[CLUSTER4] and "scope host" in addresses[CLUSTER4]
    assert f" {device} " in addresses[CLUSTER6] and "deprecated" in addresses[CLUSTER6]
    for ip in (CLUSTER4, CLUSTER6):
        assert {node.ask(ip, 80, node.node) for _ in range(40)} == ALL
    assert {node.ask(CLUSTER6, 80) for _ in range(40)} == ALL, "who has a route gets there"
    # The client believes the cluster IP to be on its own network, and asks who has it.
    assert node.ask(CLUSTER4, 80) == "silent"
    assert re.search("FAILED|INCOMPLETE", node.ip(node.client, f"neigh show {CLUSTER4}"))
    node.ip(node.client, f"route replace {CLUSTER4} via {NODE4}")
    assert {node.ask(CLUSTER4, 80) for _ in range(40)} == ALL
    node.ip(node.client, f"route del {CLUSTER4} via {NODE4}")
    assert running.end() == 0


def test_everything_is_a_nodes_fallback(node):
    spec = {"type": "LoadBalancer", "externalIPs": ["198.51.100.7"]}
    node.put(service(**spec) | {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}}})
    running = node.serving("-A", *WORKERS)
    [line] = [line for line in running.out if line.startswith("Serving")]
    assert line.startswith("Serving shop/web:80/TCP on "), "and not default/kubernetes"
    for words in (
        f"{CLUSTER4}:80 (cluster IP)",
        f"{NODE4}:{NODE_PORT} (nodePort)",
        "203.0.113.5:80 (load balancer)",
        "198.51.100.7:80 (external IP)",
        f"[{CLUSTER6}]:80 (cluster IP)",
    ):
        assert words in line
    for ip, port in ((CLUSTER4, 80), ("203.0.113.5", 80), ("198.51.100.7", 80), (NODE6, NODE_PORT)):
        assert node.ask(ip, port, node.node) in ALL
    assert running.end() == 0


def test_killed_workers_go_on_and_the_next_start_adopts_them(node):
    first = node.serving("svc/web", "--clusterip", *WORKERS)
    [worker] = node.workers()
    first.end(signal.SIGKILL)
    with node.connect(CLUSTER4, 80, node.node) as kept:
        kept.sendall(b"?")
        assert kept.recv(100)
        second = node.serving("svc/web", "--clusterip", *WORKERS)
        assert node.workers() == [worker]
        kept.sendall(b"?")
        assert kept.recv(100)
    assert second.end() == 0
    assert not node.workers()


def test_what_a_crash_left_is_removed_by_whoever_starts_next(node):
    first = node.serving("svc/web", "--clusterip", *WORKERS)
    [worker] = node.workers()
    first.end(signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    assert held(node).keys() == {CLUSTER4, CLUSTER6}
    second = node.serving("--endpoints", f"{PODS['web-1'][0]}:8080", "--listen", "127.0.0.1:9000", *WORKERS)
    assert held(node) == {}
    assert f"removed of a run that has crashed: {CLUSTER4}, {CLUSTER6}" in second.err
    assert second.end() == 0


def test_cleanup(node):
    first = node.serving("svc/web", "--clusterip", *WORKERS)
    [worker] = node.workers()
    first.end(signal.SIGKILL)
    other = node.serving("svc/web", "--nodeport", *WORKERS)
    done = node.proxy("cleanup")
    assert done.wait() == 0, done.err
    assert done.out == [f"worker {worker}", f"address {CLUSTER4}", f"address {CLUSTER6}"]
    assert held(node) == {}
    assert node.ask(NODE4, NODE_PORT) in ALL, "a run that lives is left alone"
    assert other.end() == 0
    again = node.proxy("cleanup")
    assert (again.wait(), again.out) == (0, ["nothing is left"])


def test_two_runs_share_an_address(node):
    one = node.serving("svc/web", "--clusterip", *WORKERS)
    other = node.serving("-n", "shop", *WORKERS)
    assert one.end() == 0
    assert held(node).keys() == {CLUSTER4, CLUSTER6}
    assert node.ask(CLUSTER4, 80, node.node) in ALL
    assert other.end() == 0
    assert held(node) == {}


def test_a_service_changes_and_vanishes(node):
    running = node.serving("svc/web", "--clusterip", "--drain-timeout", "1s", *WORKERS)
    for obj in slices("web-1"):
        node.put(obj)
    running.until(lambda: {node.ask(CLUSTER4, 80, node.node) for _ in range(10)} == {"web-1"})
    assert f"shop/web:80/TCP: 1 endpoint ({PODS['web-1'][0]}:8080)" in running.out
    for obj in slices():
        node.put(obj)
    running.until(lambda: node.ask(CLUSTER4, 80, node.node) == "refused")
    for obj in slices("web-2"):
        node.put(obj)
    running.until(lambda: node.ask(CLUSTER4, 80, node.node) == "web-2")
    node.put(service(type="ExternalName", clusterIP="", clusterIPs=[], externalName="example.org"))
    running.until(lambda: node.ask(CLUSTER4, 80, node.node) != "web-2")
    assert any("is of type ExternalName" in line for line in running.err)
    running.until(lambda: held(node) == {})
    node.put(service())
    running.until(lambda: node.ask(CLUSTER6, 80, node.node) == "web-2")
    node.store.delete(SERVICES, "shop", "web")
    running.until(lambda: node.ask(CLUSTER6, 80, node.node) != "web-2")
    assert any(line.startswith("shop/web is gone: it is served no longer") for line in running.err)
    assert running.end() == 0


def test_health_as_load_balancers_ask_for_it(node):
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31999}
    node.put(service(**spec) | {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}}})
    running = node.serving("svc/web", "--nodeport", "--healthz", "127.0.0.1:10256", *WORKERS)

    def healthy(url):
        printed = node.sh(node.node, f"curl -s -m 3 -D - '{url}' || true")
        head, _, body = printed.partition("\n\n")
        weight = re.search(r"X-Load-Balancing-Endpoint-Weight: (\d+)", head)
        return head.split(" ")[1:2], weight and int(weight[1]), body and json.loads(body)

    answer = {
        "service": {"namespace": "shop", "name": "web"},
        "localEndpoints": 2,
        "serviceProxyHealthy": True,
    }
    for url in (f"http://{NODE4}:31999/", f"http://[{NODE6}]:31999/x"):
        running.until(lambda url=url: healthy(url)[0])
        assert healthy(url) == (["200"], 2, answer)
    for obj in slices():
        node.put(obj)
    running.until(lambda: healthy(f"http://{NODE4}:31999/") == (["503"], 0, answer | {"localEndpoints": 0}))
    assert healthy("http://127.0.0.1:10256/healthz")[0] == ["503"]
    assert healthy("http://127.0.0.1:10256/shop/web")[2] == answer | {"localEndpoints": 0}
    assert running.end() == 0


def test_metrics_and_the_access_log(node):
    words = ("--dial", "direct", "--metrics", "127.0.0.1:9100", "--access-log", "-", "--workers", "2")
    running = node.serving("svc/web:http", "--listen", f"{NODE4}:8000", *words)
    assert running.out[0].startswith(f"Serving shop/web:80/TCP on {NODE4}:8000: ")
    for _ in range(20):
        assert node.ask(NODE4, 8000) in ALL
    lines = running.until(
        lambda: [json.loads(x) for x in running.out if x.startswith("{")][19:] and running.out
    )
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert {line["pod"] for line in logged} == {f"shop/{name}" for name in PODS}
    text = node.sh(node.node, "curl -s http://127.0.0.1:9100/metrics")
    counted = re.findall(r'svcdoctor_proxy_connections_total\{.*pod="shop/(.*)"\} (\d+)', text)
    assert {name for name, _ in counted} == ALL
    assert sum(int(count) for _, count in counted) == 20
    assert len(re.findall(r"dial_seconds_bucket.*\+Inf", text)) == 2
    assert running.end() == 0


def test_without_any_api_server(node):
    four, six = (f"{PODS['web-1'][0]}:8080", f"[{PODS['web-2'][1]}]:8080")
    running = node.serving("--endpoints", f"{four},{six}", "--listen", "8000", *WORKERS, api=False)
    assert running.out == [
        f"Serving default/endpoints:8000/TCP on 127.0.0.1:8000, [::1]:8000: 2 endpoints ({four}, {six})"
    ]
    for ip in ("127.0.0.1", "::1"):
        assert {node.ask(ip, 8000, node.node) for _ in range(40)} == ALL, "whatever its IP family"
    assert running.end() == 0


def test_a_port_in_use_names_who_has_it(node):
    with_it = node.serving("--endpoints", "127.0.0.1:1", "--listen", "8000", *WORKERS, api=False)
    code, line = said(node, "svc/web", "--listen", "8000")
    assert code == 2
    assert re.fullmatch(
        r"cannot listen on 127\.0\.0\.1:8000: Address already in use by svcdoctor \(pid \d+\)|"
        r"cannot listen on 127\.0\.0\.1:8000: Address already in use by \S+ \(pid \d+\); choose another port, or end "
        r"the program that listens there",
        line,
    ), line
    code, line = said(node, "--endpoints", "127.0.0.1:1", "--listen", "8000", api=False)
    assert (code, re.sub(r"\d+", "N", line)) == (
        3,
        "another svcdoctor proxy (pid N) serves the same already; end it first, or serve something else",
    )
    assert with_it.end() == 0


@pytest.mark.parametrize(
    "words, problem",
    [
        ((), "proxy what? say svc/NAME, or for many Services -n NAMESPACE, -l LABELS or -A"),
        (("svc/web", "--drain-timeout", "soon"), '--drain-timeout "soon": not a duration; say whole seconds'),
        (
            ("svc/web", "--listen", "10.1.2.3:80"),
            "cannot listen on 10.1.2.3:80: Cannot assign requested address; ",
        ),
        (("svc/web:https",), "service shop/web has no port https; it has 80/TCP (http)"),
        (
            ("svc/kubernetes", "-n", "default", "--clusterip"),
            "service default/kubernetes: its cluster IP leads to the API server, and this machine must not take it "
            "over; use --listen",
        ),
        (
            ("svc/kubernetes", "-n", "default", "--nodeport"),
            "service default/kubernetes is of type ClusterIP and has no nodePort; use --clusterip or --listen",
        ),
    ],
)
def test_mistakes(node, words, problem):
    code, line = said(node, *words)
    assert code == 2
    assert line.startswith(problem)


@pytest.mark.parametrize("mode", [(), ("--mode", "nftables")], ids=["user space", "kernel"])
def test_without_an_api_server_that_answers(node, tmp_path, mode):
    away = tmp_path / "kubeconfig"
    away.write_text(re.sub(r"server: .*", "server: https://127.0.0.1:9", node.kubeconfig.read_text()))
    code, line = said(node, "svc/web", "--kubeconfig", str(away), *mode)
    assert code == 3
    assert line.startswith("https://127.0.0.1:9 (context ") and "refused the connection" in line


def test_a_service_that_is_missing(node):
    assert said(node, "svc/wep") == (1, "no service shop/wep")


@pytest.mark.parametrize(
    "words, problem",
    [
        (
            ("svc/web",),
            "cannot listen on 127.0.0.1:80: Permission denied; choose a port from 1024 on, run as root, or grant the "
            "capability CAP_NET_BIND_SERVICE",
        ),
        (
            ("svc/web", "--clusterip"),
            "Services' addresses cannot be held on this machine: that needs the capability CAP_NET_ADMIN; run it as "
            "root, grant the capability (systemd: AmbientCapabilities=CAP_NET_ADMIN), or use --listen",
        ),
    ],
)
def test_without_permission_it_says_which_one(node, words, problem):
    drop = ("capsh", "--drop=cap_net_bind_service,cap_net_admin", "--", "-c", 'exec "$0" "$@"')
    running = node.proxy(*words, before=drop)
    assert running.wait() in (2, 3)
    assert running.err[-1] == f"svcdoctor: error: {problem}"


def test_dry_run_opens_nothing(node):
    running = node.proxy("svc/web", "--nodeport", "--clusterip", "--dry-run")
    assert running.wait() == 0, running.err
    [line] = running.out
    assert line.startswith(
        f"Serving shop/web:80/TCP on {CLUSTER4}:80 (cluster IP), {NODE4}:{NODE_PORT} (nodePort), "
    )
    rules = node.proxy("-A", "--mode", "nftables", "--dry-run")
    assert rules.wait() == 0, rules.err
    assert held(node) == {}
    assert "svcdoctor" not in node.sh(node.node, "nft list tables")
    checked = node.folder / "rules"
    checked.write_text("\n".join(rules.out))
    node.sh(node.node, f"nft -c -f {checked}")


@pytest.mark.parametrize("words", [("svc/web",), ("svc/web", "--nodeport", "--clusterip"), ("-A",)])
def test_the_kernel_carries_it(node, words):
    running = node.serving(*words, "--mode", "nftables")
    for ip in (NODE4, NODE6):
        assert {node.ask(ip, NODE_PORT) for _ in range(40)} == ALL
    for ip in (CLUSTER4, CLUSTER6):
        assert {node.ask(ip, 80, node.node) for _ in range(40)} == ALL
    assert held(node) == {}
    assert running.end() == 0
    assert node.ask(NODE4, NODE_PORT) == "refused"
