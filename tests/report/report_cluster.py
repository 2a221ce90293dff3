"""Small clusters for the tests of the renderers, and what is traced in them."""

from __future__ import annotations

import io

from msgspec.structs import replace
from rich.console import Console

from svcdoctor.model.facts import Kind, Known, MissingFact
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Trace
from svcdoctor.path.target import parse_target
from svcdoctor.path.trace import trace
from svcdoctor.path.view import View
from svcdoctor.report.terminal import render
from svcdoctor.sources.files import yaml_objects

NODE = """
apiVersion: v1
kind: Node
metadata: {{name: {name}}}
status:
  addresses: [{{type: InternalIP, address: {ip4}}}, {{type: InternalIP, address: "{ip6}"}}]
  conditions: [{{type: Ready, status: "{ready}"}}]
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}
spec:
  nodeName: {node}
  containers: [{{name: main, ports: [{{containerPort: {declared}, name: http}}]}}]
status:
  phase: Running
  podIP: {ip4}
  podIPs: [{{ip: {ip4}}}, {{ip: "{ip6}"}}]
  conditions: [{{type: Ready, status: "True"}}]
"""

SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-{family}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: {family}
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: {endpoints}
"""

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec:
  type: {type}
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7{ip6}]
  ipFamilies: [IPv4{family6}]
  selector: {{app: web}}
  externalTrafficPolicy: {policy}
  ports: [{{name: http, port: 80, targetPort: 8080, nodePort: 30080, protocol: TCP}}]
"""

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front, namespace: shop}
spec:
  rules:
  - host: shop.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
"""

HEADLESS = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 8080, targetPort: 8080}]
"""

EXTERNAL_NAME = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: ExternalName, externalName: db.example}
"""


def cluster(
    nodes: int = 4,
    pods: int = 3,
    *,
    kind: str = "NodePort",
    policy: str = "Cluster",
    dual: bool = False,
    undeclared: tuple[int, ...] = (),
    not_ready: tuple[int, ...] = (),
    service: str = "",
    more: str = "",
) -> Snapshot:
    """A cluster with Service shop/web; ``undeclared`` pods declare another port than the targetPort."""
    documents = [
        service
        or SERVICE.format(
            type=kind,
            policy=policy,
            ip6=', "fd00:96::7"' if dual else "",
            family6=", IPv6" if dual else "",
        )
    ]
    for i in range(nodes):
        ready = "False" if i in not_ready else "True"
        documents.append(
            NODE.format(
                name=f"node-{i}",
                ip4=f"192.168.{i // 250}.{i % 250 + 1}",
                ip6=f"fd00:1::{i + 1:x}",
                ready=ready,
            )
        )
    ends: dict[str, list[str]] = {"IPv4": [], "IPv6": []}
    for i in range(pods):
        ip4, ip6, node = f"10.0.{i // 250}.{i % 250 + 1}", f"fd00:10::{i + 1:x}", f"node-{i % nodes}"
        declared = 9999 if i in undeclared else 8080
        documents.append(POD.format(name=f"web-{i}", node=node, declared=declared, ip4=ip4, ip6=ip6))
        for family, ip in (("IPv4", ip4), ("IPv6", ip6)):
            ends[family].append(
                f'{{addresses: ["{ip}"], conditions: {{ready: true}}, nodeName: {node}, '
                f"targetRef: {{kind: Pod, name: web-{i}, namespace: shop}}}}"
            )
    families = ("IPv4", "IPv6") if dual else ("IPv4",)
    documents += [SLICE.format(family=f, endpoints=f"[{', '.join(ends[f])}]") for f in families]
    if more:
        documents.append(more)
    objects: dict[Kind, list[object]] = {}
    for obj in yaml_objects("---".join(documents), "test"):
        objects.setdefault(Kind(obj.kind), []).append(obj)
    return Snapshot({k: tuple(v) for k, v in objects.items()}, {k: (Known(),) for k in Kind})


def traced(snapshot: Snapshot, target: str = "svc/web") -> Trace:
    return trace(View(snapshot), Request(parse_target(target, "shop")), "shop")


def screen(
    trace_: Trace, width: int = 80, *, verbose: bool = False, encoding: str = "utf-8", **options: object
) -> str:
    """What the terminal shows."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    render(trace_, Console(width=width, file=file, **options), verbose=verbose)  # type: ignore[arg-type]
    file.flush()
    return raw.getvalue().decode(encoding)


OBJ002 = Finding(
    "OBJ002",
    Severity.ERROR,
    "the selector matches no pod",
    ("Service/shop/web",),
    tuple(f"evidence number {i}" for i in range(1, 7)),
    "A Service sends to the pods that carry every label of its selector.",
    "kubectl -n shop patch service web --type merge -p "
    """'{"spec":{"selector":{"app":"web shop","tier":"front"}}}'""",
)
RUL021 = Finding(
    "RUL021", Severity.INFO, "the application sees a node's address", ("Service/shop/web",), ("snat",), "", ""
)
FORBIDDEN = MissingFact("Pod (namespace shop)", "pods is forbidden", "kubectl create role x", required=True)
OPTIONAL = MissingFact("Ingress (namespace shop)", "never asked for", "kubectl get ingresses")


def with_findings(trace_: Trace, *findings: Finding) -> Trace:
    return replace(trace_, findings=findings)
