"""Network namespaces that tests capture in, and programs that run there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from capture_frames import needs, skip_or_fail

from svcdoctor.lab.net.spaces import Spaces

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent


@pytest.fixture
def spaces():
    """Namespaces ``node`` and ``client``, joined by the veth pair eth0; each process in them ends with the test."""
    needs("unshare", "nsenter", "ip")
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        skip_or_fail("network namespaces cannot be made here")
    made = Spaces({})
    try:
        for name in ("node", "client"):
            made.add(name)
            made.run(name, "sysctl", "-q", "-e", "-w", "net.ipv6.conf.default.accept_dad=0", check=False)
        made.batch(
            "client",
            "link set lo up",
            f"link add eth0 type veth peer name eth0 netns {made.pid('node')}",
            "link set eth0 up",
            "addr add 10.9.0.1/24 dev eth0",
            "addr add fd00:9::1/64 dev eth0 nodad",
        )
        made.batch(
            "node", "link set lo up", "link set eth0 up", "addr add 10.9.0.2/24 dev eth0",
            "addr add fd00:9::2/64 dev eth0 nodad",
        )  # fmt: skip
        yield made
    finally:
        for holder in made._holders.values():
            holder.kill()
            holder.wait()


def python(spaces, space, code, *arguments, stdin=""):
    """What a Python program in a namespace printed, as JSON."""
    words = spaces.command(space, [sys.executable, "-c", code, *arguments])
    env = os.environ | {"PYTHONPATH": str(HERE)}
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, env=env, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
