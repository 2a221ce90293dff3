"""From objects to endpoints, by tables and beside the real kubectl, which forwards through the lab's API server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podruntime import PodRuntime
from svcdoctor.lab.podsandbox import Sandbox, sandbox_here
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service
from svcdoctor.model.workload import Workload
from svcdoctor.proxy.arguments import parse_addresses, parse_forward_target, parse_port
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.targets import Selection, endpoints, local_port, selection

Object = dict[str, Any]
READY = [{"type": "Ready", "status": "True"}]


def made(kind: str, spec: Object | None = None, name: str = "web", **more: Any) -> Object:
    version = "apps/v1" if kind in ("Deployment", "ReplicaSet") else "v1"
    metadata = {"namespace": "shop", "name": name} | more.pop("metadata", {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec or {}, **more}


def pod(name: str, ports: Sequence[Object] = (), *, ip: str = "10.0.0.1", **more: Any) -> Object:
    status = {"phase": "Running", "podIP": ip, "conditions": READY} | more.pop("status", {})
    metadata = {"labels": {"app": "web"}} | more.pop("metadata", {})
    spec = {"nodeName": "n1", "containers": [{"name": "c", "ports": list(ports)}]} | more.pop("spec", {})
    return made("Pod", spec, name, status=status, metadata=metadata, **more)


def port(number: int, name: str = "", protocol: str = "TCP", **more: Any) -> Object:
    """A port of a container, and with ``target`` one of a Service."""
    if "target" in more:
        target = more["target"]
        return {"port": number, "name": name, "protocol": protocol} | (
            {"targetPort": target} if target else {}
        )
    return {"containerPort": number, "protocol": protocol} | ({"name": name} if name else {})


def decoded(obj: Object) -> Any:
    types: dict[str, type[KubeObject]] = {"Pod": Pod, "Service": Service}
    return msgspec.json.decode(msgspec.json.encode(obj), type=types.get(obj["kind"], Workload))


IN = {"key": "tier", "operator": "In", "values": ["a", "b"]}
OUT = {"key": "tier", "operator": "NotIn", "values": ["a"]}
SELECTORS: list[tuple[Object, str]] = [
    ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
    ({"matchLabels": {"a": ""}}, "a="),
    ({"matchExpressions": [IN, OUT]}, "tier in (a,b),tier notin (a)"),
    (
        {
            "matchLabels": {"a": "1"},
            "matchExpressions": [
                {"key": "x", "operator": "Exists"},
                {"key": "y", "operator": "DoesNotExist", "values": None},
            ],
        },
        "a=1,x,!y",
    ),
]


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"])
@pytest.mark.parametrize(("selector", "labels"), SELECTORS)
def test_a_workload_is_its_selector(kind: str, selector: Object, labels: str) -> None:
    assert selection(decoded(made(kind, {"selector": selector}))) == Selection("shop", labels)


def test_the_others_are_a_plain_map_or_a_name() -> None:
    plain = {"selector": {"app": "web", "tier": "x"}}
    assert selection(decoded(made("ReplicationController", plain))) == Selection("shop", "app=web,tier=x")
    assert selection(decoded(made("Service", plain))) == Selection("shop", "app=web,tier=x")
    assert selection(decoded(made("Service", plain | {"clusterIP": "None"}))).labels == "app=web,tier=x"
    assert selection(decoded(pod("web-1"))) == Selection("shop", pod="web-1")


@pytest.mark.parametrize(
    ("obj", "problem"),
    [
        (
            made("Service", {"clusterIP": "10.96.0.1"}),
            "Service shop/web has no selector, and so no pods of its own; its endpoints are set by hand: name the pod "
            "behind it (pod/NAME), or connect to an address of kubectl get endpointslices -n shop -l "
            "kubernetes.io/service-name=web",
        ),
        (
            made("Service", {"type": "ExternalName", "externalName": "db.example.com"}),
            "Service shop/web has no pods: it is a DNS name for db.example.com; connect to that host itself",
        ),
        (
            made("Deployment"),
            "Deployment shop/web has no selector, and so no pods of its own; name one of its pods",
        ),
        (made("Deployment", {"selector": {}}), "has no selector"),
        (
            made("Deployment", {"selector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}),
            "'Gt' is no operator",
        ),
    ],
)
def test_what_never_has_pods(obj: Object, problem: str) -> None:
    with pytest.raises(SvcdoctorError) as error:
        selection(decoded(obj))
    assert problem in error.value.message and "\n" not in error.value.message


def ends(pods: Sequence[Object], text: str, service: Object | None = None, **more: Any) -> list[str]:
    found = endpoints(
        [decoded(p) for p in pods], parse_port(text), decoded(service) if service else None, **more
    )
    return [f"{e.pod}:{e.port}" for e in found]


STATES: list[tuple[Object, bool, bool]] = [
    ({}, True, True),
    ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, False, True),
    ({"status": {"conditions": []}}, False, True),
    ({"status": {"phase": "Pending"}}, False, False),
    ({"status": {"phase": "Unknown"}}, False, False),
    ({"status": {"phase": "Succeeded"}}, False, False),
    ({"status": {"phase": "Failed"}}, False, False),
    ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, False, True),
]


@pytest.mark.parametrize(("state", "ready", "named"), STATES)
def test_which_pods_are_ready(state: Object, ready: bool, named: bool) -> None:
    pods = [pod("a", **state), pod("b")]
    assert ends(pods, "80") == (["a:80", "b:80"] if ready else ["b:80"])
    assert ends(pods[:1], "80", named=True) == (["a:80"] if named else [])


def test_an_endpoint_is_the_pods_first_address() -> None:
    dual = {"podIP": "fd00::5", "podIPs": [{"ip": "fd00::5"}, {"ip": "10.0.0.5"}]}
    found = endpoints([decoded(pod("a", status=dual))], parse_port("80"))
    assert found == [Endpoint("fd00::5", 80, "shop", "a")]


WEB, METRICS = port(8080, "http"), port(9090, "metrics")


def test_a_name_is_each_pods_own() -> None:
    sidecar = {"initContainers": [{"name": "s", "restartPolicy": "Always", "ports": [port(7, "side")]}]}
    pods = [pod("a", [WEB]), pod("b", [port(8081, "http")]), pod("c", [METRICS]), pod("d", spec=sidecar)]
    assert ends(pods, "http") == ["a:8080", "b:8081"]
    assert ends(pods, "side") == ["d:7"]


@pytest.mark.parametrize(
    ("ports", "text", "problem"),
    [
        ([WEB, METRICS], "https", "pod shop/a has no port named 'https'; it has 8080 (http), 9090 (metrics)"),
        ([port(80), port(5, "q", "SCTP")], "x", "has no port named 'x'; it has 80, 5 (q)/SCTP"),
        ([], "https", "pod shop/a has no port named 'https'; it has none that it declares"),
        ([port(n) for n in range(1, 11)], "x", "it has 1, 2, 3, 4, 5, 6, 7, 8 and 2 more"),
        ([port(53, "dns", "UDP")], "5353:dns", "pod shop/a: port dns is UDP, not TCP; say 5353:dns/udp"),
        ([port(53, "dns", "UDP")], "53", "pod shop/a: port 53 is UDP, not TCP; say 53/udp"),
        ([WEB], "http/udp", "pod shop/a: port http is TCP, not UDP; say http/tcp"),
        ([port(5, "q", "SCTP")], "q", "port q is SCTP, not TCP; only TCP and UDP can be forwarded"),
    ],
)
def test_ports_that_pods_do_not_have(ports: list[Object], text: str, problem: str) -> None:
    unready = pod("a", ports, status={"conditions": []})
    for pods in ([pod("a", ports)], [unready, pod("b", ports)]):
        with pytest.raises(SvcdoctorError) as error:
            ends(pods, text)
        assert problem in error.value.message and "\n" not in error.value.message
    assert ends([], text) == []


def test_a_number_needs_no_declaration() -> None:
    both = [port(53, "dns", "UDP"), port(53, "dns-tcp")]
    assert ends([pod("a", both)], "53") == ends([pod("a", both)], "53/udp") == ["a:53"]
    assert ends([pod("a", [WEB])], "8080/udp") == ["a:8080"]
    assert ends([pod("a", both)], "dns/udp") == ends([pod("a", both)], "dns-tcp") == ["a:53"]


def service(*ports: Object, **spec: Any) -> Object:
    return made(
        "Service", {"selector": {"app": "web"}, "clusterIP": "10.96.0.1", "ports": list(ports)} | spec
    )


PODS = [pod("a", [WEB]), pod("b", [port(8081, "http"), port(53, "dns", "UDP")])]
FRONT = service(
    port(80, "plain", target=8080),
    port(443, "https", target="http"),
    port(81, "same", target=None),
    port(82, "zero", target=0),
    port(53, "dns", "UDP", target="dns"),
    port(54, "both", target=1),
    port(54, "both-udp", "UDP", target=2),
    port(99, "lost", target="nowhere"),
    port(98, "quoted", target="8080"),
)


@pytest.mark.parametrize(
    ("text", "found", "local"),
    [
        ("80", ["a:8080", "b:8080"], 80),
        ("8888:plain", ["a:8080", "b:8080"], 8888),
        ("plain", ["a:8080", "b:8080"], 80),
        ("443", ["a:8080", "b:8081"], 443),
        ("https", ["a:8080", "b:8081"], 443),
        (":https", ["a:8080", "b:8081"], 0),
        ("same", ["a:81", "b:81"], 81),
        ("82", ["a:82", "b:82"], 82),
        ("53/udp", ["b:53"], 53),
        ("dns/udp", ["b:53"], 53),
        ("54", ["a:1", "b:1"], 54),
        ("54/udp", ["a:2", "b:2"], 54),
    ],
)
def test_a_services_port_is_translated(text: str, found: list[str], local: int) -> None:
    assert ends(PODS, text, FRONT) == found
    request = parse_port(text)
    assert local_port(request, decoded(FRONT), []) == local
    assert ends([], text, FRONT) == []


HEADLESS = service(port(80, "plain", target=8080), port(53, "dns", "UDP", target=5353), clusterIP="None")


@pytest.mark.parametrize(
    ("front", "text", "number"),
    [
        (HEADLESS, "80", 80),
        (HEADLESS, "plain", 80),
        (HEADLESS, "dns/udp", 53),
        (service(clusterIP="None"), "1234", 1234),
    ],
)
def test_a_headless_service_translates_nothing(front: Object, text: str, number: int) -> None:
    assert ends(PODS, text, front) == [f"a:{number}", f"b:{number}"]
    assert local_port(parse_port(text), decoded(front), []) == number


@pytest.mark.parametrize(
    ("front", "text", "problem"),
    [
        (FRONT, "8080", "Service shop/web has no port 8080; it has 80 (plain), 443 (https), 81 (same), "),
        (FRONT, "http", "Service shop/web has no port http; it has 80 (plain), "),
        (HEADLESS, "8080", "Service shop/web has no port 8080; it has 80 (plain), 53 (dns)/UDP"),
        (service(clusterIP="None"), "http", "Service shop/web has no port http; it has none"),
        (HEADLESS, "http", "Service shop/web has no port http; it has 80 (plain), 53 (dns)/UDP"),
        (service(), "80", "Service shop/web has no port 80; it has none that it declares"),
        (FRONT, "53", "Service shop/web: port 53 is UDP, not TCP; say 53/udp"),
        (HEADLESS, "53", "Service shop/web: port 53 is UDP, not TCP; say 53/udp"),
        (FRONT, "dns", "Service shop/web: port dns is UDP, not TCP; say dns/udp"),
        (FRONT, "80/udp", "Service shop/web: port 80 is TCP, not UDP; say 80/tcp"),
        (
            FRONT,
            "99",
            "Service shop/web: targetPort 'nowhere' of port 99 is no TCP port of pod shop/a, which has 8080 (http); "
            "correct the targetPort, or name the pod's port (pod/a PORT)",
        ),
        (FRONT, "quoted", "targetPort '8080' of port quoted is no TCP port of pod shop/a"),
    ],
)
def test_ports_that_services_do_not_have(front: Object, text: str, problem: str) -> None:
    with pytest.raises(SvcdoctorError) as error:
        ends(PODS, text, front)
    assert problem in error.value.message and "\n" not in error.value.message


def test_the_local_port_of_a_pods_named_port_is_known_with_a_pod() -> None:
    request = parse_port("http")
    assert local_port(request, None, []) is None
    assert local_port(request, None, endpoints([decoded(PODS[1])], request)) == 8081


class Somewhere(PodRuntime):
    """Pods whose ports are those of loopback."""

    def sandbox(self, namespace: str, pod: str) -> Sandbox | None:
        return sandbox_here(f"{namespace}/{pod}", {})


KUBECTL_POD = pod("web-1", [port(18080, "http"), port(18443, "https"), port(18053, "dns", "UDP")])
KUBECTL = [
    KUBECTL_POD,
    made("Deployment", {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, "web"),
    service(
        port(17080, "plain", target=18080),
        port(17443, "https", target="https"),
        port(17081, "same", target=None),
        port(17053, "dns", "UDP", target=18053),
        port(17099, "lost", target="nowhere"),
    ),
    made("Service", HEADLESS["spec"], "headless"),
    made("Service", {"clusterIP": "10.96.0.9", "ports": [port(80, target=80)]}, "bare"),
]
Kubectl = Callable[..., tuple[set[tuple[str, int, int]], str]]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Starts kubectl port-forward and ends it when it forwards: (address, local port, remote port) and its errors."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kubectl is not installed, and CI must not skip these tests")
        pytest.skip("kubectl is not installed")
    home = tmp_path_factory.mktemp("home")
    with ApiServer(ObjectStore(KUBECTL), runtime=Somewhere()) as server:
        server.write_kubeconfig(home / "config", namespace="shop")

        def run(*words: str, lines: int = 2) -> tuple[set[tuple[str, int, int]], str]:
            threads = threading.active_count()
            process = subprocess.Popen(
                ["kubectl", "--kubeconfig", str(home / "config"), "port-forward", *words],
                env={"PATH": os.environ["PATH"], "HOME": str(home)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            found = set()
            try:
                while len(found) < lines and (line := process.stdout.readline()):
                    match = re.match(r"Forwarding from \[?([^]]*)\]?:(\d+) -> (\d+)\n", line)
                    assert match, line
                    found.add((match[1], int(match[2]), int(match[3])))
            finally:
                process.terminate()
                _, errors = process.communicate(timeout=10)
            end = time.monotonic() + 5
            while threading.active_count() > threads and time.monotonic() < end:
                time.sleep(0.002)
            return found, errors

        yield run


def ours(target: str, text: str) -> tuple[int | None, list[int]]:
    """The local port and the remote ones."""
    wanted = parse_forward_target(target)
    obj = decoded(
        next(o for o in KUBECTL if (o["kind"], o["metadata"]["name"]) == (wanted.kind, wanted.name))
    )
    selection(obj)
    front = obj if wanted.kind is Kind.SERVICE else None
    request = parse_port(text)
    found = endpoints([decoded(KUBECTL_POD)], request, front, named=wanted.kind is Kind.POD)
    return local_port(request, front, found), [e.port for e in found]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        *(("web-1", text) for text in ("18080", "18888:18080", ":18080", "0:18080", "018080", "http")),
        *(("pod/web-1", text) for text in ("18888:http", ":https", "http:http", "12345")),
        *(("deployment.apps/web", text) for text in ("http", "18888:19999")),
        *(("svc/web", text) for text in ("17080", "18888:17443", "https", ":plain", "17081", "0:same")),
        *(("services/headless", text) for text in ("18888:80", "18888:plain")),
    ],
)
def test_kubectl_forwards_the_same_ports(kubectl: Kubectl, target: str, text: str) -> None:
    found, errors = kubectl(target, text, lines=1)
    assert len(found) == 1, errors
    _, theirs, remote = found.pop()
    local, remotes = ours(target, text)
    assert remotes == [remote]
    assert local == theirs or (local == 0 and theirs > 1023)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        *(("web-1", text) for text in ("0", "1:0", "65536", "1:65536", "65536:1", "", ":", "5000:", "1:-1")),
        *(("web-1", text) for text in (" 80", "+80", "http:80", "HTTP", "nope", "dns", "18053")),
        *(("svc/web", text) for text in ("18080", "http", "17099", "dns", "17053", "65536", ":")),
        *(("services/headless", text) for text in ("http", "53", "1234")),
        ("svc/bare", "80"),
        ("pod/web-1/x", "80"),
        ("pod/", "80"),
        ("/web-1", "80"),
        ("pod.apps/web-1", "80"),
        ("pods.v1/web-1", "80"),
    ],
)
def test_kubectl_refuses_the_same(kubectl: Kubectl, target: str, text: str) -> None:
    found, errors = kubectl(target, text)
    assert not found and errors.startswith("error: ")
    with pytest.raises(SvcdoctorError):
        ours(target, text)


@pytest.mark.parametrize(
    "option", ["localhost", "127.0.0.1", "::1", "0.0.0.0,::1", "localhost,127.0.0.2", "::ffff:127.0.0.1"]
)
def test_kubectl_listens_on_the_same_addresses(kubectl: Kubectl, option: str) -> None:
    expected = parse_addresses([option])
    found, errors = kubectl("web-1", ":18080", "--address", option, lines=len(expected))
    # It prints an address as it was written.
    assert {ip.removeprefix("::ffff:") for ip, _, _ in found} == {a.ip for a in expected}, errors


@pytest.mark.parametrize("option", ["web", "[::1]", "fe80::1%lo", "", "localhost, ::1", ","])
def test_kubectl_refuses_the_same_addresses(kubectl: Kubectl, option: str) -> None:
    found, errors = kubectl("web-1", ":18080", "--address", option)
    assert not found and errors.startswith("error: ")
    with pytest.raises(SvcdoctorError):
        parse_addresses([option])
