"""Endpoints against EndpointSlices, and slices against each other."""

import pytest
from ordinary_world import snapshot_of
from twins import found, objects, one

from svcdoctor.checks.registry import Case
from svcdoctor.checks.slices import endpoints_disagree
from svcdoctor.model.facts import Kind, Known, Need, Scope
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import TargetView, Trace, Verdict
from svcdoctor.path.view import View


def _subset(held):
    return one(held, "Endpoints", "cart")["subsets"][0]


def unready_there(held):
    subset = _subset(held)
    subset["notReadyAddresses"] = [subset["addresses"].pop()]


def gone_there(held):
    _subset(held)["addresses"].pop()


def more_there(held):
    _subset(held)["addresses"].append({"ip": "10.244.9.9"})


def unready_here(held):
    one(held, "EndpointSlice", "cart")["endpoints"][0]["conditions"] = {"ready": False, "serving": False}


def no_slices(held):
    held.remove(one(held, "EndpointSlice", "cart"))


def not_mirrored(held):
    more_there(held)
    one(held, "Endpoints", "cart")["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = "true"


def a_lock(held):
    more_there(held)
    one(held, "Endpoints", "cart")["metadata"]["annotations"] = {
        "control-plane.alpha.kubernetes.io/leader": "{}"
    }


def without_ports(held):
    """A pod that has none of the Service's ports stands in a slice without ports, and in no Endpoints."""
    made = dict(one(held, "EndpointSlice", "cart"))
    made["metadata"] = made["metadata"] | {"name": "cart-noports"}
    made["endpoints"] = [{"addresses": ["10.244.1.77"], "conditions": {"ready": True}}]
    made["ports"] = None
    held.append(made)


def second_family(held):
    made = dict(one(held, "EndpointSlice", "cart"))
    made["metadata"] = made["metadata"] | {"name": "cart-six"}
    made["addressType"] = "IPv6"
    made["endpoints"] = [{"addresses": ["fd00:10:244:1::7"], "conditions": {"ready": True}}]
    held.append(made)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (unready_there, "ready in EndpointSlices, not in the Endpoints: 10.244.2.47"),
        (gone_there, "only EndpointSlices list 10.244.2.47"),
        (more_there, "only the Endpoints list 10.244.9.9"),
        (unready_here, "ready in the Endpoints, not in EndpointSlices: 10.244.1.46"),
        (no_slices, None),
        (not_mirrored, None),
        (a_lock, None),
        (without_ports, None),
        (second_family, None),
    ],
)
def test_endpoints_agree_with_slices_or_not(change, says):
    held = objects("OBJ020")
    change(held)
    findings = found("OBJ020", held)
    assert [list(f.evidence) for f in findings] == ([[says]] if says else [])


def test_endpoints_of_an_ipv6_service_are_compared_in_ipv6():
    held = objects("OBJ020")
    six = {
        "10.244.1.46": "fd00:10:244:1::2e",
        "10.244.2.47": "fd00:10:244:2::2f",
        "10.244.3.48": "fd00:10:244:3::30",
    }
    service = one(held, "Service", "cart")
    service["spec"] |= {
        "ipFamilies": ["IPv6"],
        "clusterIP": "fd00:10:96::50",
        "clusterIPs": ["fd00:10:96::50"],
    }
    cart = one(held, "EndpointSlice", "cart")
    cart["addressType"] = "IPv6"
    for endpoint in cart["endpoints"]:
        endpoint["addresses"] = [six[endpoint["addresses"][0]]]
    for address in _subset(held)["addresses"]:
        address["ip"] = six[address["ip"]]
    assert found("OBJ020", held) == []
    more_there(held)
    _subset(held)["addresses"][-1]["ip"] = "fd00:10:244:9::9"
    assert [f.evidence for f in found("OBJ020", held)] == [("only the Endpoints list fd00:10:244:9::9",)]


def _copy(held, name="quotes-copy", **labels):
    made = dict(one(held, "EndpointSlice", "quotes-z75pd"))
    made["metadata"] = made["metadata"] | {"name": name, "labels": made["metadata"]["labels"] | labels}
    made["endpoints"] = [dict(made["endpoints"][0])]
    held.append(made)
    return made


def same_writer(held):
    _copy(held)


def other_writer(held):
    _copy(held, **{"endpointslice.kubernetes.io/managed-by": "sync.example.com"})


def disagreeing(held):
    _copy(held)["endpoints"][0]["conditions"] = {"ready": False}


def other_port(held):
    _copy(held)["ports"] = [{"name": "http", "port": 9090, "protocol": "TCP"}]


def other_port_name(held):
    _copy(held)["ports"] = [{"name": "metrics", "port": 8080, "protocol": "TCP"}]


def other_service(held):
    _copy(held, **{"kubernetes.io/service-name": "quotes-internal"})


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (same_writer, "info"),
        (other_writer, "warning"),
        (disagreeing, "warning"),
        (other_port, None),
        (other_port_name, None),
        (other_service, None),
    ],
)
def test_an_endpoint_stands_twice_or_not(change, severity):
    held = objects("OBJ021")
    change(held)
    findings = found("OBJ021", held)
    assert [f.severity.value for f in findings] == ([severity] if severity else [])
    for f in findings:
        assert f.evidence[0].startswith("10.244.1.46 is in quotes-z75pd (ready) and in quotes-copy")
        assert "EndpointSlice/shop/quotes-copy" in f.subjects


@pytest.mark.parametrize(
    ("managed_by", "annotation", "severity"),
    [
        ("endpointslicemirroring-controller.k8s.io", None, "warning"),
        ("endpointslice-controller.k8s.io", "truncated", "info"),
        ("endpointslice-controller.k8s.io", "warning", "info"),
        ("endpointslice-controller.k8s.io", None, None),
    ],
)
def test_what_is_too_much_for_endpoints_concerns_the_service_where_slices_are_mirrored(
    managed_by, annotation, severity
):
    held = objects("OBJ024", "broken")
    one(held, "EndpointSlice", "meters")["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = (
        managed_by
    )
    if annotation:
        old = one(held, "Endpoints", "meters")
        old["metadata"]["annotations"] = {"endpoints.kubernetes.io/over-capacity": annotation}
    assert [f.severity.value for f in found("OBJ024", held)] == ([severity] if severity else [])


@pytest.mark.parametrize(("code", "name", "asked"), [("OBJ024", "meters", True), ("OBJ020", "cart", False)])
def test_a_live_cluster_is_asked_for_endpoints_only_where_they_matter(code, name, asked):
    held = snapshot_of([o for o in objects(code) if o["kind"] != "Endpoints"])
    facts = {k: (Known(),) for k in Kind if k is not Kind.ENDPOINTS}
    view = View(Snapshot({k: held.of(k) for k in Kind}, facts))
    trace = Trace(Verdict.HEALTHY, TargetView("Service", "shop", name), (), services=(("shop", name),))
    assert list(endpoints_disagree(Case(view, trace))) == []
    assert view.needs == ((Need(Kind.ENDPOINTS, Scope("shop", name=name)),) if asked else ())
