"""Policies that can never match, each beside a twin that can; and what the fixtures' findings say."""

import json
from pathlib import Path

import pytest

from svcdoctor.checks.checkup import checkup
from svcdoctor.checks.diagnose import answer_once
from svcdoctor.checks.registry import Case, run
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.finding import Severity
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import EntryKind, TargetView, Trace, Verdict
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target
from svcdoctor.path.view import View
from svcdoctor.sources.archive import ArchiveSource, read_snapshot
from svcdoctor.sources.files import yaml_objects

FIXTURES = Path(__file__).parents[2] / "fixtures"
CAPTURES = sorted((FIXTURES / "captures").glob("*.tar.gz"))

WORLD = """
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
kind: Namespace
metadata: {name: monitoring, labels: {team: b}}
---
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, tier: front}}
spec:
  containers:
  - {name: c, ports: [{name: http, containerPort: 8080}, {name: syslog, containerPort: 514, protocol: UDP}]}
---
kind: Pod
metadata: {name: front-1, namespace: shop, labels: {app: front}}
spec: {containers: [{name: c}]}
---
kind: Pod
metadata: {name: prom-1, namespace: monitoring, labels: {app: prometheus}}
spec: {containers: [{name: c, ports: [{name: web, containerPort: 9090}]}]}
---
kind: Deployment
apiVersion: apps/v1
metadata: {name: batch, namespace: shop}
spec: {replicas: 0, template: {metadata: {labels: {app: batch}}, spec: {containers: [{name: c}]}}}
---
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: public, port: 80, targetPort: http}, {name: same, port: 9000, targetPort: 9000}]
---
kind: Service
metadata: {name: prometheus, namespace: monitoring}
spec: {selector: {app: prometheus}, ports: [{name: http, port: 80, targetPort: 9090}]}
---
"""


def snapshot(*policies):
    held = {}
    for obj in yaml_objects(WORLD, "test"):
        held.setdefault(Kind(obj.kind), []).append(obj)
    for n, (namespace, body) in enumerate(policies):
        text = "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\n"
        text += f"metadata: {{name: p{n}, namespace: {namespace}}}\n"
        held.setdefault(Kind.NETWORK_POLICY, []).extend(yaml_objects(f"{text}spec: {body}", "test"))
    return Snapshot({k: tuple(v) for k, v in held.items()}, {k: (Known(),) for k in Kind})


def findings(*bodies, held=None):
    """What is found of the first policy."""
    held = held or snapshot(*(("shop", b) for b in bodies))
    empty = Trace(Verdict.HEALTHY, TargetView("NetworkPolicy", "shop", "p0"), ())
    return run(Case(View(held), empty))


def into(rule, selector="{matchLabels: {app: web}}"):
    return f"{{podSelector: {selector}, policyTypes: [Ingress], ingress: [{rule}]}}"


def out(rule, selector="{matchLabels: {app: front}}"):
    dns = "{ports: [{port: 53, protocol: UDP}]}"
    return f"{{podSelector: {selector}, policyTypes: [Egress], egress: [{dns}, {rule}]}}"


def peer(body):
    return into(f"{{from: [{body}]}}")


