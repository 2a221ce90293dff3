"""EXT007, EXT008, EXT012: an Ingress's backends, its class and controller, and the paths that it can never take."""

import json
import shlex

import pytest
from gateway_world import ask, service, world

from svcdoctor.lab.jsonpatch import json_patch
from svcdoctor.model.facts import Kind
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Verdict

E, W, I = Severity.ERROR, Severity.WARNING, Severity.INFO  # noqa: E741
WEB = service("web")
ADDRESS = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
ADDRESS_6 = {"loadBalancer": {"ingress": [{"ip": "2001:db8::7"}]}}


def to(service="web", /, **port):
    return {"service": {"name": service, "port": port or {"number": 80}}}


def path(backend, at="/", kind="Prefix"):
    return {"path": at, "pathType": kind, "backend": backend}


def ingress(*paths, name="shop", status=None, made="", annotations=None, **spec):
    rules = [{"host": "shop.example.com", "http": {"paths": list(paths)}}] if paths else []
    return {
        "kind": "Ingress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "creationTimestamp": made or "2025-09-01T06:00:00Z",
            "annotations": annotations or {},
        },
        "spec": {"ingressClassName": "nginx", "rules": rules} | spec,
        "status": ADDRESS if status is None else status,
    }


def cls(name="nginx", default=False, controller="k8s.io/ingress-nginx"):
    return {
        "kind": "IngressClass",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": name,
            "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"} if default else {},
        },
        "spec": {"controller": controller},
    }


def pod(name, ready="True", phase="Running", **labels):
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "infra", "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {
            "phase": phase,
            "podIPs": [{"ip": "10.9.0.1"}],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def event(message, kind="Ingress", severity="Warning", name="shop"):
    return {
        "kind": "Event",
        "metadata": {"name": f"{name}.1", "namespace": "shop"},
        "involvedObject": {"kind": kind, "namespace": "shop", "name": name},
        "reason": "Sync",
        "type": severity,
        "message": message,
    }


def plain(obj, **spec):
    """The Service with other fields in its spec."""
    return obj | {"spec": obj["spec"] | spec}


def with_service(**spec):
    return [plain(o, **spec) if o["kind"] == "Service" else o for o in WEB]


NEW = {"loadBalancer": {}}
RUNNING = pod("ingress-nginx-controller-x")
EXTERNAL = {"type": "ExternalName", "externalName": "www.example.net", "clusterIP": "", "selector": None}
TWO_PORTS = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}]
HOME = "spec.rules[0].http.paths[0]"
DANGLING = {
    "no such Service": (
        [ingress(path(to("wbe"))), *WEB],
        f"{HOME}.backend.service.name",
        "near names in shop: web",
    ),
    "no such port": ([ingress(path(to(number=81))), *WEB], f"{HOME}.backend.service.port", "has no port 81"),
    "the targetPort": (
        [ingress(path(to(number=8080))), *WEB],
        f"{HOME}.backend.service.port",
        "names the port",
    ),
    "no such port's name": (
        [ingress(path(to(name="htpp"))), *service("web", port_name="http")],
        f"{HOME}.backend.service.port",
        "has no port htpp; it has http 80/TCP",
    ),
    "a UDP port": (
        [ingress(path(to(name="dns"))), *with_service(ports=TWO_PORTS)],
        f"{HOME}.backend.service.port",
        "HTTP needs TCP",
    ),
    "the default backend": (
        [ingress(defaultBackend=to("wbe")), *WEB],
        "spec.defaultBackend.service.name",
        "default backend: Service wbe does not exist",
    ),
    "the second path": (
        [ingress(path(to()), path(to("wbe"), "/api")), *WEB],
        "spec.rules[0].http.paths[1].backend.service.name",
        "/api (Prefix): Service wbe",
    ),
    "a Service of another namespace": (
        [ingress(path(to("pay"))), *service("pay", "billing"), *WEB],
        f"{HOME}.backend.service.name",
        "a Service pay is in namespace billing",
    ),
    "the old way to write it": (
        [ingress(path({"serviceName": "wbe", "servicePort": 80})), *WEB],
        f"{HOME}.backend.serviceName",
        "near names in shop: web",
    ),
    "an ExternalName's port by a name that it has not": (
        [ingress(path(to(name="https"))), *with_service(**EXTERNAL)],
        f"{HOME}.backend.service.port",
        "has no port https",
    ),
}


@pytest.mark.parametrize("name", DANGLING)
def test_dangling(name):
    objects, field, words = DANGLING[name]
    answer = ask(world(*objects, cls()), "ingress/shop")
    (finding,) = (f for f in answer.findings if f.code.startswith("EXT"))
    assert (finding.code, finding.severity, finding.field) == ("EXT007", E, field)
    assert words in " ".join(finding.evidence)
    assert answer.verdict is not Verdict.HEALTHY


