"""Two snapshots compared: a real capture against itself, and against itself with one thing changed."""

import json
import tarfile
from functools import cache
from pathlib import Path

import pytest

from svcdoctor.checks.comparison import compare, exit_code
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Verdict
from svcdoctor.sources.archive import read_snapshot

CAPTURE = Path(__file__).parents[2] / "fixtures" / "captures" / "iptables.tar.gz"
NAMESPACE = "truth"
WEB = "web-6bdc9b754-7bf29"  # one of the three pods of Service dual


@cache
def files():
    """The capture's files by their path below its root."""
    with tarfile.open(CAPTURE) as archive:
        found = {}
        for member in archive.getmembers():
            data = archive.extractfile(member)
            if data is not None:
                found[member.name.partition("/")[2]] = data.read()
        return found


@pytest.fixture
def captured(tmp_path):
    """``captured({"cluster/pods.json": change, …})``: the capture with files changed, as a Snapshot.

    A change gets a file's items, or the text of a node's dump, which it returns changed.
    """

    def made(changes=(), objects_only=False):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, data in files().items():
            if objects_only and name.startswith("nodes/"):
                continue
            if name in (changes := dict(changes)):
                if name.endswith(".json") and name.startswith("cluster/"):
                    document = json.loads(data)
                    changes[name](document["items"])
                    data = json.dumps(document).encode()
                else:
                    text = data.decode()
                    data = changes[name](text).encode()
                    assert data.decode() != text, "the change must change something"
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return read_snapshot(root)

    return made


def named(items, name):
    return next(i for i in items if i["metadata"]["name"] == name)


def compared(before, after, *names):
    return compare(before, after, NAMESPACE, names)


def told(answer):
    return [(c.subject, c.part, c.before, c.after) for c in answer.changes]


def codes(reported):
    return [r.finding.code for r in reported]


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_a_snapshot_and_itself_differ_in_nothing(mode):
    path = CAPTURE.with_name(f"{mode}.tar.gz")
    answer = compare(read_snapshot(path), read_snapshot(path), None)
    assert answer.same
    assert answer.compared == 43
    assert exit_code(answer) == 0


def test_nor_in_what_nobody_changed(captured):
    def reordered(items):
        items.reverse()
        for item in items:
            item["metadata"]["resourceVersion"] = "999999"

    before = captured(objects_only=True)
    changes = {f"cluster/{name}.json": reordered for name in ("pods", "svc", "endpointslices", "nodes")}
    assert compare(before, captured(changes, objects_only=True), None).same


def test_a_changed_selector_is_told_with_the_finding_that_it_makes(captured):
    def change(items):
        named(items, "dual")["spec"]["selector"] = {"app": "wep"}

    def emptied(items):
        for item in items:
            if item["metadata"]["labels"].get("kubernetes.io/service-name") == "dual":
                item["endpoints"] = []

    before = captured(objects_only=True)
    after = captured({"cluster/svc.json": change, "cluster/endpointslices.json": emptied}, objects_only=True)
    answer = compared(before, after, "dual")
    own = "Service/truth/dual"
    assert (own, "spec.selector", "app=web", "app=wep") in told(answer)
    endpoints = [c for c in answer.changes if c.part.startswith("endpoint ")]
    assert endpoints
    assert all(c.subject == own and c.after is None and "ready" in c.before for c in endpoints)
    assert "OBJ002" in codes(answer.appeared)
    assert exit_code(answer) == 1
    (service,) = answer.services
    assert (service.subject, service.before, service.after) == (own, Verdict.HEALTHY, Verdict.BROKEN)
    back = compared(after, before, "dual")
    assert "OBJ002" in codes(back.gone)
    assert not back.appeared
    assert exit_code(back) == 0


def test_a_port_that_changed_is_told_by_its_name(captured):
    def change(items):
        named(items, "dual")["spec"]["ports"][0]["targetPort"] = 9999

    answer = compared(
        captured(objects_only=True), captured({"cluster/svc.json": change}, objects_only=True), "dual"
    )
    (change,) = [c for c in answer.changes if c.part.endswith("].targetPort")]
    assert change.subject == "Service/truth/dual"
    assert change.after == "9999"
    assert change.part.startswith("spec.ports[")


