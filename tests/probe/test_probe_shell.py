"""Probes by exec: what images have (Python, or sh with one program) against real servers."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from urllib.parse import quote_plus

import probing_servers as servers
import pytest
from probing_servers import Serve, Server, datagrams
from probing_shell import PLACE, Container
from test_probe_here import free_port

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Aim, CertificateProblem, Met, Observation, ProbeKind, Speaks
from svcdoctor.probe.run import probe
from svcdoctor.sources.collecting import NotRun
from svcdoctor.sources.podexec import Output

TCP, TLS, HTTP, UDP, GRPC = ProbeKind.TCP, ProbeKind.TLS, ProbeKind.HTTP, ProbeKind.UDP, ProbeKind.GRPC
V4 = "127.0.0.1"

IMAGES = [
    ("", "python3"),
    ("dash", "bash"),
    ("dash", "nc"),
    ("dash", "curl"),
    ("dash", "wget"),
    ("busybox", "nc"),
    ("busybox", "bash"),
    ("bash", "bash"),
]
CANNOT = {"wget": {TCP, UDP, TLS, GRPC}, "curl": {UDP, GRPC}, "nc": {UDP, TLS, GRPC}, "bash": {TLS, GRPC}}


@pytest.fixture(params=IMAGES, ids="-".join)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Container, str, str]:
    shell, program = request.param
    return Container(tmp_path, [program], shell), shell, program


def tried(container: Container, *aims: Aim, count: int = 1, seconds: float = 1.0) -> list[Observation]:
    seen = probe(aims, container.origin(), count=count, seconds=seconds, names=("web-0",))
    assert [o.sent for o in seen] == [count] * len(aims)
    assert {o.place for o in seen} == {PLACE}
    return list(seen)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_and_refusals(image: tuple[Container, str, str], host: str) -> None:
    container, _, program = image
    with Server(servers.page, host) as server, datagrams(b"I am web-0", host) as udp:
        kinds = {TCP: server.port, HTTP: server.port, UDP: udp}
        if program == "curl":
            del kinds[TCP]  # waits until the server ends: below
        aims = [Aim(host, port, kind) for kind, port in kinds.items()]
        aims += [Aim(host, free_port(host), kind) for kind in kinds]
        seen = tried(container, *aims)
    cannot = CANNOT.get(program, set())
    for good, bad in zip(seen[: len(kinds)], seen[len(kinds) :], strict=True):
        if good.aim.kind in cannot:
            assert dict(good.met) == dict(bad.met) == {Met.ERROR: 1}
            assert good.detail.startswith(f"{good.aim.kind} takes python3")
            continue
        assert dict(good.met) == {Met.ANSWERED: 1}, good
        assert dict(bad.met) == {Met.REFUSED: 1}, bad
        assert "refused" in bad.detail
        assert good.latency is not None
        assert good.latency.max < 0.9
        if good.aim.kind is not TCP:
            assert dict(good.who) == {"web-0": 1}
        if good.aim.kind is HTTP:
            assert dict(good.statuses) == {"200": 1}


@pytest.mark.parametrize(
    "image",
    [i for i in IMAGES if i not in (("busybox", "bash"), ("bash", "bash"), ("dash", "bash"))],
    ids="-".join,
    indirect=True,
)
@pytest.mark.parametrize(
    ("serve", "met"),
    [
        (servers.closes, {Met.CLOSED}),
        (servers.resets, {Met.RESET}),
        (servers.silent, {Met.TIMEOUT}),
        (servers.said(b"SSH-2.0-OpenSSH_9.2\r\n", first=True), {Met.GARBLED, Met.RESET}),
        (servers.said(b"\xff\x00" * 400), {Met.GARBLED}),
        (servers.endless, {Met.ANSWERED}),
    ],
    ids=["closes", "resets", "silent", "banner", "garbage", "endless"],
)
def test_what_is_no_answer(image: tuple[Container, str, str], serve: Serve, met: set[Met]) -> None:
    container, shell, program = image
    start = time.monotonic()
    with Server(serve) as server:
        (seen,) = tried(container, Aim(V4, server.port, HTTP))
    assert time.monotonic() - start < 8
    # netcat and bash's own commands end alike, whether a connection was closed or reset.
    if program in ("nc", "bash", "wget"):
        met = met | {Met.CLOSED} if Met.RESET in met else met
    if (shell, program) == ("busybox", "nc"):
        met = met | {Met.CLOSED}  # it ends its side first, and the server follows
    if program == "wget" and serve is not servers.endless:
        met = met | {Met.CLOSED, Met.GARBLED}  # it says little, and reads on
    assert seen.mostly in met, seen
    assert "\n" not in seen.detail


def test_curl_connects_only(tmp_path: Path) -> None:
    container = Container(tmp_path, ["curl"])
    with Server(servers.silent) as server:
        (seen,) = tried(container, Aim(V4, server.port))
        (refused,) = tried(container, Aim(V4, free_port()))
    assert dict(seen.met) == {Met.ANSWERED: 1}
    assert seen.latency is not None
    assert seen.latency.max < 0.5, "the connection's, not the second that curl waits for more"
    assert dict(refused.met) == {Met.REFUSED: 1}


@pytest.mark.parametrize("program", ["python3", "curl"])
def test_tls(tmp_path: Path, program: str) -> None:
    container = Container(tmp_path, [program])
    expired = servers.issue("x", "web.example", days=(-9, -2))
    context = servers.server_context(tmp_path, expired)
    not_tls = servers.said(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with Server(servers.page, context=context) as server, Server(not_tls) as plain:
        tls, wrong = tried(
            container, Aim(V4, server.port, TLS, host="web.default"), Aim(V4, plain.port, TLS), seconds=2
        )
        pages = [Aim(V4, server.port, HTTP, tls=True, host="web.default"), Aim(V4, server.port, HTTP)]
        https, http = tried(container, *pages)
    assert tls.answered == 1
    if program == "curl":
        assert tls.detail == "curl shows no certificate; python3 there would"
    else:
        assert tls.certificate is not None
        assert tls.certificate.names == ("web.example",)
        assert {p for p, _ in tls.certificate.problems} >= {
            CertificateProblem.EXPIRED,
            CertificateProblem.WRONG_NAME,
        }
    assert wrong.answered == 0
    assert (dict(https.statuses), dict(https.who)) == ({"200": 1}, {"web-0": 1})
    assert http.answered == 0


def test_grpc_in_python(tmp_path: Path) -> None:
    container = Container(tmp_path, ["python3"])
    with Server(servers.health(2)) as server, Server(servers.page) as http:
        health, wrong = tried(container, Aim(V4, server.port, GRPC), Aim(V4, http.port, GRPC))
        (spoken,) = tried(container, Aim(V4, server.port, HTTP))
    assert dict(health.statuses) == {"NOT_SERVING": 1}
    assert health.latency is not None
    assert health.latency.max < 0.5
    assert (wrong.mostly, wrong.speaks) == (Met.GARBLED, Speaks.HTTP)
    assert spoken.speaks is Speaks.HTTP2


@pytest.mark.parametrize("program", ["python3", "curl", "bash", "nc"])
def test_large_requests_and_names(tmp_path: Path, program: str) -> None:
    container = Container(tmp_path, [program])
    heard: list[bytes] = []

    def serve(sock: object) -> None:
        heard.append(servers.request(sock))  # type: ignore[arg-type]
        sock.sendall(servers.OK)  # type: ignore[attr-defined]

    with Server(serve) as server:
        named = Aim(
            V4,
            server.port,
            HTTP,
            host="web.default",
            path="/a%20b",
            payload=b"\0%s'$x\\",
            payload_size=50_000,
        )
        (seen,) = tried(container, named, seconds=3)
        (plain,) = tried(container, Aim(V4, server.port, HTTP, path="/hello"))
    assert (seen.answered, plain.answered) == (1, 1)
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a%20b HTTP/1.1\r\n")
    assert f"host: web.default:{server.port}".encode() in head.lower()
    assert body == b"\0%s'$x\\" + b"x" * 49_993
    assert heard[1].startswith(b"GET /hello HTTP/1.1\r\n")
    assert f"host: {V4}:{server.port}".encode() in heard[1].lower()


def test_many_aims_and_counts_are_one_command_after_the_first(tmp_path: Path) -> None:
    for number, (shell, program) in enumerate([("dash", "python3"), ("busybox", "nc"), ("dash", "bash")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        container = Container(folder, [program], shell)
        with Server(servers.page) as server:
            aims = [Aim(V4, server.port, HTTP)] * 20 + [Aim(V4, free_port(), HTTP)] * 5
            seen = tried(container, *aims, count=4, seconds=5)
        assert [dict(o.met) for o in seen] == [{Met.ANSWERED: 4}] * 20 + [{Met.REFUSED: 4}] * 5
        assert len(container.commands) == 2
        for command in container.commands:
            assert len(quote_plus(" ".join(command))) < 8000


@pytest.mark.parametrize("program", ["python3", "bash"])
def test_nobody_reads_any_more(tmp_path: Path, program: str) -> None:
    """Runtimes do not end a command whose client has gone: it notices by itself, with its next line."""
    container = Container(tmp_path, [program])
    processes: list[subprocess.Popen[bytes]] = []

    def run(arguments: tuple[str, ...], seconds: float, limit: int) -> Output:
        if not processes and len(arguments) == 3:
            return Container.run(container, arguments, seconds, limit)
        words = [str(container.bin / arguments[0]), *arguments[1:]]
        process = subprocess.Popen(words, env={"PATH": str(container.bin)}, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        return Output(b"", b"", 0)

    container.run = run  # type: ignore[method-assign]
    with Server(servers.page) as server:
        tried(container, Aim(V4, server.port, HTTP), count=2000, seconds=5)
        (process,) = processes
        process.wait(5)
        assert server.accepted < 1000


def test_commands_stay_short_enough_for_a_url(tmp_path: Path) -> None:
    commands: list[tuple[str, ...]] = []

    def run(arguments: tuple[str, ...], seconds: float, limit: int) -> Output:
        commands.append(arguments)
        return Output(b"python3\nbash\nod\n" if len(commands) == 1 else b"", b"", 0)

    container = Container(tmp_path, [])
    container.run = run  # type: ignore[method-assign]
    aims = [
        Aim(f"fd00:10:244:{n:x}::{n:x}", 8080, HTTP, host="web.default.svc.cluster.local") for n in range(300)
    ]
    (first, *_), found = tried(container, *aims), commands
    assert dict(first.met) == {Met.ERROR: 1}
    assert first.detail == "the command there ended without a result (exit code 0)"
    assert max(sum(len(quote_plus(a)) + 9 for a in c) for c in found) < 8000
    assert sum(c[-1].count(",") for c in found[1:]) == 300


def test_a_place_without_any_program(tmp_path: Path) -> None:
    with pytest.raises(SvcdoctorError, match=r"pod/default/x: it has neither sh nor python3"):
        tried(Container(tmp_path, [], shell=""), Aim(V4, 80))


def test_a_place_that_may_not_be_entered(tmp_path: Path) -> None:
    container = Container(tmp_path, [])

    def refused(arguments: tuple[str, ...], seconds: float, limit: int) -> Output:
        raise NotRun("pods/exec is forbidden; grant it", node=True)

    container.run = refused  # type: ignore[method-assign]
    with pytest.raises(SvcdoctorError, match="no probe from pod/default/x: pods/exec is forbidden; grant it"):
        tried(container, Aim(V4, 80))


def test_lines_that_are_not_ours_are_left(tmp_path: Path) -> None:
    container = Container(tmp_path, [])
    lines = b"@ 0 1.0 2.0 =0;\n@ 9 1 2 =0;\n@ 0 x y =0;\n# 0 -1 x\n\xff\xfe\n@ 0 1 2 zz\n@ 0 5.0 5.5 =0;\n"

    def run(arguments: tuple[str, ...], seconds: float, limit: int) -> Output:
        return Output(b"bash\nod\n" if "FIND" in arguments or len(arguments) == 3 else lines, b"", 0)

    container.run = run  # type: ignore[method-assign]
    (seen,) = tried(container, Aim(V4, 80), count=3)
    assert dict(seen.met) == {Met.ANSWERED: 2, Met.ERROR: 1}
