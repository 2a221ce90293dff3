"""EXT009: every way in which a route does not lead from its Gateway to its backends, and near misses that do."""

import json
import shlex

import pytest
from gateway_world import GROUP, ask, gateway, namespace, route, said, service, world

from svcdoctor.lab.jsonpatch import json_patch
from svcdoctor.model.facts import Kind
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Verdict

E, W = Severity.ERROR, Severity.WARNING


def cls(name="edge", accepted="True"):
    return {
        "kind": "GatewayClass",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": name},
        "spec": {"controllerName": "example.com/controller"},
        "status": {"conditions": [{"type": "Accepted", "status": accepted, "reason": "Pending"}]},
    }


def grant(**changes):
    from_ = {"group": GROUP, "kind": "HTTPRoute", "namespace": "shop"} | changes.get("from_", {})
    to = {"group": "", "kind": "Service"} | changes.get("to", {})
    return {
        "kind": "ReferenceGrant",
        "apiVersion": f"{GROUP}/v1beta1",
        "metadata": {"name": "g", "namespace": changes.get("namespace", "pay")},
        "spec": {"from": [from_], "to": [to]},
    }


WEB = service("web")
PAY = [*service("pay", "pay", net="10.3"), namespace("pay")]
TO_PAY = {"name": "pay", "namespace": "pay", "port": 80}
NO_PROGRAM = {"conditions": [], "addresses": []}


def named(port, **more):
    return {"name": "web", "port": port} | more


def status(kind, state, reason="X"):
    return {
        "conditions": [{"type": kind, "status": state, "reason": reason, "message": "m"}],
        "addresses": [],
    }


def listener_status(kind, state):
    conditions = [{"type": kind, "status": state, "reason": "InvalidCertificateRef"}]
    return {"listeners": [{"name": "web", "conditions": conditions}]}


