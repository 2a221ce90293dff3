"""The records of the specification's schema 1.1.0, section by section, and as a zone that BIND serves."""

import json
import sys
from ipaddress import ip_address

import pytest
from named_server import SERVER4, named_server

from svcdoctor.dns.records import records, service_records
from svcdoctor.model.base import Meta
from svcdoctor.model.endpoints import (
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    SliceEndpoint,
)
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.service import Service, ServicePort, ServiceSpec
from svcdoctor.model.snapshot import Snapshot

DOMAIN = "cluster.local"
HTTP, DNS = ServicePort(port=80, name="http"), ServicePort(port=53, name="dns", protocol="UDP")
UNREADY = EndpointConditions(ready=False, serving=False)


def service(name, **spec):
    spec.setdefault("ports", (HTTP, DNS, ServicePort(port=9)))
    return Service(metadata=Meta(name=name, namespace="shop"), spec=ServiceSpec(**spec))


def endpoint(ip, hostname=None, conditions=EndpointConditions()):  # noqa: B008
    return SliceEndpoint(addresses=(ip,), hostname=hostname, conditions=conditions)


def a_slice(name, *endpoints, family="IPv4"):
    ports = (EndpointPort(name="http", port=8080), EndpointPort(name="dns", port=5353, protocol="UDP"))
    return EndpointSlice(
        metadata=Meta(name=f"{name}-{family}", namespace="shop", labels={"kubernetes.io/service-name": name}),
        address_type=family,
        endpoints=endpoints,
        ports=ports,
    )


def snapshot(*objects):
    held = {
        Kind.SERVICE: tuple(o for o in objects if isinstance(o, Service)),
        Kind.ENDPOINT_SLICE: tuple(o for o in objects if isinstance(o, EndpointSlice)),
        Kind.ENDPOINTS: tuple(o for o in objects if isinstance(o, Endpoints)),
    }
    known = (Kind.SERVICE,) if held[Kind.ENDPOINTS] else (Kind.SERVICE, Kind.ENDPOINT_SLICE)
    return Snapshot(held, {kind: (Known(),) for kind in known})


WEB = service("web", cluster_ips=("10.96.0.1", "fd00:10:96::1"), cluster_ip="10.96.0.1")
DB = service("db", cluster_ip="None")
ALL = service("all", cluster_ip="None", publish_not_ready_addresses=True)
OUT = service("out", type="ExternalName", external_name="www.example.org.", ports=())
SLICES = (
    a_slice("web", endpoint("10.244.0.1", "never-asked")),
    a_slice(
        "db", endpoint("10.244.1.1", "db-0"), endpoint("10.244.1.2"), endpoint("10.244.1.3", "db-2", UNREADY)
    ),
    a_slice("db", endpoint("fd00::1:1", "db-0"), endpoint("fd00::1:2"), family="IPv6"),
    a_slice("all", endpoint("10.244.2.1", "a", UNREADY)),
)
CLUSTER = snapshot(WEB, DB, ALL, OUT, *SLICES)


def everything(held):
    return {(name, rtype, data) for (name, rtype), all_data in held.data.items() for data in all_data}


def test_a_cluster_ip():
    base = "web.shop.svc.cluster.local"
    assert everything(service_records(CLUSTER, WEB, DOMAIN)) == {
        (base, "A", "10.96.0.1"),
        (base, "AAAA", "fd00:10:96::1"),
        (f"_http._tcp.{base}", "SRV", f"0 100 80 {base}."),
        (f"_dns._udp.{base}", "SRV", f"0 100 53 {base}."),
        ("1.0.96.10.in-addr.arpa", "PTR", f"{base}."),
        (ip_address("fd00:10:96::1").reverse_pointer, "PTR", f"{base}."),
    }


def test_a_headless_service_has_its_ready_endpoints():
    base = "db.shop.svc.cluster.local"
    names = {"10.244.1.1": "db-0", "10.244.1.2": "10-244-1-2", "fd00::1:1": "db-0", "fd00::1:2": "fd00--1-2"}
    expected = set()
    for ip, name in names.items():
        rtype = "AAAA" if ":" in ip else "A"
        expected |= {
            (base, rtype, ip),
            (f"{name}.{base}", rtype, ip),
            (ip_address(ip).reverse_pointer, "PTR", f"{name}.{base}."),
            (f"_http._tcp.{base}", "SRV", f"0 100 8080 {name}.{base}."),
            (f"_dns._udp.{base}", "SRV", f"0 100 5353 {name}.{base}."),
        }
    assert everything(service_records(CLUSTER, DB, DOMAIN)) == expected


def test_unready_ones_where_the_service_publishes_them():
    held = service_records(CLUSTER, ALL, DOMAIN)
    assert held.get("all.shop.svc.cluster.local", "A") == ("10.244.2.1",)
    assert held.get("a.all.shop.svc.cluster.local", "A") == ("10.244.2.1",)


