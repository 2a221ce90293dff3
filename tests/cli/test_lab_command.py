"""``svcdoctor lab api``: serves for the real kubectl until it is told to end, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def test_lab_api_serves_kubectl_and_the_plugin(tmp_path):
    kubeconfig = tmp_path / "lab.kubeconfig"
    server = subprocess.Popen(
        [BIN / "svcdoctor", "lab", "api", "--snapshot", "fixtures/nodeport", "--kubeconfig", kubeconfig],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert "Serving 55 objects of fixtures/nodeport at https://127.0.0.1:" in server.stdout.readline()
        assert server.stdout.readline() == f"export KUBECONFIG={kubeconfig}\n"
        env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "KUBECONFIG": str(kubeconfig)}
        svc = subprocess.run(
            ["kubectl", "get", "svc", "-o", "wide"], env=env, capture_output=True, text=True, check=True
        )
        assert "32111:31372/TCP" in svc.stdout
        words = ["kubectl", "svcdoctor", "trace", "svc/bq-api-service-1", "-v"]
        traced = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        assert "10.244.1.45:8080" in traced.stdout
        assert "6 requests to the API server" in traced.stderr
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0
    assert not kubeconfig.exists()


def test_lab_api_without_objects_says_so(tmp_path):
    (tmp_path / "x.json").write_text('{"kind": "List", "items": []}')
    done = subprocess.run(
        [BIN / "svcdoctor", "lab", "api", "--snapshot", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no Kubernetes objects" in done.stderr
    assert done.stderr.count("\n") == 1
