"""EXT011: whose plaintext a mesh's proxies refuse, by the policies' precedence, and whose they take."""

import copy

import pytest
from gateway_world import ask, gateway, namespace, route, service, world

from svcdoctor.model.facts import Kind
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Result, Status, Verdict

SIDECAR = {"name": "istio-proxy", "ports": [{"containerPort": 15090}]}
LINKERD = {"name": "linkerd-proxy"}


def meshed(objects, *containers, init=()):
    """The objects with a proxy beside each pod's container."""
    made = copy.deepcopy(objects)
    for pod in (o for o in made if o["kind"] == "Pod"):
        pod["spec"]["containers"] += containers
        pod["spec"]["initContainers"] = list(init)
    return made


def policy(mode, *, name="default", ns="shop", app=None, made="2025-09-01T06:00:00Z", **ports):
    spec = {"mtls": {"mode": mode}} if mode else {}
    if app:
        spec["selector"] = {"matchLabels": {"app": app}}
    if ports:
        spec["portLevelMtls"] = {port.lstrip("p"): {"mode": m} for port, m in ports.items()}
    return {
        "kind": "PeerAuthentication",
        "apiVersion": "security.istio.io/v1",
        "metadata": {"name": name, "namespace": ns, "creationTimestamp": made},
        "spec": spec,
    }


