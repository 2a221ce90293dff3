"""What may be written: a dump stuffed with canaries in every place that must not survive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.cluster.decode import decode_json
from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.base import KubeObject
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.pod import Pod
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.masking import masked, masked_corefile
from svcdoctor.sources.redaction import hint_parts, redacted
from svcdoctor.sources.writing import encoded_list, write_snapshot

CANARY = "canary"
BLOB = "Q2FuYXJ5IGNhbmFyeSBjYW5hcnkgY2FuYXJ5IDEyMw=="

CONTAINER: dict[str, Any] = {
    "name": "web",
    "image": "registry.example/canary:1",
    "command": ["/bin/canary"],
    "args": ["--password=canary", "--listen=127.0.0.1"],
    "workingDir": "/canary",
    "env": [
        {"name": "CANARY", "value": "canary"},
        {"name": "X", "valueFrom": {"secretKeyRef": {"key": "canary"}}},
    ],
    "envFrom": [{"secretRef": {"name": "canary"}}],
    "ports": [{"containerPort": 8080, "name": "http", "canary": 1}],
    "volumeMounts": [{"name": "canary", "mountPath": "/canary"}],
    "securityContext": {"seLinuxOptions": {"user": "canary"}},
    "readinessProbe": {
        "httpGet": {
            "port": "http",
            "path": "/canary",
            "host": "canary",
            "httpHeaders": [{"name": "Authorization", "value": "canary"}],
        },
        "exec": {"command": ["canary"]},
        "periodSeconds": 2,
    },
    "livenessProbe": {"exec": {"command": ["canary"]}},
    "lifecycle": {
        "preStop": {"exec": {"command": ["sh", "-c", "canary"]}, "httpGet": {"path": "/canary", "port": 1}},
        "postStart": {"exec": {"command": ["canary"]}},
    },
}
META: dict[str, Any] = {
    "name": "web",
    "namespace": "shop",
    "uid": "5ce0ab17-c665-4ca6-9fb6-9f060d4867dd",
    "labels": {"app": "web"},
    "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": '{"canary":1}',
        "example.com/token": "canary",
        "canary": "canary",
        "svcdoctor.io/note": "kept",
        "kubernetes.io/ingress.class": "nginx",
    },
    "managedFields": [{"manager": "canary", "fieldsV1": {"f:canary": {}}}],
    "finalizers": ["canary"],
    "ownerReferences": [
        {"kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": True, "canary": "canary"}
    ],
}
POD_SPEC: dict[str, Any] = {
    "nodeName": "node1",
    "containers": [CONTAINER],
    "initContainers": [CONTAINER],
    "ephemeralContainers": [CONTAINER],
    "volumes": [{"name": "v", "secret": {"secretName": "canary"}, "hostPath": {"path": "/canary"}}],
    "imagePullSecrets": [{"name": "canary"}],
    "serviceAccountName": "canary",
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["canary"]}],
    "affinity": {"canary": {}},
    "tolerations": [{"key": "canary"}],
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": META,
    "spec": POD_SPEC,
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "message": f"pull https://canary:canary@registry.example/x failed, blob {BLOB}",
        "conditions": [
            {"type": "Ready", "status": "False", "message": "password: canary", "canary": "canary"}
        ],
        "containerStatuses": [
            {
                "name": "web",
                "image": "canary",
                "state": {"waiting": {"reason": "X", "message": "authorization: Bearer canary"}},
                "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "log says canary"}},
            }
        ],
    },
}
COREFILE = """.:53 {
    errors # canary
    # password canary
    kubernetes cluster.local {
        tls /canary/cert /canary/key /canary/ca
        kubeconfig /canary canary-context
    }
    etcd example.org {
        credentials root canary
        endpoint https://root:canary@10.0.0.5:2379
    }
    tsig {
        secret key.example. canary
    }
    route53 example.org.:Z1 {
        aws_access_key AKIACANARY canary
    }
    forward . tls://1.1.1.1 {
        tls_servername cloudflare-dns.com
    }
}
"""
PROXY = {
    "kind": "KubeProxyConfiguration",
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "mode": "nftables",
    "clusterCIDR": "10.244.0.0/16",
    "clientConnection": {"kubeconfig": "/canary"},
    "iptables": {"masqueradeAll": True, "canary": "canary"},
    "canary": "canary",
    "hostnameOverride": {"canary": "canary"},
}
TEMPLATE = {"metadata": META, "spec": POD_SPEC}
OBJECTS: list[dict[str, Any]] = [
    POD,
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": META,
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}, "canary": {"canary": "canary"}},
            "template": TEMPLATE,
        },
    },
    {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": META,
        "spec": {"selector": {"app": "web"}, "template": TEMPLATE},
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": META,
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": "http", "canary": 1}],
            "canary": 1,
        },
        "status": {"conditions": [{"message": "canary"}]},
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": META,
        "spec": {"rules": [{"host": "shop.example", "http": {"paths": [{"path": "/", "canary": "canary"}]}}]},
    },
    {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": META,
        "reason": "Failed",
        "type": "Warning",
        "count": 3,
        "message": "curl -H 'Authorization: Bearer canary' --token canary https://a:canary@b/ said token=canary "
        f"{BLOB} -----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----",
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "shop", "fieldPath": "canary"},
        "source": {"host": "canary"},
        "reportingInstance": "canary",
        "related": {"name": "canary"},
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**META, "namespace": "kube-system", "name": "coredns"},
        "data": {"Corefile": COREFILE, "canary": "canary"},
        "binaryData": {"canary": "canary"},
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**META, "namespace": "kube-system", "name": "kube-proxy"},
        "data": {"config.conf": yaml.safe_dump(PROXY), "kubeconfig.conf": "users: [{token: canary}]"},
    },
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": META, "data": {"Corefile": "canary"}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": META, "data": {"canary": BLOB}},
]


def decoded(objects: list[dict[str, Any]]) -> list[KubeObject]:
    found = decode_json(json.dumps({"kind": "List", "apiVersion": "v1", "items": objects}).encode(), "test")
    assert found is not None
    return found


def written(objects: list[dict[str, Any]]) -> bytes:
    return encoded_list(decoded(objects))


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda o: o["kind"])
def test_no_canary_survives(obj: dict[str, Any]) -> None:
    data = written([obj])
    assert CANARY.encode() not in data.lower()
    assert BLOB.encode() not in data


def test_what_svcdoctor_reads_survives() -> None:
    pod, coredns, proxy = json.loads(written([POD, *OBJECTS[6:8]]))["items"]
    container = pod["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 8080, "name": "http"}]
    assert container["readinessProbe"] == {"httpGet": {"port": "http"}, "periodSeconds": 2}
    assert pod["status"]["podIP"] == "10.0.0.7"
    assert pod["metadata"]["labels"] == {"app": "web"}
    assert "tls_servername cloudflare-dns.com" in coredns["data"]["Corefile"]
    assert "kubernetes cluster.local {" in coredns["data"]["Corefile"]
    config = yaml.safe_load(proxy["data"]["config.conf"])
    assert (config["mode"], config["clusterCIDR"]) == ("nftables", "10.244.0.0/16")
    assert config["iptables"] == {"masqueradeAll": True}


def test_only_annotations_that_are_read_survive() -> None:
    (service,) = json.loads(written([OBJECTS[3]]))["items"]
    assert service["metadata"]["annotations"] == {
        "svcdoctor.io/note": "kept",
        "kubernetes.io/ingress.class": "nginx",
    }


def test_a_hand_built_config_map_is_not_written() -> None:
    (config_map,) = decoded([{**OBJECTS[6], "metadata": OBJECTS[6]["metadata"]}])
    moved = msgspec.structs.replace(
        config_map, metadata=msgspec.structs.replace(config_map.metadata, namespace="shop")
    )
    assert redacted(moved) is None


def _places(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of fields; maps of a user's own keys (labels, selectors) are values themselves."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key not in ("labels", "annotations", "selector", "matchLabels", "data"):
                yield from _places(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _places(inner)


_extra = st.recursive(
    st.just("stowaway"), lambda c: st.lists(c, max_size=2) | st.dictionaries(st.just("k"), c)
)


@given(st.sampled_from(OBJECTS), st.data())
def test_a_field_that_no_struct_has_never_survives(obj: dict[str, Any], data: st.DataObject) -> None:
    copy = deepcopy(obj)
    places = list(_places(copy))
    for _ in range(3):
        place = data.draw(st.sampled_from(places))
        place["x" + data.draw(st.text("abcXYZ-./", max_size=6))] = data.draw(_extra)
    assert b"stowaway" not in written([copy])


def test_every_field_of_the_model_that_may_hold_anything_is_emptied() -> None:
    """Undecoded JSON and free-form values never reach a file, whatever the model grows."""
    seen: set[type] = set()
    pending: list[type] = [info.type for info in KINDS.values()]
    raw = 0
    while pending:
        struct = pending.pop()
        if struct in seen:
            continue
        seen.add(struct)
        for hint in get_type_hints(struct).values():
            parts = hint_parts(hint)
            pending += [p for p in parts if isinstance(p, type) and issubclass(p, msgspec.Struct)]
            raw += msgspec.Raw in parts
    assert raw >= 2
    (pod,) = decoded([POD])
    clean = redacted(pod)
    assert isinstance(clean, Pod)
    for container in (*(clean.spec.containers or ()), *(clean.spec.init_containers or ())):
        assert not any(bytes(part) for part in (container.env, container.command))
        assert (
            bytes(container.args) == b'["--listen=127.0.0.1"]'
        )  # which says what it binds to, and nothing else


def test_of_settings_only_those_are_kept_that_say_which_sockets_are_opened() -> None:
    env = [
        {"name": "BIND", "value": " tcp://127.0.0.1:8080 "},
        {"name": "BIND_ADDR", "value": "10.0.0.1"},
        {"name": "LISTEN_ADDRESS", "value": "localhost.canary"},
        {"name": "HTTP_PORTS", "value": "8080, 9090"},
        {"name": "PORTS", "value": "8080,canary"},
        {"name": "CANARY_BIND", "value": "127.0.0.1"},
        {"name": "LISTEN"},
    ]
    args = [
        "serve",
        "--listen-address",
        "localhost:8080",
        "--bind=canary",
        "--password=127.0.0.1",
        "--listen",
    ]
    spec = {"containers": [{"name": "web", "env": env, "args": args, "command": "canary"}]}
    (pod,) = decoded([{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": spec}])
    clean = redacted(pod)
    assert isinstance(clean, Pod) and clean.spec.containers
    (container,) = clean.spec.containers
    assert json.loads(bytes(container.env)) == [
        {"name": "BIND", "value": "127.0.0.1:8080"},
        {"name": "HTTP_PORTS", "value": "8080, 9090"},
    ]
    assert json.loads(bytes(container.args)) == ["--listen-address=localhost:8080"]
    assert not bytes(container.command)
    again = redacted(clean)
    assert again == clean


def test_a_snapshot_of_it_all_has_no_canary_in_any_byte(tmp_path: Path) -> None:
    objects: dict[Kind, list[KubeObject]] = {}
    for obj in decoded(OBJECTS):
        objects.setdefault(Kind(obj.kind), []).append(obj)
    snapshot = Snapshot(
        {kind: tuple(found) for kind, found in objects.items()},
        {kind: (Known(),) for kind in objects},
        source="https://admin:canary@api.example:6443",
    )
    write_snapshot(snapshot, tmp_path / "snapshot")
    for file in (tmp_path / "snapshot").rglob("*"):
        if file.is_file():
            assert b"canary" not in file.read_bytes().lower(), file


@pytest.mark.parametrize(
    "text",
    [
        "Back-off restarting failed container web in pod a-rather-long-deployment-name-6bdc9b754-7bf29_shop(x)",
        'Readiness probe failed: Get "http://10.244.1.6:8080/healthz": dial tcp 10.244.1.6:8080: connect: refused',
        'MountVolume.SetUp failed for volume "tls" : secret "web-tls" not found',
        "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available",
        "Error creating load balancer (will retry): failed to ensure load balancer for service shop/web",
        "dial tcp [fd00:10:244:1::2]:8080: i/o timeout",
    ],
)
def test_ordinary_messages_stay_as_they_are(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "postgres://app:s3cr3t@db:5432/x",
        "https://s3cr3t@host/",
        "amqp://u:p@ss/s3cr3t@host",
        "password=s3cr3t",
        'password: "two s3cr3t words"',
        "DB_PASSWORD=s3cr3t",
        '{"apiKey":"s3cr3t"}',
        "X-Auth-Token: s3cr3t",
        "Authorization: Basic s3cr3t",
        "authorization: Bearer s3cr3t",
        "mysql --password s3cr3t",
        "?sig=s3cr3t&x=1",
        "0123456789abcdef0123456789abcdefs3cr3t",
        "eyJhbGciOiJSUzI1NiIsImtpZCI6InMzY3IzdCJ9.eyJpc3MiOiJzM2NyM3QifQ.s3cr3tAbCdEf0123456789",
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str) -> None:
    assert "s3cr3t" not in masked(text)


def test_a_corefile_keeps_its_braces() -> None:
    text = masked_corefile(COREFILE)
    assert text.count("{") == text.count("}") == COREFILE.count("{")
