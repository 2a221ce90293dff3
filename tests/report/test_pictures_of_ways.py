"""Ways as pictures: what is alike stands together, what differs or fails is always seen."""

from __future__ import annotations

import re

from msgspec.structs import replace
from report_cluster import HEADLESS, INGRESS, cluster, screen, traced

from svcdoctor.model.trace import Result, Status
from svcdoctor.report.ways import pictures


def test_four_nodes_and_the_cluster_ip_lead_into_one_picture() -> None:
    trace = traced(cluster())
    (picture,) = pictures(trace.paths)
    assert [len(a.paths) for a in picture.approaches] == [1, 4]
    assert not picture.fan
    text = screen(trace)
    assert text.count("10.0.0.1:8080") == 1
    assert text.count("▼") == 1
    assert [f"node-{i}  192.168.0.{i + 1}:30080" in text for i in range(4)] == [True] * 4


def test_no_path_is_lost_and_none_is_told_twice() -> None:
    for snapshot in (cluster(dual=True, more=INGRESS), cluster(policy="Local"), cluster(service=HEADLESS)):
        trace = traced(snapshot)
        assert sorted(map(id, (p for pic in pictures(trace.paths) for p in pic.paths))) == sorted(
            map(id, trace.paths)
        )
        for picture in pictures(trace.paths):
            branched = [p for b in picture.branches for p in b.paths]
            assert sorted(map(id, branched)) == sorted(map(id, picture.paths))


def test_the_node_without_an_endpoint_is_apart_under_policy_local() -> None:
    text = screen(traced(cluster(policy="Local")), 120)
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if "192.168.0.4:30080" in line)
    told = lines[at] + lines[at + 1]
    assert "✘ dropped (timeout): externalTrafficPolicy Local and no endpoint on node-3  RUL009" in told
    for i in range(3):
        assert re.search(rf"node-{i}  192.168.0.{i + 1}:30080  ✔  100 %  10.0.0.{i + 1}:8080  web-{i}", text)
    assert "no SNAT: the pod sees the client's address" in text


def test_a_node_that_is_not_ready_is_marked_and_shares_the_endpoints() -> None:
    trace = traced(cluster(not_ready=(2,)))
    text = screen(trace)
    assert "! node-2  192.168.0.3:30080  the node is NotReady" in text
    assert text.count("10.0.0.1:8080") == 1
    assert len(pictures(trace.paths)) == 1


def test_the_families_have_each_their_picture_with_brackets_for_ipv6() -> None:
    trace = traced(cluster(dual=True))
    assert len(pictures(trace.paths)) == 2
    text = screen(trace)
    assert "Service shop/web  [fd00:96::7]:80 (http)" in text
    assert "node-3  [fd00:1::4]:30080" in text
    assert "[fd00:10::1]:8080" in text
    assert not re.search(r"(?<!\[)\bfd00:[0-9a-f:]+(?![0-9a-f:\]])", text)


def test_a_hundred_nodes_and_two_hundred_endpoints_fit_and_failing_ones_are_all_named() -> None:
    trace = traced(cluster(100, 200, undeclared=(150, 177), not_ready=(7, 77)))
    text = screen(trace)
    assert len(text.splitlines()) < 60
    for shown in ("web-150", "web-177", "! node-7 ", "! node-77 ", "these 2: doubtful"):
        assert shown in text
    assert "and 94 more nodes alike; all with -v" in text
    assert "and 192 more endpoints alike, 0.5 % each" in text
    everything = screen(trace, verbose=True)
    for i in range(200):
        assert re.search(rf"\bweb-{i}\b", everything)


def test_many_failing_nodes_are_packed_and_all_named() -> None:
    text = screen(traced(cluster(100, 3, policy="Local")))
    assert len(text.splitlines()) < 60
    assert "97 nodes, port 30080:" in text
    assert "no endpoint on this" in text
    for i in range(100):
        assert re.search(rf"\bnode-{i}\b", text)
    assert text.index("node-9,") < text.index("node-10,")


def test_many_failing_endpoints_among_others_are_all_named() -> None:
    failing = tuple(range(0, 60, 2))
    text = screen(traced(cluster(4, 60, undeclared=failing)))
    assert len(text.splitlines()) < 60
    for i in failing:
        assert re.search(rf"\bweb-{i}\b", text)
    assert "these 30: doubtful" in text


def test_where_all_fail_alike_a_few_stand_for_all() -> None:
    text = screen(traced(cluster(4, 60, undeclared=tuple(range(60)))))
    assert "all 60: doubtful: no container declares port 8080/TCP, only 9999/TCP" in text
    assert "! and 54 more endpoints alike, 1.7 % each; all with -v" in text


def test_many_nodes_with_their_own_endpoints_are_counted() -> None:
    text = screen(traced(cluster(20, 60, policy="Local")))
    assert "and 16 more nodes, each with its own endpoints; all with -v" in text
    assert len(text.splitlines()) < 60
    assert "node-19" in screen(traced(cluster(20, 60, policy="Local")), verbose=True)


def test_an_ingress_is_one_more_approach_to_the_same_endpoints() -> None:
    trace = traced(cluster(more=INGRESS))
    (picture,) = pictures(trace.paths)
    assert len(picture.approaches) == 3
    text = screen(trace)
    assert "client outside the cluster, by Ingress (TCP)" in text
    assert "Ingress shop/front  shop.example/ (Prefix)" in text


def test_a_balancer_without_an_address_is_told_apart() -> None:
    text = screen(traced(cluster(kind="LoadBalancer")), 100)
    assert "load balancer  port 80" in text
    assert "! doubtful: the load balancer has no address yet (EXTERNAL-IP <pending>)  EXT001" in text
    assert "1 of 6 ways degraded" in text


def test_further_healthy_ports_are_counted_but_a_broken_one_is_drawn() -> None:
    trace = traced(cluster(1, 1))
    paths = []
    for number in range(9000, 9010):
        for path in trace.paths:
            port = replace(path.service_port, name=f"p{number}", port=number) if path.service_port else None
            outcomes = path.outcomes
            if number == 9009:
                lost = replace(outcomes[0], result=Result.REFUSED, status=Status.FAIL, reason="no luck")
                outcomes = (lost,)
            paths.append(replace(path, service_port=port, outcomes=outcomes))
    text = screen(replace(trace, paths=tuple(paths)))
    assert "and 10 more healthy ways (port p9004, port p9005, " in text
    assert "refused: no luck" in text
    assert text.count("▼") == 5


def test_backends_of_other_namespaces_keep_their_namespace() -> None:
    trace = traced(cluster())
    elsewhere = replace(trace, target=replace(trace.target, namespace="other"))
    assert "shop/web-0" in screen(elsewhere)
    assert "shop/web-0" not in screen(trace)
