"""PostgreSQL, Redis and HTTP/2 through ``svcdoctor forward``: real servers as the pods' applications, real clients."""

import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from forward_world import PORTS

SECONDS = 30
SIZE = 24 << 20
"""Bytes of what is transferred."""

# The program with times that a test can wait for: pings, the silence that ends a tunnel, its life without forwards.
HASTY = """
from svcdoctor.proxy import tunnel, tunnels
tunnel.PING_SECONDS, tunnel.SILENCE_SECONDS, tunnels.IDLE_SECONDS = 0.2, 0.6, 0.5
from svcdoctor.cli.main import main
main()
"""
IDLE = 2.0


def found(program, package):
    """Where a program is; Debian keeps PostgreSQL's server out of PATH."""
    places = [os.environ["PATH"], "/usr/sbin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    path = shutil.which(program, path=os.pathsep.join(places))
    if path is None:
        reason = f"{program} is not installed (Debian's package {package})"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return path


def free_port():
    """A port that nothing has, and none of those that the kernel gives away."""
    while True:
        port = random.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def serving(words, port, folder, **options):
    """A server, from when its port answers until it was told to end."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **options
        )
    try:
        end = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def run(*words, code=0, stdin=b""):
    """What a client wrote, and what it complained of."""
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == code, (done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout, done.stderr.decode()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def payload():
    """No two lines are the same; no zeros, which text in PostgreSQL cannot have."""
    return b"".join(b"%7d %s\n" % (n, os.urandom(56).hex().encode()) for n in range(SIZE // 121 + 1))


@pytest.fixture(params=["tunnel", "spdy"])
def through(request, world, forward):
    """``through(port)``: the local port of a forward to a server that listens on that port of the pods."""
    world.server.forward_faults.refuse_websocket = request.param == "spdy"
    world.runtime.half_close = False  # as containerd and CRI-O have it

    def start(port, program=("svcdoctor", "forward")):
        for pod in world.runtime.pods:
            world.runtime.pods[pod] = dict.fromkeys(PORTS, ("127.0.0.1", port))
        return str(forward("svc/web", ":80", program=program).opened(2).local())

    return start


@pytest.fixture
def hastily(through):
    """`through`, with the intervals of `HASTY`."""
    return lambda port: through(port, (sys.executable, "-c", HASTY, "forward"))


# --- PostgreSQL


@pytest.fixture(scope="module")
def postgres():
    """The port of a server with a role ``few`` that may connect once. It does not run as root."""
    initdb, server = found("initdb", "postgresql"), found("postgres", "postgresql")
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user["user"], user["group"])
        data, port = folder / "data", free_port()
        words = [initdb, "-D", data, "-U", "tester", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        subprocess.run(words, check=True, capture_output=True, cwd=folder, timeout=SECONDS, **user)
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", f"port={port}"]
        settings += ["max_wal_size=1GB", "shared_buffers=32MB", "dynamic_shared_memory_type=mmap"]
        options = [word for setting in settings for word in ("-c", setting)]
        with serving([server, "-D", data, *options], port, folder, **user):
            run(*psql(port), "-c", "create role few login connection limit 1")
            yield port


def psql(port, user="tester"):
    where = f"host=127.0.0.1 port={port} user={user} dbname=postgres sslmode=disable connect_timeout=10"
    return [found("psql", "postgresql-client"), "-XAtq", "-v", "ON_ERROR_STOP=1", where]


def test_psql_copies_tables_both_ways(postgres, through, payload, tmp_path):
    (tmp_path / "in").write_bytes(payload)
    client = psql(through(postgres))
    run(*client, "-c", "drop table if exists lines; create unlogged table lines (line text)")
    run(*client, "-c", f"\\copy lines from '{tmp_path}/in'")
    whole = "string_agg(line || chr(10), '' order by line)"  # the lines begin with their numbers
    there, _ = run(*psql(postgres), "-c", f"select encode(sha256({whole}::bytea), 'hex') from lines")
    assert there.decode().strip() == sha256(payload)
    run(*client, "-c", f"\\copy lines to '{tmp_path}/out'")
    assert sha256((tmp_path / "out").read_bytes()) == sha256(payload)


@contextlib.contextmanager
def psql_session(port, user="tester"):
    """psql at the other end of a pipe; ``ask(sql)`` is the first line of its answer."""
    pipe = subprocess.PIPE
    with subprocess.Popen(psql(port, user), stdin=pipe, stdout=pipe, stderr=pipe, text=True) as session:

        def ask(sql):
            session.stdin.write(sql + "\n")
            session.stdin.flush()
            return session.stdout.readline().strip()

        session.ask = ask
        try:
            yield session
        finally:
            session.kill()


def test_psql_is_told_why_it_is_turned_away(postgres, through):
    """Without the tunnel it says just the same."""
    local = through(postgres)
    with psql_session(local, "few") as first:
        assert first.ask("select 1;") == "1"
        _, said = run(*psql(local, "few"), "-c", "select 1", code=2)
        assert 'FATAL:  too many connections for role "few"' in said
        _, directly = run(*psql(postgres, "few"), "-c", "select 1", code=2)
        assert said.replace(local, "PORT") == directly.replace(str(postgres), "PORT")


def test_psql_hears_what_ended_its_session(postgres, through):
    """The server says it unasked, and closes."""
    with psql_session(through(postgres)) as session:
        process = session.ask("select pg_backend_pid();")
        assert process.isdecimal()
        run(*psql(postgres), "-c", f"select pg_terminate_backend({process}, 5000)")
        _, said = session.communicate("select 1;\n", timeout=SECONDS)
        assert "FATAL:  terminating connection due to administrator command" in said


def test_psql_idles(postgres, hastily):
    with psql_session(hastily(postgres)) as session:
        before = session.ask("select pg_backend_pid();")
        time.sleep(IDLE)
        assert session.ask("select pg_backend_pid();") == before


def test_pgbench_connects_for_every_transaction(postgres, through, tmp_path):
    (tmp_path / "script").write_text("select 1;\n")
    where = ["-h", "127.0.0.1", "-p", through(postgres), "-U", "tester", "postgres"]
    options = ["-n", "-C", "-c", "4", "-t", "50", "-f", str(tmp_path / "script")]
    out, said = run(found("pgbench", "postgresql"), *options, *where)
    assert "actually processed: 200/200" in out.decode(), (out, said)
    assert "failed transactions: 0 " in out.decode(), out


# --- Redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """The port of a server that keeps nothing on disk."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    words = [found("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    with serving([*words, "--save", "", "--appendonly", "no"], port, folder):
        yield port


def redis_cli(port):
    return [found("redis-cli", "redis-tools"), "-h", "127.0.0.1", "-p", str(port)]


def test_redis_keeps_a_large_value(redis, through, payload):
    client = redis_cli(through(redis))
    assert run(*client, "-x", "SET", "large", stdin=payload)[0] == b"OK\n"
    got, _ = run(*client, "GET", "large")
    assert sha256(got.removesuffix(b"\n")) == sha256(payload)  # redis-cli ends it with a line end


def test_redis_cli_pipes_many_commands(redis, through):
    command = b"*3\r\n$3\r\nSET\r\n$11\r\n%011d\r\n$4\r\nabcd\r\n"
    out, _ = run(*redis_cli(through(redis)), "--pipe", stdin=b"".join(command % n for n in range(50_000)))
    assert out.endswith(b"errors: 0, replies: 50000\n"), out
    assert run(*redis_cli(redis), "GET", "00000049999")[0] == b"abcd\n"


def test_redis_cli_is_told_why_it_is_turned_away(redis, through):
    """The server writes its error before it is asked anything, and closes. Several times: it is a race."""
    local = through(redis)
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(socket.create_connection(("127.0.0.1", redis), SECONDS))
        holder.sendall(b"CONFIG SET maxclients 1\r\n")
        assert holder.recv(100) == b"+OK\r\n"
        stack.callback(lambda: (holder.sendall(b"CONFIG SET maxclients 1000\r\n"), holder.recv(100)))
        for _ in range(3):  # each ends a second late, as with containerd
            with socket.create_connection(("127.0.0.1", int(local)), SECONDS) as client:
                got = b""
                while piece := client.recv(100):
                    got += piece
            assert got == b"-ERR max number of clients reached\r\n"
        for port in (redis, local):
            done = subprocess.run(
                [*redis_cli(port), "PING"], capture_output=True, timeout=SECONDS, check=False
            )
            assert b"ERR max number of clients reached" in done.stdout + done.stderr


def test_a_redis_subscriber_idles(redis, hastily):
    """What is published at last reaches it."""
    words = [*redis_cli(hastily(redis)), "SUBSCRIBE", "news"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as subscriber:
        try:
            assert [subscriber.stdout.readline().strip() for _ in range(3)] == ["subscribe", "news", "1"]
            time.sleep(IDLE)
            assert run(*redis_cli(redis), "PUBLISH", "news", "hello")[0] == b"1\n"
            assert [subscriber.stdout.readline().strip() for _ in range(3)] == ["message", "news", "hello"]
        finally:
            subscriber.kill()


def test_redis_benchmark_connects_for_every_request(redis, through):
    words = [found("redis-benchmark", "redis-tools"), "-h", "127.0.0.1", "-p", through(redis)]
    before = served(redis)
    out, said = run(*words, "-k", "0", "-c", "8", "-n", "300", "-t", "set", "-d", "100", "--csv")
    assert re.search(rb'^"SET","', out, re.MULTILINE) and "rror" not in said, (out, said)
    assert served(redis) - before >= 300


def served(port):
    """Connections that the server has had."""
    out, _ = run(*redis_cli(port), "INFO", "stats")
    return int(re.search(rb"total_connections_received:(\d+)", out)[1])


# --- HTTP/2


@pytest.fixture(scope="module")
def http2(tmp_path_factory, payload):
    """The port of a server without TLS, which has a large file and sends back what is uploaded."""
    folder, port = tmp_path_factory.mktemp("http2"), free_port()
    (folder / "large").write_bytes(payload)
    (folder / "small").write_bytes(b"small\n")
    program = found("nghttpd", "nghttp2-server")
    words = [program, "--no-tls", "-a", "127.0.0.1", "-d", str(folder), "--echo-upload", str(port)]
    with serving(words, port, folder):
        yield port


def test_http2_carries_large_bodies_both_ways(http2, through, payload, tmp_path):
    (tmp_path / "body").write_bytes(payload)
    nghttp, url = found("nghttp", "nghttp2-client"), f"http://127.0.0.1:{through(http2)}"
    assert sha256(run(nghttp, f"{url}/large")[0]) == sha256(payload)
    assert sha256(run(nghttp, "-d", str(tmp_path / "body"), f"{url}/echo")[0]) == sha256(payload)


def test_http2_says_what_is_missing(http2, through):
    nghttp, url = found("nghttp", "nghttp2-client"), f"http://127.0.0.1:{through(http2)}"
    assert b":status: 404" in run(nghttp, "-nv", f"{url}/missing")[0]


@pytest.mark.parametrize(("clients", "streams"), [("200", "1"), ("4", "50")], ids=["connections", "streams"])
def test_http2_under_load(http2, through, clients, streams):
    """A connection for each request, and many requests on each connection."""
    url = f"http://127.0.0.1:{through(http2)}/small"
    out, _ = run(found("h2load", "nghttp2-client"), "-n", "200", "-c", clients, "-m", streams, url)
    assert b"200 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
