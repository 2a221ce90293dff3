"""The words of ``forward``: tables of what there is, and what is refused."""

from __future__ import annotations

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.proxy.arguments import (
    ForwardTarget,
    ListenAddress,
    parse_addresses,
    parse_forward_target,
    parse_port,
)

TARGETS = {
    "mypod": (Kind.POD, "mypod"),
    "my.pod-0": (Kind.POD, "my.pod-0"),
    "deploy": (Kind.POD, "deploy"),
    "pod/x": (Kind.POD, "x"),
    "po/x": (Kind.POD, "x"),
    "pods/x": (Kind.POD, "x"),
    "Pod/x": (Kind.POD, "x"),
    "pods.v1./x": (Kind.POD, "x"),
    "svc/x": (Kind.SERVICE, "x"),
    "service/x": (Kind.SERVICE, "x"),
    "services/x": (Kind.SERVICE, "x"),
    "deploy/x": (Kind.DEPLOYMENT, "x"),
    "deployment/x": (Kind.DEPLOYMENT, "x"),
    "deployments/x": (Kind.DEPLOYMENT, "x"),
    "deployment.apps/x": (Kind.DEPLOYMENT, "x"),
    "deployments.v1.apps/x": (Kind.DEPLOYMENT, "x"),
    "rs/x": (Kind.REPLICA_SET, "x"),
    "replicaset.apps/x": (Kind.REPLICA_SET, "x"),
    "sts/x": (Kind.STATEFUL_SET, "x"),
    "statefulsets/x": (Kind.STATEFUL_SET, "x"),
    "ds/x": (Kind.DAEMON_SET, "x"),
    "daemonset/x": (Kind.DAEMON_SET, "x"),
    "rc/x": (Kind.REPLICATION_CONTROLLER, "x"),
    "replicationcontroller/x": (Kind.REPLICATION_CONTROLLER, "x"),
    "job/x": (Kind.JOB, "x"),
    "jobs.batch/x": (Kind.JOB, "x"),
}


@pytest.mark.parametrize("text", TARGETS)
def test_targets(text: str) -> None:
    target = parse_forward_target(text)
    assert target == ForwardTarget(*TARGETS[text])
    assert parse_forward_target(str(target)) == target


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the name is missing"),
        ("svc/", "the name is missing"),
        ("/x", "unknown type ''"),
        ("pod/a/b", "'a/b' is no object's name"),
        ("svc/web:80", "'web:80' is no object's name"),
        ("web:80", "'web:80' is no object's name"),
        ("svc/Web", "'Web' is no object's name"),
        ("-x", "'-x' is no object's name"),
        ("pod/x\n", "is no object's name"),
        (f"pod/{'a' * 254}", "is no object's name"),
        ("shop/web", "unknown type 'shop'"),
        ("pod.apps/x", "unknown type 'pod.apps'"),
        ("deploy.v2.apps/x", "unknown type 'deploy.v2.apps'"),
        ("cronjob/x", "unknown type 'cronjob'"),
        ("ingress/x", "ingress has no pods of its own; name the Service behind it: svc/NAME"),
    ],
)
def test_what_is_no_target(text: str, problem: str) -> None:
    with pytest.raises(SvcdoctorError) as error:
        parse_forward_target(text)
    assert error.value.message.startswith(f"target {text!r}: ") and "\n" not in error.value.message
    assert problem in error.value.message and "svc" in error.value.message
    assert error.value.exit_code == 2


PORTS = {
    "5000": (5000, None, "TCP"),
    "05000": (5000, None, "TCP"),
    "8888:5000": (5000, 8888, "TCP"),
    ":5000": (5000, 0, "TCP"),
    "0:5000": (5000, 0, "TCP"),
    "5000:5000": (5000, None, "TCP"),
    "65535:65535": (65535, None, "TCP"),
    "https": ("https", None, "TCP"),
    "8443:https": ("https", 8443, "TCP"),
    ":https": ("https", 0, "TCP"),
    "https:https": ("https", None, "TCP"),
    "80a": ("80a", None, "TCP"),
    "53/udp": (53, None, "UDP"),
    "5353:53/UDP": (53, 5353, "UDP"),
    ":dns/udp": ("dns", 0, "UDP"),
    "80/tcp": (80, None, "TCP"),
}


@pytest.mark.parametrize("text", PORTS)
def test_ports(text: str) -> None:
    request = parse_port(text)
    assert (request.remote, request.local, request.protocol) == PORTS[text]
    assert request.text == text


BAD_PORTS = {
    "": "the remote port is missing",
    ":": "the remote port is missing",
    "5000:": "the remote port is missing",
    "0": "the remote port must not be 0",
    "00": "the remote port must not be 0",
    "1:0": "the remote port must not be 0",
    "65536": "'65536' is neither a port (1 to 65535) nor a port's name",
    "1:65536": "'65536' is neither",
    "9" * 5000: "is neither",
    "65536:1": "'65536' is no local port (0 to 65535)",
    "-1": "'-1' is neither",
    "1:-1": "'-1' is neither",
    "-1:1": "'-1' is no local port",
    "+80": "'+80' is neither",
    " 80": "' 80' is neither",
    "٨٠": "is neither",
    "HTTPS": "'HTTPS' is neither",
    "x" * 64: "is neither",
    "http:80": "'http' is no local port",
    "1:2:3": "more than one colon",
    "53/": "'' cannot be forwarded; say /tcp or /udp",
    "53/sctp": "'sctp' cannot be forwarded",
    "53/udp/x": "'udp/x' cannot be forwarded",
}


@pytest.mark.parametrize("text", BAD_PORTS, ids=lambda text: str(text)[:10])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(SvcdoctorError) as error:
        parse_port(text)
    assert error.value.message.startswith(f"port {text!r}: ") and BAD_PORTS[text] in error.value.message
    assert (
        "/tcp or /udp" in error.value.message or "say REMOTE, LOCAL:REMOTE or :REMOTE" in error.value.message
    )


ADDRESSES = {
    ("localhost",): [("127.0.0.1", False), ("::1", False)],
    ("0.0.0.0",): [("0.0.0.0", True)],
    ("::",): [("::", True)],
    ("localhost,10.19.21.23",): [("10.19.21.23", True), ("127.0.0.1", False), ("::1", False)],
    ("localhost", "127.0.0.1"): [("127.0.0.1", True), ("::1", False)],
    ("::1,localhost", "10.0.0.1"): [("10.0.0.1", True), ("127.0.0.1", False), ("::1", True)],
    ("127.0.0.1,127.0.0.1",): [("127.0.0.1", True)],
    ("::ffff:127.0.0.1", "0:0::1"): [("127.0.0.1", True), ("::1", True)],
}


@pytest.mark.parametrize("options", ADDRESSES, ids=",".join)
def test_addresses(options: tuple[str, ...]) -> None:
    assert list(parse_addresses(options)) == [ListenAddress(*pair) for pair in ADDRESSES[options]]


@pytest.mark.parametrize(
    "word", ["", "web", "[::1]", "fe80::1%lo", "10.0.0.0/8", "1", "127.0.0.1:80", " ::1", "LOCALHOST"]
)
def test_what_is_no_address(word: str) -> None:
    with pytest.raises(SvcdoctorError, match="is not an IP address; say --address") as error:
        parse_addresses(["127.0.0.1," + word])
    assert repr(word) in error.value.message


def test_no_address_at_all() -> None:
    with pytest.raises(SvcdoctorError, match="no address to listen on"):
        parse_addresses([])
