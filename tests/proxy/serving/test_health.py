"""Answers about health: kube-proxy's, to the byte."""

import json

from msgspec import structs
from served_world import served

from svcdoctor.proxy.serving.health import Healthz, endpoints_of, proxy_answer, service_answer
from svcdoctor.proxy.serving.served import Backend, Listen


def answers(healthz, path):
    found = []
    healthz(path, found.append)
    return found[0].status, found[0].text


def test_what_a_health_check_node_port_answers():
    found = service_answer("shop", "web", 2, True)
    assert (found.status, found.content_type) == (200, "application/json")
    assert found.headers == {"X-Content-Type-Options": "nosniff", "X-Load-Balancing-Endpoint-Weight": "2"}
    assert found.text == (
        '{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n\t"localEndpoints": 2,\n'
        '\t"serviceProxyHealthy": true\n}'
    )
    assert service_answer("shop", "web", 0, True).status == 503
    unwell = service_answer("shop", "web", 2, False)
    assert (unwell.status, json.loads(unwell.text)["serviceProxyHealthy"]) == (503, False)


def test_what_the_proxy_itself_answers():
    found = proxy_answer(True, 1.5, 86400.25)
    assert found.text == (
        '{"lastUpdated": "1970-01-01 00:00:01.500000 +0000 UTC","currentTime": "1970-01-02 00:00:00.250000 +0000 UTC",'
        ' "nodeEligible": true}'
    )
    assert proxy_answer(False, 1.5, 2).status == 503


def test_endpoints_count_where_a_client_from_elsewhere_gets_them():
    port = structs.replace(
        served(backends=("10.0.0.1", "10.0.0.2", "10.0.0.3")),
        local=(Backend("10.0.0.1", 8080),),
        external_local=True,
    )
    six = structs.replace(served(ip="::1", backends=("fd00::1",)), key="shop/cart:80/TCP/6")
    assert endpoints_of([port, six]) == {("shop", "cart"): 4}
    outside = structs.replace(port, listens=(Listen("192.0.2.1", 30080, "nodePort"),))
    assert endpoints_of([outside]) == {("shop", "cart"): 1}


def test_healthz_of_one_service_and_of_many():
    ports, healthy, now = [served()], [True], [100.0]
    healthz = Healthz(lambda: ports, lambda: healthy[0], lambda: now[0])
    for path in ("/healthz", "/livez", "/", "/shop/cart"):
        assert answers(healthz, path) == (200, service_answer("shop", "cart", 1, True).text)
    assert answers(healthz, "/shop/other") == (
        404,
        "health is at /healthz, and of one Service at /NAMESPACE/NAME\n",
    )
    ports.append(served("web"))
    assert answers(healthz, "/healthz") == (200, proxy_answer(True, 100, 100).text)
    assert answers(healthz, "/shop/web")[0] == 200
    healthy[0], now[0] = False, 130.0
    assert answers(healthz, "/healthz") == (503, proxy_answer(False, 100, 130).text)
    assert answers(healthz, "/shop/web")[0] == 503
