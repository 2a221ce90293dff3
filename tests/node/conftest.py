"""A network namespace in which real tools make what the parsers read."""

import os
import shutil
import subprocess

import pytest


def usable():
    """Why no network namespace can be made, ``None`` where one can."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "ip and unshare are not installed"
    done = subprocess.run(
        ["unshare", "-n", "ip", "link", "set", "lo", "up"], capture_output=True, check=False
    )
    return (
        None if done.returncode == 0 else f"no network namespace can be made: {done.stderr.decode().strip()}"
    )


@pytest.fixture(scope="module")
def namespace():
    """``namespace(script)`` runs a shell script in one network namespace that lasts as long as the module."""
    why = usable()
    if why is not None:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    holder = subprocess.Popen(["unshare", "-n", "bash", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
    holder.stdout.readline()  # from here on it is in its own namespace

    def run(script, check=True):
        done = subprocess.run(
            ["nsenter", "-t", str(holder.pid), "-n", "bash", "-c", script],
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    run("ip link set lo up")
    yield run
    holder.kill()
    holder.wait()
    holder.stdout.close()


@pytest.fixture
def needs():
    """``needs(program)`` skips the test where a program is not installed, but not in CI."""

    def check(program):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is not installed")
            pytest.skip(f"{program} is not installed")

    return check
