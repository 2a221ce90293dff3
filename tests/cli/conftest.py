"""Running the program as a user does, alone or as kubectl's plugin, against the lab's API server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.store import ObjectStore
from svcdoctor.sources.files import raw_objects

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# What this environment says must not decide a test: a user's shell buffers, and has a kubeconfig of its own.
DROPPED = ("KUBECONFIG", "NO_COLOR", "COLUMNS", "PYTHONUNBUFFERED")


@pytest.fixture
def run(tmp_path):
    """``run("trace", "svc/web", …)`` in the repository's root; without a kubeconfig of the machine's."""

    def call(*words, stdin=None, kubeconfig=None, cwd=ROOT, **environment):
        env = {k: v for k, v in os.environ.items() if k not in DROPPED}
        env |= {"PATH": f"{BIN}:{env['PATH']}", "HOME": str(tmp_path), "COLUMNS": "80", **environment}
        env["KUBECONFIG"] = str(kubeconfig or tmp_path / "no-kubeconfig")
        command = list(words)
        if command[0] not in ("kubectl", "svcdoctor", "bash"):
            command = ["svcdoctor", *command]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, cwd=cwd, env=env, timeout=60, check=False
        )

    return call


@pytest.fixture
def serve(tmp_path):
    """``serve(path, **kw)`` starts the lab's API server over a dump; ``.kubeconfig_file`` reaches it."""
    servers = []

    def start(path, **options):
        server = ApiServer(ObjectStore(raw_objects(ROOT / path)), **options)
        server.start()
        servers.append(server)
        server.kubeconfig_file = tmp_path / f"kubeconfig-{len(servers)}"
        server.write_kubeconfig(server.kubeconfig_file)
        return server

    yield start
    for server in servers:
        server.stop()
