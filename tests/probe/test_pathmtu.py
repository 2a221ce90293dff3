"""The path MTU over real routers: named limits, black holes, and who may not open raw sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from routers import Chain, chain_with_server, without_raw_sockets

from svcdoctor.model.observed import Aim
from svcdoctor.model.packetpath import MtuLimit, PathMtu
from svcdoctor.probe.packets import sized, sizedudp
from svcdoctor.probe.packets.pathmtu import path_mtus

TOO_BIG = {4: "-p icmp --icmp-type fragmentation-needed", 6: "-p icmpv6 --icmpv6-type packet-too-big"}
families = pytest.mark.parametrize("family", [4, 6])
Measure = Callable[[Chain, int], PathMtu]


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with chain_with_server() as made:
        yield made


def measured(chain: Chain, family: int, port: int = 8080, ip: str = "") -> PathMtu:
    aim = Aim(ip or chain.server(family), port)
    (found,) = path_mtus([aim], seconds=0.2, namespace=chain.namespace("client"))
    return found


def by_udp(chain: Chain, family: int) -> PathMtu:
    return without_raw_sockets(lambda: measured(chain, family))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizedudp, "SPACING", 0.05)  # these hosts' ICMP has no limit of its rate
    for module in (sized, sizedudp):
        monkeypatch.setattr(module, "LEAST_PATIENCE", 0.06)


@pytest.fixture(params=[measured, by_udp], ids=["syn", "udp"])
def measure(request: pytest.FixtureRequest) -> Measure:
    found: Measure = request.param
    return found


@contextmanager
def mtu(chain: Chain, sizes: dict[str, int]) -> Iterator[None]:
    """Of routers' links towards the server."""
    for name, size in sizes.items():
        chain.run(name, f"ip link set east mtu {size}")
    try:
        yield
    finally:
        for name in sizes:
            chain.run(name, "ip link set east mtu 1500")
        for name in ("client", *sizes):
            chain.run(name, "ip route flush cache; ip -6 route flush cache")


@families
def test_a_path_of_one_size(chain: Chain, family: int, measure: Measure) -> None:
    found = measure(chain, family)
    assert (found.size, found.limits, found.black_hole) == (1500, (), False)
    assert (found.interface, found.interface_mtu, found.known) == ("east", 1500, 1500)
    assert found.raw == (measure is measured)
    assert found.announced == (1500 if found.raw else None)


@families
def test_a_smaller_link_is_named_by_its_router(chain: Chain, family: int, measure: Measure) -> None:
    with mtu(chain, {"r2": 1400}):
        found = measure(chain, family)
    assert (found.size, found.black_hole) == (1400, False)
    assert found.limits == (MtuLimit(chain.routers(family)[1], 1400),)
    assert f"packets of 1400 bytes arrive at {chain.server(family)}" in found.told
    assert ("it announces 1500, so its large answers need ICMP errors" in found.told) == found.raw


@families
def test_every_smaller_link_is_named(chain: Chain, family: int, measure: Measure) -> None:
    with mtu(chain, {"r1": 1450, "r3": 1301}):
        found = measure(chain, family)
    first, _, third = chain.routers(family)
    assert found.size == 1301
    assert found.limits == (MtuLimit(first, 1450), MtuLimit(third, 1301))


@pytest.mark.parametrize(("family", "measure"), [(4, measured), (6, measured), (6, by_udp)])
def test_a_black_hole_is_found_and_located(chain: Chain, family: int, measure: Measure) -> None:
    with mtu(chain, {"r2": 1413}), chain.rule("r2", family, f"OUTPUT {TOO_BIG[family]} -j DROP"):
        found = measure(chain, family)
    assert (found.size, found.black_hole) == (1413, True)
    assert found.behind == chain.routers(family)[1]
    assert found.limits == ()
    assert f"over 1413 bytes vanish behind {found.behind} without an ICMP error" in found.told


def test_a_black_hole_behind_a_named_limit(chain: Chain) -> None:
    family = 6
    with (
        mtu(chain, {"r1": 1450, "r3": 1400}),
        chain.rule("r3", family, f"OUTPUT {TOO_BIG[family]} -j DROP"),
    ):
        found = measured(chain, family)
    assert (found.size, found.black_hole) == (1400, True)
    assert found.limits == (MtuLimit(chain.routers(family)[0], 1450),)
    assert found.behind == chain.routers(family)[2]


