"""Questions as people ask them, on small clusters: what a name, a URL, an address or a client means."""

import pytest

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import EntryKind
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target
from svcdoctor.sources.files import yaml_objects
from svcdoctor.sources.manifests import ManifestSource

NODES = "".join(
    f"""
kind: Node
metadata: {{name: n{n}}}
status: {{addresses: [{{type: InternalIP, address: 192.0.2.{n}}}, {{type: Hostname, address: n{n}}}]}}
---"""
    for n in (1, 2, 3)
)


def pod(name, ns, ip, node="n1", extra=""):
    return f"""
kind: Pod
metadata: {{name: {name}, namespace: {ns}, labels: {{app: web}}}}
spec: {{nodeName: {node}, containers: [{{name: c, ports: [{{containerPort: 8080{extra}}}]}}]}}
status: {{phase: Running, podIPs: [{{ip: {ip}}}], conditions: [{{type: Ready, status: "True"}}]}}
---"""


def service(ns, ip, spec="type: ClusterIP", status=""):
    return f"""
kind: Service
metadata: {{name: web, namespace: {ns}}}
spec:
  clusterIP: {ip}
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080, nodePort: 30080}}]
  {spec}
status: {{loadBalancer: {{{status}}}}}
---"""


def endpoints(ns, *members, ports="[{name: '', port: 8080, protocol: TCP}]"):
    listed = ", ".join(
        f"{{addresses: [{ip}], hostname: {name}, nodeName: {node}, "
        f"targetRef: {{kind: Pod, namespace: {ns}, name: {name}}}}}"
        for name, ip, node in members
    )
    return f"""
kind: EndpointSlice
metadata: {{name: web-x, namespace: {ns}, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{listed}]
ports: {ports}
---"""


TWO = (("web-0", "10.1.0.5", "n1"), ("web-1", "10.2.0.5", "n2"))
PODS = pod("web-0", "default", "10.1.0.5") + pod("web-1", "default", "10.2.0.5", "n2")
PLAIN = NODES + PODS + endpoints("default", *TWO)


def ask(cluster, target, client=None, node=None):
    objects = {}
    for o in yaml_objects(cluster, "test"):
        objects.setdefault(Kind(o.kind), []).append(o)
    snapshot = Snapshot({k: tuple(v) for k, v in objects.items()}, {k: (Known(),) for k in Kind})
    spec = parse_client(client) if client else None
    return answer_once(snapshot, Request(parse_target(target, "default", spec), spec, node=node), "default")


def reached(answer):
    return {o.backend.pod for p in answer.paths for o in p.outcomes if o.backend}


@pytest.mark.parametrize(
    "target", ["web:80", "http://web:80/x", "web.shop", "web.shop.svc.cluster.local.:80"]
)
def test_a_short_name_is_the_client_pods_own_namespace(target):
    cluster = PLAIN + service("default", "10.96.0.10") + service("shop", "10.96.0.20")
    cluster += pod("web-9", "shop", "10.3.0.9", "n3") + endpoints("shop", ("web-9", "10.3.0.9", "n3"))
    answer = ask(cluster, target, "pod/shop/web-9")
    assert answer.target.namespace == "shop"
    assert reached(answer) == {"shop/web-9"}


def test_a_pods_record_of_a_headless_service_is_that_pod_alone():
    cluster = PLAIN + service("default", "None")
    cluster = cluster.replace("port: 80, targetPort: 8080, nodePort: 30080", "port: 8080")
    assert reached(ask(cluster, "web-1.web:8080")) == {"default/web-1"}
    missing = ask(cluster, "web-7.web:8080")
    assert [f.code for f in missing.findings] == ["DNS011"]
    assert reached(ask(cluster, "web:8080")) == {"default/web-0", "default/web-1"}


def test_a_headless_service_without_ports_is_fine():
    cluster = PLAIN + service("default", "None").replace(
        "  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]\n", ""
    )
    answer = ask(cluster, "svc/web")
    assert answer.verdict == "healthy"
    assert reached(answer) == {"default/web-0", "default/web-1"}


INGRESS = """
kind: Ingress
metadata: {name: ing, namespace: default}
spec:
  rules:
  - host: shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
  - http: {paths: [{path: /open, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}
---"""


@pytest.mark.parametrize(
    "target", ["http://shop.example.com/cart", "http://other.example.org/open/1", "203.0.113.7:80"]
)
def test_a_url_goes_through_the_ingress(target):
    answer = ask(PLAIN + service("default", "10.96.0.10") + INGRESS, target)
    assert answer.target.kind == "Ingress"
    assert answer.verdict == "healthy"


