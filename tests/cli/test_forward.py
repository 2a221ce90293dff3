"""``svcdoctor forward`` as a user runs it, beside kubectl with the same words: what is opened and what is printed."""

import contextlib
import os
import random
import re
import shutil
import socket

import pytest

KUBECTL = ("kubectl", "port-forward")


@pytest.fixture
def kubectl():
    if shutil.which("kubectl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("kubectl is not installed")


def free_port(count=1):
    """A port that nothing has, nor so many in a row; not one of those that the kernel gives away."""
    while True:
        first = random.randrange(20000, 32000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def free_ports(count):
    """The first of so many ports in a row that nobody has, below those that the kernel gives away."""
    while True:
        first = random.randrange(20000, 30000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def anonymous(lines, chosen):
    """The lines in no order, without the numbers of ports that nobody chose."""
    return sorted(line if chosen else re.sub(r":\d+ ->|for \d+", "*", line) for line in lines)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("pod/web-1 28080 29090", 4),
        ("web-1 LOCAL:28080", 2),
        ("web-1 :28080", 2),
        ("pods/web-1 0:28080", 2),
        ("po/web-1 :web :more", 4),
        ("pod/web-1 web:web", 2),
        ("svc/web LOCAL:80", 2),
        ("service/web :main :second", 4),
        ("services/web :81", 2),
        ("svc/headless :28080", 2),
        ("deploy/web :web", 2),
        ("deployments.apps/web :web", 2),
        ("deployment.v1.apps/web :web", 2),
        ("rs/web :28080", 2),
        ("sts/web :28080", 2),
        ("ds/web :28080", 2),
        ("rc/web :28080", 2),
        ("job/web :28080", 2),
        ("web-1 :28080 --address 127.0.0.1", 1),
        ("web-1 :28080 --address localhost", 2),
        ("--address=127.0.0.1,::1 web-1 LOCAL:28080", 2),
        ("web-1 LOCAL:28080 --address 127.0.0.1 --address 127.0.0.2", 2),
        ("web-1 LOCAL:28080 --address 0.0.0.0", 1),
        ("web-1 LOCAL:28080 --address localhost,127.0.0.3", 3),
        ("-n truth web-1 :28080", 2),
        ("web-1 :28080 --namespace=truth --pod-running-timeout=5s", 2),
    ],
)
def test_the_words_mean_what_they_mean_to_kubectl(forward, kubectl, words, count):
    local = str(free_port())
    printed = []
    for program in (KUBECTL, ("svcdoctor", "forward")):
        running = forward(*words.replace("LOCAL", local).split(), program=program).opened(count)
        for ip, port, remote in running.ports:
            assert running.ask(port, ip.replace("0.0.0.0", "127.0.0.1")).split()[1] == str(remote)
        running.until(lambda r=running: len(r.out) == 2 * count)
        assert running.end() == 0
        chosen = "LOCAL" in words or words.startswith("pod/web-1 28080")
        printed.append(anonymous(running.out, chosen))
    assert printed[0] == printed[1]


def test_one_any_port_is_the_same_in_both_families(forward):
    running = forward("web-1", ":28080").opened(2)
    assert len({local for _, local, _ in running.ports}) == 1


def test_as_kubectls_plugin(forward, kubectl):
    program = ("kubectl", "svcdoctor", "forward")
    running = forward("svc/web", ":80", "--address", "0.0.0.0", program=program).opened(1)
    assert running.ask() == "web-1 28080 hello"
    assert running.end() == 0
    gone = forward("svc/nothing", ":80", program=program)
    assert (gone.wait(), gone.out) == (1, [])
    assert gone.err[-1] == "kubectl svcdoctor: error: no service/nothing in namespace truth"


def test_connections_go_to_all_pods_of_a_service_and_to_one_of_a_name(forward, world):
    service, pod = forward("svc/web", ":80").opened(2), forward("web-2", ":28080").opened(2)
    assert sorted(service.ask() for _ in range(4)) == ["web-1 28080 hello"] * 2 + ["web-2 28080 hello"] * 2
    assert {pod.ask() for _ in range(4)} == {"web-2 28080 hello"}
    world.add("web-3")
    service.until(lambda: service.ask().startswith("web-3"))
    world.change("web-3", ready=False)
    service.until(lambda: not any(service.ask().startswith("web-3") for _ in range(3)))


def test_a_sticky_service_stays_with_one_pod_until_it_goes(forward, world):
    running = forward("svc/web", ":80", "--balance", "sticky").opened(2)
    [first] = {running.ask().split()[0] for _ in range(4)}
    world.remove(first)
    [second] = {running.ask().split()[0] for _ in range(4)}
    assert {first, second} == {"web-1", "web-2"}


def test_a_pod_that_comes_back_under_its_name_is_forwarded_to_again(forward, world):
    running = forward("web-1", ":28080").opened(2)
    assert running.ask() == "web-1 28080 hello"
    world.remove("web-1")
    running.until(lambda: "no pod is ready; connections wait" in running.said)
    world.add("web-1")
    assert running.ask() == "web-1 28080 hello"
    assert running.end() == 0


def test_several_targets_at_once(forward):
    running = forward("svc/web", ":81", "pod/web-1", ":28080", "deploy/web", ":more").opened(6)
    answers = [running.ask(local) for ip, local, _ in running.ports if ip == "127.0.0.1"]
    assert sorted(a.split()[1] for a in answers) == ["28080", "29090", "29090"]


def test_a_port_for_each_pod(forward, world):
    local = free_ports(3)
    running = forward("svc/web", f"{local}:80", "--all-pods", "--address", "127.0.0.1").opened(2)
    assert sorted(line.rpartition(" ")[2] for line in running.out) == ["pod/web-1", "pod/web-2"]
    names = [running.ask(port).split()[0] for port in (local, local + 1)]
    assert sorted(names) == ["web-1", "web-2"]
    world.add("web-3")
    running.until(lambda: len(running.ports) == 3)
    assert running.ask(local + 2) == "web-3 28080 hello"


def test_targets_of_a_file(forward, tmp_path):
    file = tmp_path / "forwards.yaml"
    file.write_text(
        "forwards:\n- target: svc/web\n  ports: ['0:main', ':81']\n  address: [127.0.0.1]\n"
        "- {target: pod/web-2, ports: [':28080'], namespace: truth, balance: random}\n"
        "- {target: deploy/web, ports: [':web'], allPods: true, address: ['::1']}\n"
    )
    running = forward("--config", "forwards.yaml").opened(2 + 2 + 2)
    assert {running.ask(local, ip).split()[0] for ip, local, _ in running.ports} == {"web-1", "web-2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forwards: [{target: svc/web}]", "Object missing required field `ports` - at `$.forwards[0]`"),
        ("forwards: [{target: svc/web, ports: []}]", "forwards.yaml, forward 1: svc/web has no ports"),
        ("forwards: [{target: svc/web, ports: [0]}]", "forward 1: port '0': the remote port must not be 0"),
        ("forwards: [{target: secret/x, ports: [1]}]", "forward 1: target 'secret/x': unknown type 'secret'"),
        ("forwards: [{target: svc/web, ports: [1], balance: best}]", "balance 'best' is none of round-robin"),
        ("forwards: [{target: svc/web, ports: [1], pods: 3}]", "unknown field `pods`"),
        ("forwards:\n- {target: [", "forwards.yaml line 2: not YAML"),
        ("forwards: 3", "Expected `array`, got `int`"),
        ("", "Expected `object`, got `null`"),
        ("forwards: []", "forward what? say TYPE/NAME and its ports"),
        ("a\0b", "not YAML"),
        ("\xff\xfe", "forwards.yaml"),
        (None, "forwards.yaml: No such file or directory"),
    ],
)
def test_a_file_that_does_not_say_it(forward, tmp_path, text, message):
    if text is not None:
        (tmp_path / "forwards.yaml").write_bytes(text.encode("latin-1"))
    running = forward("--config", "forwards.yaml")
    assert running.wait() == 2
    assert message in running.err[-1]
    assert not running.out
