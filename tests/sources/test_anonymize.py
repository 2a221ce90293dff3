"""Anonymising: nothing of the original in any byte, and everything that was equal still is.

The captures are of a real cluster, so their rules hold real hashes.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
import yaml

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.cluster.decode import decode_json
from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.base import KubeObject
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.facts import Kind, Known, Scope, Unknown
from svcdoctor.model.request import AddressTarget, ClientSpec, ObjectTarget, Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import ClientKind
from svcdoctor.node.chainnames import iptables_hash, nftables_base
from svcdoctor.sources import vocabulary
from svcdoctor.sources.anonymize import Anonymous, anonymize
from svcdoctor.sources.anonymousobjects import rule_of
from svcdoctor.sources.anonymousrequest import Question
from svcdoctor.sources.archive import node_dumps, read_snapshot
from svcdoctor.sources.chainmap import named_in
from svcdoctor.sources.redaction import hint_parts, redacted
from svcdoctor.sources.writing import encoded_list, write_snapshot

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"
IPTABLES_CHAIN = re.compile(r"KUBE-(?:SVC|SVL|EXT|FW|XLB|SEP)-([A-Z2-7]{16})")
NFTABLES_CHAIN = re.compile(r'"(?:service|local|external|firewall|endpoint|affinity)-([A-Z2-7]{8}-[^"]+)"')
Dumps = dict[str, dict[str, bytes]]


@cache
def capture(mode: str) -> tuple[Snapshot, Dumps]:
    path = CAPTURES / f"{mode}.tar.gz"
    return read_snapshot(path), node_dumps(path)


@cache
def anonymised(mode: str) -> Anonymous:
    return anonymize(*capture(mode), randomness=lambda size: bytes(range(size)))


def everything(snapshot: Snapshot, dumps: Dumps) -> str:
    parts = [encoded_list(snapshot.of(kind)) for kind in Kind]
    parts += [data for files in dumps.values() for data in files.values()]
    return b"\n".join(parts).decode() + " ".join(dumps) + repr(snapshot.node_facts) + repr(snapshot.facts)


both = pytest.mark.parametrize("mode", ["iptables", "nftables"])


@both
def test_no_original_name_survives(mode: str) -> None:
    snapshot, _ = capture(mode)
    result = anonymised(mode)
    text = everything(result.snapshot, result.dumps)
    words = set(re.findall(r"[\w-]+", text)) | set(re.findall(r"[\w.-]+", text))
    originals: set[str] = {"example.internal", "truth.local", "truthd", "nosuchname", "TRUTH"}
    for kind in Kind:
        for obj in snapshot.of(kind):
            originals |= {obj.name, obj.namespace, *obj.labels.values(), *obj.labels, obj.metadata.uid}
    kept = vocabulary.NAMES | vocabulary.LABEL_KEYS | vocabulary.NETFILTER | vocabulary.ENGLISH | {""}
    kept |= {o for o in originals if o.rpartition("/")[0] in vocabulary.LABEL_DOMAINS}
    kept |= {o for o in originals if re.fullmatch(r"\d+|lo|headless", o)}  # words of dumps and label keys
    assert not (originals - kept) & words
    assert len(originals - kept) > 100
    for whole in ("example.internal", "truth"):
        assert whole not in text.lower()


@both
def test_no_original_address_survives(mode: str) -> None:
    snapshot, dumps = capture(mode)
    result = anonymised(mode)
    patterns = (
        r"\d+\.\d+\.\d+\.\d+",
        r"[0-9a-f]{4}(?::[0-9a-f]{0,4}){2,7}",
        r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}",
    )

    def found(text: str) -> set[str]:
        return {a for p in patterns for a in re.findall(p, text)}

    shared = found(everything(snapshot, dumps)) & found(everything(result.snapshot, result.dumps))
    assert shared <= {
        "0.0.0.0",
        "127.0.0.0",
        "127.0.0.1",
        "255.255.255.255",
        "fe80::",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
    }


@both
def test_hashes_are_recomputed_and_fit_the_new_objects(mode: str) -> None:
    snapshot, dumps = capture(mode)
    result = anonymised(mode)

    def chains(text: str) -> list[str]:
        return IPTABLES_CHAIN.findall(text) + NFTABLES_CHAIN.findall(text)

    def explained(by: Snapshot) -> set[str]:
        return {f(what) for what in named_in(by) for f in (iptables_hash, nftables_base)}

    before, after = chains(everything(snapshot, dumps)), chains(everything(result.snapshot, result.dumps))
    assert len(set(before)) > 40
    assert set(before) <= explained(snapshot)
    assert set(after) <= explained(result.snapshot)
    assert sorted(Counter(before).values()) == sorted(Counter(after).values())
    # default/kubernetes keeps its name, so its chain keeps its hash
    kubernetes = {
        f(w)
        for w in named_in(snapshot)
        if "default/kubernetes" in str(w)
        for f in (iptables_hash, nftables_base)
    }
    assert set(before) & set(after) <= kubernetes


@both
def test_relations_between_objects_are_intact(mode: str) -> None:
    old, new = capture(mode)[0], anonymised(mode).snapshot
    assert shape(new) == shape(old)


def shape(snapshot: Snapshot) -> dict[str, Any]:
    """What can be said of a cluster without naming anything."""
    selected = Counter(
        len(snapshot.select_pods(s.namespace, s.spec.selector or {})) for s in snapshot.services
    )
    slices: tuple[EndpointSlice, ...] = snapshot.of(Kind.ENDPOINT_SLICE)
    endpoints = [(s, e) for s in slices for e in s.endpoints or ()]
    cidrs = {n.name: [ipaddress.ip_network(c) for c in n.pod_cidrs] for n in snapshot.nodes}

    def at_home(address: str, node: str | None) -> bool:
        ip = ipaddress.ip_address(address)
        return any(ip in c for c in cidrs.get(node or "", ()) if c.version == ip.version)

    refs = [(s.namespace, e.target_ref) for s, e in endpoints if e.target_ref is not None]
    pods = [snapshot.pod(ns, ref.name) for ns, ref in refs]
    owners = [(o, o.metadata.owner) for kind in (Kind.POD, Kind.REPLICA_SET) for o in snapshot.of(kind)]
    return {
        "kinds": {kind: len(snapshot.of(kind)) for kind in Kind},
        "selected": selected,
        "slices": Counter(len(snapshot.slices(s.namespace, s.name)) for s in snapshot.services),
        "at home": Counter(at_home(a, e.node_name) for _, e in endpoints for a in e.addresses or ()),
        "references": [
            p is not None and p.metadata.uid == r.uid for p, (_, r) in zip(pods, refs, strict=True)
        ].count(True),
        "own address": sum(
            any(a in p.ips for a in e.addresses or ())
            for (_, e), p in zip([x for x in endpoints if x[1].target_ref], pods, strict=True)
            if p is not None
        ),
        "owned names": sum(owner is not None and o.name.startswith(owner.name + "-") for o, owner in owners),
        "zones": Counter(n.zone == "" for n in snapshot.nodes),
        "ports": Counter((p.port, p.node_port, p.protocol) for s in snapshot.services for p in s.ports),
        "named targets": sum(
            isinstance(p.target, str)
            and any(
                p.target == c.name
                for pod in snapshot.pods
                for k in pod.spec.containers or ()
                for c in k.ports or ()
            )
            for s in snapshot.services
            for p in s.ports
        ),
        "types": Counter((s.type, s.headless, s.external_local, s.internal_local) for s in snapshot.services),
        "nodes": Counter(len(f.addresses or ()) for f in snapshot.node_facts.values()),
        "proxy": Counter(f.proxy.mode for f in snapshot.node_facts.values() if f.proxy),
    }


@both
def test_a_written_anonymous_snapshot_reads_back(mode: str, tmp_path: Path) -> None:
    result = anonymised(mode)
    write_snapshot(result.snapshot, tmp_path / "out", dumps=result.dumps, left_out=result.left_out)
    back = read_snapshot(tmp_path / "out")
    assert shape(back) == shape(capture(mode)[0])
    assert back.node_facts == result.snapshot.node_facts


@both
def test_every_service_is_judged_as_before(mode: str) -> None:
    old = capture(mode)[0]
    objects: dict[Kind, tuple[KubeObject, ...]] = {
        kind: tuple(o for o in map(redacted, old.of(kind)) if o is not None) for kind in Kind
    }
    plain = Snapshot(objects, old.facts, old.node_facts)
    assert judged(anonymised(mode).snapshot) == judged(plain)


def judged(snapshot: Snapshot) -> Counter[tuple[str, tuple[str, ...], int]]:
    """How many Services have which verdict, findings and number of paths."""
    found: Counter[tuple[str, tuple[str, ...], int]] = Counter()
    for service in snapshot.services:
        request = Request(ObjectTarget("Service", service.name, service.namespace))
        trace = answer_once(snapshot, request, service.namespace)
        found[str(trace.verdict), tuple(sorted(f.code for f in trace.findings)), len(trace.paths)] += 1
    return found


@both
def test_dumps_keep_their_form(mode: str) -> None:
    _, dumps = capture(mode)
    result = anonymised(mode)
    assert result.left_out == ()
    old = sorted((name, data.count(b"\n-A ")) for files in dumps.values() for name, data in files.items())
    new = sorted(
        (name, data.count(b"\n-A ")) for files in result.dumps.values() for name, data in files.items()
    )
    assert new == old
    for files in result.dumps.values():
        ruleset = json.loads(files["nft.json"])["nftables"]
        assert {next(iter(item)) for item in ruleset} >= {"metainfo", "table", "chain", "rule"}
        assert "release_name" not in ruleset[0]["metainfo"]


def test_the_rules_of_a_service_still_fit_together() -> None:
    """A chain that is jumped to exists, its comment names the Service that its hash is of."""
    for files in anonymised("iptables").dumps.values():
        rules = files["iptables-save.txt"].decode()
        declared = set(re.findall(r"^:(\S+)", rules, re.MULTILINE))
        assert set(re.findall(r"-j (KUBE-\S+)", rules)) <= declared
        named = {iptables_hash(w): str(w) for w in named_in(anonymised("iptables").snapshot)}
        pattern = r'--comment "(\S+) cluster IP".* -j KUBE-SVC-(\S+)'
        for comment, hashed in re.findall(pattern, rules):
            assert named[hashed] == comment


def test_two_runs_differ() -> None:
    snapshot, dumps = capture("nftables")
    one, two = anonymize(snapshot, dumps), anonymised("nftables")
    assert {s.name for s in one.snapshot.services} & {s.name for s in two.snapshot.services} == {
        "kubernetes",
        "udp",
    }  # names that every cluster may have
    assert set(one.dumps) != set(two.dumps)


def test_unknown_facts_lose_their_words() -> None:
    reason = (
        'pods is forbidden: User "alice@acme.example" cannot list resource "pods" in the namespace "shop"'
    )
    facts = {Kind.POD: (Unknown(reason, "kubectl create role alice", Scope("shop")), Known(Scope("other")))}
    result = anonymize(Snapshot({}, facts, source="/home/alice/acme"), {}).snapshot
    text = repr(result.facts) + result.source
    assert not re.search("alice|acme|shop|other", text)
    assert "forbidden" in text
    assert result.facts[Kind.POD][0].scope.namespace != result.facts[Kind.POD][1].scope.namespace


def objects_of(*documents: dict[str, Any]) -> list[KubeObject]:
    found = decode_json(json.dumps({"kind": "List", "apiVersion": "v1", "items": documents}).encode(), "test")
    assert found is not None
    return found


def test_names_are_one_wherever_they_occur() -> None:
    objects = objects_of(
        {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "cart", "namespace": "shop"},
         "spec": {"selector": {"acme.example/app": "cart"}, "ports": [{"name": "api", "port": 80, "targetPort": "web"}],
                  "externalName": "cart.shop.svc.cluster.local"}},
        {"kind": "Ingress", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "cart", "namespace": "shop"},
         "spec": {"rules": [{"host": "*.acme.example", "http": {"paths": [{"path": "/cart/v1/\\d+acme", "backend": {
             "service": {"name": "cart", "port": {"name": "api"}}}}]}}], "tls": [{"hosts": ["*.acme.example"]}]}},
        {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1",
         "metadata": {"name": "deny", "namespace": "shop"},
         "spec": {"podSelector": {"matchExpressions": [
             {"key": "acme.example/app", "operator": "In", "values": ["cart", "web"]}]},
             "ingress": [{"from": [{"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24"]}}],
                          "ports": [{"port": "web"}]}]}},
    )  # fmt: skip
    result = anonymize(Snapshot({Kind(o.kind): (o,) for o in objects}, {}), {}).snapshot
    service, ingress, policy = (
        json.loads(msgspec.json.encode(result.of(k)[0]))
        for k in (Kind.SERVICE, Kind.INGRESS, Kind.NETWORK_POLICY)
    )
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    ((key, value),) = service["spec"]["selector"].items()
    expression = policy["spec"]["podSelector"]["matchExpressions"][0]
    assert value == name
    assert (expression["key"], expression["operator"], expression["values"][0]) == (key, "In", name)
    assert service["spec"]["externalName"] == f"{name}.{namespace}.svc.cluster.local"
    rule = ingress["spec"]["rules"][0]
    path = rule["http"]["paths"][0]
    assert path["backend"]["service"] == {"name": name, "port": {"name": service["spec"]["ports"][0]["name"]}}
    assert path["path"].startswith(f"/{name}/v1/\\d+")
    assert rule["host"] == ingress["spec"]["tls"][0]["hosts"][0]
    assert rule["host"].startswith("*.")
    target = service["spec"]["ports"][0]["targetPort"]
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": target}]
    assert expression["values"][1] == target
    block = policy["spec"]["ingress"][0]["from"][0]["ipBlock"]
    assert ipaddress.ip_network(block["except"][0]).subnet_of(ipaddress.ip_network(block["cidr"]))  # type: ignore[arg-type]
    assert not re.search("acme|cart|shop|deny", json.dumps([service, ingress, policy]))


def test_a_node_that_is_named_by_its_address_keeps_its_pods_and_its_dumps() -> None:
    objects = objects_of(
        {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "10.1.2.3"},
         "status": {"addresses": [{"type": "InternalIP", "address": "10.1.2.3"}]}},
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "shop"},
         "spec": {"nodeName": "10.1.2.3"}},
    )  # fmt: skip
    dumps = {"10.1.2.3": {"kube-proxy-mode.txt": b"ipvs"}}
    question = Question(Request(ObjectTarget("Pod", "web", "shop"), node="10.1.2.3"), "shop")
    result = anonymize(Snapshot({Kind(o.kind): (o,) for o in objects}, {}), dumps, question)
    (node,), (pod,) = result.snapshot.nodes, result.snapshot.pods
    assert node.name == pod.spec.node_name == node.status.addresses[0].address != "10.1.2.3"
    assert list(result.dumps) == [node.name]
    assert result.question == Question(
        Request(ObjectTarget("Pod", pod.name, pod.namespace), node=node.name), pod.namespace
    )


def test_a_question_is_asked_in_the_new_names() -> None:
    address = AddressTarget("web.shop.svc.cluster.local", 80, "http", "/cart/v1")
    asked = Request(address, ClientSpec(ClientKind.POD, "client-1", "shop"))
    objects = objects_of(
        {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "shop"}}
    )
    snapshot = Snapshot({Kind.SERVICE: tuple(objects)}, {})
    result = anonymize(snapshot, {}, Question(asked, "shop"))
    (service,) = result.snapshot.services
    assert result.question is not None and result.question.request is not None
    mapped, client = result.question.request.target, result.question.request.client
    assert isinstance(mapped, AddressTarget) and client is not None
    assert mapped.host == f"{service.name}.{service.namespace}.svc.cluster.local"
    assert (mapped.port, mapped.scheme, client.namespace) == (80, "http", service.namespace)
    assert not re.search("web|shop|cart|client-1", repr(result.question))
    secret = anonymize(
        snapshot, {}, Question(Request(AddressTarget("10.1.2.3", 80, "acme", "/")), None)
    ).question
    assert "acme" not in repr(secret) and "10.1.2.3" not in repr(secret)


def test_times_of_syncs_keep_their_distance_only() -> None:
    metrics = (
        b"# HELP kubeproxy_sync canary\n"
        b'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"} 1.7952208e+09\n'
        b'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 1.7952202e+09\n'
        b"kubeproxy_sync_proxy_rules_last_timestamp_seconds 0\n"
        b"kubeproxy_sync_proxy_rules_nftables_sync_failures_total 7\n"
        b'kubeproxy_sync_proxy_rules_last_timestamp_seconds{host="canary"} 5\n'
        b'rest_client_requests_total{host="canary"} 5\n'
    )
    result = anonymize(Snapshot({}, {}), {"n": {"kube-proxy-metrics.txt": metrics}})
    ((text,),) = (files.values() for files in result.dumps.values())
    values = [float(line.rpartition(" ")[2]) for line in text.decode().splitlines()]
    assert values[0] - values[1] == 600 and values[1] % 3600 == 0
    assert values[2:] == [0, 7]
    assert b"canary" not in text


def test_every_text_of_the_model_has_a_rule() -> None:
    seen: set[type] = set()
    pending: list[type] = [info.type for info in KINDS.values()]
    missing = []
    while pending:
        struct = pending.pop()
        if struct in seen:
            continue
        seen.add(struct)
        for name, hint in get_type_hints(struct).items():
            parts = hint_parts(hint)
            pending += [p for p in parts if isinstance(p, type) and issubclass(p, msgspec.Struct)]
            text = not parts <= {int, bool, float, type(None)} and msgspec.Raw not in parts
            if text and name in struct.__struct_fields__ and rule_of(struct, name, hint) is None:  # type: ignore[attr-defined]
                missing.append(f"{struct.__name__}.{name}")
    # A selector's requirement is mapped as a whole, its values by its key.
    assert missing == ["LabelRequirement.key", "LabelRequirement.values"]


def test_config_maps_stay_readable() -> None:
    config = {"kind": "KubeProxyConfiguration", "mode": "ipvs", "clusterCIDR": "10.9.8.0/24"}
    data = {"Corefile": ".:53 {\n  forward . 10.9.8.7\n}\n", "config.conf": yaml.safe_dump(config)}
    objects = objects_of(
        {"kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"}, "data": data}
    )
    (mapped,) = anonymize(Snapshot({Kind.CONFIG_MAP: tuple(objects)}, {}), {}).snapshot.of(Kind.CONFIG_MAP)
    assert "10.9.8" not in repr(mapped.data)
    assert yaml.safe_load(mapped.data["config.conf"])["mode"] == "ipvs"
    assert mapped.name == "coredns"
