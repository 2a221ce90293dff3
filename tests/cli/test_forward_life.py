"""The life and end of ``svcdoctor forward``: events, commands, signals, ``--once`` and ``--wait``, lost terminals."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from forward_client import echo, resets
from jsonschema import Draft202012Validator

from svcdoctor.report.machine import schema

VALIDATOR = Draft202012Validator(schema())
PORT = 28080


def test_every_event_is_a_line_of_json_after_the_schema(forward, world):
    world.add("bad", lambda name, port: resets, app="bad")
    words = ("svc/web", ":main", "pod/bad", ":web", ":7", "--wait", "300ms")
    running = forward(*words, "-o", "json", "--address", "127.0.0.1", "--all-pods")
    running.until(lambda: sum(e["type"] == "listening" for e in running.events) == 4)
    for event in [e for e in running.events if e["type"] == "listening"]:
        with socket.create_connection(("127.0.0.1", int(event["address"].rpartition(":")[2])), 10) as client:
            client.sendall(b"x\n")
            try:
                client.recv(100)
            except ConnectionResetError:
                assert event["target"] == "pod/bad"
    running.until(lambda: sum(e["type"] == "ended" for e in running.events) == 4)
    world.restart(0.6)
    running.until(lambda: any(e["type"] == "trouble" for e in running.events))
    assert running.end() == 0
    events = running.events
    kinds = {e["type"] for e in events}
    assert kinds == {"listening", "endpoints", "connection", "missed", "ended", "trouble"}
    for event in events:
        assert list(VALIDATOR.iter_errors(event)) == []
        needed = "target" if "target" in event else "client"
        assert not VALIDATOR.is_valid({k: v for k, v in event.items() if k != needed})
    reasons = {e["reason"] for e in events if e["type"] == "missed"}
    assert reasons == {"port 7 in the pod: connection refused"}
    ended = {e.get("pod"): e["reason"] for e in events if e["type"] == "ended"}
    assert ended["truth/web-1"] == "" and "cut the connection" in ended["truth/bad"]
    assert running.err == []


def test_a_command_gets_the_ports_and_its_exit_code_is_the_end(forward, tmp_path):
    code = (
        "import os, socket, sys\n"
        "e = os.environ\n"
        "ports = {n: e['SVCDOCTOR_PORT_' + n] for n in ('80', 'MORE')}\n"
        "assert e['SVCDOCTOR_PORT'] == ports['80'] and e['SVCDOCTOR_ADDRESS'] == '127.0.0.1:' + ports['80'], e\n"
        "for p in ports.values():\n"
        "    s = socket.create_connection(('127.0.0.1', int(p))); s.sendall(b'hi\\n'); print(s.recv(100).decode())\n"
        "sys.exit(int(sys.argv[1]))"
    )
    words = ("svc/web", ":80", "pod/web-1", ":more", "--", sys.executable, "-c", code)
    for number in (0, 7):
        running = forward(*words, str(number))
        assert running.wait() == number
        assert "web-1 29090 hi" in running.out and re.search("web-. 28080 hi", "\n".join(running.out))


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["no-such-program"], 127, "svcdoctor: error: no-such-program: No such file or directory"),
        (["/etc/passwd"], 126, "svcdoctor: error: /etc/passwd: Permission denied"),
        (["sh", "-c", "echo $0 $@; exit 3", "-o", "json", "--", "--wait"], 3, ""),
    ],
)
def test_a_command_that_ends_badly(forward, command, code, said):
    running = forward("web-1", ":28080", "--", *command)
    assert running.wait() == code
    assert said in running.err[-1]
    if code == 3:
        assert running.out[-1] == "-o json -- --wait"


def test_a_command_is_ended_with_the_forwards(forward):
    script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    for number in (signal.SIGTERM, signal.SIGHUP):
        running = forward("web-1", ":28080", "--", "sh", "-c", script)
        running.until(lambda r=running: "up" in r.out)
        assert running.end(number) == 5
        assert running.out[-1] == "bye"


def test_ctrl_c_is_the_commands_own(forward):
    running = forward("web-1", ":28080", "--", "sh", "-c", "echo up; sleep 0.5; exit 4")
    running.until(lambda: "up" in running.out)
    assert running.end(signal.SIGINT) == 4


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@SIGNALS
def test_a_signal_while_connections_live(forward, world, number):
    running = forward("svc/web", ":80").opened(2)
    with socket.create_connection(("127.0.0.1", running.local()), 10) as client:
        client.sendall(b"x\n")
        assert client.recv(100)
        assert running.end(number) == 0
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert "Traceback" not in running.said


@SIGNALS
def test_a_signal_while_no_pod_is_ready(forward, world, number):
    world.change("web-1", ready=False)
    world.change("web-2", ready=False)
    running = forward("svc/web", ":80")
    running.until(lambda: listed(world))
    time.sleep(0.3)
    assert running.end(number) == 0
    assert running.out == [] and "Traceback" not in running.said


def listed(world):
    """Whether the pods were listed."""
    return any(r.path.endswith("/pods") for r in world.server.requests)


@SIGNALS
def test_a_signal_while_the_server_does_not_answer(forward, tmp_path, world, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = world.kubeconfig(tmp_path / "silent")
        config.write_text(
            re.sub(r"https://\S+", f"https://127.0.0.1:{silent.getsockname()[1]}", config.read_text())
        )
        running = forward("svc/web", ":80", kubeconfig=config)
        silent.settimeout(20)
        silent.accept()[0].recv(1)  # its question has come
        started = time.monotonic()
        assert running.end(number) == 128 + number
        assert time.monotonic() - started < 8
    assert running.out == [] and "Traceback" not in running.said


@SIGNALS
def test_a_signal_while_a_tunnel_is_opened(forward, world, number):
    asked = threading.Event()

    def slow(namespace, pod):
        asked.set()
        time.sleep(1.5)

    world.runtime.sandbox = slow
    running = forward("svc/web", ":80")
    assert asked.wait(20)
    assert running.end(number) == 0
    assert running.out == [] and "Traceback" not in running.said


def test_nohup_is_respected(forward):
    program = ("sh", "-c", 'trap "" HUP; exec svcdoctor forward "$@"', "sh")
    running = forward("web-1", ":28080", program=program).opened(2)
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert running.ask() == "web-1 28080 hello"
    assert running.end() == 0


@pytest.fixture
def started(world, tmp_path):
    """The program on ends of pipes or terminals that the test closes."""
    environment = os.environ | {
        "KUBECONFIG": str(world.kubeconfig(tmp_path / "config")),
        "HOME": str(tmp_path),
    }
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with contextlib.ExitStack() as stack:

        def start(script, *words, end):
            command = ["sh", "-c", script, "sh", "web-1", "28080", *words]
            process = stack.enter_context(
                subprocess.Popen(
                    command, stdin=end, stdout=end, stderr=end, env=environment, start_new_session=True
                )
            )
            stack.callback(process.kill)
            os.close(end)
            return process

        yield start


def forwards(host):
    """Whether a connection reaches the pod."""
    with socket.create_connection((host, PORT), 10) as client:
        client.sendall(b"x\n")
        return client.recv(100) == b"web-1 28080 x\n"


@pytest.mark.parametrize(("output", "host"), [("lines", "127.0.0.4"), ("json", "127.0.0.6")])
def test_nobody_reads_what_is_printed(started, output, host):
    """As with ``| head -1``: the forward goes on, and its end is in order."""
    readable, end = os.pipe()
    process = started('exec svcdoctor forward "$@"', "-o", output, "--address", host, end=end)
    seen = b""
    while f"{host}:28080".encode() not in seen:
        seen += os.read(readable, 1000)
    os.close(readable)
    assert all(forwards(host) for _ in range(3))
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_a_terminal_that_goes_away(started):
    """Its end is SIGHUP, and writing fails with EIO; who ignores SIGHUP keeps the forwards."""
    terminal, end = os.openpty()
    process = started('trap "" HUP; exec svcdoctor forward "$@"', "--address", "127.0.0.5", end=end)
    seen = b""
    while b"127.0.0.5:28080" not in seen:
        seen += os.read(terminal, 1000)
    os.close(terminal)
    assert all(forwards("127.0.0.5") for _ in range(3))
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_once_ends_with_its_pod_as_kubectl_does(forward, world):
    running = forward("svc/web", ":80", "--once").opened(2)
    [name] = {running.ask().split()[0] for _ in range(4)}
    world.change(name, ready=False)
    assert running.ask().split()[0] == name
    world.remove(name)
    assert running.wait() == 1
    assert running.err[-1] == "svcdoctor: error: lost connection to pod"


def test_once_ends_with_its_tunnel(forward, world):
    running = forward("web-1", ":28080", "--once").opened(2)
    world.restart(0.0)
    assert running.wait() == 1
    assert running.err[-1] == "svcdoctor: error: lost connection to pod"


def test_a_connection_waits_so_long_and_not_longer(forward, world):
    running = forward("svc/web", ":80", "--wait", "400ms").opened(2)
    world.change("web-1", ready=False)
    world.change("web-2", ready=False)
    running.until(lambda: "service/web 80: no pod is ready; connections wait" in running.said)
    started = time.monotonic()
    with pytest.raises(ConnectionResetError):
        running.ask()
    assert 0.35 < time.monotonic() - started < 8
    running.until(lambda: f"{running.local()}: no pod is ready" in running.said)
    world.change("web-2")
    running.until(lambda: answers(running))
    assert running.end() == 0


def answers(running):
    try:
        return running.ask() == "web-2 28080 hello"
    except ConnectionResetError:
        return False


def test_a_first_pod_is_waited_for(forward, world):
    world.change("web-1", ready=False)
    world.change("web-2", ready=False)
    running = forward("svc/web", ":80", "--pod-running-timeout", "30s")
    running.until(lambda: listed(world))
    assert not running.out
    world.add("web-3")
    running.opened(2)
    assert running.ask() == "web-3 28080 hello"


def test_what_is_large_arrives(forward, world):
    world.add("echoes", lambda name, port: echo, app="echo")
    running = forward("pod/echoes", ":28080").opened(2)
    block = os.urandom(1 << 20)
    with socket.create_connection(("127.0.0.1", running.local()), 10) as client:
        for _ in range(8):
            client.sendall(block)
            got = b""
            while len(got) < len(block):
                got += client.recv(1 << 20)
            assert got == block
