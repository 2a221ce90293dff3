"""Strict decoding: unknown fields with what was meant, wrong types in the API server's words, and the repair."""

import kubernetes.client.models as generated
import pytest
from refusing import refused, warned

from svcdoctor.cluster.fieldtables import TABLES
from svcdoctor.cluster.strict import decode_strictly

UNKNOWN = 'strict decoding error: unknown field "{}"'


@pytest.mark.parametrize(
    ("kind", "body", "field", "fix", "twin"),
    [
        ("Service", "spec: {selectors: {a: b}, ports: [{port: 80}]}", "spec.selectors", "selector, for selectors",
         "spec: {selector: {a: b}, ports: [{port: 80}]}"),
        ("Service", "spec: {ports: [{port: 80, targetport: 8}]}", "spec.ports[0].targetport",
         "targetPort, for targetport", "spec: {ports: [{port: 80, targetPort: 8}]}"),
        ("Service", "spec: {targetPort: 80, ports: [{port: 80}]}", "spec.targetPort",
         "targetPort belongs below ports: indent it", "spec: {ports: [{port: 80, targetPort: 80}]}"),
        ("Service", "spec: {ports: [{port: 80, containerPort: 80}]}", "spec.ports[0].containerPort",
         "remove containerPort", "spec: {ports: [{port: 80}]}"),
        ("Service", "selector: {a: b}\nspec: {ports: [{port: 80}]}", "selector",
         "selector belongs below spec: indent it", "spec: {selector: {a: b}, ports: [{port: 80}]}"),
        ("Ingress", "spec: {rules: [{hosts: a.b}]}", "spec.rules[0].hosts", "host, for hosts",
         "spec: {rules: [{host: a.b}]}"),
        ("Ingress", "spec: {defaultBackend: {serviceName: web, servicePort: 80}}",
         "spec.defaultBackend.serviceName", "service.name, for serviceName",
         "spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}"),
        ("NetworkPolicy", "spec: {podSelector: {}, ingres: []}", "spec.ingres", "ingress, for ingres",
         "spec: {podSelector: {}, ingress: []}"),
        ("NetworkPolicy", "spec: {podSelector: {app: web}}", "spec.podSelector.app", "matchLabels: {app: …}",
         "spec: {podSelector: {matchLabels: {app: web}}}"),
        ("HTTPRoute", "spec: {rules: [{backendRef: [{name: web, port: 80}]}]}", "spec.rules[0].backendRef",
         "backendRefs, for backendRef", "spec: {rules: [{backendRefs: [{name: web, port: 80}]}]}"),
        ("Pod", "spec: {containers: [{name: a, port: [{containerPort: 80}]}]}", "spec.containers[0].port",
         "ports, for port", "spec: {containers: [{name: a, ports: [{containerPort: 80}]}]}"),
        ("Pod", "spec: {hostnetwork: true, containers: [{name: a}]}", "spec.hostnetwork",
         "hostNetwork, for hostnetwork", "spec: {hostNetwork: true, containers: [{name: a}]}"),
    ],
)  # fmt: skip
def test_unknown_fields(kind, body, field, fix, twin):
    assert (field, "warning", fix) in warned(kind, body)
    assert (field, UNKNOWN.format(field)) in refused(kind, body)
    assert refused(kind, twin) == []


GO = "json: cannot unmarshal {} into Go struct field {} of type {}"


