"""Services and workloads of manifests that do not meet."""

import pytest
import yaml
from faultpairs import FAULTS
from ordinary_world import snapshot_of
from twins import objects

from svcdoctor.checks.diagnose import answer_once, exit_code
from svcdoctor.model.request import Request
from svcdoctor.model.trace import Verdict
from svcdoctor.path.target import parse_target
from svcdoctor.sources.manifests import ManifestSource


def manifests(which="healthy"):
    return list(yaml.safe_load_all((FAULTS / "OBJ033" / f"{which}.yaml").read_text()))


def answer(held, tmp_path, target="svc/receipts"):
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(held))
    return answer_once(
        ManifestSource([str(path)], "finance").snapshot(), Request(parse_target(target, "finance")), "finance"
    )


def workload(held, name="receipts"):
    return next(o for o in held if o["kind"] == "Deployment" and o["metadata"]["name"] == name)


def service(held):
    return next(o for o in held if o["kind"] == "Service")


def labels(held, value, name="receipts"):
    workload(held, name)["spec"]["selector"]["matchLabels"] = {"app": value}
    workload(held, name)["spec"]["template"]["metadata"]["labels"] = {"app": value}


def ports(held, *declared):
    workload(held)["spec"]["template"]["spec"]["containers"][0]["ports"] = list(declared)


HTTP = {"name": "http", "containerPort": 8080}


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (lambda held: None, []),
        (lambda held: labels(held, "billing-worker"), ["OBJ033"]),
        (lambda held: held.remove(workload(held)), ["OBJ033"]),
        (lambda held: [held.remove(workload(held)), held.remove(workload(held, "invoices"))], ["OBJ033"]),
        (lambda held: labels(held, "receipt"), ["OBJ002"]),  # a near miss is a mistake, for certain
        (lambda held: workload(held)["spec"].update(replicas=0), ["OBJ009"]),
        (lambda held: workload(held)["metadata"].update(namespace="billing"), ["OBJ003"]),
        (lambda held: service(held)["spec"].pop("selector"), ["OBJ018"]),
    ],
)
def test_a_service_without_a_workload(change, codes, tmp_path):
    held = manifests()
    change(held)
    found = answer(held, tmp_path)
    assert [f.code for f in found.findings] == codes
    if codes == ["OBJ033"]:
        assert found.verdict is Verdict.DEGRADED
        assert exit_code(found, "error") == 0
        assert exit_code(found, "warning") == 1
        assert found.findings[0].field == "spec.selector"


@pytest.mark.parametrize(
    ("declared", "open_ports"),
    [
        ([HTTP], ""),
        ([HTTP, {"name": "admin-api", "containerPort": 9000}], ""),
        ([HTTP, {"name": "metrics", "containerPort": 9090}], ""),
        ([HTTP, {"name": "rpc", "containerPort": 9000}], "rpc 9000/TCP"),
        ([HTTP, {"containerPort": 9000}], "9000 9000/TCP"),
        ([HTTP, {"containerPort": 9000, "hostPort": 9000}], ""),
        ([HTTP, {"name": "dns", "containerPort": 8080, "protocol": "UDP"}], "dns 8080/UDP"),
    ],
)
def test_a_port_that_no_service_leads_to_is_worth_knowing(declared, open_ports, tmp_path):
    held = manifests()
    workload(held)["spec"]["template"]["spec"]["containers"][0].pop("readinessProbe")
    ports(held, *declared)
    workload(held)["spec"]["replicas"] = 3
    found = answer(held, tmp_path)
    assert [(f.code, f.severity.value) for f in found.findings] == (
        [("OBJ033", "info")] if open_ports else []
    )
    assert found.verdict is Verdict.HEALTHY
    for f in found.findings:
        assert f.subjects == ("Deployment/finance/receipts",)
        assert f.evidence == (f"declares {open_ports}", "its Services are receipts, and none leads there")


def test_another_or_a_headless_service_leads_there(tmp_path):
    for spec in ({"ports": [{"port": 9000}]}, {"clusterIP": "None", "ports": [{"port": 7}]}):
        held = manifests()
        ports(held, HTTP, {"name": "rpc", "containerPort": 9000})
        more = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "receipts-rpc", "namespace": "finance"},
            "spec": {"selector": {"app": "receipts"}} | spec,
        }
        assert answer([*held, more], tmp_path).findings == ()


def test_a_cluster_that_exists_is_not_judged_by_this():
    held = [o for o in objects("OBJ035") if o["kind"] not in ("Pod", "Deployment", "ReplicaSet")]
    there = answer_once(snapshot_of(held), Request(parse_target("svc/ranker", "search")), "search")
    assert "OBJ033" not in {f.code for f in there.findings}
