"""What other tools are given: k9s, GitHub, GitLab, pre-commit. Each is held against the tool's rules, and run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.store import ObjectStore
from svcdoctor.sources.files import raw_objects

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
BIN = Path(sys.executable).parent
MANIFESTS = ROOT / "fixtures" / "minikube-manifests"


def environment(tmp_path, **more):
    kept = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "none"),
    }
    return kept | {k: str(v) for k, v in more.items()}


# --- k9s


# After k9s' own schema of plugins.yaml.
K9S = {
    "type": "object",
    "additionalProperties": False,
    "required": ["plugins"],
    "properties": {
        "plugins": {
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["shortCut", "description", "scopes", "command"],
                "properties": {
                    "shortCut": {"pattern": r"^(Shift-[A-Z]|Ctrl-[A-Z]|[a-z])$"},
                    "description": {"type": "string"},
                    "scopes": {"type": "array", "items": {"type": "string"}},
                    "command": {"type": "string"},
                    "background": {"type": "boolean"},
                    "args": {"type": "array", "items": {"type": ["string", "number"]}},
                },
            }
        }
    },
}
# What k9s itself does with a key among Services: logs, describe, edit, sort by a column, forward, bench …
TAKEN = (
    {f"Shift-{c}" for c in "ANTFSPRCMXIOB"}
    | {f"Ctrl-{c}" for c in "ABCDEFGHIJKLMNPQRSUWXZ"}
    | set("cdelruvyf")
)
_VARIABLE = re.compile(r"\$(!?[\w|\-]+)")  # as k9s finds its variables in an argument


def k9s_plugins():
    return yaml.safe_load((PLUGINS / "k9s" / "plugins.yaml").read_text())


def test_k9s_takes_the_plugins():
    jsonschema.validate(k9s_plugins(), K9S)
    plugins = k9s_plugins()["plugins"]
    assert set(plugins) == {"svcdoctor-trace", "svcdoctor-check", "svcdoctor-forward"}
    keys = [p["shortCut"] for p in plugins.values()]
    assert len(set(keys)) == 3 and not set(keys) & TAKEN
    for plugin in plugins.values():
        assert {v for a in plugin["args"] for v in _VARIABLE.findall(a)} <= {"NAME", "NAMESPACE", "CONTEXT"}


@pytest.fixture
def cluster(tmp_path):
    server = ApiServer(ObjectStore(raw_objects(ROOT / "fixtures/captures/iptables.tar.gz")))
    server.start()
    file = tmp_path / "kubeconfig"
    server.write_kubeconfig(file)
    yield file
    server.stop()


@pytest.mark.parametrize(
    ("plugin", "typed", "shown"),
    [
        ("svcdoctor-trace", "", "healthy  Service truth/np-cluster"),
        ("svcdoctor-check", "", "checked namespace truth"),
        ("svcdoctor-forward", ":80 --once=maybe\n", "--once"),  # the ports typed reach svcdoctor
    ],
)
def test_k9s_runs_them(cluster, tmp_path, plugin, typed, shown):
    context = yaml.safe_load(cluster.read_text())["current-context"]
    values = {"NAME": "np-cluster", "NAMESPACE": "truth", "CONTEXT": context}
    held = k9s_plugins()["plugins"][plugin]
    args = [_VARIABLE.sub(lambda m: values[m[1]], a) for a in held["args"]]
    done = subprocess.run(
        [held["command"], *args],
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(tmp_path, KUBECONFIG=cluster),
        check=False,
    )
    assert shown in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


# --- GitHub


def action():
    return yaml.safe_load((PLUGINS / "github-action" / "action.yml").read_text())


def test_the_action_is_one():
    """After GitHub's metadata syntax for composite actions."""
    held = action()
    assert held["runs"]["using"] == "composite"
    assert {"name", "description", "inputs", "outputs", "runs", "branding"} == set(held)
    for step in held["runs"]["steps"]:
        assert ("run" in step) != ("uses" in step)
        assert "shell" in step or "uses" in step
        assert "${{" not in step.get("run", "")  # what a user says is no part of a script
    said = set(re.findall(r"inputs\.([\w-]+)", json.dumps(held["runs"])))
    assert said == set(held["inputs"])
    steps = {s["id"] for s in held["runs"]["steps"] if "id" in s}
    assert set(re.findall(r"steps\.([\w-]+)\.", json.dumps(held))) == steps
    assert os.access(PLUGINS / "github-action" / "run.sh", os.X_OK)


def step(tmp_path, **values):
    """The action's own step as a runner runs it: exit code, outputs, log, summary."""
    inputs = {k: v.get("default", "") for k, v in action()["inputs"].items()} | values
    run = next(s for s in action()["runs"]["steps"] if s.get("id") == "run")
    said = {
        k: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: inputs[m[1]], v) for k, v in run["env"].items()
    }
    files = {k: tmp_path / k for k in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.write_text("")
    env = environment(
        tmp_path, RUNNER_TEMP=tmp_path, GITHUB_ACTION_PATH=PLUGINS / "github-action", **said, **files
    )
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", run["run"]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=60,
        check=False,
    )
    lines = files["GITHUB_OUTPUT"].read_text().splitlines()
    return done, dict(line.split("=", 1) for line in lines), files["GITHUB_STEP_SUMMARY"].read_text()