def test_a_pod_that_crashed_is_told_with_its_restarts_and_endpoint(captured):
    def crash(items):
        pod = named(items, WEB)
        status = pod["status"]["containerStatuses"][0]
        status["restartCount"] += 7
        status["lastState"] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        status["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
        for condition in pod["status"]["conditions"]:
            if condition["type"] in ("Ready", "ContainersReady"):
                condition["status"] = "False"

    def unready(items):
        for item in items:
            for endpoint in item.get("endpoints") or ():
                if endpoint.get("targetRef", {}).get("name") == WEB:
                    endpoint["conditions"] = {"ready": False, "serving": False, "terminating": False}

    before = captured(objects_only=True)
    after = captured({"cluster/pods.json": crash, "cluster/endpointslices.json": unready}, objects_only=True)
    answer = compared(before, after, "dual")
    pod = f"Pod/truth/{WEB}"
    parts = {c.part: (c.before, c.after) for c in answer.changes if c.subject == pod}
    assert parts["state"] == ("Running, Ready", "CrashLoopBackOff")
    (restarts,) = [v for k, v in parts.items() if k.startswith("restarts of container ")]
    assert restarts == ("0", "7 (last ended with exit code 137, OOMKilled)")
    (endpoint,) = [c for c in answer.changes if c.part == f"endpoint {WEB}"]
    assert endpoint.before.endswith("ready")
    assert endpoint.after.endswith("not ready")
    assert "OBJ008" in codes(answer.appeared)
    assert exit_code(answer) == 0, "other pods serve: a warning"


def test_a_pod_that_lost_its_label_is_told_so(captured):
    def change(items):
        named(items, WEB)["metadata"]["labels"]["app"] = "other"

    answer = compared(
        captured(objects_only=True), captured({"cluster/pods.json": change}, objects_only=True), "dual"
    )
    assert [(p, b, a) for s, p, b, a in told(answer) if s.startswith("Pod/")] == [
        ("metadata.labels['app']", "web", "other")
    ]


def test_a_node_that_left_concerns_the_services_on_whose_way_it_lies(captured):
    def down(items):
        for condition in named(items, "node2")["status"]["conditions"]:
            if condition["type"] == "Ready":
                condition["status"] = "Unknown"

    before = captured(objects_only=True)
    answer = compared(before, captured({"cluster/nodes.json": down}, objects_only=True))
    (change,) = answer.changes
    assert (change.subject, change.part, change.before, change.after) == (
        "Node/node2", "state", "Ready", "NotReady",
    )  # fmt: skip
    on_node = {
        f"Service/truth/{s.service_name}"
        for s in before.of(Kind.ENDPOINT_SLICE)
        if s.namespace == NAMESPACE and any(e.node_name == "node2" for e in s.endpoints or ())
    }
    assert on_node <= set(change.services)
    aloof = {
        f"Service/truth/{s.name}"
        for s in before.services
        if s.namespace == NAMESPACE and not s.externally_accessible
    } - on_node
    assert aloof
    assert not aloof & set(change.services)
    assert "NOD009" in codes(answer.appeared)


def test_a_new_policy_concerns_the_services_whose_pods_it_selects(captured):
    def add(items):
        items.append(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "closed", "namespace": NAMESPACE},
                "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
            }
        )

    before = captured(objects_only=True)
    answer = compared(before, captured({"cluster/networkpolicies.json": add}, objects_only=True))
    (change,) = [c for c in answer.changes if c.subject == "NetworkPolicy/truth/closed"]
    assert (change.before, change.after) == (None, "there")
    assert "Service/truth/dual" in change.services
    selecting = {
        f"Service/truth/{s.name}"
        for s in before.services
        if s.namespace == NAMESPACE
        and any(p.labels.get("app") == "web" for p in before.select_pods(NAMESPACE, s.spec.selector or {}))
    }
    assert set(change.services) == selecting


def test_an_ingress_that_leads_elsewhere_concerns_both_services(captured):
    def change(items):
        path = items[0]["spec"]["rules"][0]["http"]["paths"][0]
        path["backend"]["service"]["name"] = "nowhere"

    before = captured(objects_only=True)
    answer = compared(before, captured({"cluster/ingress.json": change}, objects_only=True))
    (change,) = [c for c in answer.changes if c.subject == "Ingress/truth/web"]
    assert change.part.endswith("backend.service.name")
    assert change.after == "nowhere"
    assert change.services
    assert "EXT007" in codes(answer.appeared)
    assert exit_code(answer) == 1


def test_a_service_that_is_gone_and_one_that_is_new(captured):
    def change(items):
        named(items, "dual")["metadata"]["name"] = "dual-new"

    before, after = captured(objects_only=True), captured({"cluster/svc.json": change}, objects_only=True)
    answer = compared(before, after)
    whole = {c.subject: (c.before, c.after) for c in answer.changes if c.part == ""}
    assert whole["Service/truth/dual"][1] is None
    assert whole["Service/truth/dual-new"][0] is None
    rows = {s.subject: (s.before, s.after) for s in answer.services}
    assert rows["Service/truth/dual"] == (Verdict.HEALTHY, None)
    assert rows["Service/truth/dual-new"][0] is None
    assert "OBJ001" in codes(compared(before, after, "dual").appeared)


@pytest.mark.parametrize("family", [4, 6])
def test_a_rule_that_is_gone_from_a_node_is_told_for_that_node_and_service(captured, family):
    dump = "iptables-save" if family == 4 else "ip6tables-save"

    def without(text):
        lines = text.splitlines(keepends=True)
        return "".join(x for x in lines if not ("-A KUBE-SERVICES" in x and '"truth/dual:' in x))

    changes = {f"nodes/node2/{dump}.txt": without}
    if family == 4:
        changes["nodes/node2/iptables-save-counters.txt"] = without
    answer = compared(captured(), captured(changes), "dual")
    found = [c for c in answer.changes if c.part.startswith("rules for ")]
    assert found
    for change in found:
        assert change.subject == "Node/node2"
        assert change.services == ("Service/truth/dual",)
        assert change.before == "what the API demands"
        assert change.after.startswith("RUL003: node2 ")
        assert ("[" in change.part) == (family == 6)
    assert "RUL003" in codes(answer.appeared)
    assert exit_code(answer) == 1


def test_what_one_of_the_two_does_not_hold_is_not_compared_and_said(captured):
    whole = captured(objects_only=True)
    facts = {k: whole.facts[k] for k in whole.facts}
    unknown = {**facts, Kind.POD: read_snapshot_without_pods(captured).facts[Kind.POD]}
    objects = {k: whole.of(k) for k in facts if k is not Kind.POD}
    answer = compared(whole, Snapshot(objects, unknown, source="b"), "dual")
    assert not [c for c in answer.changes if c.subject.startswith("Pod/")]
    assert [u.fact for u in answer.unknowns] == ["Pod in b"]


def read_snapshot_without_pods(captured):
    root = Path(captured(objects_only=True).source)
    (root / "cluster" / "pods.json").unlink()
    return read_snapshot(root)


def test_a_name_in_neither_is_a_mistake(captured):
    held = captured(objects_only=True)
    with pytest.raises(SvcdoctorError, match="no Service wbe in namespace truth, neither before nor after"):
        compared(held, held, "wbe")
