"""``svcdoctor forward --socks5`` and ``--metrics`` as curl, a browser's proxy setting and Prometheus use them."""

import os
import re
import shutil
import socket
import subprocess
import urllib.request

import pytest


def http(pod, port):
    """A server that answers each request of a connection with its name, and says when it is done."""

    def serve(connection):
        with connection.makefile("rb") as requests:
            while head := requests.readline():
                while requests.readline().strip():
                    pass
                body = f"{pod} {port} {head.split()[1].decode()}".encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return serve


@pytest.fixture
def curl():
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("curl is not installed")

    def ask(*words):
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "15", *words],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"]},
        )
        return done.stdout or f"{done.returncode} {done.stderr.strip()}"

    return ask


@pytest.fixture
def pages(world):
    """Pods that speak HTTP, behind the Service ``pages``."""
    from forward_world import service

    world.store.create(service("pages", {"app": "pages"}, [{"port": 80, "targetPort": "web"}]))
    for name in ("pages-1", "pages-2"):
        world.add(name, http, app="pages")


def socks_of(running):
    """The addresses that the proxy listens on."""
    return running.until(lambda: re.findall(r"SOCKS 5 on (\S+)", "\n".join(running.out)))


def test_curl_in_all_its_ways(forward, pages, curl):
    running = forward("--socks5", "0")
    v4, v6 = socks_of(running)
    found = {curl("--socks5-hostname", v4, "http://pages.truth.svc.cluster.local/a") for _ in range(2)}
    assert found == {"pages-1 28080 /a", "pages-2 28080 /a"}
    for words in (
        ["--proxy", f"socks5h://{v6}"],
        ["--socks5-hostname", f"localhost:{v4.rpartition(':')[2]}"],
    ):
        assert curl(*words, "http://pages/b").endswith(" 28080 /b")
    # One connection for two requests, as HTTP has it.
    assert curl("-x", f"socks5h://{v4}", "http://pages/c", "http://pages/d").count("28080") == 2
    assert "(4)" in curl("--socks5-hostname", v4, "http://nope.truth/")
    assert "(5)" in curl("--socks5-hostname", v4, "http://pages.truth:81/")
    assert running.end() == 0
    assert "nope.truth:80: no Service nope in namespace truth" in running.said
    assert "Traceback" not in running.said


def test_beside_a_target_and_for_a_command(forward, pages, curl):
    ask = "curl -sS -x socks5h://$SVCDOCTOR_SOCKS5 http://pages/x"
    running = forward("svc/web", ":80", "--socks5", "127.0.0.1:0", "--", "sh", "-c", ask)
    assert running.wait() == 0
    assert any(re.fullmatch(r"pages-[12] 28080 /x", line) for line in running.out)
    alone = forward("--socks5", "0", "--", "sh", "-c", "exit 7")
    assert alone.wait() == 7


def test_events(forward, pages, curl):
    running = forward("--socks5", "127.0.0.1:0", "--metrics", "0", "-o", "json")
    running.until(lambda: running.out)
    [address] = running.events[0]["addresses"]
    assert running.events[0] | {"addresses": []} == {
        "apiVersion": "svcdoctor/v1",
        "kind": "ForwardEvent",
        "type": "socks",
        "addresses": [],
    }
    curl("--socks5-hostname", address, "http://pages/")
    curl("--socks5-hostname", address, "http://no/")
    running.until(lambda: running.events[-1]["type"] == "trouble")
    kinds = [event["type"] for event in running.events]
    assert kinds == ["socks", "endpoints", "connection", "ended", "trouble"]
    assert running.events[1]["target"] == "service/pages"
    assert running.events[3]["bytesReceived"] > 50
    assert running.end() == 0


MISTAKES = [
    (["--socks5", "10.1.2.3:1080"], "whoever reaches 10.1.2.3 could reach every Service"),
    (["--metrics", "9464"], "forward what?"),
    (["web-1", ":28080", "--metrics", "127.0.0.1:TAKEN"], "cannot listen on 127.0.0.1:TAKEN"),
    (["--socks5", "TAKEN"], "cannot listen on 127.0.0.1:TAKEN"),
]


def test_mistakes(forward):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_INET6) as other:
        port = taken.getsockname()[1]
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::1", port))
        other.listen()
        for running, problem in [
            (forward(*(word.replace("TAKEN", str(port)) for word in words)), problem)
            for words, problem in MISTAKES
        ]:
            assert running.wait() == 2
            assert problem.replace("TAKEN", str(port)) in running.said and len(running.err) == 1


SAMPLE = re.compile(r'(svcdoctor_forward_[a-z_]+)(?:\{((?:[a-z]+="[^"\\\n]*",?)+)\})? (\d+)')


def samples(text):
    """Prometheus' text, taken strictly: each family has HELP and TYPE, then its samples, each series once."""
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, said = line[7:].split(" ", 1)
            assert said.endswith(".") and name not in kinds
        elif line.startswith("# TYPE "):
            assert line.split()[2] == name
            kinds[name] = line.split()[3]
        else:
            match = SAMPLE.fullmatch(line)
            assert match and match[1] == name, line
            labels = tuple(sorted(re.findall(r'([a-z]+)="([^"]*)"', match[2] or "")))
            assert (name, labels) not in found
            found[name, labels] = int(match[3])
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())
    return found


def scrape(address):
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return samples(answer.read().decode())


def value(found, name, **wanted):
    """The sum of the series that have these labels."""
    name = f"svcdoctor_forward_{name}"
    return sum(v for (n, labels), v in found.items() if n == name and wanted.items() <= dict(labels).items())


def once(found, sent):
    """The samples, when so many bytes were sent."""
    return found if value(found, "sent_bytes_total") == sent else None


def test_metrics(forward, world):
    running = forward("svc/web", ":80", "pod/web-1", ":29090", "--metrics", "0", "--socks5", "0").opened(4)
    address = running.until(lambda: re.search(r"Metrics on (\S+)", running.said))[1]
    assert address.startswith("http://127.0.0.1:") and address.endswith("/metrics")
    zero = scrape(address)
    assert value(zero, "connections_total") == 0 and value(zero, "endpoints", target="service/web") == 2
    local = running.local()
    for _ in range(4):
        running.ask(local, line="x" * 99)
    with socket.create_connection(("127.0.0.1", local), 10) as live:
        live.sendall(b"y" * 999 + b"\n")
        assert live.recv(10)
        running.until(lambda: value(scrape(address), "connections_active") == 1)
        found = running.until(lambda: once(scrape(address), 1400))
    for pod in ("web-1", "web-2"):
        assert value(found, "sent_bytes_total", target="service/web", port="80", pod=pod) >= 200
    assert value(found, "received_bytes_total") == 1400 + 5 * len("web-1 28080 ")
    assert value(found, "connections_total", target="service/web") == 5
    assert value(found, "connections_total", target="pod/web-1") == 0
    world.restart(0.0)
    running.until(lambda: value(scrape(address), "tunnels_lost_total") > 0)
    world.remove("web-1")
    world.remove("web-2")
    running.until(lambda: value(scrape(address), "endpoints", target="service/web") == 0)
    assert value(scrape(address), "connections_total") == 5
    assert running.end() == 0
