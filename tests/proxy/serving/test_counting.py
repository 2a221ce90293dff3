"""Counts of several workers as those of one."""

from svcdoctor.proxy.serving.counting import ended, total
from svcdoctor.proxy.serving.wire import Counters, EndpointCounts, PortCounts


def counts(pid, *ports, active=0, draining=False):
    return Counters(pid, active, draining, ports)


def endpoint(address, n, active=0):
    return EndpointCounts(address, "shop/a", n, active, n, 10 * n, 100 * n, n / 2, (n, 0, n))


def test_endpoints_and_refusals_are_summed_by_port():
    one = counts(1, PortCounts("a", (endpoint("x", 1, 1), endpoint("y", 2)), 1, 2, 3), active=1)
    two = counts(
        2, PortCounts("a", (endpoint("x", 3),), 10, 20, 30), PortCounts("b", ()), active=4, draining=True
    )
    assert total([one, two]) == counts(
        0,
        PortCounts("a", (endpoint("x", 4, 1), endpoint("y", 2)), 11, 22, 33),
        PortCounts("b", ()),
        active=5,
        draining=True,
    )
    assert total([]) == counts(0)


def test_a_worker_that_has_ended_leaves_what_it_counted_of_ports_that_are_still_served():
    gone = counts(
        1, PortCounts("a", (endpoint("x", 1, 1),), 1), PortCounts("b", (endpoint("y", 1),)), active=1
    )
    assert ended(gone, {"a"}) == counts(0, PortCounts("a", (endpoint("x", 1),), 1))
