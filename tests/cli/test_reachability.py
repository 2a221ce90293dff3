"""``svcdoctor test`` as a program: on manifests, on snapshots, live, and what CI systems read of it."""

import json
import xml.etree.ElementTree as ET

import pytest
from answers import fits

TESTS = "fixtures/reachability"
CAPTURE = ("--snapshot", "fixtures/captures/iptables.tar.gz")
HEAD = "apiVersion: svcdoctor/v1\nkind: ReachabilityTest\nnamespace: truth\ntests:\n"


@pytest.fixture
def answered(run, tmp_path):
    """``answered(lines, *words)``: the JSON answer to a file of tests, which fits the schema, and the exit code."""

    def call(lines, *words, **options):
        file = tmp_path / "tests.yaml"
        file.write_text(HEAD + "\n".join(f"  - {{name: t{i}, {line}}}" for i, line in enumerate(lines)))
        done = run("test", str(file), "-o", "json", *words, **options)
        assert done.stdout, done.stderr
        answer = json.loads(done.stdout)
        fits(answer)
        return answer["tests"], done.returncode

    return call


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_the_captures_are_as_is_expected_of_them(run, mode):
    done = run(
        "test", f"{TESTS}/capture.yaml", "--snapshot", f"fixtures/captures/{mode}.tar.gz", "-o", "table"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()
    assert len(rows) == 7 and all(" passed " in row for row in rows[1:])


def test_manifests(run):
    deployment, fixed, wrong = (
        f"fixtures/minikube-manifests/{name}.yaml"
        for name in ("test-deployment", "test-svc-np-fixed", "test-svc-np")
    )
    done = run("test", f"{TESTS}/minikube.yaml", "-f", deployment, "-f", fixed)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 tests: 2 passed")
    done = run("test", f"{TESTS}/minikube.yaml", "-f", deployment, "-f", wrong)
    assert done.returncode == 1
    assert "got rejected" in done.stdout and "OBJ032: The API server rejects the manifest." in done.stdout


def test_pods_that_may_not_answer_leave_it_open_and_those_of_another_workload_fail_it(run):
    broken, healthy = (f"fixtures/faults/OBJ004/{name}.yaml" for name in ("broken", "healthy"))
    done = run("test", f"{TESTS}/storefront.yaml", "--snapshot", broken, "-o", "json")
    assert done.returncode == 1
    first, second = json.loads(done.stdout)["tests"]
    assert (first["result"], first["expected"], first["code"]) == ("unknown", "delivered", "OBJ004")
    assert first["got"] == "delivered 60 %, unknown 40 % by clusterIP 10.96.61.4:80"
    assert (first["file"], first["line"]) == (f"{TESTS}/storefront.yaml", 7)
    assert second["result"] == "failed"
    assert "storefront-worker-cwx2fhj4pn-6vh2m" in second["got"]
    assert run("test", f"{TESTS}/storefront.yaml", "--snapshot", healthy).returncode == 0


def test_expected_and_got(answered):
    probe = "from: pod/probe-1, via: clusterIP"
    results, code = answered(
        [
            f"{probe}, to: svc/noep, expect: delivered",
            f"{probe}, to: svc/web-nodeport, expect: refused",
            f"{probe}, to: svc/noep, expect: dropped",
            f"{probe}, to: svc/none, expect: delivered",
            f"{probe}, to: 'svc/noep:https', expect: refused",
            f"{probe}, to: svc/half-ready, expect: delivered, backends: [pod/half-2]",
            f"{probe}, to: svc/half-ready, expect: delivered, backends: [pod/half-1, pod/half-2]",
            f"{probe}, to: svc/half-ready, expect: delivered, backends: {{within: [pod/half-1, pod/half-2]}}",
            f"{probe}, to: svc/web-nodeport, expect: delivered, backends: {{within: [deploy/web]}}",
            f"{probe}, to: svc/web-nodeport, expect: delivered, backends: [pod/web-6bdc9b754-7bf29]",
            f"{probe}, to: svc/web-nodeport, expect: delivered, sourceSeen: client",
            f"{probe}, to: svc/web-nodeport, expect: delivered, sourceSeen: node",
            "from: pod/nobody, to: svc/noep, expect: refused",
        ],
        *CAPTURE,
    )
    assert code == 1
    assert [(r["result"], r["code"]) for r in results] == [
        ("failed", results[0]["code"]),
        ("failed", None),
        ("failed", results[2]["code"]),
        ("failed", "OBJ001"),
        ("failed", None),
        ("failed", None),
        ("failed", None),
        ("passed", None),
        ("passed", None),
        ("failed", None),
        ("passed", None),
        ("failed", None),
        ("unknown", None),
    ]
    assert results[0]["code"] == results[2]["code"] is not None
    assert results[0]["got"] == "refused by clusterIP 10.96.1.14:80"
    assert results[1]["got"] == "delivered by clusterIP 10.104.51.129:80"
    assert results[3]["got"] == results[4]["got"] == "no way"
    assert results[5]["got"].endswith("; requests end at truth/half-1, too, which is not expected")
    assert results[6]["got"].endswith("; no request ends at pod/half-2")
    assert results[11]["got"].endswith("; the application sees the client's address, not the node's")
    assert results[12]["why"] == "--from pod/truth/nobody: no such pod"
    assert {r["basis"] for r in results if r["result"] == "passed"} == {"rules"}


def test_unknown_alone_ends_with_3(answered):
    results, code = answered(["from: external, to: svc/extname, expect: delivered"], *CAPTURE)
    assert ([r["result"] for r in results], code) == (["unknown"], 3)
    assert "outside the cluster" in results[0]["why"]


def test_junit(run, tmp_path):
    file, report = tmp_path / "a & b.yaml", tmp_path / "report.xml"
    to = "from: pod/probe-1, via: clusterIP, to"
    file.write_text(
        f"{HEAD}  - {{name: 'good <1>', {to}: svc/web-nodeport, expect: delivered}}\n"
        f"  - {{name: bad, {to}: svc/noep, expect: delivered}}\n"
        "  - {name: what, from: pod/nobody, to: svc/noep, expect: refused}\n"
    )
    done = run("test", str(file), *CAPTURE, "-o", f"junit={report}", "-o", "terminal")
    assert done.returncode == 1 and done.stdout.endswith("3 tests: 1 passed, 1 failed, 1 unknown\n")
    root = ET.parse(report).getroot()
    assert {k: root.attrib[k] for k in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    [suite] = root
    assert suite.attrib["name"] == str(file)
    good, bad, what = suite
    assert good.attrib["name"] == "good <1>" and not len(good)
    assert bad[0].tag == "failure"
    assert bad[0].attrib["message"] == "expected delivered, got refused by clusterIP 10.96.1.14:80"
    assert bad[0].text.startswith(f"{file} line 6: pod/probe-1 -> svc/noep")
    assert what[0].tag == "error" and "no such pod" in what[0].text


def test_mistakes_in_files_and_nothing_is_run(run, tmp_path):
    file = tmp_path / "tests.yaml"
    file.write_text(f"{HEAD}  - name: a\n    form: external\n    to: svc/web\n    expect: delivered\n")
    done = run("test", str(file), f"{TESTS}/capture.yaml", *CAPTURE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"svcdoctor: error: {file} line 6: form is no key here; is it from?",
        f"svcdoctor: error: {file} line 5: from is missing",
    ]
    cases = [
        ([str(tmp_path / "none.yaml"), *CAPTURE], "none.yaml: No such file or directory"),
        ([f"{TESTS}/capture.yaml", *CAPTURE, "-o", "xml"], "-o xml: no format 'xml'"),
        ([f"{TESTS}/capture.yaml", *CAPTURE, "-o", "sarif"], "-o sarif: of tests there are terminal, table,"),
        (
            [f"{TESTS}/capture.yaml", *CAPTURE, "-o", "junit", "-o", "json"],
            "only one can go to standard output",
        ),
        ([f"{TESTS}/capture.yaml", *CAPTURE, "-o", "junit=/none/x"], "/none/x"),
        ([f"{TESTS}/capture.yaml", *CAPTURE, "--probe"], "leave --snapshot out"),
        ([f"{TESTS}/capture.yaml", *CAPTURE, "-f", "x"], "--snapshot and -f exclude each other"),
    ]
    for words, said in cases:
        done = run("test", *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_live_with_files_on_standard_input(run, serve, tmp_path):
    server = serve("fixtures/nodeport")
    text = "apiVersion: svcdoctor/v1\nkind: ReachabilityTest\ntests: [{name: %s, from: %s, to: %s, expect: delivered}]"
    good = text % ("nodes", "external", "192.168.0.6:31372")
    done = run("test", "-", stdin=good, kubeconfig=server.kubeconfig_file)
    assert done.returncode == 0, done.stdout + done.stderr
    server.stop()
    done = run("test", "-", stdin=good, kubeconfig=server.kubeconfig_file)
    assert done.returncode == 3 and "nothing listens there" in done.stderr
