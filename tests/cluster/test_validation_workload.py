"""Pods and what makes them: every rule, in its words, and the near miss that is taken."""

import pytest
from refusing import refused, warned

INCLUSIVE = "must be between 1 and 65535, inclusive"
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character"
)
C = "{name: web, image: web}"
MISMATCH = "`selector` does not match template `labels`"


def template(labels="{app: web}", pod=f"containers: [{C}]"):
    return f"template: {{metadata: {{labels: {labels}}}, spec: {{{pod}}}}}"


def selecting(selector, labels="{app: web}"):
    return f"selector: {selector}, {template(labels)}"


MATCH = "{matchLabels: {app: web}}"
DEPLOYMENT = [
    (selecting(MATCH, "{app: web-api}"), "template.metadata.labels", f'Invalid value: {{"app": "web-api"}}: {MISMATCH}',
     selecting(MATCH, "{app: web, tier: x}")),
    (selecting("{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}"), "template.metadata.labels",
     f'Invalid value: {{"app": "web"}}: {MISMATCH}',
     selecting("{matchExpressions: [{key: app, operator: In, values: [web]}]}")),
    (f"selector: {MATCH}, template: {{spec: {{containers: [{C}]}}}}", "template", f"Invalid value: {{}}: {MISMATCH}",
     selecting(MATCH)),
    (template(), "selector", "Required value", selecting(MATCH)),
    (selecting("{}"), "selector", "Invalid value: {}: empty selector is invalid for deployment", selecting(MATCH)),
    (f"selector: {MATCH}", "template", "Required value", selecting(MATCH)),
    (f"replicas: -1, {selecting(MATCH)}", "replicas", "Invalid value: -1: must be greater than or equal to 0",
     f"replicas: 0, {selecting(MATCH)}"),
    (f"selector: {MATCH}, {template(pod=f'restartPolicy: Never, containers: [{C}]')}", "template.spec.restartPolicy",
     'Unsupported value: "Never": supported values: "Always"',
     f"selector: {MATCH}, {template(pod=f'restartPolicy: Always, containers: [{C}]')}"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "words", "twin"), DEPLOYMENT)
def test_deployment(spec, field, words, twin):
    assert refused("Deployment", f"spec: {{{spec}}}") == [(f"spec.{field}", words)]
    assert refused("Deployment", f"spec: {{{twin}}}") == []


@pytest.mark.parametrize("kind", ["ReplicaSet", "StatefulSet", "DaemonSet"])
def test_its_kin(kind):
    assert refused(kind, f"spec: {{{selecting(MATCH, '{app: wep}')}}}") == [
        ("spec.template.metadata.labels", f'Invalid value: {{"app": "wep"}}: {MISMATCH}')
    ]
    assert refused(kind, f"spec: {{{selecting(MATCH)}}}") == []
    word = "deployment" if kind == "ReplicaSet" else kind.lower()
    assert refused(kind, f"spec: {{{selecting('{}')}}}") == [
        ("spec.selector", f"Invalid value: {{}}: empty selector is invalid for {word}")
    ]


def test_the_mismatch_names_the_label():
    ((_, _, fix),) = warned("Deployment", f"spec: {{{selecting(MATCH, '{app: wep}')}}}")
    assert fix == "template.metadata.labels: app: web"


def test_a_replication_controllers_selector_is_a_map():
    assert refused("ReplicationController", f"spec: {{{selecting('{app: wep}')}}}") == [
        ("spec.template.metadata.labels", f'Invalid value: {{"app": "web"}}: {MISMATCH}')
    ]
    assert refused("ReplicationController", f"spec: {{{selecting('{app: web}')}}}") == []
    assert refused("ReplicationController", f"spec: {{{template()}}}") == []


