"""``svcdoctor lint`` as a pipeline runs it: lines of findings, exit codes, bad input."""

import json

import pytest
from answers import fits

MINIKUBE = "fixtures/minikube-manifests"
SEEDS = "fixtures/seeds-manifests"
NODE_PORT = f"{MINIKUBE}/test-svc-np.yaml"

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}]}]}
"""
SERVICE = """\
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
"""
SOUND = DEPLOYMENT + SERVICE


def linted(done):
    answer = json.loads(done.stdout)
    fits(answer)
    return answer


def findings(answer):
    return [(f["code"], f["place"]["file"], f["place"]["line"]) for f in answer["findings"]]


def test_the_tutorials_manifests(run):
    done = run("lint", "-f", MINIKUBE, "-f", SEEDS, "-o", "json")
    assert done.returncode == 1
    answer = linted(done)
    assert findings(answer) == [("OBJ032", NODE_PORT, 11)]
    (finding,) = answer["findings"]
    assert finding["field"] == "spec.ports[0].nodePort"
    assert (
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'" in finding["evidence"]
    )
    assert finding["fix"] == "type: NodePort"
    assert len(answer["problems"]) == 2, "two files each define a Service that another defines otherwise"
    assert f"{NODE_PORT}:11" in " ".join(run("lint", "-f", NODE_PORT).stdout.split())


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (SOUND, 0, "no finding"),
        (
            SOUND.replace("selector: {app: web}\n", "type: LoadBalancer\n  selector: {app: web}\n"),
            0,
            "no finding",
        ),
        (SOUND.replace("targetPort: http", "targetPort: htp"), 1, "OBJ010"),
        (SOUND.replace("selector: {app: web}\n", "selector: {app: wbe}\n"), 1, "OBJ002"),
        (SOUND.replace("port: 80,", "port: 80, nodePort: 30000,"), 1, "OBJ032"),
        (SOUND.replace("targetPort: http", "targetPort: '8080'"), 1, "OBJ014"),
        (SOUND.replace("labels: {app: web}", "labels: {app: wbe}"), 1, "OBJ032"),
        (SOUND.replace("targetPort: http", "targetport: http"), 0, "OBJ032"),
        (SOUND + "---\na: [\n", 1, "not YAML"),
        (
            SOUND + "---\napiVersion: v1\nkind: Service\nmetadata: {name: {{ .Values.name }}}\n",
            1,
            "helm template",
        ),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", 0, "1 ConfigMap"),
        ("a: [\n", 2, "not YAML"),
        ("", 2, "no Kubernetes object"),
    ],
)
def test_exit_codes(run, text, code, says):
    done = run("lint", "-f", "-", stdin=text)
    assert done.returncode == code
    assert says in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr


def test_what_could_not_be_read_is_never_green(run):
    text = SOUND + "---\na: [\n"
    assert run("lint", "-f", "-", "--fail-on", "never", stdin=text).returncode == 1
    assert (
        run("lint", "-f", "-", "--fail-on", "never", stdin=SOUND.replace(": http", ": htp")).returncode == 0
    )


def test_a_workload_that_no_service_selects_is_looked_at_too(run):
    text = DEPLOYMENT.replace("labels: {app: web}", "labels: {app: wbe}")
    answer = linted(run("lint", "-f", "-", "-o", "json", stdin=text))
    assert findings(answer) == [("OBJ032", "-", 7)]
    assert answer["findings"][0]["subjects"] == ["Deployment/default/web"]
    ignored = linted(run("lint", "-f", "-", "--ignore", "OBJ032", "-o", "json", stdin=text))
    assert findings(ignored) == []
    assert [s["code"] for s in ignored["suppressed"]] == ["OBJ032"]


def test_both_definitions_of_one_service_are_looked_at(run, tmp_path):
    wrong = SERVICE.replace("port: 80,", "port: 80, nodePort: 30000,")
    (tmp_path / "a.yaml").write_text(wrong)
    (tmp_path / "b.yaml").write_text(SOUND)
    answer = linted(run("lint", "-f", str(tmp_path), "-o", "json"))
    assert findings(answer) == [("OBJ032", str(tmp_path / "a.yaml"), 7)]


def test_helm_renders_to_standard_input(run):
    text = "---\n# Source: shop/templates/web.yaml\n" + SERVICE.removeprefix("---\n").replace(
        "http}", "'80'}"
    )
    answer = linted(run("lint", "-f", "-", "-o", "json", stdin=text + "---\n" + DEPLOYMENT))
    assert ("OBJ014", "shop/templates/web.yaml", 6) in findings(answer)


def test_the_places_of_findings_that_only_the_would_be_cluster_has(run):
    backend = "backend: {service: {name: wb, port: {number: 80}}}"
    text = f"""{SOUND}---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: shop}}
spec:
  rules:
    - http:
        paths:
          - path: /
            pathType: Prefix
            {backend}
"""
    done = run("lint", "-f", "-", "-o", "json", stdin=text)
    assert done.returncode == 1
    line = text[: text.index(backend)].count("\n") + 1
    assert ("EXT007", "-", line) in findings(linted(done))
    assert run("lint", "-f", "-", stdin=text.replace("name: wb,", "name: web,")).returncode == 0


def test_an_annotation_with_an_unknown_code_has_its_line(run):
    text = SOUND.replace(
        "kind: Service\nmetadata: {name: web}",
        "kind: Service\nmetadata:\n  name: web\n  annotations:\n    svcdoctor.io/ignore: OBJ999",
    )
    (problem,) = linted(run("lint", "-f", "-", "-o", "json", stdin=text))["problems"]
    assert problem["place"] == {"file": "-", "line": 15}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name the manifests"),
        (["-f", "nowhere"], "nowhere: no such file"),
        (["-f", "README.md"], "README.md"),
        (["-f", NODE_PORT, "-o", "jsn"], "did you mean json"),
        (["-f", NODE_PORT, "--select", "OBJ999"], "no code"),
    ],
)
def test_bad_usage(run, words, says):
    done = run("lint", *words)
    assert done.returncode == 2
    assert says in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr
