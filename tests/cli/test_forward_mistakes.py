"""``svcdoctor forward`` with what cannot work: one line that names it and says what to do, and the exit code."""

import os
import re
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import pytest

from svcdoctor.lab.routes import Route
from svcdoctor.lab.status import ApiError

FORMS = "say REMOTE, LOCAL:REMOTE or :REMOTE (any free local port), REMOTE being a number or a port's name"
HAS = "28080 (web), 29090 (more), 53 (dns)/UDP"


def ends(running, code, message):
    """The program ends with this code, and its last line says this; nothing else is open or printed."""
    assert running.wait() == code, running.err
    assert running.err and message in running.err[-1], running.err
    assert running.err[-1].startswith("svcdoctor: error: ")
    assert running.out == [] and "Traceback" not in running.said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "forward what? say TYPE/NAME and its ports, e.g. svc/web 8080:80"),
        (["svc/web"], "svc/web: which port? say svc/web REMOTE or svc/web LOCAL:REMOTE"),
        (["svc/web", "80", "pod/web-1"], "pod/web-1: which port?"),
        (["svc/web", "0"], f"port '0': the remote port must not be 0; {FORMS}"),
        (["svc/web", "65536"], "port '65536': '65536' is neither a port (1 to 65535) nor a port's name"),
        (["svc/web", "65536:80"], "port '65536:80': '65536' is no local port (0 to 65535)"),
        (["svc/web", "99999999999999999999:80"], "is no local port"),
        (["svc/web", "-1"], "-1"),
        (["svc/web", ":"], "port ':': the remote port is missing"),
        (["svc/web", "1:2:3"], "port '1:2:3': more than one colon"),
        (["svc/web", "80/sctp"], "port '80/sctp': 'sctp' cannot be forwarded; say /tcp or /udp"),
        (["svc/web", ":80/sctp"], "port ':80/sctp': 'sctp' cannot be forwarded"),
        (["svc/web", "Web_1"], "'Web_1' is neither a port (1 to 65535) nor a port's name"),
        (["nodes/n1", "80"], "target 'nodes/n1'"),
        (["ingress/web", "80"], "target 'ingress/web': ingress has no pods of its own"),
        (["svc/", "80"], "target 'svc/': the name is missing"),
        (["svc/a/b", "80"], "target 'svc/a/b': 'a/b' is no object's name"),
        (["svc/web", "80", "--address", "example.org"], "address 'example.org' is not an IP address"),
        (["svc/web", "80", "--address", ""], "address '' is not an IP address"),
        (["svc/web", "80", "--wait", "soon"], "soon"),
        (["svc/web", "80", "--pod-running-timeout", "1 week"], "1 week"),
    ],
)
def test_words_that_mean_nothing(forward, words, message):
    running = forward(*words)
    assert running.wait() == 2, running.err
    assert message in " ".join(running.err), running.err
    assert running.out == [] and "Traceback" not in running.said


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("svc/nothing :80", 1, "no service/nothing in namespace truth"),
        ("deploy/nothing :80", 1, "no deployment/nothing in namespace truth"),
        ("nothing :80", 1, "no pod/nothing in namespace truth"),
        ("web-1 :80 -n elsewhere", 1, "no pod/web-1 in namespace elsewhere"),
        ("pod/web-1 :nosuch", 2, f"pod truth/web-1 has no port named 'nosuch'; it has {HAS}"),
        ("deploy/web :nosuch", 2, f"has no port named 'nosuch'; it has {HAS}"),
        ("svc/web :nosuch", 2, "Service truth/web has no port nosuch; it has 80 (main), 81 (second)"),
        ("svc/web 82", 2, "Service truth/web has no port 82; it has 80 (main), 81 (second)"),
        ("pod/web-1 :dns", 2, "pod truth/web-1: port dns is UDP, not TCP; say :dns/udp"),
        ("pod/web-1 :dns/udp", 2, "--dial"),
        ("svc/by-hand :80", 2, "its endpoints are set by hand: name the pod behind it"),
        (
            "web-1 :28080 --address 192.0.2.1",
            2,
            "cannot listen on 192.0.2.1:0: Cannot assign requested address",
        ),
        ("web-1 :28080 --address 127.0.0.1,192.0.2.1", 2, "choose an address of this machine"),
    ],
)
def test_what_the_cluster_does_not_have(forward, words, code, message):
    ends(forward(*words.split()), code, message)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_and_by_whom(forward, host):
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        port = taken.getsockname()[1]
        where = f"[::1]:{port}" if ":" in host else f"127.0.0.1:{port}"
        this = f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"
        message = f"cannot listen on {where}: Address already in use by {this}; choose another port"
        ends(forward("web-1", f"{port}:28080", "--address", host), 2, message)
        half = forward("web-1", f"{port}:28080").opened(
            1
        )  # kubectl, too, takes the other family of localhost
        assert half.ports[0][0] == ("127.0.0.1" if ":" in host else "::1")
        assert message in half.said


