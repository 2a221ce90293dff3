"""``svcdoctor check`` as a pipeline runs it: on a live cluster and on snapshots, its files, its exit codes."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CAPTURE = "fixtures/captures/iptables.tar.gz"
BROKEN = "fixtures/faults/OBJ002/broken.yaml"
HEALTHY = "fixtures/faults/OBJ002/healthy.yaml"


def codes(done):
    return [f["code"] for f in json.loads(done.stdout)["findings"]]


# --- a live cluster


def test_kubectl_checks_the_captured_cluster_and_writes_three_reports_in_one_run(run, serve, tmp_path):
    server = serve(CAPTURE)
    junit, sarif, summary = (tmp_path / n for n in ("report.xml", "report.sarif", "summary.md"))
    words = ["-o", f"junit={junit}", "-o", f"sarif={sarif}", "-o", f"markdown={summary}"]
    done = run("kubectl", "svcdoctor", "check", "-A", *words, kubeconfig=server.kubeconfig_file)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    suites = ET.parse(junit).getroot()
    assert int(suites.get("failures")) > 0
    results = json.loads(sarif.read_text())["runs"][0]["results"]
    assert {"OBJ002", "OBJ010", "EXT007"} <= {r["ruleId"] for r in results}
    assert "OBJ002" in summary.read_text()
    assert not [r for r in server.requests if "/secrets" in r.path]


def test_a_sound_service_of_a_live_cluster_is_0(run, serve):
    server = serve(CAPTURE)
    done = run("check", "svc/np-cluster", "web-clusterip", "-n", "truth", kubeconfig=server.kubeconfig_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 Services" in done.stdout


def test_an_api_server_that_is_not_there_is_3(run, tmp_path):
    done = run("check", "-A", "--server", "https://127.0.0.1:9", "--insecure-skip-tls-verify")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


def test_without_permission_the_answer_is_open_and_says_what_to_grant(run, serve):
    server = serve(CAPTURE)
    done = run("check", "-A", "--as", "nobody", kubeconfig=server.kubeconfig_file)
    assert done.returncode == 3
    assert "services" in (done.stdout + done.stderr).lower()


# --- exit codes


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-A", "--snapshot", HEALTHY], 0),
        (["-A", "--snapshot", BROKEN], 1),
        (["-A", "--snapshot", BROKEN, "--fail-on", "never"], 0),
        (["-A", "--snapshot", BROKEN, "--ignore", "OBJ002"], 0),
        (["-A", "--snapshot", BROKEN, "--severity", "OBJ002=info"], 0),
        (["-n", "truth", "np-local", "--snapshot", CAPTURE], 0),
        (["-n", "truth", "np-local", "--snapshot", CAPTURE, "--fail-on", "warning"], 1),
        (["-n", "sales", "nosuch", "--snapshot", HEALTHY], 1),
        (["-A", "--snapshot", "nowhere"], 2),
        (["-A", "-n", "truth", "--snapshot", CAPTURE], 2),
        (["-A", "svc/web", "--snapshot", CAPTURE], 2),
        (["deploy/web", "--snapshot", CAPTURE], 2),
        (["-A", "-l", "app in (", "--snapshot", CAPTURE], 2),
        (["-A", "--ignore", "OBJ999", "--snapshot", CAPTURE], 2),
        (["-A", "--severity", "OBJ002=loud", "--snapshot", CAPTURE], 2),
        (["-A", "--severity", "OBJ002", "--snapshot", CAPTURE], 2),
        (["-A", "--baseline", "README.md", "--snapshot", CAPTURE], 2),
        (["-A", "--baseline", "nowhere.json", "--snapshot", CAPTURE], 2),
        (["-A", "-o", "junitt", "--snapshot", CAPTURE], 2),
    ],
)
def test_exit_codes(run, words, code):
    done = run("check", *words)
    assert done.returncode == code, done.stdout + done.stderr
    if code == 2:
        assert done.stderr.count("\n") == 1 or "Usage" in done.stderr
        assert "Traceback" not in done.stderr


# --- what is chosen


def test_labels_choose_services(run):
    done = run("check", "-A", "-l", "nosuch=label", "--snapshot", CAPTURE, "-o", "json")
    assert json.loads(done.stdout)["rows"] == []
    done = run("check", "-A", "-l", "!nosuch", "--snapshot", CAPTURE, "-o", "json")
    assert len(json.loads(done.stdout)["rows"]) == 43


def test_an_earlier_answer_is_the_baseline(run, tmp_path):
    before = tmp_path / "before.json"
    done = run("check", "-n", "truth", "--snapshot", CAPTURE, "-o", f"json={before}")
    assert done.returncode == 1
    done = run("check", "-n", "truth", "--snapshot", CAPTURE, "--baseline", str(before), "-o", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["findings"] == []
    assert {s["by"] for s in answer["suppressed"]} == {"baseline"}


@pytest.mark.parametrize("shared", [False, True])
def test_a_repositorys_configuration_selects_ignores_and_sets_severities(run, tmp_path, shared):
    (tmp_path / ".git").mkdir()
    below = tmp_path / "deploy" / "prod"
    below.mkdir(parents=True)
    head = "[tool.svcdoctor]\n" if shared else ""
    table = "tool.svcdoctor.severity" if shared else "severity"
    (tmp_path / ("pyproject.toml" if shared else "svcdoctor.toml")).write_text(
        f'{head}ignore = ["OBJ002", "OBJ99"]\ncolour = true\n\n[{table}]\nOBJ010 = "warning"\nOBJ006 = "loud"\n'
    )
    done = run("check", "-n", "truth", "--snapshot", str(ROOT / CAPTURE), "-o", "json", cwd=below)
    answer = json.loads(done.stdout)
    by_code = {f["code"]: f["severity"] for f in answer["findings"]}
    assert "OBJ002" not in by_code
    assert by_code["OBJ010"] == "warning"
    assert {s["code"] for s in answer["suppressed"]} == {"OBJ002"}
    problems = {p["message"].split(";")[0]: p["place"]["line"] for p in answer["problems"]}
    first = 2 if shared else 1
    assert [line for message, line in problems.items() if "OBJ99" in message] == [first]
    assert [line for message, line in problems.items() if "colour" in message] == [first + 1]
    assert [line for message, line in problems.items() if "loud" in message] == [first + 5]
    assert any("configuration" in n for n in answer["notes"])


def test_the_command_line_wins_over_the_configuration(run, tmp_path):
    (tmp_path / "svcdoctor.toml").write_text('ignore = ["OBJ"]\n')
    words = ["-A", "--snapshot", str(ROOT / BROKEN), "-o", "json"]
    assert codes(run("check", *words, cwd=tmp_path)) == []
    assert codes(run("check", *words, "--ignore", "NOD", cwd=tmp_path)) == ["OBJ002"]


def test_a_configuration_that_is_no_toml_is_2(run, tmp_path):
    (tmp_path / "svcdoctor.toml").write_text("ignore = [\n")
    done = run("check", "-A", "--snapshot", str(ROOT / BROKEN), cwd=tmp_path)
    assert done.returncode == 2
    assert "svcdoctor.toml" in done.stderr


def test_a_gate_disregards_what_objects_say_of_themselves(run, tmp_path):
    documents = list(yaml.safe_load_all((ROOT / BROKEN).read_text()))
    for d in documents:
        for o in d.get("items", [d]):
            if o["kind"] == "Service":
                o["metadata"].setdefault("annotations", {})["svcdoctor.io/ignore"] = "OBJ002"
    (tmp_path / "annotated.yaml").write_text(yaml.safe_dump_all(documents))
    words = ["check", "-A", "--snapshot", str(tmp_path / "annotated.yaml"), "-o", "json"]
    assert run(*words).returncode == 0
    assert run(*words, "--no-annotations").returncode == 1
