"""What is tried of a trace, and what is said at which port."""

import json

import pytest

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.cluster.decode import decode_json
from svcdoctor.lab.net.world import PODS, objects
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.observed import ProbeKind
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Client, ClientKind
from svcdoctor.path.aims import aims_of, client_here, fits, speech_of
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target

OUTSIDE = Client(ClientKind.EXTERNAL)
POD = next(p for p in PODS if p.name == "client")


def held(port=None, container=None, protocol="TCP", more=()):
    """The lab's objects with one slice; ``port`` edits the Service's port, ``container`` the containers' first."""
    items = [*objects(), *more]
    web = [i for i in items if i["kind"] == "Pod" and i["metadata"]["labels"].get("app") == "bq-api-service"]
    for item in items:
        if item["kind"] == "Service" and item["metadata"]["name"] == "bq-api-service-1":
            item["spec"]["ports"][0].update(port or {}, protocol=protocol)
    for pod in web:
        pod["spec"]["containers"][0]["ports"][0].update(container or {}, protocol=protocol)
    items.append(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "web",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "bq-api-service-1"},
            },
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": [p["status"]["podIP"]],
                    "conditions": {"ready": True},
                    "targetRef": {"kind": "Pod", "namespace": "default", "name": p["metadata"]["name"]},
                }
                for p in web
            ],
            "ports": [{"name": (port or {}).get("name", "8080-port"), "port": 8080, "protocol": protocol}],
        }
    )
    found = {}
    for one in decode_json(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}).encode(), "x"):
        found.setdefault(Kind(one.kind), []).append(one)
    return Snapshot({k: tuple(v) for k, v in found.items()}, {k: (Known(),) for k in Kind})


def traced(snapshot, asked="external", target="svc/bq-api-service-1"):
    return answer_once(snapshot, Request(parse_target(target, "default"), parse_client(asked)), "default")


@pytest.mark.parametrize(
    ("port", "container", "kind", "tls", "declared"),
    [
        ({}, {}, ProbeKind.HTTP, False, False),  # the container's port is called http
        ({}, {"name": "main"}, ProbeKind.HTTP, False, False),  # 8080
        ({"port": 443, "name": "x"}, {"name": "main", "containerPort": 8080}, ProbeKind.HTTP, False, False),
        ({"name": "https-web"}, {}, ProbeKind.HTTP, True, True),
        ({"name": "grpc"}, {}, ProbeKind.GRPC, False, True),
        ({"name": "grpc", "appProtocol": "https"}, {}, ProbeKind.HTTP, True, True),
        ({"appProtocol": "kubernetes.io/h2c"}, {}, ProbeKind.TCP, False, True),
        ({"name": "tcp-db"}, {}, ProbeKind.TCP, False, True),
        ({"name": "HTTP"}, {}, ProbeKind.HTTP, False, True),
    ],
)
def test_what_is_said_at_a_port(port, container, kind, tls, declared):
    snapshot = held(port, container)
    answer = traced(snapshot)
    said = {speech_of(p, answer, snapshot) for p in answer.paths if p.outcomes[0].backend}
    assert [(s.kind, s.tls, s.declared) for s in said] == [(kind, tls, declared)]


def test_entries_endpoints_and_tunnels():
    snapshot = held()
    aims = aims_of(traced(snapshot), snapshot, OUTSIDE, 0)
    entries = {(a.ip, a.port) for a in aims.entries}
    assert {("192.168.0.6", 31372), ("192.168.0.44", 31372), ("192.168.0.45", 31372)} <= entries
    assert ("10.105.158.88", 32111) in entries
    assert {(a.ip, a.port, bool(a.pod)) for a in aims.endpoints} == {
        (f"10.244.{n}", 8080, True) for n in ("1.45", "2.104", "3.54")
    }
    assert aims.tunnels == aims.endpoints and aims.health == ()
    large = aims_of(traced(snapshot), snapshot, OUTSIDE, 3000)
    assert sorted({a.payload_size for a in large.entries}) == [0, 3000]
    assert {a.payload_size for a in large.tunnels} == {0}


def test_datagrams_and_dns():
    snapshot = held({}, {}, "UDP")
    aims = aims_of(traced(snapshot), snapshot, OUTSIDE, 0)
    assert {(a.kind, a.payload) for a in aims.entries} == {(ProbeKind.UDP, b"")}
    assert aims.tunnels == ()
    dns = aims_of(traced(snapshot, target="10.244.2.5:53"), snapshot, OUTSIDE, 0)
    assert all(a.kind is not ProbeKind.UDP for a in dns.entries)
    asked = Request(parse_target("10.244.2.5:53", "default"), parse_client("external"), protocol="UDP")
    [query] = aims_of(answer_once(snapshot, asked, "default"), snapshot, OUTSIDE, 0).entries
    assert query.payload[12:] == b"\0\0\2\0\1", "the root's NS records"


def test_only_ways_of_the_client_are_tried():
    snapshot = held()
    answer = answer_once(snapshot, Request(parse_target("svc/bq-api-service-1", "default")), "default")
    assert {p.client.kind for p in answer.paths} == {ClientKind.EXTERNAL, ClientKind.POD}
    outside = aims_of(answer, snapshot, OUTSIDE, 0)
    assert {a.port for a in outside.entries} == {31372}
    pod = Client(ClientKind.POD, POD.key)
    assert {a.port for a in aims_of(answer, snapshot, pod, 0).entries} == {32111}
    mine = traced(snapshot, "pod/client").paths[0]
    assert fits(mine, pod) and not fits(mine, Client(ClientKind.POD, "default/other"))


def test_who_is_here():
    snapshot = held()
    assert client_here(snapshot, ["203.0.113.9"]) == OUTSIDE
    assert client_here(snapshot, ["127.0.0.1", "192.168.0.44"]).name == "k8s-node1"
    assert client_here(snapshot, ["fd00:192:168::44"]).kind is ClientKind.NODE
    assert client_here(snapshot, [POD.ip6]).name == POD.key