def test_a_port_in_use_of_one_target_opens_none(forward):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        running = forward("web-1", ":28080", "pod/web-2", f"{port}:28080", "--address", "127.0.0.1")
        assert running.wait() == 2
        assert f"cannot listen on 127.0.0.1:{port}" in running.err[-1]


def test_a_privileged_port(forward, world):
    drop = [] if os.getuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    missing = drop and shutil.which("setpriv") is None
    if missing or int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        reason = "needs setpriv, and ports that are privileged"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    program = (*drop, "svcdoctor", "forward")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        config = world.kubeconfig(Path(folder) / "kubeconfig")
        config.chmod(0o644)
        running = forward("svc/web", "81", "--address", "127.0.0.1", program=program, kubeconfig=config)
        ends(
            running,
            2,
            "cannot listen on 127.0.0.1:81: Permission denied; choose a port from 1024 on, run as root, or grant "
            "the capability CAP_NET_BIND_SERVICE",
        )


def test_no_pod_is_ready_in_time(forward, world):
    world.change("web-1", ready=False)
    world.change("web-2", terminating=True)
    world.add("web-3", phase="Pending")
    running = forward("svc/web", ":80", "--pod-running-timeout", "400ms")
    ends(
        running,
        1,
        "no pod was ready within 0.4 s: service/web: web-1 is not ready, web-2 is being deleted, web-3 is pending",
    )
    for name in ("web-1", "web-2", "web-3"):
        world.remove(name)
    running = forward("svc/web", ":80", "deploy/web", ":web", "--pod-running-timeout", "400ms")
    ends(running, 1, "service/web: it has no pods; deployment/web: it has no pods")


RULE = (
    "port-forward needs the verbs get and create on pods/portforward in namespace truth: kubectl create role "
    "portforward -n truth --verb=get,create --resource=pods/portforward"
)


@pytest.mark.parametrize("user", ["no-forward", "only-get"])
def test_who_may_not_forward(forward, user):
    running = forward("svc/web", ":80", user=user)
    ends(running, 3, f'pods "web-1" is forbidden: User "{user}" cannot ')
    assert RULE in running.err[-1]


def test_who_may_not_list_pods(forward):
    ends(forward("svc/web", ":80", user="no-list"), 3, 'cannot list resource "pods"')
    one = forward("web-1", ":28080", user="no-list").opened(2)
    assert one.ask() == "web-1 28080 hello"


def test_who_may_not_watch_is_served_by_lists(forward):
    running = forward("svc/web", ":80", user="no-watch").opened(2)
    assert {running.ask().split()[0] for _ in range(2)} == {"web-1", "web-2"}


def test_a_node_that_is_not_there(forward, world):
    def nowhere(namespace, pod):
        raise ApiError(
            500, "InternalError", "error dialing backend: dial tcp 10.0.0.5:10250: connect: no route to host"
        )

    world.runtime.sandbox = nowhere
    ends(
        forward("web-1", ":28080"),
        3,
        "cannot forward to pod truth/web-1: error dialing backend: dial tcp 10.0.0.5:10250: connect: no route to "
        "host; the API server does not reach the kubelet of the pod's node: see kubectl get nodes",
    )


def test_a_pod_that_its_kubelet_does_not_know(forward, world):
    del world.runtime.pods["web-1"]
    ends(
        forward("web-1", ":28080"),
        3,
        "cannot forward to pod truth/web-1: failed to find sandboxID for pod web-1_truth(",
    )


def test_a_server_that_speaks_no_protocol_of_ours(forward, world):
    def refuse(request):
        raise ApiError(400, "", "Upgrade request required")

    world.server.routes.insert(0, Route(re.compile(".*/portforward"), refuse))
    ends(forward("web-1", ":28080"), 3, "forwards by no protocol that is known here")


def test_a_server_that_is_not_there(forward, world, tmp_path):
    config = world.kubeconfig(tmp_path / "config")
    world.server.stop()
    ends(forward("web-1", ":28080", kubeconfig=config), 3, "refused the connection: nothing listens there")


def test_a_server_that_is_something_else(forward, world, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def talk():
            for _ in range(10):
                try:
                    with other.accept()[0] as client:
                        client.sendall(b"220 mail.example.org ESMTP\r\n")
                except OSError:
                    return

        threading.Thread(target=talk, daemon=True).start()
        config = world.kubeconfig(tmp_path / "config")
        where = f"https://127.0.0.1:{other.getsockname()[1]}"
        config.write_text(re.sub(r"https://\S+", where, config.read_text()))
        ends(forward("web-1", ":28080", kubeconfig=config), 3, where)


def test_without_a_kubeconfig(forward, tmp_path):
    running = forward("web-1", ":28080", kubeconfig=tmp_path / "none")
    assert running.wait() in (2, 3)
    assert running.out == [] and len(running.err) == 1
