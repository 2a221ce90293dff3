"""A Service of three pods on three nodes, and observations of it as probes would make them, in both families."""

import json

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.cluster.decode import decode_json
from svcdoctor.lab.net.world import NODES, PODS, objects
from svcdoctor.model.evidence import Evidence
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.observed import Aim, Latency, Met, Observation, Place, PlaceKind, ProbeKind
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Client, ClientKind
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target

WEB = tuple(p for p in PODS if ("app", "bq-api-service") in p.labels)
SERVICE = "svc/bq-api-service-1"
NODE_PORT, PORT, TARGET = 31372, 32111, 8080
CLUSTER_IPS = ("10.105.158.88", "fd00:10:96::5888")
HERE, TUNNEL = Place(PlaceKind.HERE), Place(PlaceKind.TUNNEL)
OUTSIDE = Client(ClientKind.EXTERNAL)
COUNT = 60  # enough to miss a pod that never answers
LATENCY = Latency(0.001, 0.002, 0.004, 0.005)


def snapshot(change=lambda items: None):
    """The lab's objects with the EndpointSlices that they demand; ``change`` edits the JSON first."""
    items = [*objects(), *map(_slice, ("IPv4", "IPv6"))]
    change(items)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()
    found = {}
    for one in decode_json(text, "test") or ():
        found.setdefault(Kind(one.kind), []).append(one)
    return Snapshot({k: tuple(v) for k, v in found.items()}, {k: (Known(),) for k in Kind})


def _slice(family):
    name = "bq-api-service-1"
    ends = [
        {
            "addresses": [p.ip4 if family == "IPv4" else p.ip6],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": p.node,
            "targetRef": {"kind": "Pod", "namespace": "default", "name": p.name},
        }
        for p in WEB
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{family.lower()}",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": family,
        "endpoints": ends,
        "ports": [{"name": "8080-port", "port": TARGET, "protocol": "TCP"}],
    }


def met(ip, port, what, *, who=(), count=COUNT, place=HERE, kind=ProbeKind.HTTP, size=0, pod="", **more):
    """An observation: ``what`` is one result of all tries, or counts."""
    counts = {what: count} if isinstance(what, Met) else what
    named = dict(who) if isinstance(who, dict) else {}
    for i in range(counts.get(Met.ANSWERED, 0) if who and not named else 0):
        named[who[i % len(who)]] = named.get(who[i % len(who)], 0) + 1
    latency = LATENCY if counts.get(Met.ANSWERED) else None
    aim = Aim(ip, port, kind, payload_size=size, pod=pod)
    return Observation(aim, place, sum(counts.values()), counts, named, latency=latency, **more)


def entries(*nodes, what=Met.ANSWERED, cluster=True, families=(4, 6), **more):
    """Observations of the cluster IPs and of the nodePorts of nodes (all where none are named)."""
    more.setdefault("who", tuple(p.name for p in WEB))
    found = [
        met(ip, PORT, what, **more) for ip in CLUSTER_IPS if cluster and (6 if ":" in ip else 4) in families
    ]
    for node in NODES:
        if not nodes or node.name in nodes:
            found += [
                met(ip, NODE_PORT, what, **more)
                for ip in (node.ip4, node.ip6)
                if (6 if ":" in ip else 4) in families
            ]
    return found


def ends(*pods, what=Met.ANSWERED, tunnel=Met.ANSWERED, families=(4, 6), **more):
    """Observations of pods' addresses (all where none are named), and of tunnels into them."""
    found = []
    for pod in pods or WEB:
        for ip in (pod.ip4, pod.ip6):
            if (6 if ":" in ip else 4) in families:
                found.append(met(ip, TARGET, what, count=3, pod=pod.key, **more))
            found += [met(ip, TARGET, tunnel, count=3, place=TUNNEL, pod=pod.key)] if tunnel else []
    return found


def judged(
    *observations, held=None, sockets=None, client=OUTSIDE, asked="external", missing=(), target=SERVICE
):
    """The answer to ``trace svc/… --from external --probe`` where just this was met."""
    flat = tuple(o for group in observations for o in (group if isinstance(group, list) else [group]))
    place = HERE if client is OUTSIDE else Place(PlaceKind(client.kind), client.name)
    evidence = Evidence(place, client, flat, sockets or {}, missing)
    held = (held or snapshot()).with_evidence(evidence)
    request = Request(parse_target(target, "default"), parse_client(asked) if asked else None)
    return answer_once(held, request, "default")


def codes(answer):
    return [f.code for f in answer.findings]
