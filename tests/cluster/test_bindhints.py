"""What a container's environment says of its ports."""

import msgspec
import pytest

from svcdoctor.cluster.bindhints import ports_hint
from svcdoctor.model.pod import Container, ContainerPort


def container(env, *ports):
    raw = msgspec.Raw(msgspec.json.encode([{"name": k, "value": v} for k, v in env.items()]))
    return Container(
        name="c", env=raw, ports=tuple(ContainerPort(container_port=n, protocol=p) for n, p in ports)
    )


@pytest.mark.parametrize(
    ("env", "ports", "protocol", "expected"),
    [
        ({"HTTP_PORTS": "8080, 9090"}, [(8080, "TCP")], "TCP", {8080, 9090}),
        ({"PORTS": "8080"}, [(8080, "TCP"), (53, "UDP")], "TCP", {8080}),
        ({"UDP_PORTS": "53"}, [(53, "UDP")], "UDP", {53}),
        ({"UDP_PORTS": "53"}, [(53, "TCP")], "TCP", None),
        ({"PORT": "8080"}, [(8080, "TCP")], "TCP", None),  # one port is not the list of all
        ({"HTTP_PORTS": "8080"}, [(8080, "TCP"), (9090, "TCP")], "TCP", None),  # not every declared one
        ({"HTTP_PORTS": "8080"}, [], "TCP", None),
        ({"REDIS_PORTS": "6379"}, [(8080, "TCP")], "TCP", None),  # another service's
        ({"HTTP_PORTS": "8080-8090"}, [(8080, "TCP")], "TCP", None),
    ],
)
def test_a_list_of_ports_counts_where_it_holds_every_declared_one(env, ports, protocol, expected):
    found = ports_hint(container(env, *ports), protocol)
    assert (set(found[1]) if found else None) == expected


def test_no_environment_says_nothing():
    assert ports_hint(Container(name="c"), "TCP") is None
    assert ports_hint(None, "TCP") is None