@families
def test_errors_that_this_machine_drops_are_a_black_hole_of_its_own(chain: Chain, family: int) -> None:
    with mtu(chain, {"r2": 1400}), chain.rule("client", family, f"INPUT {TOO_BIG[family]} -j DROP"):
        found = measured(chain, family)
    assert (found.size, found.black_hole, found.kept_out) == (1400, True, True)
    assert "this machine's own rules drop the ICMP errors" in found.told


@families
def test_a_closed_port_measures_as_well(chain: Chain, family: int) -> None:
    with mtu(chain, {"r3": 1400}):
        found = measured(chain, family, port=81)
    assert (found.size, found.announced, found.raw) == (1400, None, True)


@families
def test_a_clamped_mss_is_seen(chain: Chain, family: int) -> None:
    clamp = "FORWARD -t mangle -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1200"
    with chain.rule("r1", family, clamp):
        found = measured(chain, family)
    assert (found.size, found.announced) == (1500, 1240 if family == 4 else 1260)


@families
def test_where_syns_with_filling_are_dropped_udp_measures(chain: Chain, family: int) -> None:
    longer = "FORWARD -p tcp --syn -m length --length 200:65535 -j DROP"
    with mtu(chain, {"r2": 1400}), chain.rule("r1", family, longer):
        found = measured(chain, family)
    assert (found.size, found.raw) == (1400, False)
    assert found.limits == (MtuLimit(chain.routers(family)[1], 1400),)
    assert "drops SYNs with filling" in found.told


@families
def test_nothing_is_claimed_where_nothing_answers(chain: Chain, family: int) -> None:
    with chain.rule("r2", family, "FORWARD -p tcp -j DROP"):
        found = measured(chain, family)
    assert (found.size, found.black_hole) == (None, False)
    assert "no SYN to it is answered" in found.told
    nowhere = measured(chain, family, ip="192.0.2.1" if family == 4 else "2001:db8::1")
    assert (nowhere.size, nowhere.note) == (None, "no route to it here")


def test_udp_claims_nothing_either(chain: Chain) -> None:
    with chain.rule("r2", 6, "FORWARD -p udp -j DROP"):
        found = by_udp(chain, 6)
    assert (found.size, found.black_hole) == (None, False)
    assert found.told.startswith(f"no packet to {chain.server(6)} was answered")


@families
def test_a_stale_size_in_the_kernel_is_told(chain: Chain, family: int) -> None:
    """What it learnt of a link that is gone."""
    with ExitStack() as small:
        small.enter_context(mtu(chain, {"r2": 1300}))
        assert by_udp(chain, family).size == 1300
        chain.run("r2", "ip link set east mtu 1500")
        found = measured(chain, family)
    assert (found.size, found.known) == (1500, 1300)
    assert "the kernel here holds 1300" in found.told
    assert measured(chain, family).known == 1500


@families
def test_losses_are_no_black_hole(chain: Chain, family: int) -> None:
    lossy = "FORWARD -p tcp --syn -m statistic --mode nth --every 3 --packet 2 -j DROP"
    with chain.rule("r1", family, lossy):
        assert [measured(chain, family).size for _ in range(2)] == [1500] * 2
        with mtu(chain, {"r2": 1413}):
            assert [measured(chain, family).size for _ in range(2)] == [1413] * 2


def test_loopback_has_its_own_size(chain: Chain) -> None:
    (found,) = path_mtus([Aim("127.0.0.1", 9)], seconds=0.2, namespace=chain.namespace("server"))
    assert (found.interface, found.interface_mtu, found.size) == ("lo", 65536, 65535)


def test_many_addresses_at_once_find_the_same(chain: Chain) -> None:
    with mtu(chain, {"r2": 1400}):
        aims = [Aim(chain.server(family), port) for port in (8080, 81) for family in (4, 6)] * 4
        found = path_mtus(aims, seconds=0.2, namespace=chain.namespace("client"))
    assert {one.size for one in found} == {1400}