def test_an_outside_name_is_not_taken_for_a_missing_service():
    with pytest.raises(SvcdoctorError, match="no name of this cluster"):
        ask(PLAIN + service("default", "10.96.0.10"), "http://www.example.org/")


def test_a_load_balancers_name_is_the_load_balancer_only():
    cluster = PLAIN + service(
        "default", "10.96.0.10", "type: LoadBalancer", "ingress: [{hostname: a-1.elb.example}]"
    )
    answer = ask(cluster, "http://a-1.elb.example/")
    assert [p.entry.kind for p in answer.paths] == [EntryKind.LOAD_BALANCER]


def test_an_external_ip_that_is_a_nodes_address_is_an_external_ip():
    cluster = PLAIN + service("default", "10.96.0.10", "externalIPs: [192.0.2.1]")
    assert [p.entry.kind for p in ask(cluster, "192.0.2.1:80").paths] == [EntryKind.EXTERNAL_IP]


def test_another_family_cannot_arrive():
    cluster = PLAIN + service("default", "10.96.0.10", "type: NodePort")
    answer = ask(cluster, "192.0.2.1:30080", "external/2001:db8::9")
    assert [f.code for f in answer.findings] == ["EXT004"]


def test_a_node_that_does_not_exist_is_refused():
    with pytest.raises(SvcdoctorError, match="--node nope: no such node"):
        ask(PLAIN + service("default", "10.96.0.10"), "svc/web", node="nope")


def test_a_host_port_on_loopback_is_no_fault():
    held = pod("web-0", "default", "10.1.0.5", extra=", hostPort: 9000, hostIP: 127.0.0.1")
    answer = ask(NODES + held, "pod/web-0")
    assert answer.verdict == "healthy"
    assert answer.findings == ()
    assert any("127.0.0.1" in n for n in answer.notes)


def test_a_daemon_set_with_policy_local_in_manifests_is_fine(tmp_path):
    path = tmp_path / "ds.yaml"
    path.write_text(
        """
kind: DaemonSet
apiVersion: apps/v1
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
kind: Service
apiVersion: v1
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  ports: [{port: 80, targetPort: 8080}]
"""
    )
    snapshot = ManifestSource([str(path)], "default").snapshot()
    answer = answer_once(snapshot, Request(parse_target("svc/web", "default")), "default")
    assert answer.verdict == "healthy"
    assert answer.findings == ()


def test_a_node_port_in_a_manifest_need_not_have_its_number(tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text(
        """
kind: Service
apiVersion: v1
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
kind: Pod
apiVersion: v1
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
"""
    )
    snapshot = ManifestSource([str(path)], "default").snapshot()
    answer = answer_once(snapshot, Request(parse_target("svc/web", "default")), "default")
    assert [(p.entry.kind, p.entry.port) for p in answer.paths] == [
        (EntryKind.CLUSTER_IP, 80),
        (EntryKind.NODE_PORT, None),
    ]
    assert reached(answer) == {"default/web"}
    assert any("that the API server picks" in hop.title for hop in answer.paths[1].hops)


def test_a_load_balancer_without_node_ports_has_no_way_by_one():
    balanced = service("default", "10.96.0.10", "type: LoadBalancer", "ingress: [{ip: 203.0.113.9}]")
    cluster = PLAIN + endpoints("default", *TWO) + balanced.replace(", nodePort: 30080", "")
    assert EntryKind.NODE_PORT not in {p.entry.kind for p in ask(cluster, "svc/web").paths}


@pytest.mark.parametrize(("client", "told"), [("external", True), ("pod/default/web-0", False)])
def test_a_cluster_ip_asked_from_outside_takes_a_route_for_granted(client, told):
    answer = ask(PLAIN + service("default", "10.96.0.10"), "10.96.0.10:80", client)
    (path,) = answer.paths
    assert any("taken for granted" in hop.detail for hop in path.hops) is told


def test_an_endpoint_on_a_node_that_is_not_ready_is_told():
    down = NODES.replace(
        "address: 192.0.2.2}", "address: 192.0.2.2}], conditions: [{type: Ready, status: Unknown}", 1
    ).replace("Unknown}, {type: Hostname, address: n2}]", "Unknown}]", 1)
    answer = ask(down + PODS + endpoints("default", *TWO) + service("default", "10.96.0.10"), "svc/web")
    assert [f.code for f in answer.findings] == ["NOD009"]
    assert "endpoints on n2: default/web-1" in answer.findings[0].evidence
    assert answer.verdict == "degraded"
