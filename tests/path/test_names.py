"""Names and Ingress rules, against the wording of their specifications."""

import pytest

from svcdoctor.model.ingress import (
    Ingress,
    IngressBackend,
    IngressHTTP,
    IngressPath,
    IngressRule,
    IngressSpec,
)
from svcdoctor.path.ingress import host_matches, path_matches, route_for
from svcdoctor.path.names import candidates


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("web", "web.ns.svc.cluster.local"),
        ("web.shop", "web.shop.svc.cluster.local"),
        ("web.shop.svc", "web.shop.svc.cluster.local"),
        ("web.shop.svc.cluster.local", "web.shop.svc.cluster.local"),
        ("WEB.Shop.svc.cluster.local.", "web.shop.svc.cluster.local"),
        ("db-0.db.shop.svc.cluster.local", "db-0.db.shop.svc.cluster.local"),
        ("10-244-1-7.shop.pod.cluster.local", "10-244-1-7.shop.pod.cluster.local"),
        ("fd00--1.shop.pod.cluster.local", "fd00--1.shop.pod.cluster.local"),
    ],
)
def test_a_name_stands_for_a_record(name, first):
    found = candidates(name, "ns")
    assert first in [c.fqdn for c in found]


def test_two_labels_may_be_a_pod_of_a_headless_service_in_the_own_namespace():
    fqdns = [c.fqdn for c in candidates("db-0.db", "ns")]
    assert fqdns == ["db-0.db.ns.svc.cluster.local", "db-0.db.svc.cluster.local"]


@pytest.mark.parametrize(
    "name", ["a.b.example.com", "cluster.local", "x.y.z.svc.example.com", "1-2.ns.pod.cluster.local"]
)
def test_an_outside_name_is_none_of_ours(name):
    assert candidates(name, "ns") == ()


@pytest.mark.parametrize(
    ("kind", "rule", "path", "taken"),
    [
        # The table of "Examples" in the Kubernetes documentation of Ingress.
        ("Prefix", "/", "/anything", True),
        ("Exact", "/foo", "/foo", True),
        ("Exact", "/foo", "/bar", False),
        ("Exact", "/foo", "/foo/", False),
        ("Exact", "/foo/", "/foo", False),
        ("Prefix", "/foo", "/foo", True),
        ("Prefix", "/foo", "/foo/", True),
        ("Prefix", "/foo/", "/foo", True),
        ("Prefix", "/foo/", "/foo/", True),
        ("Prefix", "/aaa/bb", "/aaa/bbb", False),
        ("Prefix", "/aaa/bbb", "/aaa/bbb", True),
        ("Prefix", "/aaa/bbb/", "/aaa/bbb", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbb/ccc", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbbxyz", False),
        ("ImplementationSpecific", "/foo", "/foo/bar", True),
    ],
)
def test_path_types(kind, rule, path, taken):
    assert path_matches(IngressPath(path=rule, path_type=kind), path) is taken


@pytest.mark.parametrize(
    ("rule", "host", "taken"),
    [
        ("", "any.example.com", True),
        ("foo.bar.com", "foo.bar.com", True),
        ("Foo.bar.com", "foo.BAR.com", True),
        ("*.foo.com", "bar.foo.com", True),
        ("*.foo.com", "baz.bar.foo.com", False),
        ("*.foo.com", "foo.com", False),
    ],
)
def test_hosts(rule, host, taken):
    assert host_matches(rule, host) is taken


def test_the_longest_path_wins_and_exact_before_prefix():
    paths = tuple(
        IngressPath(path=p, path_type=t, backend=IngressBackend(service_name=f"{t}{p}"))
        for p, t in [("/", "Prefix"), ("/a/b", "Prefix"), ("/a", "Prefix"), ("/a/b", "Exact")]
    )
    ingress = Ingress(
        spec=IngressSpec(
            rules=(IngressRule(host="", http=IngressHTTP(paths=paths)),),
            default_backend=IngressBackend(service_name="default"),
        )
    )
    named = {p: route_for(ingress, None, p).backend.service_name for p in ("/a/b", "/a/b/c", "/a", "/x")}
    assert named == {"/a/b": "Exact/a/b", "/a/b/c": "Prefix/a/b", "/a": "Prefix/a", "/x": "Prefix/"}
    only_default = Ingress(spec=IngressSpec(default_backend=IngressBackend(service_name="default")))
    assert route_for(only_default, "h", "/").backend.service_name == "default"
