"""Running the program as a user does, alone or as kubectl's plugin, against the lab's API server."""

import contextlib
from pathlib import Path

import pytest
import warm
from asuser import environment
from forward_command import Running
from forward_world import World

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.store import ObjectStore
from svcdoctor.sources.files import raw_objects

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """``run("trace", "svc/web", …)`` in the repository's root; without a kubeconfig of the machine's."""

    def call(*words, stdin=None, kubeconfig=None, cwd=ROOT, **changes):
        env = environment(tmp_path, kubeconfig, **{"COLUMNS": "80", **changes})
        command = list(words)
        if command[0] not in ("kubectl", "svcdoctor", "bash"):
            command = ["svcdoctor", *command]
        return warm.run(command, input=stdin, cwd=cwd, env=env, timeout=60)

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

        def start(*words, program=("svcdoctor", "forward"), user="admin", kubeconfig=None, **changes):
            reached = kubeconfig or world.kubeconfig(tmp_path / f"kubeconfig-{user}", user)
            running = Running([*program, *words], environment(tmp_path, reached, **changes), tmp_path)
            stack.callback(running.close)
            return running

        yield start