ROWS = [
    # the policy, the field, the severity, a word of the evidence, and the nearest policy that is right
    (
        into("{}", "{matchLabels: {app: wbe}}"),
        "spec.podSelector",
        "warning",
        "app: wbe ≠ app: web",
        into("{}"),
    ),
    (
        into("{}", "{matchLabels: {app: payments}}"),
        "spec.podSelector",
        "info",
        "matches no pod",
        into("{}", "{matchLabels: {app: batch}}"),  # no pod yet, and a workload that makes such
    ),
    (
        into("{}", "{matchExpressions: [{key: app, operator: In, values: [x]}]}"),
        "spec.podSelector",
        "info",
        "app In x",
        into("{}", "{matchExpressions: [{key: app, operator: NotIn, values: [x]}]}"),
    ),
    (
        "{podSelector: {}, policyTypes: [Ingress], ingress: [{}], egress: [{}]}",
        "spec.policyTypes",
        "warning",
        "spec.egress has rules",
        "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}",
    ),
    (
        peer("{podSelector: {matchLabels: {app: fornt}}}"),
        "spec.ingress[0].from[0].podSelector",
        "warning",
        "app: fornt ≠ app: front",
        peer("{podSelector: {matchLabels: {app: front}}}"),
    ),
    (
        peer("{podSelector: {matchLabels: {app: prometheus}}}"),
        "spec.ingress[0].from[0].podSelector",
        "warning",
        "are in namespace monitoring",
        peer("{podSelector: {matchLabels: {app: prometheus}}, namespaceSelector: {matchLabels: {team: b}}}"),
    ),
    (
        peer("{podSelector: {matchLabels: {app: grafana}}, namespaceSelector: {matchLabels: {team: b}}}"),
        "spec.ingress[0].from[0].podSelector",
        "info",
        "no pod of namespace monitoring",
        peer("{podSelector: {}, namespaceSelector: {matchLabels: {team: b}}}"),
    ),
    (
        peer("{namespaceSelector: {matchLabels: {name: monitoring}}}"),
        "spec.ingress[0].from[0].namespaceSelector",
        "warning",
        "namespace monitoring exists",
        peer("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}"),
    ),
    (
        peer("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitorng}}}"),
        "spec.ingress[0].from[0].namespaceSelector",
        "warning",
        "namespace monitoring exists",
        peer("{namespaceSelector: {}}"),
    ),
    (
        peer("{namespaceSelector: {matchLabels: {purpose: backups}}}"),
        "spec.ingress[0].from[0].namespaceSelector",
        "info",
        "matches none of 2 namespaces",
        peer("{namespaceSelector: {matchLabels: {team: a}}}"),
    ),
    (peer("{}"), "spec.ingress[0].from[0]", "error", "is empty", peer("{podSelector: {}}")),
    (
        peer("{ipBlock: {cidr: 10.0.0.0/8, except: [192.168.0.0/16]}}"),
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "error",
        "no part of cidr",
        peer("{ipBlock: {cidr: 10.0.0.0/8, except: [10.9.0.0/16]}}"),
    ),
    (
        peer("{ipBlock: {cidr: '2001:db8::/32', except: ['2001:db8::/32']}}"),
        "spec.ingress[0].from[0].ipBlock.except[0]",
        "error",
        "no part of cidr",
        peer("{ipBlock: {cidr: '2001:db8::/32', except: ['2001:db8::/48']}}"),
    ),
    (
        peer("{ipBlock: {cidr: 10.0.0.0/33}}"),
        "spec.ingress[0].from[0].ipBlock.cidr",
        "error",
        "no network",
        peer("{ipBlock: {cidr: 10.0.0.0/32}}"),
    ),
    (
        into("{ports: [{port: 9000, endPort: 8000}]}"),
        "spec.ingress[0].ports[0].endPort",
        "error",
        "less than port 9000",
        into("{ports: [{port: 8000, endPort: 9000}]}"),
    ),
    (
        into("{ports: [{port: http, endPort: 9000}]}"),
        "spec.ingress[0].ports[0].endPort",
        "error",
        "numeric port",
        into("{ports: [{port: 9000, endPort: 9000}]}"),
    ),
    (
        into("{ports: [{port: htpp}]}"),
        "spec.ingress[0].ports[0].port",
        "warning",
        "their ports are named http",
        into("{ports: [{port: http}]}"),
    ),
    (
        into("{ports: [{port: public}]}"),
        "spec.ingress[0].ports[0].port",
        "warning",
        "Service shop/web calls its port so; the pods take 8080",
        into("{ports: [{port: http}]}"),
    ),
    (
        into("{ports: [{port: syslog}]}"),
        "spec.ingress[0].ports[0].port",
        "warning",
        "for another protocol",
        into("{ports: [{port: syslog, protocol: UDP}]}"),
    ),
    (
        into("{ports: [{port: 80}]}"),
        "spec.ingress[0].ports[0].port",
        "warning",
        "port 80 is the port of Service shop/web; its pods take 8080",
        into("{ports: [{port: 80}, {port: 8080}]}"),  # both, which is harmless
    ),
    (
        out("{to: [{namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: 80}]}"),
        "spec.egress[1].ports[0].port",
        "warning",
        "port of Service monitoring/prometheus; its pods take 9090",
        out("{to: [{namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: 9090}]}"),
    ),
    (
        out("{to: [{namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: http}]}"),
        "spec.egress[1].ports[0].port",
        "warning",
        "calls its port so",
        out("{to: [{namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: web}]}"),
    ),
]


@pytest.mark.parametrize(("body", "field", "severity", "words", "right"), ROWS)
def test_what_can_never_match(body, field, severity, words, right):
    [found] = findings(body)
    assert (found.code, found.severity, found.field) == ("NOD014", Severity(severity), field)
    assert words in " ".join(found.evidence)
    assert found.subjects == ("NetworkPolicy/shop/p0",) and found.fix
    assert findings(right) == ()


@pytest.mark.parametrize(
    "body",
    [
        "{podSelector: {}}",
        "{podSelector: {}, policyTypes: [Ingress]}",
        into("{ports: [{port: 7777}]}"),  # nobody declares it, and no Service has it
        into("{ports: [{port: 9000}]}"),  # a Service's port, and its pods' too
        into("{ports: [{protocol: UDP}]}"),
        out("{ports: [{port: https}]}"),  # where it leads to is not known
        out("{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 80}]}"),
    ],
)
def test_what_may_match(body):
    assert findings(body) == ()


