"""Which listeners take a route, which rule takes a request, and whose backends a rule may name."""

import pytest
from gateway_world import GROUP, ask, ends, gateway, namespace, route, said, service, world

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.gatewayroutes import GRPCRoute, HTTPRoute
from svcdoctor.model.trace import EntryKind, Verdict
from svcdoctor.path.gateway import attachments, hosts_intersect
from svcdoctor.path.gatewayrules import rules_for
from svcdoctor.path.view import View


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("shop.example.com", "shop.example.com", True),
        ("shop.example.com", "SHOP.example.com", True),
        ("*.example.com", "shop.example.com", True),
        ("*.example.com", "a.shop.example.com", True),  # any number of labels, unlike an Ingress
        ("*.example.com", "example.com", False),
        ("*.example.com", "*.example.com", True),
        ("*.example.com", "*.shop.example.com", True),
        ("*.example.com", "*.example.net", False),
        ("*.example.com", "shopexample.com", False),
        ("a.example.com", "b.example.com", False),
    ],
)
def test_hostnames_intersect(one, other, expected):
    assert hosts_intersect(one, other) is expected
    assert hosts_intersect(other, one) is expected


SAME = {"allowedRoutes": {"namespaces": {"from": "Same"}}}
SELECTOR = {
    "allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"edge": "yes"}}}}
}
BY_NAME = {
    "allowedRoutes": {
        "namespaces": {
            "from": "Selector",
            "selector": {
                "matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "pay"]}
                ]
            },
        }
    }
}


def allowed(kind):
    return {"allowedRoutes": {"namespaces": {"from": "All"}, "kinds": [{"kind": kind}]}}


@pytest.mark.parametrize(
    ("listener", "parent", "spec", "kind", "problem", "field"),
    [
        ({}, {}, {}, "HTTPRoute", "", ""),
        ({}, {"sectionName": "web"}, {}, "HTTPRoute", "", ""),
        ({}, {"port": 80}, {}, "HTTPRoute", "", ""),
        ({}, {"sectionName": "wbe"}, {}, "HTTPRoute", "no listener wbe", "spec.parentRefs[0].sectionName"),
        ({}, {"port": 8080}, {}, "HTTPRoute", "has port 8080", "spec.parentRefs[0].port"),
        ({}, {"sectionName": "web", "port": 81}, {}, "HTTPRoute", "has port 81", "spec.parentRefs[0].port"),
        ({}, {"name": "pubic"}, {}, "HTTPRoute", "edge/pubic does not exist", "spec.parentRefs[0].name"),
        (
            {"protocol": "TLS"},
            {},
            {},
            "HTTPRoute",
            "takes HTTPRoutes (web: protocol TLS)",
            "spec.parentRefs[0]",
        ),
        ({"protocol": "HTTPS"}, {}, {}, "GRPCRoute", "", ""),
        ({"protocol": "example.com/own"}, {}, {}, "HTTPRoute", "", ""),
        (allowed("GRPCRoute"), {}, {}, "HTTPRoute", "takes HTTPRoutes", "spec.parentRefs[0]"),
        (allowed("GRPCRoute"), {}, {}, "GRPCRoute", "", ""),
        (
            {"allowedRoutes": None},
            {},
            {},
            "HTTPRoute",
            "takes routes of namespace shop",
            "spec.parentRefs[0]",
        ),
        (SAME, {}, {}, "HTTPRoute", "from: Same", "spec.parentRefs[0]"),
        (SELECTOR, {}, {}, "HTTPRoute", "from: Selector", "spec.parentRefs[0]"),
        (BY_NAME, {}, {}, "HTTPRoute", "", ""),
        ({"hostname": "*.example.com"}, {}, {"hostnames": ["a.example.com"]}, "HTTPRoute", "", ""),
        ({"hostname": "*.example.com"}, {}, {}, "HTTPRoute", "", ""),
        (
            {"hostname": "x.example.com"},
            {},
            {"hostnames": ["y.example.com"]},
            "HTTPRoute",
            "hostname",
            "spec.hostnames",
        ),
        ({"hostname": "x.example.com"}, {}, {"hostnames": ["y.net", "*.example.com"]}, "HTTPRoute", "", ""),
    ],
)
def test_what_a_listener_admits(listener, parent, spec, kind, problem, field):
    snapshot = world(gateway(listener=listener), route(kind=kind, parent=parent, **spec), namespace("shop"))
    of = HTTPRoute if kind == "HTTPRoute" else GRPCRoute
    (found,) = attachments(View(snapshot), snapshot.find(Kind(kind), "shop", "shop", of))
    assert problem in found.problem
    assert bool(found.problem) is bool(problem)
    assert found.field == field
    assert [x.name for x in found.listeners] == ([] if problem else ["web"])


def test_labels_of_the_namespace_admit_it():
    objects = (gateway(listener=SELECTOR), route(), *service("web"))
    assert ask(world(*objects, namespace("shop", edge="yes"))).verdict is Verdict.HEALTHY
    assert ask(world(*objects, namespace("shop", edge="no"))).verdict is Verdict.BROKEN
    # A namespace that may not be read is not called refused.
    assert ask(world(*objects, unknown=(Kind.NAMESPACE,))).verdict is Verdict.HEALTHY


def test_what_the_controller_accepted_is_attached():
    objects = (gateway(listener=SAME), *service("web"), namespace("shop"))
    assert ask(world(*objects, route())).verdict is Verdict.BROKEN
    accepted = route() | {"status": said("Accepted", "True", "Accepted")}
    assert ask(world(*objects, accepted)).verdict is Verdict.HEALTHY


