"""Manifests as files: what is read, the line of each field, and what is told of the rest."""

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.finding import Severity
from svcdoctor.sources.manifests import ManifestSource, read_manifests

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: web
spec:
  type: ClusterIP
  ports:
    # the first
    - name: http
      port: 80
      nodePort: 30000
    - {{name: admin, port: 81}}
"""
WEB = SERVICE.format(name="web")


def read(tmp_path, **files):
    """What a folder with these files holds; ``a__b`` is ``a/b.yaml``."""
    for name, text in files.items():
        path = tmp_path / (name.replace("__", "/") + ("" if "." in name else ".yaml"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifests([str(tmp_path)], "default")


def told(found, folder):
    """(file, line, message) of all troubles."""
    places = [
        (t.place.file.removeprefix(f"{folder}/"), t.place.line) if t.place else ("", 0)
        for t in found.troubles
    ]
    return [(*place, t.message) for place, t in zip(places, found.troubles, strict=True)]


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("spec.ports[0].nodePort", 13),
        ("spec.ports[0]", 11),
        ("spec.ports[1].port", 14),
        ("spec.ports[1].targetPort", 14),  # not written: its port
        ("spec.ports[7].port", 9),
        ("spec.selector.app", 7),
        ("metadata.labels['app.kubernetes.io/name']", 6),
        ("metadata.labels['other']", 5),
        ("status", 1),
        ("", 1),
    ],
)
def test_the_line_of_a_field_or_of_the_nearest_part_around_it(tmp_path, field, line):
    (manifest,) = read(tmp_path, web=WEB).manifests
    assert manifest.written.place(field).line == line
    two = read(tmp_path, web=f"# first\n\n---\n{WEB}---\n{SERVICE.format(name='two')}").manifests
    assert [m.written.place(field).line for m in two] == [line + 3, line + 4 + WEB.count("\n")]


def test_the_items_of_a_list_have_their_own_lines(tmp_path):
    item = (
        "- apiVersion: v1\n  kind: Service\n  metadata: {{name: s{}}}\n  spec:\n    ports: [{{port: 80}}]\n"
    )
    text = "apiVersion: v1\nkind: List\nitems:\n" + "".join(item.format(i) for i in range(3))
    manifests = read(tmp_path, all=text).manifests
    assert [m.written.place("metadata.name").line for m in manifests] == [6, 11, 16]
    typed = "kind: ServiceList\napiVersion: v1\nitems:\n- metadata: {name: a}\n  spec: {ports: [{port: 1}]}\n"
    (manifest,) = read(tmp_path, all=typed).manifests
    assert (manifest.subject, manifest.written.place("spec").line) == ("Service/default/a", 5)


def test_json_has_lines_too(tmp_path):
    text = (
        '{\n\t"apiVersion": "v1",\n\t"kind": "Service",\n\t"metadata": {"name": "web"},\n'
        '\t"spec": {"ports": [\n\t\t{"port": 80,\n\t\t "nodePort": 30000}]}\n}\n'
    )
    (manifest,) = read(tmp_path, **{"web.json": text}).manifests
    (rejection,) = manifest.rejections
    assert manifest.written.place(rejection.field).line == 7
    emoji = text.replace('"web"', '"web", "annotations": {"a": "\\ud83d\\ude00"}')
    (manifest,) = read(tmp_path, **{"web.json": emoji + text.replace("web", "two")}).manifests[:1]
    assert manifest.plain["metadata"]["annotations"]["a"] == "\U0001f600"
    assert len(read(tmp_path, **{"web.json": emoji + text.replace("web", "two")}).manifests) == 2


def test_a_bad_document_or_file_hides_no_other(tmp_path):
    broken = f"{WEB}---\nkind: Service\n  bad: indent\n---\n{SERVICE.format(name='after')}"
    found = read(tmp_path, a=broken, b=b"\xff\xfe\xff", c=SERVICE.format(name="c"), d="a: [\n")
    assert [m.name for m in found.manifests] == ["web", "after", "c"]
    line = WEB.count("\n") + 3
    assert told(found, tmp_path)[0] == (
        "a.yaml",
        line,
        "not YAML: mapping values are not allowed in this context",
    )
    assert [t[0] for t in told(found, tmp_path)[1:]] == ["", "d.yaml"]
    assert all(t.unread for t in found.troubles)


def test_a_file_that_cannot_be_read_leaves_the_others(tmp_path):
    with (tmp_path / "a.yaml").open("wb") as f:
        f.truncate(2 << 30)
    found = read(tmp_path, b=WEB)
    assert [m.name for m in found.manifests] == ["web"]
    ((_, _, message),) = told(found, tmp_path)
    assert "a.yaml: 2048 MiB, more than" in message


TEMPLATE = (
    "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Values.name }}\nspec:\n  ports: [{port: 80}]\n"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TEMPLATE, 4),
        (TEMPLATE.replace("{{ .Values.name }}", '"{{ .Release.Name }}-web"'), 4),
        ("{{- if .Values.on }}\n" + WEB + "{{- end }}\n", 1),
        (WEB.replace("  type:", '{{ include "labels" . | indent 2 }}\n  type:'), 8),
    ],
)
def test_template_text_that_is_not_rendered(tmp_path, text, line):
    found = read(tmp_path, chart__templates__web=text)
    ((file, at, message),) = told(found, tmp_path)
    assert (file, at) == ("chart/templates/web.yaml", line)
    assert "render it first: helm template" in message
    assert not found.manifests


def test_templates_of_other_programs_in_values_are_none(tmp_path):
    text = WEB.replace("  labels:", "  annotations: {alert: '{{ $labels.pod }} is down'}\n  labels:")
    assert read(tmp_path, web=text).troubles == []


def test_what_helm_renders_is_placed_in_its_template(tmp_path, monkeypatch):
    rendered = (
        f"---\n# Source: shop/templates/web.yaml\n{WEB}---\n# Source: shop/templates/two.yaml\n# note\n"
        + (SERVICE.format(name="two"))
    )
    path = tmp_path / "out"
    path.write_text(rendered)
    with path.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        found = read_manifests(["-"], "default")
    places = [m.written.place("spec.ports[0].nodePort") for m in found.manifests]
    assert [(p.file, p.line) for p in places] == [
        ("shop/templates/web.yaml", 13),
        ("shop/templates/two.yaml", 14),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apiVersion: v1\nkind: Servce\nmetadata: {name: a}\n",
         'no matches for kind "Servce" in version "v1"; meant is perhaps kind: Service'),
        ("apiVersion: v1\nkind: Deployment\nmetadata: {name: a}\n",
         'no matches for kind "Deployment" in version "v1"; meant is perhaps apiVersion: apps/v1'),
        ("apiVersion: apps/v1\nkind: CronJob\nmetadata: {name: a}\n",
         'no matches for kind "CronJob" in version "apps/v1"; meant is perhaps apiVersion: batch/v1'),
        ("apiVersion: v1\nmetadata: {name: a}\n", "not a Kubernetes object (no kind)"),
        ("kind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n", "Service: no apiVersion"),
        ("- a\n- b\n", "not a Kubernetes object: a list"),
        ("just words\n", "not a Kubernetes object: text"),
        ("apiVersion: v1\nkind: List\nitems: [1]\n", "not a Kubernetes object in a list"),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_told(tmp_path, text, message):
    found = read(tmp_path, a=text, b=WEB)
    assert "web" in [m.name for m in found.manifests]
    assert [m for *_, m in told(found, tmp_path)] == [message]
    assert found.troubles[0].unread


def test_an_old_version_is_refused(tmp_path):
    text = "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}\nspec: {backend: {serviceName: w}}\n"
    (manifest,) = read(tmp_path, a=text).manifests
    (rejection,) = manifest.rejections
    assert rejection.words == 'no matches for kind "Ingress" in version "extensions/v1beta1"'
    assert rejection.fix == "apiVersion: networking.k8s.io/v1"
    assert manifest.written.place(rejection.field).line == 1


def test_other_kinds_and_other_files_are_counted(tmp_path):
    found = read(
        tmp_path,
        crd="apiVersion: example.com/v1\nkind: Bucket\nmetadata: {name: a}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
        values="replicas: 2\nimage: a\n",
        kustomization="resources: [a.yaml]\n",
        web=WEB,
    )
    assert found.troubles == []
    assert found.others == {"Bucket": 1, "ConfigMap": 1}
    assert [n.rpartition("/")[2] for n in found.no_objects] == ["kustomization.yaml", "values.yaml"]
    named = read_manifests([str(tmp_path / "values.yaml")], "default")
    assert [t.message for t in named.troubles] == ["not a Kubernetes object (no kind)"], "the user named it"


def test_defined_twice(tmp_path):
    other = WEB.replace("ClusterIP", "NodePort")
    found = read(tmp_path, a=WEB, b=f"---\n{other}")
    ((file, line, message),) = told(found, tmp_path)
    assert (file, line) == ("b.yaml", 2)
    assert "Service/default/web is defined twice, differently: also in" in message
    assert "a.yaml line 1" in message
    assert not found.troubles[0].unread
    assert found.by_subject["Service/default/web"].plain["spec"]["type"] == "NodePort"
    assert read(tmp_path, b=WEB).troubles == [], "the same thing twice is no news"
    elsewhere = other.replace("  name: web", "  name: web\n  namespace: shop")
    assert read(tmp_path, b=elsewhere).troubles == []


def test_a_key_that_stands_twice_is_a_warning_with_its_line(tmp_path):
    (manifest,) = read(tmp_path, a=WEB + "  type: NodePort\n").manifests
    (rejection,) = manifest.rejections
    assert (rejection.field, rejection.severity) == ("spec.type", Severity.WARNING)
    assert rejection.words == 'yaml: key "type" already set in map'
    assert manifest.written.place(rejection.field).line == 15
    assert manifest.object.type == "NodePort", "the last one counts, as for kubectl"


NODE_PORT = """\
apiVersion: v1
kind: Service
metadata: {{name: {0}}}
spec: {{type: NodePort, {2}ports: [{{port: 80, nodePort: {1}}}]}}
"""
TAKEN = "provided IP is already allocated"


def test_one_node_port_or_cluster_ip_for_two_services(tmp_path):
    ip = "clusterIP: 10.96.0.9, "
    found = read(tmp_path, a=NODE_PORT.format("a", 30001, ip), b=NODE_PORT.format("b", 30001, ip))
    assert not found.by_subject["Service/default/a"].rejections
    words = {r.field: r.words for r in found.by_subject["Service/default/b"].rejections}
    assert words == {
        "spec.ports[0].nodePort": "Invalid value: 30001: provided port is already allocated",
        "spec.clusterIP": 'Invalid value: "10.96.0.9": failed to allocate IP 10.96.0.9: ' + TAKEN,
    }
    twin = read(tmp_path, b=NODE_PORT.format("b", 30002, "clusterIP: 10.96.0.8, "))
    assert not any(m.rejections for m in twin.manifests)


def test_one_question_needs_all_of_the_manifests(tmp_path):
    (tmp_path / "a.yaml").write_text(f"{WEB}---\nkind: [\n")
    with pytest.raises(SvcdoctorError, match=r"a\.yaml line \d+: not YAML"):
        ManifestSource([str(tmp_path)], "default").snapshot()
    assert ManifestSource([str(tmp_path)], "default", tolerant=True).snapshot().services
    with pytest.raises(SvcdoctorError, match="nowhere: no such file"):
        ManifestSource(["nowhere"], "default").snapshot()
