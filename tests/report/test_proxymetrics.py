"""Metrics of what ``proxy`` carries."""

from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort
from svcdoctor.proxy.serving.wire import LATENCY_BUCKETS, Counters, EndpointCounts, PortCounts
from svcdoctor.report.proxymetrics import as_prometheus

WEB = ServedPort(
    "shop/web:80/TCP/4",
    "TCP",
    (Listen("127.0.0.1", 80, "local"),),
    (Backend("10.0.0.1", 80), Backend("10.0.0.2", 80)),
    (Backend("10.0.0.1", 80),),
)
DIALS = (3, 1, *(0 for _ in LATENCY_BUCKETS[2:]), 2)
COUNTS = EndpointCounts("[fd00::1]:80", 'shop/"web"', 6, 2, 5, 100, 200, 12.3456789, DIALS)
WHERE = 'namespace="shop",service="web",port="80",protocol="TCP",family="IPv4"'
ENDPOINT = f'{WHERE},endpoint="[fd00::1]:80",pod="shop/\\"web\\""'


def test_what_was_carried():
    counters = Counters(0, 2, False, (PortCounts(WEB.key, (COUNTS,), 1, 2, 3),))
    lines = as_prometheus([WEB], counters, True).splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    expected = {
        "healthy": "1",
        f"endpoints{{{WHERE}}}": "2",
        f"connections_active{{{ENDPOINT}}}": "2",
        f"connections_total{{{ENDPOINT}}}": "6",
        f"endpoint_failures_total{{{ENDPOINT}}}": "5",
        f"sent_bytes_total{{{ENDPOINT}}}": "100",
        f"received_bytes_total{{{ENDPOINT}}}": "200",
        f'clients_refused_total{{{WHERE},reason="source_ranges"}}': "1",
        f'clients_refused_total{{{WHERE},reason="no_endpoint"}}': "2",
        f'clients_refused_total{{{WHERE},reason="limit"}}': "3",
        f'dial_seconds_bucket{{{ENDPOINT},le="0.001"}}': "3",
        f'dial_seconds_bucket{{{ENDPOINT},le="5.0"}}': "4",
        f'dial_seconds_bucket{{{ENDPOINT},le="+Inf"}}': "6",
        f"dial_seconds_sum{{{ENDPOINT}}}": "12.345679",
        f"dial_seconds_count{{{ENDPOINT}}}": "6",
    }
    assert {f"svcdoctor_proxy_{name}": value for name, value in expected.items()}.items() <= samples.items()
    assert len([line for line in lines if "_bucket{" in line]) == len(LATENCY_BUCKETS) + 1


def test_every_family_is_described_once():
    text = as_prometheus([], Counters(0, 0, False, ()), False)
    named = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert named == [line.split()[2] for line in text.splitlines() if line.startswith("# HELP ")]
    assert len(named) == len(set(named)) == 9
    assert "svcdoctor_proxy_healthy 0\n" in text