@pytest.mark.parametrize(
    ("kind", "metadata", "body", "field", "words", "fix", "twin"),
    [
        ("Service", "{name: a}", "spec: {ports: [{port: '80'}]}", "spec.ports[0].port",
         GO.format("string", "ServicePort.spec.ports.port", "int32"), "port: 80  (without quotes)",
         "spec: {ports: [{port: 80}]}"),
        ("Service", "{name: a}", "spec: {selector: {version: 2}, ports: [{port: 80}]}", "spec.selector.version",
         GO.format("number", "ServiceSpec.spec.selector", "string"), 'version: "2"  (in quotes)',
         "spec: {selector: {version: '2'}, ports: [{port: 80}]}"),
        ("Service", "{name: a, labels: {on: yes}}", "spec: {ports: [{port: 80}]}", "metadata.labels.true",
         GO.format("bool", "ObjectMeta.metadata.labels", "string"), 'true: "…"  (in quotes)',
         "spec: {ports: [{port: 80}]}"),
        ("Service", "{name: 7}", "spec: {ports: [{port: 80}]}", "metadata.name",
         GO.format("number", "ObjectMeta.metadata.name", "string"), 'name: "7"  (in quotes)', ""),
        ("Service", "{name: a}", "spec: {ports: {port: 80}}", "spec.ports",
         GO.format("object", "ServiceSpec.spec.ports", "[]ServicePort"), "ports: a list",
         "spec: {ports: [{port: 80}]}"),
        ("Service", "{name: a}", "spec: {ports: [80]}", "spec.ports[0]",
         GO.format("number", "ServiceSpec.spec.ports", "v1.ServicePort"), "",
         "spec: {ports: [{port: 80}]}"),
        ("Service", "{name: a}", "spec: {selector: [app], ports: [{port: 80}]}", "spec.selector",
         GO.format("array", "ServiceSpec.spec.selector", "map[string]string"), "selector: a map",
         "spec: {selector: {app: a}, ports: [{port: 80}]}"),
        ("Service", "{name: a}", "spec: {publishNotReadyAddresses: 'true', ports: [{port: 80}]}",
         "spec.publishNotReadyAddresses",
         GO.format("string", "ServiceSpec.spec.publishNotReadyAddresses", "bool"),
         "publishNotReadyAddresses: true  (without quotes)",
         "spec: {publishNotReadyAddresses: on, ports: [{port: 80}]}"),
        ("NetworkPolicy", "{name: a}", "spec: {ingress: [{ports: [{port: 1.5}]}]}", "spec.ingress[0].ports[0].port",
         GO.format("number", "NetworkPolicyPort.spec.ingress.ports.port", "intstr.IntOrString"), "",
         "spec: {ingress: [{ports: [{port: 1.0}]}]}"),
    ],
)  # fmt: skip
def test_wrong_types(kind, metadata, body, field, words, fix, twin):
    found = [(f, w) for f, w in refused(kind, body, metadata) if w.startswith("json:")]
    assert found == [(field, words)]
    if fix:
        assert (field, "error", fix) in warned(kind, body, metadata)
    if twin:
        assert refused(kind, twin) == []


def test_what_is_wrong_is_mended_so_that_the_rest_can_be_looked_at():
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "labels": {"v": 2, "w": None}, "annotations": None},
        "spec": {"type": None, "ports": [{"port": "80", "nodePort": 3.0}, 7], "selector": "app"},
    }
    assert len(decode_strictly(manifest, "Service")) == 4
    assert manifest["metadata"] == {"name": "a", "labels": {"v": "2", "w": ""}}
    assert manifest["spec"] == {"ports": [{"port": 80, "nodePort": 3}, {}]}


GATEWAY = {t for t in TABLES if t.startswith("HTTP") and not t.startswith(("HTTPGet", "HTTPIngress"))}


@pytest.mark.parametrize("table", sorted(set(TABLES) - GATEWAY - {"ParentReference"}))
def test_the_tables_have_every_field_of_the_api(table):
    """Against the classes generated from the OpenAPI of the newest Kubernetes that the client knows."""
    made = getattr(generated, {"EndpointPort": "DiscoveryV1EndpointPort"}.get(table, f"V1{table}"))
    fields = {name: kind for kind, names in TABLES[table].items() for name in names.split()}
    assert set(made.attribute_map.values()) <= set(fields)
    for attribute, kind in made.openapi_types.items():
        ours = fields[made.attribute_map[attribute]]
        expected = {
            "str": "string",
            "int": "int",
            "bool": "bool",
            "Dict[str, str]": "map",
            "datetime": "string",
        }
        assert ours == expected.get(kind, ours), made.attribute_map[attribute]
        assert kind.startswith("List[") == (ours.startswith("[]") or ours == "list")