def test_one_finding_for_a_backend_of_many_paths():
    objects = [ingress(path(to("wbe")), path(to("wbe"), "/api"), path(to("wbe"), "/img")), *WEB, cls()]
    (finding,) = ask(world(*objects), "ingress/shop").findings
    assert "/img (Prefix)" in finding.evidence[0]


SOUND = {
    "by number": [ingress(path(to())), *WEB],
    "by name": [ingress(path(to(name="http"))), *service("web", port_name="http")],
    "an address of IPv6": [ingress(path(to()), status=ADDRESS_6), *WEB],
    "default backend only": [ingress(defaultBackend=to()), *WEB],
    "headless": [ingress(path(to())), *with_service(clusterIP="None")],
    "an ExternalName and any number": [ingress(path(to(number=8443))), *with_service(**EXTERNAL, ports=None)],
    "a backend that is no Service": [
        ingress(path({"resource": {"apiGroup": "storage.example.com", "kind": "Bucket", "name": "img"}})),
        *WEB,
    ],
    "a star where the controller may mean it": [ingress(path(to(), "/*", "ImplementationSpecific")), *WEB],
    "a star within an element": [ingress(path(to(), "/a*b")), *WEB],
    "the same path, exact and as a prefix": [
        ingress(path(to(), "/api", "Exact"), path(to("api"), "/api")),
        *WEB,
        *service("api"),
    ],
    "two Ingresses of one path to one Service": [
        ingress(path(to())),
        ingress(path(to()), name="old", made="2025-08-01T06:00:00Z"),
        *WEB,
    ],
    "two Ingresses at two addresses": [
        ingress(path(to())),
        ingress(path(to("api")), name="old", made="2025-08-01T06:00:00Z", status=ADDRESS_6),
        *WEB,
        *service("api"),
    ],
    "a canary": [
        ingress(path(to()), annotations={"nginx.ingress.kubernetes.io/canary": "true"}),
        ingress(path(to("api")), name="old", made="2025-08-01T06:00:00Z"),
        *WEB,
        *service("api"),
    ],
    # classes
    "new, and the controller runs": [ingress(path(to()), status=NEW), RUNNING, *WEB],
    "new, by a controller that may run anywhere": [
        ingress(path(to()), status=NEW, ingressClassName="cloud"),
        cls("cloud", controller="example.com/ingress"),
        *WEB,
    ],
    "no class, and somebody has taken it": [ingress(path(to()), ingressClassName=None), *WEB],
    "a class by annotation that is no object": [
        ingress(
            path(to()), annotations={"kubernetes.io/ingress.class": "own"}, ingressClassName=None, status=NEW
        ),
        *WEB,
    ],
    "TLS, and no word of it": [ingress(path(to()), tls=[{"secretName": "shop-tls"}]), *WEB],
    "TLS, and the event is another one's": [
        ingress(path(to()), tls=[{"secretName": "shop"}]),
        event("secret shop-tls not found"),
        event("secret shop not found", name="blog"),
        event("secret shop not found", severity="Normal"),
        *WEB,
    ],
}


@pytest.mark.parametrize("name", SOUND)
def test_sound(name):
    answer = ask(world(*SOUND[name], cls()), "ingress/shop")
    assert answer.findings == ()
    assert answer.verdict is Verdict.HEALTHY


FIXED = ["no such Service", "no such port", "the targetPort", "no such port's name", "the second path"]
FIXED += ["the default backend", "the old way to write it"]


@pytest.mark.parametrize("name", FIXED)
def test_the_fix_mends_it(name):
    objects = [*DANGLING[name][0], cls()]
    (finding,) = ask(world(*objects), "ingress/shop").findings
    words = shlex.split(finding.fix)
    assert words[:6] == ["kubectl", "-n", "shop", "patch", "ingress", "shop"]
    patch = json.loads(words[words.index("-p") + 1])
    mended = [json_patch(o, patch) if o["kind"] == "Ingress" else o for o in objects]
    assert ask(world(*mended), "ingress/shop").findings == ()


