"""The command that carries a Service's traffic meanwhile, in the fix of what is wrong with a node's rules."""

import pytest

from svcdoctor.checks.grouping import by_root_cause
from svcdoctor.checks.meanwhile import KERNEL, meanwhile, of_many, without
from svcdoctor.model.base import AnnotatedMeta
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.service import Service, ServicePort, ServiceSpec
from svcdoctor.model.trace import EntryKind
from svcdoctor.path.audit import Difference, Place
from svcdoctor.path.world import Frontend


def service(name="web", namespace="shop", node_port=0, **spec):
    ports = (ServicePort(port=80, node_port=node_port),)
    meta = AnnotatedMeta(name=name, namespace=namespace)
    return Service(metadata=meta, spec=ServiceSpec(**{"cluster_ip": "10.96.0.10", "ports": ports} | spec))


def difference(of, kind, endpoints=()):
    frontend = Frontend(kind=kind, service=of, port=of.ports[0], proxied=True)
    return Difference("RUL003", Place("n1", frontend, "10.96.0.10", 80), ("pod",), "", (), endpoints)


WEB, OPEN = service(), service(node_port=30080)


@pytest.mark.parametrize(
    "code, of, differences, words",
    [
        ("RUL001", OPEN, (), "--nodeport --clusterip"),
        ("RUL001", WEB, (), "--clusterip"),
        ("RUL003", OPEN, (difference(OPEN, EntryKind.NODE_PORT),), "--nodeport"),
        ("RUL003", OPEN, (difference(OPEN, EntryKind.CLUSTER_IP),), "--clusterip"),
        ("RUL003", OPEN, (difference(OPEN, EntryKind.LOAD_BALANCER),), KERNEL),
        # The address has rules, which lack an endpoint: they take the packets.
        ("RUL003", OPEN, (difference(OPEN, EntryKind.CLUSTER_IP, ("10.244.0.1:80",)),), KERNEL),
        *((code, OPEN, (), KERNEL) for code in ("RUL002", "RUL004", "RUL005", "RUL006", "RUL007", "RUL008")),
    ],
)
def test_the_command_of_one_service(code, of, differences, words):
    added = meanwhile(code, (of,), ("n1",), differences)
    assert added == f"\n# meanwhile, on n1:\nsvcdoctor proxy svc/web -n shop {words}"
    assert without(f"restart it{added}") == "restart it"
    kernel = f" {KERNEL}" if words == KERNEL else ""
    assert of_many(f"restart it{added}") == f"restart it\n# meanwhile, on n1:\nsvcdoctor proxy -A{kernel}"


def test_the_api_servers_own_address_is_for_rules_alone():
    added = meanwhile("RUL001", (service("kubernetes", "default"),), ("n1",))
    assert added == f"\n# meanwhile, on n1:\nsvcdoctor proxy svc/kubernetes -n default {KERNEL}"


def test_many_services_and_nodes():
    both = (WEB, service("cart"))
    assert meanwhile("RUL001", both, ("n1",)) == "\n# meanwhile, on n1:\nsvcdoctor proxy -A"
    assert meanwhile("RUL007", both, ("n1", "n2")) == (
        f"\n# meanwhile, on each of these nodes:\nsvcdoctor proxy -A {KERNEL}"
    )


@pytest.mark.parametrize(
    "code, of",
    [
        ("RUL016", WEB),
        ("NOD001", WEB),
        ("RUL001", service(type="ExternalName", cluster_ip="")),
        ("RUL001", service(cluster_ip="None")),
    ],
)
def test_where_it_would_not_help(code, of):
    assert meanwhile(code, (of,), ("n1",)) == ""


def test_one_cause_of_many_services_has_one_command():
    def finding(of):
        fix = f"restart it{meanwhile('RUL001', (of,), ('n1',))}"
        subjects = (f"Service/shop/{of.name}", "Node/n1")
        return Finding("RUL001", Severity.ERROR, "No rules", subjects, (), "", fix)

    found = [(f"Service/shop/{s.name}", (finding(s),)) for s in (WEB, service("cart"))]
    [reported] = by_root_cause(found)
    assert reported.affects == ("Service/shop/cart", "Service/shop/web")
    assert reported.finding.fix == "restart it\n# meanwhile, on n1:\nsvcdoctor proxy -A"
    [alone] = by_root_cause(found[:1])
    assert alone.finding.fix.endswith("svcdoctor proxy svc/web -n shop --clusterip")
