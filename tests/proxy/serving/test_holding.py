"""Addresses that a run holds, in network namespaces of the test's own."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from svcdoctor.proxy.netns import setns
from svcdoctor.proxy.serving import holding
from svcdoctor.proxy.serving.holding import Holding, machine_addresses, recorded
from svcdoctor.proxy.serving.rtnetlink import RouteLink
from svcdoctor.proxy.serving.rundir import RunDirectory

IPS = ("10.96.0.10", "fd00:96::10")


@pytest.fixture
def space(namespaces):
    """This thread is in a namespace with one device; other threads are not."""
    pid = namespaces.add(
        "ip link add eth0 type veth peer name peer",
        "ip addr add 10.9.0.1/24 dev eth0",
        "ip addr add fd00:9::1/64 dev eth0 nodad",
        "ip link set eth0 up",
    )
    with contextlib.ExitStack() as stack:
        own, other = (stack.enter_context(Path(f"/proc/{p}/ns/net").open()) for p in ("self", pid))
        setns(other.fileno())
        stack.callback(setns, own.fileno())
        yield


@pytest.fixture(params=["a device of its own", "lo"])
def kind(request, space, monkeypatch):
    """Of the kinds that take the place of a dummy, one that this kernel has; or none."""
    made = "none-such"
    if request.param != "lo":
        link = RouteLink()
        for made in ("dummy", "ifb", "bridge"):
            try:
                link.make_device("probe", made)
            except OSError:
                continue
            link.remove_device(socket.if_nametoindex("probe"))
            break
        else:
            pytest.fail("no kind of device that needs nothing else")
        link.close()
    monkeypatch.setattr(holding, "DEVICE_KIND", made)
    return request.param


@pytest.fixture
def run(tmp_path):
    """Runs that hold addresses, each with what it told; they are closed."""
    made = []

    def start(name):
        directory = RunDirectory(f"proxy-{name}", tmp_path / "runs")
        directory.lock()
        notes = []
        made.append(Holding(directory, notes.append))
        made[-1].directory, made[-1].notes = directory, notes
        return made[-1]

    yield start
    for one in made:
        one.close()
        if one.directory._lock is not None:
            os.close(one.directory._lock)


def devices():
    """Which device has which of the addresses."""
    link = RouteLink()
    names = dict(socket.if_nameindex())
    found = {held.ip: names[held.device] for held in link.addresses() if held.ip in IPS}
    link.close()
    return found


def crashed(one):
    """The run's process ends without a word."""
    os.close(one.directory._lock)
    one.directory._lock = None


def test_they_are_held_and_dropped(kind, run):
    before = socket.if_nameindex()
    one = run("a")
    one.hold(IPS)
    device = "lo" if kind == "lo" else "svcdoctor0"
    assert devices() == dict.fromkeys(IPS, device)
    assert recorded(one.directory.path) == IPS
    assert set(machine_addresses()) == {"10.9.0.1", "fd00:9::1"}
    with socket.create_server((IPS[0], 80)), socket.create_server((IPS[1], 80), family=socket.AF_INET6):
        for ip in IPS:
            socket.create_connection((ip, 80), 3).close()
    one.drop(IPS[:1])
    assert devices().keys() == {IPS[1]}
    one.drop(IPS)
    assert devices() == {}
    assert socket.if_nameindex() == before
    assert not one.notes


def test_what_is_the_machines_own_is_left_to_it(kind, run):
    one = run("a")
    one.hold(["10.9.0.1"])
    assert one.held == ()
    one.drop(["10.9.0.1"])
    assert "10.9.0.1" in machine_addresses()


def test_runs_share(kind, run):
    one, other = run("a"), run("b")
    one.hold(IPS)
    other.hold(IPS[:1])
    one.drop(IPS)
    assert devices().keys() == {IPS[0]}
    other.drop(IPS)
    assert devices() == {}


def test_a_crash_is_cleared_up_by_the_next(kind, run):
    one, other = run("a"), run("b")
    one.hold(IPS)
    other.clear_leftovers()
    assert devices().keys() == set(IPS), "it lives"
    crashed(one)
    other.clear_leftovers()
    assert devices() == {}
    assert other.notes == [f"removed of a run that has crashed: {', '.join(IPS)}"]
    assert not one.directory.path.exists()


def test_the_same_run_goes_on_with_what_it_had(kind, run):
    one = run("a")
    one.hold(IPS)
    crashed(one)
    again = run("a")
    assert again.earlier == again.held == IPS
    again.hold(IPS)
    again.drop(IPS)
    assert devices() == {}


def test_another_namespaces_are_none_of_its_business(kind, run):
    one, other = run("a"), run("b")
    one.hold(IPS)
    crashed(one)
    record = one.directory.path / "addresses"
    record.write_text(record.read_text().replace(":", ":9", 1))
    other.clear_leftovers()
    assert devices().keys() == set(IPS)
    assert recorded(one.directory.path) == ()
    record.unlink()


def test_without_nft_it_says_what_that_means(kind, run, monkeypatch):
    monkeypatch.setattr("svcdoctor.proxy.serving.arpsilence._ENVIRONMENT", {"PATH": "/nowhere"})
    one = run("a")
    one.hold(IPS)
    assert one.notes == [
        "ARP requests for these addresses are answered, which nftables would keep down: there is no nft"
    ]
    one.drop(IPS)


def test_without_permission(space, run, tmp_path):
    """A process without the capability; this one has to keep it."""
    script = (
        "import sys; from pathlib import Path\n"
        "from svcdoctor.proxy.serving.holding import Holding; from svcdoctor.proxy.serving.rundir import RunDirectory\n"
        "try: Holding(RunDirectory('proxy-x', Path(sys.argv[1])), print).hold(['10.96.0.10'])\n"
        "except Exception as e: print(e)"
    )
    command = ["capsh", "--drop=cap_net_admin", "--", "-c", 'exec "$0" "$@"', sys.executable, "-c", script]
    done = subprocess.run([*command, str(tmp_path / "runs")], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        "Services' addresses cannot be held on this machine: that needs the capability CAP_NET_ADMIN; run it as root, "
    )


def test_what_cannot_be_removed_stays_written_down(kind, run, tmp_path):
    one = run("a")
    one.hold(IPS)
    script = (
        "import sys; from pathlib import Path\n"
        "from svcdoctor.proxy.serving.holding import Holding; from svcdoctor.proxy.serving.rundir import RunDirectory\n"
        "left = Holding(RunDirectory('proxy-a', Path(sys.argv[1])), print)\n"
        "try: left.drop(left.held)\n"
        "except Exception as e: print(e)"
    )
    command = ["capsh", "--drop=cap_net_admin", "--", "-c", 'exec "$0" "$@"', sys.executable, "-c", script]
    above = str(one.directory.path.parent)
    done = subprocess.run([*command, above], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        "Services' addresses cannot be removed from this machine: that needs the capability CAP_NET_ADMIN; "
    )
    assert recorded(one.directory.path) == IPS
    assert devices().keys() == set(IPS)
    one.drop(IPS)
    assert devices() == {}
    assert recorded(one.directory.path) == ()
    assert not (one.directory.path / "addresses").exists()


def test_a_device_that_is_in_the_way(kind, run):
    link = RouteLink()
    if kind == "lo":
        with pytest.raises(OSError, match="not supported"):
            link.make_device("svcdoctor0", holding.DEVICE_KIND)
        link.close()
        return
    with pytest.raises(OSError, match="exists"):
        link.make_device("eth0", holding.DEVICE_KIND)
    link.close()
