"""How ``svcdoctor proxy`` ends: by one signal, by many, and where something cannot be removed."""

import re
import shutil
import signal
import socket
import time

import pytest
from proxy_world import CLUSTER4, within
from test_proxy_command import WORKERS, node, world  # noqa: F401  (the node that the commands run on)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("--clusterip", *WORKERS), ("--mode", "nftables")])
def test_a_second_signal_ends_it_at_once_and_all_is_removed(node, words, number):  # noqa: F811
    running = node.serving("svc/web", *words)
    with node.connect(CLUSTER4, 80, node.node) as kept:
        kept.sendall(b"?")
        assert kept.recv(100)
        running.process.send_signal(number)
        running.until(lambda: any("no new connections" in line for line in running.err))
        kept.sendall(b"?")
        assert kept.recv(100), "it goes on"
        assert running.process.poll() is None
        running.process.send_signal(number)
        running.process.send_signal(number)  # a third one changes nothing
        assert running.wait() == 128 + number
    assert not node.workers()


@pytest.mark.parametrize("words", [("--clusterip", *WORKERS), ("--mode", "nftables")])
def test_signals_while_it_is_cleared_away_leave_nothing(node, words):  # noqa: F811
    """As many as there can be, from the first to the end."""
    running = node.serving("svc/web", *words)
    while running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.002)
    assert running.wait() == 143, running.err
    assert not any("Traceback" in line for line in running.err)


def test_what_cannot_be_removed_is_named_with_the_command_that_does(node):  # noqa: F811
    """For want of a program that works."""
    nft = shutil.which("nft", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    running = node.serving("svc/web", "--mode", "nftables")
    broken = node.folder / "nft"
    broken.write_text("#!/bin/sh\necho no memory >&2\nexit 1\n")
    broken.chmod(0o755)
    node.sh(node.node, f"mount --bind {broken} {nft}")
    try:
        assert running.end() == 0
    finally:
        node.sh(node.node, f"umount {nft}")
    assert running.err[-1].endswith(
        ": no memory; svcdoctor proxy cleanup removes the tables svcdoctor that are left"
    )
    done = node.proxy("cleanup")
    assert (done.wait(), done.out) == (0, ["table ip svcdoctor", "table ip6 svcdoctor"])


def test_without_an_answer_a_signal_ends_it_at_once(node, tmp_path):  # noqa: F811
    """A server that takes connections and says nothing."""
    with within(node.node):
        silent = socket.create_server(("127.0.0.1", 0))
    away = tmp_path / "kubeconfig"
    server = f"server: http://127.0.0.1:{silent.getsockname()[1]}"
    away.write_text(re.sub(r"server: .*", server, node.kubeconfig.read_text()))
    with silent:
        running = node.proxy("svc/web", "--kubeconfig", str(away))
        silent.settimeout(20)
        with silent.accept()[0]:
            assert running.end(signal.SIGTERM) == 143