def client(*containers, ns="legacy", **labels):
    return {
        "kind": "Pod",
        "metadata": {"name": "c", "namespace": ns, "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}, *containers]},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": "10.8.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


STRICT = policy("STRICT")
INIT = {"name": "istio-init", "args": ["istio-iptables", "-b", "*", "-d", "15090,15021,8080"]}
ONLY = {"name": "istio-init", "args": ["istio-iptables", "-b", "9000-9100", "-d", ""]}
PLAIN = service("web")
SHOP = meshed(PLAIN, SIDECAR)


@pytest.mark.parametrize(
    ("policies", "refused"),
    [
        ([], False),
        ([STRICT], True),
        ([policy("PERMISSIVE")], False),
        ([policy("STRICT", ns="istio-system")], True),
        ([policy("STRICT", ns="istio-system"), policy("PERMISSIVE")], False),
        ([policy("PERMISSIVE", ns="istio-system"), STRICT], True),
        ([policy("STRICT", ns="istio-system"), policy("UNSET")], True),
        ([policy("STRICT", ns="istio-system"), policy("")], True),
        ([STRICT, policy("PERMISSIVE", name="web", app="web")], False),
        ([policy("PERMISSIVE"), policy("STRICT", name="web", app="web")], True),
        ([policy("STRICT", name="api", app="api")], False),
        ([policy("STRICT", name="web", app="web", p8080="PERMISSIVE")], False),
        ([policy("STRICT", name="web", app="web", p9090="PERMISSIVE")], True),
        ([policy("PERMISSIVE", name="web", app="web", p8080="STRICT")], True),
        ([policy("", name="web", app="web", p8080="UNSET"), STRICT], True),
        ([policy("STRICT", p8080="DISABLE")], True),  # ports count only with a selector
        ([policy("STRICT", ns="istio-system", name="web", app="web")], False),  # not in the root namespace
        ([policy("STRICT", ns="pay")], False),
        ([policy("STRICT", made="2025-09-02T06:00:00Z"), policy("PERMISSIVE", name="older")], False),
        ([STRICT, policy("PERMISSIVE", name="newer", made="2025-09-02T06:00:00Z")], True),
    ],
)
def test_which_policy_counts(policies, refused):
    answer = ask(world(*SHOP, *policies, client()), "svc/web", "pod/legacy/c")
    assert [f.code for f in answer.findings] == (["EXT011"] if refused else [])
    assert answer.verdict is (Verdict.BROKEN if refused else Verdict.HEALTHY)


@pytest.mark.parametrize(
    ("objects", "who", "refused"),
    [
        ([*SHOP, client()], "pod/legacy/c", True),
        ([*SHOP, client(SIDECAR)], "pod/legacy/c", False),
        ([*SHOP, client(LINKERD)], "pod/legacy/c", False),
        ([*SHOP, client(**{"istio.io/dataplane-mode": "ambient"})], "pod/legacy/c", False),
        (
            [*SHOP, client(), namespace("legacy", **{"istio.io/dataplane-mode": "ambient"})],
            "pod/legacy/c",
            False,
        ),
        ([*SHOP], None, False),  # any pod: nobody knows which
        ([*SHOP], "node/n1", True),
        ([*PLAIN, client()], "pod/legacy/c", False),  # no proxy, no demand
        (
            [*PLAIN, client(), namespace("shop", **{"istio.io/dataplane-mode": "ambient"})],
            "pod/legacy/c",
            True,
        ),
        ([*meshed(PLAIN, SIDECAR, init=[INIT]), client()], "pod/legacy/c", False),
        ([*meshed(PLAIN, SIDECAR, init=[ONLY]), client()], "pod/legacy/c", False),
    ],
)
def test_who_is_refused(objects, who, refused):
    node = {
        "kind": "Node",
        "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    }
    answer = ask(world(*objects, STRICT, node), "svc/web", who)
    assert [f.code for f in answer.findings] == (["EXT011"] if refused else [])


def test_a_gateway_of_the_mesh_takes_plaintext():
    pods = copy.deepcopy(PLAIN)
    for pod in (o for o in pods if o["kind"] == "Pod"):
        pod["spec"]["containers"] = [SIDECAR | {"ports": [{"containerPort": 8080}]}]
    assert ask(world(*pods, STRICT, client()), "svc/web", "pod/legacy/c").findings == ()


def test_clients_from_outside_are_refused_and_those_inside_are_not():
    objects = copy.deepcopy(SHOP)
    for o in objects:
        if o["kind"] == "Service":
            o["spec"] |= {"type": "NodePort", "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]}
    answer = ask(world(*objects, STRICT), "svc/web")
    assert answer.verdict is Verdict.DEGRADED
    (finding,) = answer.findings
    assert (finding.code, finding.severity) == ("EXT011", Severity.WARNING)
    assert finding.field == "spec.mtls.mode"
    assert finding.subjects == ("PeerAuthentication/shop/default", "Service/shop/web")
    by_entry = {str(p.entry.kind): p.verdict for p in answer.paths}
    assert by_entry == {"clusterIP": Verdict.HEALTHY, "nodePort": Verdict.BROKEN}


def test_the_hops_say_it():
    answer = ask(world(*SHOP, STRICT, client()), "svc/web", "pod/legacy/c")
    (path,) = answer.paths
    assert {o.result for o in path.outcomes} == {Result.UNKNOWN}  # it opens, and is closed
    ends = [h for h in path.hops if h.kind in ("endpoint", "pod", "container")]
    assert {h.status for h in ends} == {Status.FAIL}
    assert "no identity in the mesh" in ends[-1].detail


def controller(*containers):
    """ingress-nginx with its Service and one pod."""
    labels = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}
    pod = client(*containers, ns="ingress-nginx", **labels)
    front = {
        "kind": "Service",
        "metadata": {"name": "ingress-nginx-controller", "namespace": "ingress-nginx", "labels": labels},
        "spec": {"type": "NodePort", "clusterIP": "10.96.0.99", "selector": labels, "ports": [{"port": 80}]},
    }
    ingress = {
        "kind": "Ingress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "ingressClassName": "nginx",
            "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}},
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}},
    }
    of_class = {
        "kind": "IngressClass",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"},
    }
    return [pod, front, ingress, of_class]


def test_an_ingress_controller_without_sidecar():
    answer = ask(world(*SHOP, STRICT, *controller()), "ingress/shop")
    (finding,) = answer.findings
    assert (finding.code, finding.severity) == ("EXT011", Severity.ERROR)
    assert answer.verdict is Verdict.BROKEN
    assert ask(world(*SHOP, STRICT, *controller(SIDECAR)), "ingress/shop").findings == ()
    # Whose pods nobody knows.
    unknown = [o for o in controller() if o["kind"] != "Service"]
    assert ask(world(*SHOP, STRICT, *unknown), "ingress/shop").findings == ()


def test_a_gateways_proxy():
    labels = {"gateway.networking.k8s.io/gateway-name": "public"}
    proxy = client(ns="edge", **labels)
    assert [f.code for f in ask(world(*SHOP, STRICT, gateway(), route(), proxy)).findings] == ["EXT011"]
    proxy["spec"]["containers"] = [SIDECAR]
    assert ask(world(*SHOP, STRICT, gateway(), route(), proxy)).findings == ()


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        ("all-authenticated", True),
        ("cluster-authenticated", True),
        ("deny", True),
        ("all-unauthenticated", False),
    ],
)
@pytest.mark.parametrize("on_pod", [True, False])
def test_linkerds_default_policy(value, refused, on_pod):
    env = [{"name": "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "value": value}]
    pods = meshed(PLAIN, LINKERD | ({"env": env} if on_pod else {}))
    of = namespace("shop")
    of["metadata"]["annotations"] = {} if on_pod else {"config.linkerd.io/default-inbound-policy": value}
    answer = ask(world(*pods, of, client()), "svc/web", "pod/legacy/c")
    assert [(f.code, f.severity) for f in answer.findings] == (
        [("EXT011", Severity.WARNING)] if refused else []
    )
    skipping = meshed(
        pods, init=[{"name": "linkerd-init", "args": ["--inbound-ports-to-ignore", "4190,4191,8000-8100"]}]
    )
    assert ask(world(*skipping, of, client()), "svc/web", "pod/legacy/c").findings == ()


def test_policies_that_may_not_be_read_are_not_guessed():
    answer = ask(world(*SHOP, client(), unknown=(Kind.PEER_AUTHENTICATION,)), "svc/web", "pod/legacy/c")
    assert answer.findings == ()
    assert any("PeerAuthentication" in m.fact for m in answer.unknowns)


def test_without_a_mesh_nothing_is_asked():
    answer = ask(world(*PLAIN, client(), unknown=(Kind.PEER_AUTHENTICATION,)), "svc/web", "pod/legacy/c")
    assert not any("PeerAuthentication" in m.fact for m in answer.unknowns)
