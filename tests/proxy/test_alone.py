"""Targets without the API server: what a node's files and rules tell, until a real server answers again."""

from __future__ import annotations

import gc
import json
import queue
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from piping import Namespaces
from test_netns import UID, Node, Pods
from test_netns_find import add

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.resources import SERVICES
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import Dump, NodeFacts
from svcdoctor.node.chainnames import EndpointName, ServicePortName, iptables_hash, nftables_base
from svcdoctor.proxy import asking
from svcdoctor.proxy.alone import Following, Found, NodeView
from svcdoctor.proxy.arguments import parse_addresses, parse_forward_target, parse_port
from svcdoctor.proxy.asking import why_away
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.forwarder import Plan
from svcdoctor.proxy.netns_find import PodFinder
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.session import ApiSession

SECONDS = 20.0
HERE, ELSEWHERE = ("10.9.9.1", "fd00:9::1"), ("10.9.9.7", "fd00:9::7")
WEB = ServicePortName("default", "web", "http", "tcp")
DNS = ServicePortName("default", "web", "dns", "udp")


def plan(target: str, *ports: str, all_pods: bool = False) -> Plan:
    return Plan(
        parse_forward_target(target),
        "default",
        tuple(map(parse_port, ports)),
        parse_addresses(["127.0.0.1"]),
        all_pods=all_pods,
    )


def iptables(family: int, *ips: str) -> Dump:
    """The rules of WEB (80 to 8080) and DNS (53 to 5353) with these endpoints."""
    lines = ["*nat", ":PREROUTING ACCEPT [0:0]", ":KUBE-SERVICES - [0:0]"]
    for port, number, target in ((WEB, 80, 8080), (DNS, 53, 5353)):
        chain = f"KUBE-SVC-{iptables_hash(port)}"
        cluster_ip = "10.96.0.9/32" if family == 4 else "fd00:96::9/128"
        proto = port.protocol
        lines.append(
            f'-A KUBE-SERVICES -d {cluster_ip} -p {proto} -m comment --comment "{port} cluster IP" -m {proto} '
            f"--dport {number} -j {chain}"
        )
        ends = []
        for ip in ips:
            end = EndpointName(port, ip, target)
            ends.append((f"KUBE-SEP-{iptables_hash(end)}", end))
        lines += [f"-A {chain} -j {name}" for name, _ in ends]
        lines += [f"-A {name} -p {proto} -m {proto} -j DNAT --to-destination {end}" for name, end in ends]
    return Dump(f"iptables{family}", "\n".join([*lines, "COMMIT", ""]).encode())


def nftables(*ips: str) -> Dump:
    """The rules of WEB."""
    chain = f"service-{nftables_base(WEB)}"
    table = {"family": "ip", "table": "kube-proxy"}
    key = {"concat": ["10.96.0.9", "tcp", 80]}
    ends = {"set": [[n, {"concat": [ip, 8080]}] for n, ip in enumerate(ips)]}
    found = [
        {
            "map": table
            | {
                "name": "service-ips",
                "type": ["ipv4_addr", "inet_proto", "inet_service"],
                "map": "verdict",
                "elem": [[key, {"goto": {"target": chain}}]],
            }
        },
        {"chain": table | {"name": chain}},
        {"rule": table | {"chain": chain, "expr": [{"dnat": {"addr": {"map": {"data": ends}}}}]}},
    ]
    return Dump("nft.json", json.dumps({"nftables": found}).encode())


def rules(**dumps: Dump) -> NodeFacts:
    names = {"save": "iptables-save.txt", "save6": "ip6tables-save.txt", "nft": "nft.json"}
    return NodeFacts("n1", raw={names[key]: dump for key, dump in dumps.items()})


@pytest.fixture
def pods(tmp_path: Path, namespaces: Namespaces) -> Iterator[Pods]:
    made = Pods(Node(tmp_path), namespaces)
    add(made, "web-1", UID, 1)
    yield made
    made.close()


@pytest.mark.parametrize(
    "facts",
    [
        rules(save=iptables(4, HERE[0], ELSEWHERE[0]), save6=iptables(6, HERE[1], ELSEWHERE[1])),
        rules(nft=nftables(HERE[0], ELSEWHERE[0])),
    ],
    ids=["iptables, both families", "nftables"],
)
@pytest.mark.parametrize("port", ["80", "8000:http", ":http"])
def test_a_service_by_the_rules(pods: Pods, facts: NodeFacts, port: str) -> None:
    asked = plan("svc/web", port)
    found = NodeView(pods.node.finder, lambda: facts).find(asked)
    here, elsewhere = Endpoint(HERE[0], 8080, "default", "web-1"), Endpoint(ELSEWHERE[0], 8080)
    assert found.endpoints == {asked.ports[0]: [here, elsewhere]}
    assert found.how == "found in the rules of this node: 2 endpoints, 1 on this node"
    assert found.service is not None
    assert {p.name: p.port for p in found.service.ports}["http"] == 80


def test_a_service_of_ipv6_alone_and_of_udp(pods: Pods) -> None:
    view = NodeView(pods.node.finder, lambda: rules(save6=iptables(6, *reversed(HERE[1:] + ELSEWHERE[1:]))))
    asked = plan("svc/web", "53/udp", "80")
    assert view.find(asked).endpoints == {
        asked.ports[0]: [Endpoint(ELSEWHERE[1], 5353), Endpoint(HERE[1], 5353, "default", "web-1")],
        asked.ports[1]: [Endpoint(ELSEWHERE[1], 8080), Endpoint(HERE[1], 8080, "default", "web-1")],
    }


