"""Which words of ``proxy`` go together."""

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import ObjectTarget
from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.serving import words
from svcdoctor.proxy.serving.addresses import Where
from svcdoctor.proxy.serving.choosing import Selection
from svcdoctor.proxy.serving.planned import Options
from svcdoctor.sources.connection import Connection

WEB = ObjectTarget("Service", "web", "")
OPTIONS = Options(Where().listens, balance=BalancerPolicy.LEAST_CONN, limit=3, proxy_protocol=True)


def refused(call, *arguments):
    with pytest.raises(SvcdoctorError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    return caught.value.message


def test_options_of_the_other_mode():
    user_space = {"--dial": False, "--workers": True}
    words.check_mode(False, False, user_space)
    words.check_mode(True, True, {"--dial": False})
    assert refused(words.check_mode, True, False, user_space) == (
        "--workers belongs to user space; leave it or --mode nftables out"
    )
    assert (
        refused(words.check_mode, False, True, {})
        == "--takeover belongs to kernel mode; say --mode nftables, too"
    )


def test_what_is_selected():
    assert words.selected(WEB, False, "shop", None, False) == Selection("shop", "web")
    assert words.selected(None, True, "", "app=web", False) == Selection("", "", "app=web")
    assert words.selected(None, False, "", None, True) == Selection()


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (
            (None, False, "", None, False),
            "proxy what? say svc/NAME, or for many Services -n NAMESPACE, -l LABELS or -A",
        ),
        ((None, True, "shop", None, False), "-A is every namespace, -n is one; say one of them"),
        ((WEB, True, "", None, False), "svc/NAME is one Service; leave it out, or leave -A and -l out"),
        ((WEB, False, "", "app=web", False), "svc/NAME is one Service; leave it out, or leave -A and -l out"),
        ((None, True, "", None, True), "--endpoints are those of one Service; leave -A and -l out"),
        ((None, False, "", "a in b", False), "-l 'a in b': "),
    ],
)
def test_what_cannot_be_selected(arguments, problem):
    assert refused(words.selected, *arguments).startswith(problem)


def test_where():
    """``only``, ``many``, ``listen``, ``node_ports``, ``cluster_ips``, ``kernel``."""
    loopback = words.where("http", False, None, False, False, False)
    assert {a.ip for a in loopback.addresses} <= {"127.0.0.1", "::1"} and loopback.addresses
    assert (loopback.port, loopback.only) == (0, "http")
    for many, kernel in ((True, False), (False, True)):
        every = words.where("", many, None, False, False, kernel)
        assert every.cluster_ips and every.node_ports and every.others and not every.addresses
        assert every.user_space is not kernel
    one = words.where("", True, None, True, False, False)
    assert (one.node_ports, one.cluster_ips, one.others) == (True, False, False)
    assert refused(words.where, "", False, "80", True, False, False) == (
        "--listen and --nodeport exclude each other; say one of them"
    )
    assert refused(words.where, "", True, "80", False, False, False) == (
        "--listen is for one Service; say svc/NAME, or --nodeport or --clusterip for many"
    )


def test_endpoints_alone():
    place = words.where("", False, "[::1]:5353/udp", False, False, False)
    [port] = words.fixed_ports("10.0.0.1:53,[fd00::1]:53", Selection("shop", "dns"), place, OPTIONS)
    assert (port.key, port.protocol) == ("shop/dns:5353/UDP/6", "UDP")
    assert list(map(str, port.cluster)) == ["10.0.0.1:53", "[fd00::1]:53"]
    assert (port.balance, port.limit, port.proxy_protocol) == (BalancerPolicy.LEAST_CONN, 3, True)
    kernel = words.where("", False, "192.0.2.1:80", False, False, True)
    assert refused(words.fixed_ports, "[fd00::1]:80", Selection(), kernel, OPTIONS) == (
        "--endpoints: [fd00::1]:80 is of another IP family than 192.0.2.1:80, and rules do not go from one to the "
        "other; leave --mode nftables out"
    )
    nowhere = words.where("", False, None, False, False, False)
    assert refused(words.fixed_ports, "10.0.0.1:80", Selection(), nowhere, OPTIONS) == (
        "--endpoints asks no API server for a Service's ports; say --listen ADDR:PORT"
    )


def test_an_endpoint_has_its_limit_from_all_workers_together():
    assert words.processes(4, None) == (4, 0)
    assert words.processes(4, 100) == (4, 25)
    assert words.processes(4, 3) == (3, 1)
    assert 1 <= words.processes(None, None)[0] <= words.MOST_WORKERS


def test_workers_find_the_api_server_by_the_kubeconfig_alone():
    words.check_found_again(Connection(context="prod", namespace="shop", request_timeout="5s"))
    assert "write the connection's flags into one" in refused(
        words.check_found_again, Connection(token="secret")
    )
