"""The words of a target and of a client."""

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import AddressTarget, ClientSpec, ObjectTarget
from svcdoctor.model.trace import ClientKind
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", ObjectTarget("Service", "web", "ns")),
        ("web:http", ObjectTarget("Service", "web", "ns", "http")),
        ("svc/web", ObjectTarget("Service", "web", "ns")),
        ("service/web:80", ObjectTarget("Service", "web", "ns", "80")),
        ("services/web", ObjectTarget("Service", "web", "ns")),
        ("deploy/web", ObjectTarget("Deployment", "web", "ns")),
        ("deployment.apps/web", ObjectTarget("Deployment", "web", "ns")),
        ("sts/db:5432", ObjectTarget("StatefulSet", "db", "ns", "5432")),
        ("pod/web-1:8080", ObjectTarget("Pod", "web-1", "ns", "8080")),
        ("ingress/shop", ObjectTarget("Ingress", "shop", "ns")),
        ("ingress/test-ingress/api/hello", ObjectTarget("Ingress", "test-ingress", "ns", None, "/api/hello")),
        ("httproute/shop", ObjectTarget("HTTPRoute", "shop", "ns")),
        (
            "httproutes.gateway.networking.k8s.io/shop/a/b",
            ObjectTarget("HTTPRoute", "shop", "ns", None, "/a/b"),
        ),
        ("grpcroute/shop/v1.Cart/Add", ObjectTarget("GRPCRoute", "shop", "ns", None, "/v1.Cart/Add")),
        ("web.shop", AddressTarget("web.shop", None)),
        ("web.shop:80", AddressTarget("web.shop", 80)),
        ("192.168.0.6:31372", AddressTarget("192.168.0.6", 31372)),
        ("192.168.0.6:31372/actuator/info", AddressTarget("192.168.0.6", 31372, None, "/actuator/info")),
        ("10.96.0.1", AddressTarget("10.96.0.1", None)),
        ("[fd00::1]:80", AddressTarget("fd00::1", 80)),
        ("[FD00:0::1]:80", AddressTarget("fd00::1", 80)),
        ("fd00::1", AddressTarget("fd00::1", None)),
        ("http://web:32111", AddressTarget("web", 32111, "http", "/")),
        ("https://web.shop/api", AddressTarget("web.shop", 443, "https", "/api")),
        ("http://[fd00::1]:8080/x", AddressTarget("fd00::1", 8080, "http", "/x")),
    ],
)
def test_targets(text, expected):
    assert parse_target(text, "ns") == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no target"),
        ("foo/bar", "unknown type 'foo'"),
        ("secret/x", "unknown type 'secret'"),
        ("svc/", "is no target"),
        ("svc/web:", "no port after the colon"),
        ("10.0.0.1:0", "is no port"),
        ("10.0.0.1:65536", "is no port"),
        ("10.0.0.1:http", "is no port"),
        ("ftp://web", "no default port"),
        ("http://we b", "is no target"),
        ("http://x:99999", "not a URL"),
        ("svc/../../etc/passwd", "is no target"),
        ("-n", "is no target"),
    ],
)
def test_what_is_no_target_says_so_in_one_line(text, says):
    with pytest.raises(SvcdoctorError) as e:
        parse_target(text, "ns")
    assert says in e.value.message
    assert "\n" not in e.value.message
    assert e.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("external", ClientSpec(ClientKind.EXTERNAL)),
        ("external/203.0.113.7", ClientSpec(ClientKind.EXTERNAL, ip="203.0.113.7")),
        ("external/FD00::0007", ClientSpec(ClientKind.EXTERNAL, ip="fd00::7")),
        ("node/n1", ClientSpec(ClientKind.NODE, "n1")),
        ("pod/web-1", ClientSpec(ClientKind.POD, "web-1")),
        ("pod/shop/web-1", ClientSpec(ClientKind.POD, "web-1", "shop")),
        ("pod", ClientSpec(ClientKind.POD)),
    ],
)
def test_clients(text, expected):
    assert parse_client(text) == expected


@pytest.mark.parametrize("text", ["", "host/x", "external/nowhere", "pod/a/b/c", "node/a/b"])
def test_what_is_no_client_says_so(text):
    with pytest.raises(SvcdoctorError):
        parse_client(text)
