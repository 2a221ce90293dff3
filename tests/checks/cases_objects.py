"""OBJ: Services, slices, pods and hostPorts of the captures, without any node's rules: the API alone is asked."""

import copy
from pathlib import Path

from cases_rules import IPTABLES
from codecases import CAPTURE, MANIFESTS, CodeCase
from mutations import AddObject, AppendTo, DeleteObject, NoNodes, SetField

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.request import Request
from svcdoctor.path.target import parse_target
from svcdoctor.sources.manifests import ManifestSource

MINIKUBE = Path(__file__).parents[2] / "fixtures" / "minikube-manifests"
HELD = IPTABLES.changed(NoNodes())


def slice_of(service):
    """The name of the Service's one EndpointSlice of IPv4."""
    [name] = [
        key[2]
        for key, obj in HELD.objects.items()
        if key[0] == "EndpointSlice"
        and obj["metadata"]["labels"]["kubernetes.io/service-name"] == service
        and obj["addressType"] == "IPv4"
    ]
    return name


def asked(*changes, target="svc/web-clusterip", **how):
    return lambda: HELD.changed(*changes).ask(target, "truth", **how)


def halves(name):
    """An EndpointSlice in two."""
    whole = HELD.object("EndpointSlice", "truth", name)
    other = copy.deepcopy(whole)
    other["metadata"]["name"] += "-more"
    whole["endpoints"], other["endpoints"] = whole["endpoints"][:1], whole["endpoints"][1:]
    return AddObject(whole), AddObject(other)


def endpoint(**more):
    """One more ready endpoint, in the Service's slice and in its Endpoints."""
    ready = {"ready": True, "serving": True, "terminating": False}
    one = {"addresses": ["10.244.2.77"], "conditions": ready, "nodeName": "node2", **more}
    old = {"ip": "10.244.2.77", "nodeName": "node2", **more}
    return (
        AppendTo("EndpointSlice", "truth", WEB, "endpoints", one),
        AppendTo("Endpoints", "truth", "web-clusterip", "subsets[0].addresses", old),
    )


def applied(*names):
    """The Service test-svc-np of these manifests, and the Deployment that goes with it, as if they were applied."""
    files = [str(MINIKUBE / name) for name in (*names, "test-deployment.yaml")]
    request = Request(parse_target("svc/test-svc-np", "default"))
    return lambda: answer_once(ManifestSource(files, "default").snapshot(), request, "default")


WEB, MANUAL = slice_of("web-clusterip"), slice_of("manual")
GONE = {"kind": "Pod", "namespace": "truth", "name": "web-6bdc9b754-xxxxx", "uid": "00000000"}

CASES = [
    CodeCase(
        "OBJ019", CAPTURE,
        "nobody wrote an EndpointSlice for three ready pods",
        asked(DeleteObject("EndpointSlice", "truth", WEB)),
        "they are in two EndpointSlices", asked(*halves(WEB)),
    ),
    CodeCase(
        "OBJ022", CAPTURE,
        "the hand-written slice calls its port web, the Service http",
        asked(SetField("EndpointSlice", "truth", MANUAL, "ports[0].name", "web"), target="svc/manual"),
        "the slice has another number for the same name",
        asked(SetField("EndpointSlice", "truth", MANUAL, "ports[0].port", 7071), target="svc/manual"),
    ),
    CodeCase(
        "OBJ023", CAPTURE,
        "an endpoint's targetRef names a pod that is gone", asked(*endpoint(targetRef=GONE)),
        "an endpoint has no targetRef: it need not be a pod's", asked(*endpoint()),
    ),
    CodeCase(
        "OBJ030", CAPTURE,
        "hostPort 8088 of a pod on node2 is asked on node1",
        asked(target="172.30.0.11:8088", from_="external"),
        "it is asked on node2", asked(target="172.30.0.12:8088", from_="external"),
    ),
    CodeCase(
        "OBJ032", MANIFESTS,
        "a nodePort under type: ClusterIP, as a tutorial has it", applied("test-svc-np.yaml"),
        "the same Service with type: NodePort", applied("test-svc-np-fixed.yaml"),
    ),
    CodeCase(
        "OBJ034", CAPTURE,
        "all endpoints that serve are terminating", asked(target="svc/term-only"),
        "one is terminating, another one is ready", asked(target="svc/term-mixed"),
    ),
]  # fmt: skip