def test_only_pods_with_a_name_get_a_port_of_their_own(pods: Pods) -> None:
    asked = plan("svc/web", "80", all_pods=True)
    view = NodeView(pods.node.finder, lambda: rules(save=iptables(4, HERE[0], ELSEWHERE[0])))
    assert view.find(asked).endpoints == {asked.ports[0]: [Endpoint(HERE[0], 8080, "default", "web-1")]}


def test_a_pod_by_its_files(pods: Pods) -> None:
    asked = plan("web-1", "8080", "53/udp")
    found = NodeView(pods.node.finder).find(asked)
    assert found.endpoints == {p: [Endpoint(HERE[0], p.remote, "default", "web-1")] for p in asked.ports}
    assert found.service is None


KNOWN = rules(save=iptables(4, HERE[0]))
MISTAKES: list[tuple[str, str, NodeFacts, str]] = [
    ("svc/web", "81", KNOWN, "Service default/web has no port 81; it has 80 (http), 53 (dns)/UDP"),
    ("svc/web", "http/udp", KNOWN, "say http/tcp"),
    ("svc/wbe", "80", KNOWN, "no such Service in namespace default, only web (headless ones have no rules)"),
    ("svc/web", "80", rules(save=Dump("s", b"*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n")), "name no Services"),
    (
        "svc/web",
        "80",
        NodeFacts("n1", missing={"nft.json": "no nft; install it"}),
        "read: no nft; install it",
    ),
    (
        "deploy/web",
        "80",
        KNOWN,
        "deployment/web: only the API server knows its pods; name a pod of this node",
    ),
    ("web-1", "http", KNOWN, "only the API server knows which port is 'http'; say its number"),
    ("web-2", "80", KNOWN, "run svcdoctor on the pod's node"),
]


@pytest.mark.parametrize(("target", "port", "facts", "said"), MISTAKES)
def test_what_the_node_does_not_know(pods: Pods, target: str, port: str, facts: NodeFacts, said: str) -> None:
    with pytest.raises(SvcdoctorError) as told:
        NodeView(pods.node.finder, lambda: facts).find(plan(target, port))
    assert said in told.value.message


def test_a_service_of_another_namespace_is_told(pods: Pods) -> None:
    elsewhere = iptables(4, HERE[0]).data.replace(b'"default/', b'"shop/')
    view = NodeView(pods.node.finder, lambda: rules(save=Dump("s", elsewhere)))
    with pytest.raises(SvcdoctorError, match="know it in namespace shop: say -n"):
        view.find(plan("svc/web", "80"))


# --- the API server, away and back

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "name": "http", "protocol": "TCP"}]},
}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(ObjectStore([SERVICE])) as server:
        yield server


@pytest.fixture
def session(server: ApiServer, tmp_path: Path) -> Iterator[ApiSession]:
    server.write_kubeconfig(tmp_path / "kubeconfig")
    session = open_connection(Connection(kubeconfig=tmp_path / "kubeconfig"))
    yield session
    session.close()


def test_whether_it_can_be_asked(server: ApiServer, session: ApiSession, tmp_path: Path) -> None:
    assert why_away(session) is None
    server.halt()
    refused = why_away(session)
    assert refused is not None and "refused the connection" in refused.message
    server.start()
    assert why_away(session) is None  # with the port, the certificates and the token that it had
    stranger = open_connection(Connection(kubeconfig=tmp_path / "kubeconfig", token="no"))
    unauthorized = why_away(stranger)
    assert unauthorized is not None and "401 Unauthorized" in unauthorized.message
    stranger.close()


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        session = open_connection(Connection(server=f"https://127.0.0.1:{silent.getsockname()[1]}"))
        said = why_away(session)
        session.close()
    assert said is not None and "did not answer within 0.3 s" in said.message


def test_a_balancer_without_servers_behind_it_is_no_api_server(
    server: ApiServer, session: ApiSession
) -> None:
    server.faults.fail(1)
    said = why_away(session)
    assert said is not None and said.message.endswith("answers with HTTP status 500")


def test_the_node_is_looked_at_until_the_server_answers(server: ApiServer, session: ApiSession) -> None:
    held = [rules(save=iptables(4, *HERE[:1]))]
    view = NodeView(PodFinder(Path("/nowhere")), lambda: held[0])
    asked = plan("svc/web", "80")
    server.halt()
    told: queue.Queue[Any] = queue.Queue()
    following = Following(
        session, view, asked, view.find(asked), changed=told.put, told=told.put, back=told.put, pause=0.05
    )
    following.start()
    held[0] = rules(save=iptables(4, ELSEWHERE[0]))
    changed = told.get(timeout=SECONDS)
    assert isinstance(changed, Found)
    assert changed.endpoints == {asked.ports[0]: [Endpoint(ELSEWHERE[0], 8080)]}
    held[0] = rules()  # they were flushed: what was known is kept
    server.start()
    assert told.get(timeout=SECONDS).name == "web"
    following.close()
    assert told.empty()
    gc.collect()  # a connection that was cut is held by the cycle of urllib3's error


def test_a_server_that_does_not_know_the_target_is_quoted_once(
    server: ApiServer, session: ApiSession
) -> None:
    view = NodeView(PodFinder(Path("/nowhere")), lambda: rules(save=iptables(4, HERE[0])))
    asked = plan("svc/web", "80")
    told: queue.Queue[Any] = queue.Queue()
    server.store.delete(SERVICES, "default", "web")
    following = Following(
        session, view, asked, view.find(asked), changed=told.put, told=told.put, back=told.put, pause=0.02
    )
    following.start()
    first = told.get(timeout=SECONDS)
    assert isinstance(first, SvcdoctorError) and first.message == "no service/web in namespace default"
    server.store.create(SERVICE)
    assert told.get(timeout=SECONDS).name == "web"
    following.close()
