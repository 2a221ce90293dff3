"""Which endpoint a worker's client gets: policies, affinity, traffic policies, source ranges, limits."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from working import Named, WorkerProcess, address, ask, connect, free_port, served, until

from svcdoctor.proxy.balance import BalancerPolicy, ConsistentHash
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.serving.served import Listen, ServedPort

Start = Callable[..., WorkerProcess]
Serve = Callable[[Any], Any]


@pytest.fixture
def workers(lent: Start) -> Start:
    return lent


def three(servers: Serve, host: str) -> list[Named]:
    return [servers(Named(name, host)) for name in "abc"]


def backends(made: list[Named]) -> list[Any]:
    return [server.backend for server in made]


def test_random_reaches_all_evenly(workers: Start, servers: Serve, host: str) -> None:
    port = served(*backends(three(servers, host)), host=host)
    workers_ = workers()
    workers_.control.put(port)
    counted = Counter(ask(port) for _ in range(300))
    # Of 300 with a chance of a third, fewer than 60 are seen once in 10^6 runs.
    assert set(counted) == set("abc")
    assert min(counted.values()) >= 60


def test_round_robin_takes_turns(workers: Start, servers: Serve, host: str) -> None:
    port = served(*backends(three(servers, host)), host=host, balance=BalancerPolicy.ROUND_ROBIN)
    workers().control.put(port)
    names = [ask(port) for _ in range(9)]
    assert names[:3] == names[3:6] == names[6:]
    assert set(names) == set("abc")


def test_least_conn_evens_connections_out(workers: Start, servers: Serve, host: str) -> None:
    port = served(*backends(three(servers, host)), host=host, balance=BalancerPolicy.LEAST_CONN)
    worker = workers()
    worker.control.put(port)
    held = [connect(port) for _ in range(9)]
    names = [sock.recv(10).decode() for sock in held]
    assert Counter(names) == {"a": 3, "b": 3, "c": 3}
    for sock, name in zip(held, names, strict=True):
        if name == "b":
            sock.close()
    until(lambda: worker.control.counters().active == 6)
    more = [connect(port) for _ in range(3)]
    assert [sock.recv(10) for sock in more] == [b"b"] * 3
    for sock in held + more:
        sock.close()


def hashed(client: str, made: list[Named]) -> str:
    """Where the policy sends a client, by itself."""
    policy = ConsistentHash()
    ends = {Endpoint(s.backend.ip, s.backend.port, "default", s.name): s.name for s in made}
    policy.update(ends)
    chosen = policy.choose(client, (), {})
    assert chosen is not None
    return ends[chosen]


def test_a_consistent_hash_is_the_same_in_every_worker_and_moves_few(workers: Start, servers: Serve) -> None:
    made = three(servers, "127.0.0.1")
    port = served(*backends(made), balance=BalancerPolicy.CONSISTENT_HASH)
    clients = [f"127.0.0.{n}" for n in range(2, 42)]
    first, second = workers(), workers()
    first.control.put(port)
    before = {client: ask(port, source=client) for client in clients}
    assert set(before.values()) == set("abc")
    assert before == {client: hashed(client, made) for client in clients}
    other = served(*backends(made), balance=BalancerPolicy.CONSISTENT_HASH)
    second.control.put(other)
    assert {client: ask(other, source=client) for client in clients} == before
    gone = served(*backends(made[:2]), listens=port.listens, balance=BalancerPolicy.CONSISTENT_HASH)
    first.control.put(gone)
    after = {client: ask(gone, source=client) for client in clients}
    assert {c for c in clients if after[c] != before[c]} == {c for c in clients if before[c] == "c"}


@pytest.mark.parametrize("sources", [("127.0.0.1", "127.0.0.2"), ("::1",)])
def test_affinity_lasts_while_the_endpoint_is_there_and_its_time_is_not_over(
    workers: Start, servers: Serve, sources: tuple[str, ...]
) -> None:
    host = sources[0]
    a = servers(Named("a", host))
    port = served(a.backend, host=host, affinity_seconds=1)
    worker = workers()
    worker.control.put(port)
    source = sources[-1]
    assert ask(port, source=source) == "a"
    made = [a]
    while hashed(source, made) == "a":  # until a newcomer would be preferred
        made.append(servers(Named(f"b{len(made)}", host)))
    wide = served(*backends(made), host=host, listens=port.listens, affinity_seconds=1)
    worker.control.put(wide)
    for _ in range(3):
        assert ask(wide, source=source) == "a"
        time.sleep(0.4)  # each connection begins its time anew
    time.sleep(1.1)
    preferred = hashed(source, made)
    assert preferred != "a"
    assert {ask(wide, source=source) for _ in range(5)} == {preferred}
    worker.control.put(served(a.backend, host=host, listens=port.listens, affinity_seconds=1))
    assert ask(wide, source=source) == "a"  # the other one is gone


def two_sided(host: str, near: Named, far: Named, **more: Any) -> ServedPort:
    """A port with a local and a cluster listen of each kind."""
    kinds = ("clusterIP", "nodePort", "loadBalancer", "externalIP", "local")
    listens = tuple(Listen(host, free_port(host), kind) for kind in kinds)
    return served(far.backend, host=host, listens=listens, local=(near.backend,), **more)


@pytest.mark.parametrize("internal", [False, True])
@pytest.mark.parametrize("external", [False, True])
def test_traffic_policies_by_the_kind_of_address(
    workers: Start, servers: Serve, host: str, internal: bool, external: bool
) -> None:
    near, far = servers(Named("near", host)), servers(Named("far", host))
    port = two_sided(host, near, far, internal_local=internal, external_local=external)
    workers().control.put(port)
    inner, outer = ("near" if local else "far" for local in (internal, external))
    assert [ask(port, n) for n in range(5)] == [inner, outer, outer, outer, inner]


def test_clients_inside_get_the_cluster_s_endpoints_under_external_local(
    workers: Start, servers: Serve
) -> None:
    near, far = servers(Named("near")), servers(Named("far"))
    port = two_sided("127.0.0.1", near, far, external_local=True, inside=("127.0.1.0/24",))
    workers().control.put(port)
    assert ask(port, 1, "127.0.1.7") == "far"
    assert ask(port, 1, "127.0.2.7") == "near"
    assert ask(port, 0, "127.0.2.7") == "far"


def refused(port: ServedPort, number: int = 0, source: str = "") -> bool:
    try:
        ask(port, number, source)
    except ConnectionRefusedError:
        return True
    return False


def test_without_endpoints_the_kernel_refuses_and_with_one_again_it_is_served(
    workers: Start, servers: Serve, host: str
) -> None:
    a = servers(Named("a", host))
    full, empty = served(a.backend, host=host), served(host=host)
    empty = served(host=host, listens=full.listens)
    worker = workers()
    worker.control.put(empty)
    for _ in range(2):
        worker.control.put(empty)
        assert refused(empty)
        worker.control.put(full)
        assert ask(full) == "a"
    # None is local, but those inside may still come: it is listened, and others are reset.
    local = served(a.backend, host=host, listens=(Listen(*address(full), "nodePort"),), external_local=True)
    worker.control.put(local)
    assert refused(local)
    inside = served(
        a.backend,
        host=host,
        listens=local.listens,
        external_local=True,
        inside=("192.0.2.0/24", "2001:db8::/32"),
    )
    worker.control.put(inside)
    with pytest.raises(ConnectionResetError):
        ask(inside)
    assert worker.control.port(inside.key).unserved == 1


def test_source_ranges_guard_the_load_balancer_s_address_only(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    port = two_sided("127.0.0.1", a, a, sources=("127.1.0.0/16", "192.0.2.1/32"))
    worker = workers()
    worker.control.put(port)
    assert ask(port, 2, "127.1.2.3") == "a"
    with pytest.raises(ConnectionResetError):
        ask(port, 2, "127.2.0.1")
    assert [ask(port, n, "127.2.0.1") for n in (0, 1, 3)] == ["a"] * 3
    assert worker.control.port(port.key).forbidden == 1


def test_source_ranges_of_ipv6(workers: Start, servers: Serve) -> None:
    a = servers(Named("a", "::1"))
    open_ = two_sided("::1", a, a, sources=("::/127",))
    worker = workers()
    worker.control.put(open_)
    assert ask(open_, 2) == "a"
    worker.control.put(two_sided("::1", a, a, sources=("2001:db8::/32",)))
    closed = served(a.backend, host="::1", listens=open_.listens, sources=("2001:db8::/32",))
    worker.control.put(closed)
    with pytest.raises(ConnectionResetError):
        ask(closed, 2)


def test_an_endpoint_has_no_more_connections_than_its_limit(
    workers: Start, servers: Serve, host: str
) -> None:
    made = three(servers, host)[:2]
    port = served(*backends(made), host=host, limit=2)
    worker = workers()
    worker.control.put(port)
    held = [connect(port) for _ in range(4)]
    assert Counter(sock.recv(10).decode() for sock in held) == {"a": 2, "b": 2}
    with pytest.raises(ConnectionResetError):
        ask(port)
    assert worker.control.port(port.key).limited == 1
    held.pop().close()
    until(lambda: worker.control.counters().active == 3)
    assert ask(port) in "ab"
    for sock in held:
        sock.close()


def test_endpoints_change_and_connections_stay(workers: Start, servers: Serve, host: str) -> None:
    a, b = three(servers, host)[:2]
    old = served(a.backend, host=host)
    new = served(b.backend, host=host, listens=old.listens)
    worker = workers()
    worker.control.put(old)
    with connect(old) as kept:
        assert kept.recv(10) == b"a"
        worker.control.put(new)
        assert ask(new) == "b"
        kept.sendall(b"still")
        assert kept.recv(10) == b"still"
        worker.control.remove(new.key)
        assert refused(new)
        kept.sendall(b"here")
        assert kept.recv(10) == b"here"
        kept.shutdown(socket.SHUT_WR)
        assert kept.recv(10) == b""


def test_workers_that_share_a_port_keep_affinity_together(workers: Start, servers: Serve, host: str) -> None:
    made = three(servers, host)
    port = served(*backends(made), host=host, affinity_seconds=100)
    both = [workers(), workers()]
    for worker in both:
        worker.control.put(port)
    assert len({ask(port) for _ in range(40)}) == 1
    # The kernel spreads clients by their ports: all 40 to one worker is seen once in 10^11 runs.
    shares = [worker.control.port(port.key).endpoints[0].connections for worker in both]
    assert sum(shares) == 40
    assert min(shares) > 0