CLASSES = {
    "no such class": (
        [ingress(path(to()), ingressClassName="ngnix", status=NEW), cls()],
        E,
        "near names: nginx",
    ),
    "no such class any more": (
        [ingress(path(to()), ingressClassName="traefik"), cls()],
        I,
        "perhaps from before",
    ),
    "a class that is nearly there": (
        [ingress(path(to()), ingressClassName="nginx-x"), cls()],
        W,
        "near names: nginx",
    ),
    "nearly there, by annotation": (
        [
            ingress(
                path(to()),
                ingressClassName=None,
                annotations={"kubernetes.io/ingress.class": "ngnix"},
                status=NEW,
            ),
            cls(),
        ],
        W,
        "near names: nginx",
    ),
    "no class and no default": (
        [ingress(path(to()), ingressClassName=None, status=NEW), cls()],
        W,
        "no IngressClass is the default",
    ),
    "a default that came too late": (
        [ingress(path(to()), ingressClassName=None, status=NEW), cls(default=True), RUNNING],
        W,
        "only an Ingress that is made gets the default",
    ),
    "no class at all": (
        [ingress(path(to()), ingressClassName=None, status=NEW)],
        W,
        "no pod of a known Ingress controller",
    ),
    "no controller": ([ingress(path(to()), status=NEW), cls()], W, "no pod looks like that controller's"),
    "a controller that has ended": (
        [ingress(path(to()), status=NEW), cls(), pod("ingress-nginx-admission-x", phase="Succeeded")],
        W,
        "no pod looks like",
    ),
    "a controller that is not Ready": (
        [ingress(path(to()), status=NEW), cls(), pod("ingress-nginx-controller-x", ready="False")],
        E,
        "none is Ready: ingress-nginx-controller-x",
    ),
    "a missing certificate": (
        [
            ingress(path(to()), tls=[{"hosts": ["a.example.com"]}, {"secretName": "shop-tls"}]),
            cls(),
            event('secrets "shop-tls" not found'),
        ],
        W,
        'event Sync: secrets "shop-tls" not found',
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_nobody_answers(name):
    objects, severity, words = CLASSES[name]
    answer = ask(world(*objects, *WEB), "ingress/shop")
    (finding,) = answer.findings
    assert (finding.code, finding.severity) == ("EXT008", severity)
    assert words in " ".join(finding.evidence)
    expected = {E: (Verdict.BROKEN, Verdict.DEGRADED), W: (Verdict.DEGRADED,), I: (Verdict.HEALTHY,)}
    assert answer.verdict in expected[severity]


def test_where_an_ingress_says_it():
    (finding,) = ask(world(*CLASSES["a missing certificate"][0], *WEB), "ingress/shop").findings
    assert finding.field == "spec.tls[1].secretName"
    (finding,) = ask(world(*CLASSES["nearly there, by annotation"][0], *WEB), "ingress/shop").findings
    assert finding.field == "metadata.annotations['kubernetes.io/ingress.class']"


@pytest.mark.parametrize("kind", [Kind.INGRESS_CLASS, Kind.POD])
def test_what_may_not_be_read_is_not_called_missing(kind):
    objects = [ingress(path(to()), status=NEW), *(o for o in WEB if o["kind"] != kind)]
    codes = {f.code for f in ask(world(*objects, cls(), unknown=(kind,)), "ingress/shop").findings}
    assert "EXT008" not in codes


def test_manifests_need_not_hold_the_class():
    assert ask(world(ingress(path(to()), status=NEW), *WEB, would_be=True), "ingress/shop").findings == ()
    near = ask(world(ingress(path(to()), status=NEW), cls("nginx-x"), *WEB, would_be=True), "ingress/shop")
    assert [(f.code, f.severity) for f in near.findings] == [("EXT008", W)]


NEVER = {
    "a star": ([ingress(path(to(), "/api/*"))], "spec.rules[0].http.paths[0].path", "has an element *"),
    "a path twice": (
        [ingress(path(to()), path(to("api"))), *service("api")],
        "spec.rules[0].http.paths[1].path",
        "is there twice: to Service api here, to Service web by spec.rules[0].http.paths[0].backend",
    ),
    "an older Ingress": (
        [
            ingress(path(to())),
            ingress(path(to("api")), name="old", made="2025-08-01T06:00:00Z"),
            *service("api"),
        ],
        "spec.rules[0].http.paths[0].path",
        "of Ingress shop/old, which is older",
    ),
}


@pytest.mark.parametrize("name", NEVER)
def test_paths_that_never_match(name):
    objects, field, words = NEVER[name]
    (finding,) = ask(world(*objects, *WEB, cls()), "ingress/shop").findings
    assert (finding.code, finding.severity, finding.field) == ("EXT012", W, field)
    assert words in finding.evidence[0]


def test_a_request_that_no_rule_takes():
    objects = [ingress(path(to(), "/api")), *WEB, cls()]
    (finding,) = ask(world(*objects), "ingress/shop/img").findings
    assert (finding.code, finding.severity) == ("EXT012", E)
    assert ask(world(*objects), "ingress/shop/api/1").verdict is Verdict.HEALTHY