CASES = {
    # parents
    "no parent": ([gateway(), route(parentRefs=[]), *WEB], E, "spec.parentRefs", "is empty"),
    "no such Gateway": (
        [gateway(), route(parent={"name": "publik"}), *WEB],
        E,
        "spec.parentRefs[0].name",
        "near: public",
    ),
    "a Gateway of another namespace": (
        [gateway(), route(parent={"namespace": "shop"}), *WEB],
        E,
        "spec.parentRefs[0].namespace",
        "near: edge/public",
    ),
    "no such listener": (
        [gateway(), route(parent={"sectionName": "wbe"}), *WEB],
        E,
        "spec.parentRefs[0].sectionName",
        "no listener wbe (it has web)",
    ),
    "one parent of two": (
        [gateway(), route(parentRefs=[{"name": "public", "namespace": "edge"}, {"name": "other"}]), *WEB],
        W,
        "spec.parentRefs[1].name",
        "Gateway shop/other does not exist",
    ),
    "the controller refuses": (
        [
            gateway(),
            route() | {"status": said("Accepted", "False", "UnsupportedValue", "no such filter")},
            *WEB,
        ],
        E,
        "spec.parentRefs[0]",
        "Accepted is False, UnsupportedValue: no such filter",
    ),
    # the Gateway
    "no such class": (
        [gateway(status=NO_PROGRAM), cls("edgy"), route(), *WEB],
        E,
        "spec.gatewayClassName",
        "there is no GatewayClass edge",
    ),
    "nobody accepts the class": (
        [gateway(status=NO_PROGRAM), cls(accepted="Unknown"), route(), *WEB],
        E,
        "spec.controllerName",
        "Accepted is Unknown, Pending",
    ),
    "a Gateway that is not programmed": (
        [gateway(status=status("Programmed", "False", "AddressNotAssigned")), cls(), route(), *WEB],
        E,
        "spec",
        "Programmed is False, AddressNotAssigned: m",
    ),
    "a listener without its certificate": (
        [gateway(status=listener_status("ResolvedRefs", "False")), cls(), route(), *WEB],
        E,
        "spec.listeners[0]",
        "ResolvedRefs is False, InvalidCertificateRef",
    ),
    # backends
    "no such Service": (
        [gateway(), route({"name": "wbe", "port": 80}), *WEB],
        E,
        "spec.rules[0].backendRefs[0].name",
        "near names in shop: web",
    ),
    "a Service of another namespace": (
        [gateway(), route({"name": "pay", "port": 80}), *WEB, *PAY],
        E,
        "spec.rules[0].backendRefs[0].name",
        "a Service pay is in namespace pay",
    ),
    "the targetPort for the port": (
        [gateway(), route(named(8080)), *WEB],
        E,
        "spec.rules[0].backendRefs[0].port",
        "8080 is the targetPort or nodePort of port 80",
    ),
    "no port": (
        [gateway(), route({"name": "web"}), *WEB],
        E,
        "spec.rules[0].backendRefs[0].port",
        "without a port",
    ),
    "one backend of two": (
        [gateway(), route(named(80), named(81)), *WEB],
        W,
        "spec.rules[0].backendRefs[1].port",
        "sends 50 % of its requests there",
    ),
    "every weight is 0": (
        [gateway(), route(named(80, weight=0)), *WEB],
        E,
        "spec.rules[0].backendRefs",
        "every backendRef has weight 0",
    ),
    "no backends": (
        [gateway(), route(rules=[{}]), *WEB],
        E,
        "spec.rules[0].backendRefs",
        "has no backendRefs",
    ),
    "no grant": (
        [gateway(), route(TO_PAY), *PAY],
        E,
        "spec.rules[0].backendRefs[0].namespace",
        "no ReferenceGrant",
    ),
    "a grant for another namespace": (
        [gateway(), route(TO_PAY), grant(from_={"namespace": "shop-old"}), *PAY],
        E,
        "spec.rules[0].backendRefs[0].namespace",
        "no ReferenceGrant in pay lets a HTTPRoute of shop",
    ),
    "a grant for another kind of route": (
        [gateway(), route(TO_PAY), grant(from_={"kind": "GRPCRoute"}), *PAY],
        E,
        "spec.rules[0].backendRefs[0].namespace",
        "no ReferenceGrant",
    ),
    "a grant for another Service": (
        [gateway(), route(TO_PAY), grant(to={"name": "bank"}), *PAY],
        E,
        "spec.rules[0].backendRefs[0].namespace",
        "no ReferenceGrant",
    ),
    "a grant in the wrong namespace": (
        [gateway(), route(TO_PAY), grant(namespace="shop"), *PAY],
        E,
        "spec.rules[0].backendRefs[0].namespace",
        "no ReferenceGrant",
    ),
    "what only the controller sees": (
        [gateway(), route() | {"status": said("ResolvedRefs", "False", "InvalidKind", "filter")}, *WEB],
        E,
        "spec.rules",
        "ResolvedRefs is False, InvalidKind: filter",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_raised(name):
    objects, severity, field, words = CASES[name]
    answer = ask(world(*objects))
    (finding,) = answer.findings
    assert (finding.code, finding.severity, finding.field) == ("EXT009", severity, field)
    assert words in " ".join(finding.evidence)
    assert finding.fix
    assert answer.verdict is not Verdict.HEALTHY


OTHER_CLASS = gateway(spec={"gatewayClassName": "other"})
HEALTHY = {
    "plain": [gateway(), cls(), route(), *WEB],
    "by section": [gateway(), cls(), route(parent={"sectionName": "web"}), *WEB],
    "a class that is not held, and runs": [OTHER_CLASS, cls(), route(), *WEB],
    "a Gateway whose listeners are elsewhere": [gateway(spec={"listeners": []}), cls(), route(), *WEB],
    "accepted with a word of something partly wrong": [
        gateway(),
        route() | {"status": said("PartiallyInvalid", "True", "UnsupportedValue")},
        *WEB,
    ],
    "not yet accepted": [gateway(), route() | {"status": said("Accepted", "Unknown", "Pending")}, *WEB],
    "a grant": [gateway(), route(TO_PAY), grant(), *PAY],
    "a grant by name": [gateway(), route(TO_PAY), grant(to={"name": "pay"}), *PAY],
    "a wrong backend without requests": [gateway(), route(named(80), named(81, weight=0)), *WEB],
    "a Service of its own namespace, said so": [gateway(), route(named(80, namespace="shop")), *WEB],
    "gRPC": [gateway(), route(kind="GRPCRoute"), *WEB],
}


@pytest.mark.parametrize("name", HEALTHY)
def test_not_raised(name):
    target = "grpcroute/shop" if name == "gRPC" else "httproute/shop"
    answer = ask(world(*HEALTHY[name]), target)
    assert answer.findings == ()
    assert answer.verdict is Verdict.HEALTHY


@pytest.mark.parametrize("kind", [Kind.GATEWAY, Kind.GATEWAY_CLASS, Kind.REFERENCE_GRANT, Kind.NAMESPACE])
def test_what_may_not_be_read_is_not_called_wrong(kind):
    objects = [o for o in [gateway(status=NO_PROGRAM), route(TO_PAY), *PAY] if o["kind"] != kind]
    answer = ask(
        world(*objects, *([] if kind is Kind.REFERENCE_GRANT else [grant()]), cls("edge"), unknown=(kind,))
    )
    assert answer.findings == ()


def test_manifests_need_not_hold_what_others_run():
    answer = ask(world(route(), *WEB, would_be=True))
    assert answer.findings == ()
    assert ask(world(route(TO_PAY), would_be=True)).findings == ()
    (near,) = ask(world(gateway(), route(parent={"name": "publik"}), *WEB, would_be=True)).findings
    assert near.field == "spec.parentRefs[0].name"
    (missing,) = ask(world(route({"name": "wbe", "port": 80}), *WEB, would_be=True)).findings
    assert missing.field == "spec.rules[0].backendRefs[0].name"


FIXED = ["no such Gateway", "a Gateway of another namespace", "no such listener", "no such Service"]
FIXED += ["the targetPort for the port", "no port", "one backend of two"]


@pytest.mark.parametrize("name", FIXED)
def test_the_fix_mends_it(name):
    objects = CASES[name][0]
    (finding,) = ask(world(*objects)).findings
    words = shlex.split(finding.fix)
    assert words[:6] == ["kubectl", "-n", "shop", "patch", "httproute", "shop"]
    patch = json.loads(words[words.index("-p") + 1])
    mended = [json_patch(o, patch) if o["kind"] == "HTTPRoute" else o for o in objects]
    assert ask(world(*mended)).findings == ()


def test_the_grant_of_the_fix_mends_it():
    (finding,) = ask(world(*CASES["no grant"][0])).findings
    echo, made, *rest = shlex.split(finding.fix)
    assert (echo, rest) == ("echo", ["|", "kubectl", "apply", "-f", "-"])
    assert ask(world(*CASES["no grant"][0], json.loads(made))).findings == ()