def test_a_job_says_when_to_restart():
    assert refused("Job", f"spec: {{{template()}}}") == [
        ("spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"')
    ]
    assert refused("Job", f"spec: {{{template(pod=f'restartPolicy: Never, containers: [{C}]')}}}") == []


def ports(*each):
    return f"containers: [{{name: web, image: web, ports: [{', '.join(each)}]}}]"


P0 = "containers[0].ports[0]"
POD = [
    ("nodeName: a", "containers", "Required value", f"containers: [{C}]"),
    ("containers: [{image: web}]", "containers[0].name", "Required value", f"containers: [{C}]"),
    ("containers: [{name: Web}]", "containers[0].name", f'Invalid value: "Web": {LABEL}', f"containers: [{C}]"),
    (f"containers: [{C}, {C}]", "containers[1].name", 'Duplicate value: "web"',
     f"containers: [{C}, {{name: sidecar, image: web}}]"),
    (f"dnsPolicy: ClusterFirstWithHostNetwork, containers: [{C}]", "dnsPolicy",
     'Unsupported value: "ClusterFirstWithHostNetwork": supported values: "ClusterFirst", "ClusterFirstWithHostNet", '
     '"Default", "None"', f"dnsPolicy: ClusterFirstWithHostNet, containers: [{C}]"),
    (f"subdomain: a.b, containers: [{C}]", "subdomain", 'Invalid value: "a.b": must not contain dots',
     f"subdomain: a-b, containers: [{C}]"),
    (ports("{name: http-web-of-shop, containerPort: 80}"), f"{P0}.name",
     'Invalid value: "http-web-of-shop": must be no more than 15 bytes',
     ports("{name: http-web-ofshop, containerPort: 80}")),
    (ports("{name: '8080', containerPort: 80}"), f"{P0}.name",
     'Invalid value: "8080": must contain at least one letter (a-z)', ports("{name: p8080, containerPort: 80}")),
    (ports("{name: http_web, containerPort: 80}"), f"{P0}.name",
     'Invalid value: "http_web": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)',
     ports("{name: http-web, containerPort: 80}")),
    (ports("{name: a, containerPort: 80}", "{name: a, containerPort: 81}"), "containers[0].ports[1].name",
     'Duplicate value: "a"', ports("{name: a, containerPort: 80}", "{name: b, containerPort: 80}")),
    (ports("{name: a}"), f"{P0}.containerPort", "Required value", ports("{containerPort: 1}")),
    (ports("{containerPort: 65536}"), f"{P0}.containerPort", f"Invalid value: 65536: {INCLUSIVE}",
     ports("{containerPort: 65535}")),
    (ports("{containerPort: 80, protocol: http}"), f"{P0}.protocol",
     'Unsupported value: "http": supported values: "SCTP", "TCP", "UDP"', ports("{containerPort: 80, protocol: TCP}")),
    (ports("{containerPort: 80, hostPort: 70000}"), f"{P0}.hostPort", f"Invalid value: 70000: {INCLUSIVE}",
     ports("{containerPort: 80, hostPort: 7000}")),
    (ports("{containerPort: 80, hostPort: 8080}", "{containerPort: 81, hostPort: 8080}"),
     "containers[0].ports[1].hostPort", 'Duplicate value: "TCP//8080"',
     ports("{containerPort: 80, hostPort: 8080}", "{containerPort: 81, hostPort: 8080, protocol: UDP}")),
    ("hostNetwork: true, " + ports("{containerPort: 80, hostPort: 8080}"), f"{P0}.containerPort",
     "Invalid value: 80: must match `hostPort` when `hostNetwork` is true",
     "hostNetwork: true, " + ports("{containerPort: 80}")),
    (ports("{containerPort: 80, hostPort: 80, hostIP: node1}"), f"{P0}.hostIP",
     'Invalid value: "node1": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
     ports("{containerPort: 80, hostPort: 80, hostIP: '::1'}")),
    ("containers: [{name: web, readinessProbe: {httpGet: {port: '8080'}}}]",
     "containers[0].readinessProbe.httpGet.port",
     'Invalid value: "8080": must contain at least one letter (a-z)',
     "containers: [{name: web, readinessProbe: {httpGet: {port: http}}}]"),
    ("containers: [{name: web, livenessProbe: {tcpSocket: {port: 0}}}]", "containers[0].livenessProbe.tcpSocket.port",
     f"Invalid value: 0: {INCLUSIVE}", "containers: [{name: web, livenessProbe: {tcpSocket: {port: 1}}}]"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "words", "twin"), POD)
def test_pod(spec, field, words, twin):
    assert refused("Pod", f"spec: {{{spec}}}") == [(f"spec.{field}", words)]
    assert refused("Pod", f"spec: {{{twin}}}") == []


def test_an_init_container_frees_its_host_port_but_a_sidecar_keeps_it():
    one = "{containerPort: 80, hostPort: 80}"
    initial = f"initContainers: [{{name: a, ports: [{one}]}}], containers: [{{name: b, ports: [{one}]}}]"
    assert refused("Pod", f"spec: {{{initial}}}") == []
    sidecar = initial.replace("name: a,", "name: a, restartPolicy: Always,")
    assert [f for f, _ in refused("Pod", f"spec: {{{sidecar}}}")] == ["spec.containers[0].ports[0].hostPort"]
