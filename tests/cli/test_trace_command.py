"""``svcdoctor trace`` as a user runs it: on saved clusters, on manifests, on a live API server, with bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from answers import fits

from svcdoctor.lab.rbac import ADMIN, User

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NODEPORT = ("svc/bq-api-service-1", "--snapshot", "fixtures/nodeport")
PODS = {f"default/bq-api-service-deploy-sample-f448cf6ff-{x}" for x in ("c8zlp", "tkxck", "vvkt9")}


def traced(done):
    """The JSON answer, which fits the schema of the package."""
    answer = json.loads(done.stdout)
    fits(answer)
    return answer


def pods(path):
    return {o["backend"]["pod"] for o in path["outcomes"]}


def test_the_nodeport_walk_through(run):
    answer = traced(run("trace", *NODEPORT, "-o", "json"))
    assert answer["verdict"] == "healthy"
    by_node = {p["entry"]["node"]: p for p in answer["paths"] if p["entry"]["kind"] == "nodePort"}
    assert {n: p["entry"]["address"] for n, p in by_node.items()} == {
        "k8s-master": "192.168.0.3",
        "k8s-node0": "192.168.0.6",
        "k8s-node1": "192.168.0.44",
        "k8s-node3": "192.168.0.45",
    }
    for path in by_node.values():
        assert path["entry"]["port"] == 31372
        assert path["servicePort"] == {
            "name": "8080-port",
            "port": 32111,
            "targetPort": 8080,
            "targetPortName": None,
        }
        assert pods(path) == PODS
        assert {o["probability"] for o in path["outcomes"]} == {0.3333}
        assert {o["sourceSeen"] for o in path["outcomes"]} == {"node"}


@pytest.mark.parametrize(
    ("snapshot", "words", "expected"),
    [
        ("nodeport", ["192.168.0.6:31372"], PODS),
        (
            "nodeport",
            ["http://bq-api-service-1:32111", "--from", "pod/bq-api-service-deploy-sample-f448cf6ff-c8zlp"],
            PODS,
        ),
        ("nodeport", ["10.105.158.88:32111"], PODS),
        ("nodeport", ["bq-api-service-1.default.svc.cluster.local:32111"], PODS),
        ("nodeport", ["deploy/bq-api-service-deploy-sample"], PODS),
        (
            "minikube",
            ["ingress/test-ingress/api/hello"],
            {f"default/test-deployment-6ccd7f9d44-{x}" for x in ("2chzq", "d7sr7", "r8xb7")},
        ),
        ("hostport", ["nginx-svc.default.svc.cluster.local:8222", "--from",
                      "pod/topsec/relationship-s-dp-68d794c79b-mhlrw"], {"default/nginx-name"}),
    ],
)  # fmt: skip
def test_asked_from_either_end_the_same_pods_answer(run, snapshot, words, expected):
    answer = traced(run("trace", *words, "--snapshot", f"fixtures/{snapshot}", "-o", "json"))
    assert answer["verdict"] == "healthy"
    assert {pod for p in answer["paths"] for pod in pods(p)} == expected


def test_why_lsof_shows_nothing_on_a_hostport(run):
    done = run("trace", "pod/nginx-name", "--snapshot", "fixtures/hostport")
    assert done.returncode == 0
    assert "lsof and ss show nothing on 8111" in " ".join(done.stdout.replace("│", " ").split())
    elsewhere = run("trace", "node200:8111", "--snapshot", "fixtures/hostport")
    assert elsewhere.returncode == 1
    assert "hostPort 8111 answers only on the pod's own node (node201)" in elsewhere.stdout


def test_the_tutorials_manifest_that_the_api_server_rejects(run):
    folder = "fixtures/minikube-manifests"
    done = run(
        "trace", "svc/test-svc-np", "-f", f"{folder}/test-svc-np.yaml", "-f", f"{folder}/test-deployment.yaml"
    )
    assert done.returncode == 1
    assert "OBJ032" in done.stdout
    assert "type ClusterIP with nodePort 30000" in done.stdout
    fixed = [f"{folder}/test-svc-np-fixed.yaml", "-f", f"{folder}/test-deployment.yaml"]
    answer = traced(run("trace", "svc/test-svc-np", "-f", *fixed, "-o", "json"))
    assert answer["verdict"] == "healthy"
    assert len(answer["paths"][0]["outcomes"]) == 3
    assert {o["backend"]["ip"] for p in answer["paths"] for o in p["outcomes"]} == {None}
    text = (ROOT / folder / "test-svc-cluster.yaml").read_text()
    # Without a workload among them nobody can tell whether the pods are somewhere else: a warning.
    alone = run("trace", "svc/test-svc-cluster", "-f", "-", "--fail-on", "warning", stdin=text)
    assert alone.returncode == 1
    assert "OBJ033" in alone.stdout
    assert run("trace", "svc/test-svc-cluster", "-f", "-", stdin=text).returncode == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["svc/test-svc-lb", "--snapshot", "fixtures/minikube"], 0),
        (["svc/test-svc-lb", "--snapshot", "fixtures/minikube", "--fail-on", "warning"], 1),
        (["svc/nothing", "--snapshot", "fixtures/minikube"], 1),
        (["svc/nothing", "--snapshot", "fixtures/minikube", "--fail-on", "never"], 0),
        ([*NODEPORT, "--fail-on", "warning"], 0),
    ],
)
def test_exit_codes(run, words, code):
    assert run("trace", *words).returncode == code


def test_batch_answers_line_by_line_and_goes_on_after_a_bad_one(run):
    lines = [
        '{"id": 1, "from": "external/192.168.0.35", "to": "192.168.0.6:31372", "protocol": "TCP"}',
        "not json",
        '{"id": 2, "to": "nowhere"}',
        '{"id": 3, "to": "10.0.0.1:80", "node": "k8s-nope"}',
        '{"id": 4, "from": "pod/default/nobody", "to": "10.105.158.88:32111"}',
        "",
        '{"id": "x", "from": "node/k8s-node0", "to": "10.105.158.88:32111"}',
    ]
    done = run("trace", "--batch", "-", "--snapshot", "fixtures/nodeport", stdin="\n".join(lines))
    assert done.returncode == 0
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for answer in answers:
        fits(answer)
    assert [a["id"] for a in answers] == [1, None, 2, 3, 4, "x"]
    assert ["error" in a for a in answers] == [False, True, True, True, True, False]
    assert answers[0]["verdict"] == "healthy"
    assert answers[0]["basis"] == "objects"
    assert {o["backend"]["pod"] for o in answers[0]["outcomes"]} == PODS


def test_batch_is_quick(run, tmp_path):
    """What is read once is not read for each question: 3,000 on the real capture take not much longer than one."""
    question = '{"id": 1, "from": "pod/truth/probe-1", "to": "10.96.1.3:80"}\n'
    file = tmp_path / "questions.jsonl"
    took = []
    for count in (1, 3000):
        file.write_text(question * count)
        started = time.monotonic()
        done = run("trace", "--batch", str(file), "--snapshot", "fixtures/captures/iptables.tar.gz")
        took.append(time.monotonic() - started)
        assert done.stdout.count("\n") == count
    assert took[1] < 300 * took[0], took


def test_what_two_dumps_say_differently_is_told(run, tmp_path):
    for name in ("a", "b"):
        text = (ROOT / "tests/cli/readme_world.yaml").read_text()
        (tmp_path / f"{name}.yaml").write_text(
            text.replace("port: 8080, targetPort: http", f"port: 80{name == 'b':d}0, targetPort: http")
        )
    done = run("trace", "svc/web", "--snapshot", str(tmp_path))
    assert done.returncode == 0
    assert "Service default/web was read before and differs; this one counts" in " ".join(done.stdout.split())
    assert "10.96.0.20:8010" in done.stdout


# --- live ---------------------------------------------------------------------------------------------


def role(name, namespace, *resources):
    """A Role and its binding for one user: get and list of these resources in one namespace."""
    rules = [
        {"apiGroups": ["*"], "resources": list(resources), "verbs": ["get", "list"]},
    ]
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name, "namespace": namespace},
            "rules": rules,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "User", "name": name}],
        },
    ]


def as_user(server, tmp_path, name):
    path = tmp_path / f"{name}.kubeconfig"
    server.write_kubeconfig(path, name, namespace="default")
    return path


def test_live_and_saved_give_the_same_answer(run, serve):
    server = serve("fixtures/nodeport")
    live = traced(run("trace", NODEPORT[0], "-o", "json", kubeconfig=server.kubeconfig_file))
    saved = traced(run("trace", *NODEPORT, "-o", "json"))
    assert live["paths"] == saved["paths"]
    assert live["verdict"] == "healthy"
    assert 0 < len(server.requests) <= 10


def test_pods_that_may_not_be_listed_make_it_unknown(run, serve, tmp_path):
    server = serve("fixtures/nodeport", users=(ADMIN, User("half")))
    for obj in role("half", "default", "services", "endpointslices", "endpoints", "ingresses"):
        server.store.create(obj)
    done = run("trace", "svc/bq-api-service-1", kubeconfig=as_user(server, tmp_path, "half"))
    assert done.returncode == 3, done.stdout
    assert "unknown" in done.stdout.splitlines()[0]
    assert "pods" in done.stdout
    assert "list" in done.stdout


def test_a_user_of_one_namespace_gets_a_useful_trace(run, serve, tmp_path):
    server = serve("fixtures/nodeport", users=(ADMIN, User("dev")))
    for obj in role("dev", "default", "*"):
        server.store.create(obj)
    kubeconfig = as_user(server, tmp_path, "dev")
    done = run("trace", "svc/bq-api-service-1", kubeconfig=kubeconfig)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<any node>" in done.stdout
    assert "10.244.1.45:8080" in done.stdout
    answer = traced(run("trace", "svc/bq-api-service-1", "-o", "json", kubeconfig=kubeconfig))
    assert answer["verdict"] == "healthy"
    assert {p["entry"]["node"] for p in answer["paths"]} == {None}
    assert any("Node" in u["fact"] for u in answer["unknowns"])


def test_a_selector_typo_is_found_live(run, serve):
    server = serve("fixtures/faults/OBJ002/broken.yaml")
    done = run("trace", "svc/bq-api-service-1", "-n", "sales", kubeconfig=server.kubeconfig_file)
    assert done.returncode == 1
    assert "OBJ002" in done.stdout
    assert "app: bq-api-servce ≠ app: bq-api-service on 3 pods" in done.stdout


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["trace"], "name one target", 2),
        (["trace", "svc/web", "--batch", "-"], "name one target", 2),
        (["trace", "svc/web", "--snapshot", "nowhere"], "nowhere: no such file", 2),
        (["trace", "svc/web", "--snapshot", "README.md"], "README.md", 2),
        (["trace", "svc/web", "--snapshot", "fixtures/nodeport", "-f", "x.yaml"], "exclude each other", 2),
        (["trace", "foo/web", "--snapshot", "fixtures/nodeport"], "unknown type 'foo'", 2),
        (["trace", "web", "--snapshot", "fixtures/nodeport", "--from", "me"], "--from me", 2),
        (
            ["trace", "svc/bq-api-service-1", "--snapshot", "fixtures/nodeport", "--node", "n9"],
            "no such node",
            2,
        ),
        (
            ["trace", "svc/bq-api-service-1", "--snapshot", "fixtures/nodeport", "--from", "pod/x"],
            "no such pod",
            2,
        ),
        (
            [*("trace", "svc/bq-api-service-1:nope"), *NODEPORT[1:]],
            "no such port (it has 8080-port 32111/TCP)",
            2,
        ),
        (["trace", *NODEPORT, "--via", "loadBalancer"], "no way in --via loadBalancer (type NodePort", 2),
        (["trace", *NODEPORT, "--protocol", "UDP"], "no way in --protocol UDP", 2),
        (["trace", *NODEPORT, "--family", "6"], "no way in --family 6", 2),
        (["trace", "svc/web"], "kubeconfig", 2),
        (["--context", "prod", "trace", "svc/web"], "comes after the command", 2),
        (["trace", "svc/web", "--server", "https://127.0.0.1:9"], "127.0.0.1:9", 3),
        (
            ["trace", "svc/web", "--server", "https://127.0.0.1:9", "--request-timeout", "x"],
            "request-timeout",
            2,
        ),
    ],
)
def test_bad_input_is_one_clear_line(run, words, says, code):
    done = run(*words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("svcdoctor: error: ")
    assert done.stdout == ""


@pytest.mark.parametrize("words", [["trace", "--nope"], ["nope"], ["trace", "svc/web", "-o", "xml"]])
def test_bad_usage_ends_with_2(run, words):
    done = run(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_kubectls_flags_before_the_plugins_name(run):
    done = run("kubectl", "--context", "prod", "svcdoctor", "trace", "svc/web")
    assert done.returncode != 0
    assert "flags cannot be placed before plugin name" in done.stderr
    assert "kubectl's own flags come after the plugin's name" in " ".join(run("--help").stdout.split())


def test_a_reader_that_leaves_early_is_no_error(run):
    done = run("bash", "-c", f"svcdoctor trace {' '.join(NODEPORT)} -o json | head -1")
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_full_disk_is_one_line(run):
    done = run("bash", "-c", f"svcdoctor trace {' '.join(NODEPORT)} > /dev/full")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_quietly(serve, tmp_path):
    server = serve("fixtures/nodeport")
    server.faults.delay(30)
    env = {**os.environ, "KUBECONFIG": str(server.kubeconfig_file)}
    process = subprocess.Popen(
        [BIN / "svcdoctor", "trace", "svc/x"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_no_color_and_widths(run):
    plain = run("trace", *NODEPORT, COLUMNS="60")
    assert "\x1b" not in plain.stdout
    assert max(map(len, plain.stdout.splitlines())) <= 60
    assert "\x1b[" in run("trace", *NODEPORT, "--color", "always", TERM="xterm").stdout
    assert "\x1b[3" not in run("trace", *NODEPORT, "--color", "always", NO_COLOR="1", TERM="xterm").stdout