def test_without_a_ready_endpoint_the_name_does_not_exist():
    dead = snapshot(DB, a_slice("db", endpoint("10.244.1.3", "db-2", UNREADY)))
    assert not records(dead, DOMAIN).exists("db.shop.svc.cluster.local")


def test_an_external_name_and_the_schema():
    held = records(CLUSTER, DOMAIN)
    assert held.get("out.shop.svc.cluster.local", "CNAME") == ("www.example.org.",)
    assert held.get("dns-version.cluster.local", "TXT") == ('"1.1.0"',)


def test_names_made_of_addresses():
    held = records(CLUSTER, DOMAIN)
    name = "10-244-1-7.shop.pod.cluster.local"
    assert held.get(name, "A") == ("10.244.1.7",) and held.get(name, "AAAA") == () and held.exists(name)
    for wrong in (
        "10-244-1-700.shop.pod.cluster.local",
        "10-244-1-7.shop.pod.corp",
        "web.shop.pod.cluster.local",
    ):
        assert held.get(wrong, "A") == () and not held.exists(wrong)


def test_what_exists_and_what_lies_inside():
    held = records(CLUSTER, "Cluster.Local.")
    assert held.domain == DOMAIN
    for name in (
        "shop.svc.cluster.local",
        "svc.cluster.local",
        "pod.cluster.local",
        "CLUSTER.local.",
        "WEB.shop.svc.cluster.local.",
    ):
        assert held.exists(name) and held.inside(name), name
    for name in ("nope.svc.cluster.local", "eb.shop.svc.cluster.local", "local", "example.org"):
        assert not held.exists(name), name
    assert held.exists("10.in-addr.arpa") and not held.inside("10.in-addr.arpa")
    assert not held.inside("notcluster.local")
    assert held.get("Web.Shop.svc.cluster.local.", "A") == ("10.96.0.1",)


def test_v1_endpoints_where_no_slices_are_held():
    old = Endpoints(
        metadata=Meta(name="db", namespace="shop"),
        subsets=(
            EndpointSubset(
                addresses=(EndpointAddress(ip="10.244.1.1", hostname="db-0"),),
                not_ready_addresses=(EndpointAddress(ip="10.244.1.9"),),
                ports=(EndpointPort(name="http", port=8080),),
            ),
        ),
    )
    held = service_records(snapshot(DB, old), DB, DOMAIN)
    assert held.get("db.shop.svc.cluster.local", "A") == ("10.244.1.1",)
    assert held.get("_http._tcp.db.shop.svc.cluster.local", "SRV") == (
        "0 100 8080 db-0.db.shop.svc.cluster.local.",
    )


def test_a_service_that_has_no_address_yet_and_one_with_garbage():
    odd = service("odd", cluster_ips=("", "not an address"))
    assert service_records(snapshot(odd), odd, DOMAIN).data == {}
    fqdn = snapshot(DB, a_slice("db", endpoint("db.example.org"), family="FQDN"))
    assert service_records(fqdn, DB, DOMAIN).data == {}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """BIND with every record of the cluster, as the zone files that they are."""
    held = records(CLUSTER, DOMAIN)
    lines = [f"{name}. {rtype} {d}\n" for (name, rtype), data in held.data.items() for d in data]
    zones = {
        zone: "".join(x for x in lines if x.split(" ")[0].endswith(f"{zone}.")) for zone in (DOMAIN, "arpa")
    }
    with named_server(tmp_path_factory.mktemp("records"), zones) as server:
        yield held, server


ASKS = """
import json, sys, dns.message, dns.query, dns.rcode
found = []
for name, rtype in json.load(sys.stdin):
    answer = dns.query.udp(dns.message.make_query(name, rtype), sys.argv[1], timeout=5)
    data = sorted(d.to_text() for r in answer.answer for d in r)
    found.append([name, rtype, dns.rcode.to_text(answer.rcode()), data])
print(json.dumps(found))
"""


def test_a_real_server_takes_them_for_a_zone_and_answers_the_same(served):
    held, server = served
    types = ("A", "AAAA", "SRV", "PTR", "TXT")
    above = {"local", "arpa", f"pod.{DOMAIN}"}  # not BIND's, or without a name below it here
    names = [*sorted(held.names - above), f"nope.svc.{DOMAIN}", f"nope.{DOMAIN}", f"x.web.shop.svc.{DOMAIN}"]
    names.remove(f"out.shop.svc.{DOMAIN}")  # BIND answers whatever type with the CNAME
    done = server.run(
        sys.executable, "-c", ASKS, SERVER4, stdin=json.dumps([(f"{n}.", t) for n in names for t in types])
    )
    answers = json.loads(done.stdout)
    assert len(answers) == len(names) * len(types)
    for name, rtype, rcode, data in answers:
        assert data == sorted(held.get(name, rtype)), (name, rtype)
        assert rcode == ("NOERROR" if held.exists(name) else "NXDOMAIN"), (name, rtype)