def test_another_policy_that_allows_the_pods_port_is_enough():
    assert findings(into("{ports: [{port: 80}]}"), into("{ports: [{port: 8080}]}")) == ()
    assert findings(into("{ports: [{port: 80}]}"), into("{}")) == ()


def test_only_complete_lists_are_judged():
    body = into("{from: [{podSelector: {matchLabels: {app: fornt}}}]}", "{matchLabels: {app: wbe}}")
    held = snapshot(("shop", body))
    partly = Snapshot({k: held.of(k) for k in Kind}, held.facts | {Kind.POD: ()})
    assert findings(held=partly) == ()


def test_the_fix_is_a_patch_that_mends_it():
    body = into("{from: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}")
    [found] = findings(body)
    command, _, patch = found.fix.partition(" --type=json -p ")
    assert command == "kubectl -n shop patch networkpolicy p0"
    assert json.loads(patch.strip("'")) == [
        {
            "op": "replace",
            "path": "/spec/ingress/0/from/0/namespaceSelector",
            "value": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
        }
    ]


# --- DNS006 of a policy by itself


@pytest.mark.parametrize(
    ("bodies", "severity"),
    [
        (["{podSelector: {}, policyTypes: [Egress]}"], "info"),
        (["{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}"], "warning"),
        (["{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53}]}]}"], "warning"),  # TCP
        (["{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}"], None),
        (
            ["{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.10/32}}]}]}"],
            None,
        ),
        (
            [
                "{podSelector: {}, policyTypes: [Egress]}",
                "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}",
            ],
            None,
        ),
        (["{podSelector: {}, policyTypes: [Ingress]}"], None),
    ],
)
def test_pods_that_nothing_lets_ask_for_names(bodies, severity):
    found = [f for f in findings(*bodies) if f.code == "DNS006"]
    assert [f.severity for f in found] == ([Severity(severity)] if severity else [])


def test_one_finding_for_the_policies_that_isolate_the_same_pods():
    body = "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 443}]}]}"
    held = snapshot(("shop", body), ("shop", body))
    found = []
    for name in ("p0", "p1"):
        empty = Trace(Verdict.HEALTHY, TargetView("NetworkPolicy", "shop", name), ())
        found += [f for f in run(Case(View(held), empty)) if f.code == "DNS006"]
    assert len(found) == 1
    assert json.loads(found[0].fix.partition(" -p ")[2].strip("'"))[0]["path"] == "/spec/egress/-"


# --- in traces


def ask(code, which):
    asked = json.loads((FIXTURES / "faults" / code / "question.json").read_text())
    request = Request(
        parse_target(asked["target"], asked["namespace"]),
        parse_client(asked["from"]) if asked.get("from") else None,
        frozenset(EntryKind(v) for v in asked.get("via") or ()),
    )
    return answer_once(
        read_snapshot(FIXTURES / "faults" / code / f"{which}.yaml"), request, asked["namespace"]
    )


def test_the_client_is_let_in_by_the_fix():
    [found] = ask("NOD012", "broken").findings
    [change] = json.loads(found.fix.partition(" -p ")[2].strip("'"))
    assert change["value"]["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "branches"}},
            "podSelector": {"matchLabels": {"app": "teller"}},
        }
    ]
    assert change["value"]["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_the_services_port_is_replaced_where_it_stands():
    [found] = ask("NOD014", "broken").findings
    assert found.field == "spec.ingress[0].ports[0].port"
    assert json.loads(found.fix.partition(" -p ")[2].strip("'")) == [
        {"op": "replace", "path": "/spec/ingress/0/ports/0/port", "value": 2368}
    ]


def test_a_hidden_client_is_shown_by_policy_local():
    [found] = ask("NOD013", "broken").findings
    assert '"externalTrafficPolicy":"Local"' in found.fix
    assert found.subjects[0] == "NetworkPolicy/sales/partners-only"


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.name)
def test_nothing_is_found_of_policies_that_nothing_enforces(path):
    source = ArchiveSource(path)
    found = checkup(source, "truth").findings
    assert not [r for r in found if r.finding.code in ("NOD012", "NOD013", "NOD014", "DNS006")]


@pytest.mark.parametrize("path", sorted((FIXTURES / "faults").glob("NOD01[234]")), ids=lambda p: p.name)
def test_a_checkup_finds_them_too(path):
    asked = json.loads((path / "question.json").read_text())
    found = checkup(ArchiveSource(path / "broken.yaml"), asked["namespace"]).findings
    if path.name != "NOD012":  # its client is asked for, and any pod of bank may come in
        assert path.name in {r.finding.code for r in found}