PATHS = [
    {"matches": [{"path": {"type": "Exact", "value": "/api"}}]},
    {"matches": [{"path": {"type": "PathPrefix", "value": "/api"}}]},
    {"matches": [{"path": {"type": "PathPrefix", "value": "/api/v2/"}}]},
    {"matches": [{"path": {"type": "PathPrefix", "value": "/api"}, "headers": [{"name": "X-Beta"}]}]},
    {"matches": [{"path": {"type": "RegularExpression", "value": "/img/.*"}}]},
    {"matches": [{"path": {"type": "PathPrefix", "value": "/api"}}]},
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ("/api", [0]),  # the exact path wins over what asks for headers as well
        ("/api/", [1, 3]),
        ("/api/v1", [1, 3]),  # of equal rules the first
        ("/api/v2", [2]),
        ("/api/v2/x", [2]),
        ("/apis", [4]),  # element by element; a pattern's syntax is the implementation's
        ("/img/a", [4]),
    ],
)
def test_rules_by_path(path, expected):
    snapshot = world(route(rules=PATHS))
    found = rules_for(snapshot.find(Kind.HTTP_ROUTE, "shop", "shop", HTTPRoute), path)
    assert [i for i, _ in found if i != 4 or path in (None, "/apis", "/img/a")] == expected


METHODS = [
    {"matches": [{"method": {"service": "shop.v1.Cart", "method": "Add"}}]},
    {"matches": [{"method": {"service": "shop.v1.Cart"}}]},
    {"matches": [{"method": {"method": "Health"}}]},
    {},
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/shop.v1.Cart/Add", [0]),
        ("/shop.v1.Cart/Remove", [1]),
        ("/shop.v1.Cart/Health", [1]),
        ("/other.Thing/Health", [2]),
        ("/other.Thing/Do", [3]),
    ],
)
def test_rules_by_grpc_method(path, expected):
    snapshot = world(route(kind="GRPCRoute", rules=METHODS))
    found = rules_for(snapshot.find(Kind.GRPC_ROUTE, "shop", "shop", GRPCRoute), path)
    assert [i for i, _ in found] == expected


def test_weights_are_probabilities():
    backends = ({"name": "web", "port": 80, "weight": 9}, {"name": "canary", "port": 80, "weight": 1})
    answer = ask(world(gateway(), route(*backends), *service("web"), *service("canary", pods=1, net="10.2")))
    assert answer.verdict is Verdict.HEALTHY
    assert ends(answer) == {"web-0": 0.45, "web-1": 0.45, "canary-0": 0.1}
    assert {p.entry.kind for p in answer.paths} == {EntryKind.GATEWAY}
    assert {(p.entry.address, p.entry.port) for p in answer.paths} == {("203.0.113.4", 80)}
    assert set(answer.services) == {("shop", "web"), ("shop", "canary")}


def test_a_missing_backend_gets_its_share_of_errors():
    backends = ({"name": "web", "port": 80, "weight": 3}, {"name": "wbe", "port": 80})
    answer = ask(world(gateway(), route(*backends), *service("web")))
    assert answer.verdict is Verdict.DEGRADED
    assert ends(answer) == {"web-0": 0.375, "web-1": 0.375, "refused": 0.25}


def test_a_backend_without_requests_is_left_out():
    backends = ({"name": "web", "port": 80}, {"name": "gone", "port": 80, "weight": 0})
    assert ask(world(gateway(), route(*backends), *service("web"))).verdict is Verdict.HEALTHY


def test_a_path_that_no_rule_takes():
    rules = [{"matches": [{"path": {"value": "/api"}}], "backendRefs": [{"name": "web", "port": 80}]}]
    snapshot = world(gateway(), route(rules=rules), *service("web"))
    assert [f.code for f in ask(snapshot, "httproute/shop/img").findings] == ["EXT012"]
    assert ask(snapshot, "httproute/shop/api/cart").verdict is Verdict.HEALTHY


def test_ipv6_addresses_of_a_gateway():
    objects = (gateway(status={"addresses": [{"type": "IPAddress", "value": "2001:db8::4"}]}), route())
    answer = ask(world(*objects, *service("web")))
    assert answer.paths[0].entry.address == "2001:db8::4"


def test_what_is_no_service_is_not_judged():
    bucket = {"group": "storage.example.com", "kind": "Bucket", "name": "img"}
    redirect = {"filters": [{"type": "RequestRedirect"}]}
    assert ask(world(gateway(), route(bucket))).verdict is Verdict.HEALTHY
    assert ask(world(gateway(), route(rules=[redirect]))).verdict is Verdict.HEALTHY


def test_a_route_for_a_mesh_is_asked_from_inside():
    parent = {"group": "", "kind": "Service", "name": "web", "namespace": "shop", "port": 80}
    answer = ask(world(route(parentRefs=[parent]), *service("web")))
    assert answer.verdict is Verdict.HEALTHY
    assert {p.client.kind for p in answer.paths} == {"pod"}


def test_a_route_is_found_by_its_hostname():
    snapshot = world(gateway(), route(hostnames=["*.example.com"]), *service("web"))
    answer = ask(snapshot, "https://shop.example.com/cart")
    assert (answer.target.kind, answer.target.name) == ("HTTPRoute", "shop")
    with pytest.raises(SvcdoctorError, match="no name of this cluster"):
        ask(snapshot, "https://shop.example.net/")


def test_a_gateway_that_may_not_be_read_is_not_called_missing():
    answer = ask(world(route(), *service("web"), unknown=(Kind.GATEWAY,)))
    assert answer.verdict is Verdict.HEALTHY
    assert any("Gateway" in m.fact for m in answer.unknowns)


def test_a_route_that_does_not_exist_has_near_names():
    (finding,) = ask(world(gateway(), route()), "httproute/shpo").findings
    assert finding.code == "OBJ001"
    assert "near names in shop: shop" in finding.evidence
    assert GROUP not in finding.explanation
