"""Running the program as a user does, alone or as kubectl's plugin, against the lab's API server."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forward_command import Running
from forward_world import World

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


@pytest.fixture
def world():
    """A cluster on loopback for ``forward``: pods web-1 and web-2 behind a Service and workloads called web."""
    made = World("web-1", "web-2")
    yield made
    made.close()


@pytest.fixture
def forward(world, tmp_path):
    """``forward("svc/web", ":80", …)`` starts the command; ``program`` is what is started with these words."""
    with contextlib.ExitStack() as stack:

        def start(*words, program=("svcdoctor", "forward"), user="admin", kubeconfig=None, **environment):
            env = {k: v for k, v in os.environ.items() if k not in DROPPED}
            env |= {"PATH": f"{BIN}:{env['PATH']}", "HOME": str(tmp_path), **environment}
            env["KUBECONFIG"] = str(kubeconfig or world.kubeconfig(tmp_path / f"kubeconfig-{user}", user))
            running = Running([*program, *words], env, tmp_path)
            stack.callback(running.close)
            return running

        yield start
