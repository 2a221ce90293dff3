"""Services of manifests that are left out as ordinary: the full trace with every check finds nothing there."""

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.checks.ordinarymanifests import OrdinaryManifests
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.trace import Verdict
from svcdoctor.path.world import World
from svcdoctor.sources.manifests import ManifestSource

FIXTURES = Path(__file__).parents[2] / "fixtures"

SOUND = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      containers:
        - name: web
          image: web
          ports: [{name: http, containerPort: 8080}, {name: metrics, containerPort: 9090}]
          readinessProbe: {httpGet: {port: http}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: metrics, port: 9090}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db, tier: back}}
    spec: {containers: [{name: db, image: db, ports: [{containerPort: 5432}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cache, namespace: shop}
spec: {podSelector: {matchLabels: {app: cache}}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: shop}
spec:
  rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}]}}]
"""
VALUES = [
    None, {}, [], 0, 1, 80, 8080, 5432, -1, True, "web", "db", "api", "http", "metrics", "8080", "None", "Local",
    "front", "UDP", "SCTP", "NodePort", "LoadBalancer", "ExternalName", "Ingress", "Egress", "127.0.0.1", "shop",
    "other", {"app": "web"}, {"app": "db"}, {"tier": "front"}, {"matchLabels": {}}, [{"port": 80}], [{}],
]  # fmt: skip
FIELDS = [
    "hostNetwork", "hostPort", "clusterIP", "externalIPs", "sessionAffinity", "internalTrafficPolicy", "env", "args",
    "externalTrafficPolicy", "publishNotReadyAddresses", "appProtocol", "protocol", "dnsPolicy", "initContainers",
    "replicas", "type", "nodePort", "egress", "ingress", "policyTypes", "annotations", "labels", "namespace",
    "trafficDistribution", "readinessGates", "subdomain", "loadBalancerClass", "externalName", "ipFamilyPolicy",
]  # fmt: skip


def changed(documents, chance):
    """One change somewhere: a value replaced, a field added or dropped, an object copied or dropped."""
    way = chance.randrange(8)
    if way == 0:
        documents.pop(chance.randrange(len(documents)))
        return
    if way == 1:
        copy = yaml.safe_load(yaml.safe_dump(chance.choice(documents)))
        copy["metadata"] = {"name": "copy", "namespace": "shop"}
        documents.append(copy)
        return
    node = chance.choice(documents)
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        inner = [k for k in keys if isinstance(node[k], dict | list) and node[k]]
        if inner and chance.random() < 0.8:
            node = node[chance.choice(inner)]
            continue
        if isinstance(node, dict) and way == 2:
            node[chance.choice(FIELDS)] = chance.choice(VALUES)
        elif keys and way == 3 and isinstance(node, dict):
            del node[chance.choice(keys)]
        elif keys:
            node[chance.choice(keys)] = chance.choice(VALUES)
        return


def left_out(path):
    """How many Services were left out; each of them is sound to the full trace."""
    snapshot = ManifestSource([str(path)], "default", tolerant=True).snapshot()
    world = World(snapshot)
    ordinary = OrdinaryManifests(world)
    found = [s for s in snapshot.services if ordinary(s)]
    for s in found:
        request = Request(ObjectTarget("Service", s.name, s.namespace))
        answer = answer_once(snapshot, request, s.namespace, world)
        assert answer.findings == (), (s.name, answer.findings)
        assert answer.verdict is Verdict.HEALTHY, s.name
    return len(found)


def test_ordinary_services_are_known_as_such(tmp_path):
    (tmp_path / "sound.yaml").write_text(SOUND)
    assert left_out(tmp_path) == 2


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_whatever_is_changed_nothing_is_overlooked(tmp_path_factory, seed, times):
    chance = random.Random(seed)
    documents = list(yaml.safe_load_all(SOUND))
    for _ in range(times):
        if documents:
            changed(documents, chance)
    path = tmp_path_factory.mktemp("changed") / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    try:
        left_out(path)
    except SvcdoctorError:
        return  # the change made something that is no object, which reading says


@pytest.mark.parametrize(
    "path", sorted((FIXTURES / "faults").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_no_fault_of_the_fixtures_is_overlooked(path):
    left_out(path)