def test_the_action_lints(tmp_path):
    done, outputs, summary = step(tmp_path, files="fixtures/minikube-manifests/test-svc-np.yaml\n")
    assert done.returncode == int(outputs["exit-code"]) == 1, done.stderr
    assert "::error " in done.stdout or "::warning " in done.stdout
    results = json.loads(Path(outputs["sarif"]).read_text())["runs"][0]["results"]
    assert results
    assert ET.parse(outputs["junit"]).getroot().tag == "testsuites"
    assert summary.startswith("#")
    done, outputs, _ = step(tmp_path, files="fixtures/minikube-manifests\n\n", **{"fail-on": "never"})
    assert (done.returncode, outputs["exit-code"]) == (0, "0")


def test_the_action_checks_and_says_when_it_could_not(tmp_path):
    words = "-n\ntruth\n--snapshot\nfixtures/captures/iptables.tar.gz"
    done, outputs, _ = step(tmp_path, command="check", arguments=words)
    assert done.returncode == 1 and Path(outputs["sarif"]).name == "svcdoctor-check.sarif"
    done, outputs, _summary = step(tmp_path, command="lint", files="no-such-folder; echo")
    assert done.returncode == int(outputs["exit-code"]) == 2
    assert "no such file" in done.stderr + done.stdout


# --- GitLab


def test_the_job_writes_what_gitlab_reads(tmp_path):
    text = (PLUGINS / "gitlab" / "svcdoctor.gitlab-ci.yml").read_text()
    spec, _ = yaml.safe_load_all(text)
    inputs = {k: v["default"] for k, v in spec["spec"]["inputs"].items()}
    inputs["command"] = f"lint -f {MANIFESTS}/test-svc-np.yaml"
    body = text.partition("\n---\n")[2]
    assert set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", body)) == set(inputs)
    (job,) = yaml.safe_load(re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda m: inputs[m[1]], body)).values()
    assert set(job) == {"stage", "image", "script", "artifacts"}
    install, *script = job["script"]
    assert install.startswith("pip install ") and len(script) == 1
    done = subprocess.run(
        ["sh", "-c", script[0]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    reports = job["artifacts"]["reports"]
    (issue, *_) = json.loads((tmp_path / reports["codequality"]).read_text())
    assert {"description", "check_name", "fingerprint", "location", "severity"} <= set(issue)
    assert ET.parse(tmp_path / reports["junit"]).getroot().tag == "testsuites"
    assert all((tmp_path / p).exists() for p in job["artifacts"]["paths"])
    assert job["artifacts"]["when"] == "always"


# --- pre-commit


def git(folder, *words):
    subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)


def repository(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.email", "tests@example.com")
    git(folder, "config", "user.name", "tests")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")


def test_pre_commit_installs_and_runs_the_hook(tmp_path):
    """The real pre-commit clones and installs this tree; the packages that it depends on are those at hand."""
    tool, user = tmp_path / "tool", tmp_path / "user"
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in ("svcdoctor", "plugins"):
        shutil.copytree(ROOT / folder, tool / folder, ignore=skipped)
    names = ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")
    repository(tool, {n: (ROOT / n).read_text() for n in names})
    good = (MANIFESTS / "test-svc-np-fixed.yaml").read_text()
    hook = {"repo": str(tool), "rev": "main", "hooks": [{"id": "svcdoctor-lint", "args": ["-f", "deploy/"]}]}
    repository(
        user,
        {
            "deploy/svc.yaml": good,
            "deploy/deployment.yaml": (MANIFESTS / "test-deployment.yaml").read_text(),
            ".pre-commit-config.yaml": yaml.safe_dump({"repos": [hook]}),
        },
    )
    packages = Path(jsonschema.__file__).parents[1]
    env = environment(
        tmp_path,
        PRE_COMMIT_HOME=tmp_path / "cache",
        PYTHONPATH=packages,
        PIP_NO_INDEX="1",
        PIP_NO_BUILD_ISOLATION="0",  # pip reads it as "no": without isolation
        VIRTUALENV_NO_DOWNLOAD="1",
    )

    def hooked(*words):
        return subprocess.run(
            [BIN / "pre-commit", "run", *words],
            capture_output=True,
            text=True,
            cwd=user,
            env=env,
            timeout=120,
            check=False,
        )

    done = hooked("--all-files")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "svcdoctor lint" in done.stdout and "Passed" in done.stdout
    (user / "deploy/svc.yaml").write_text((MANIFESTS / "test-svc-np.yaml").read_text())
    git(user, "add", "-A")
    done = hooked()
    assert done.returncode == 1
    assert "Failed" in done.stdout and re.search(r"[A-Z]{3}\d{3} error", done.stdout)
    git(user, "reset", "-q", "--hard")
    (user / "notes.txt").write_text("nothing for it")
    git(user, "add", "-A")
    assert "Skipped" in hooked().stdout
