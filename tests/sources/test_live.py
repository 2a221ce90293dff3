"""Needs in, a Snapshot out, against the lab's API server and against servers with manners of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import Script, cut, page, pod, refuse, reply, service

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.faults import Fault
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import EVERYTHING, Kind, Known, Need, Scope, Unknown, selector_scope
from svcdoctor.sources import pages
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.live import LiveSource

PODS = Need(Kind.POD, EVERYTHING)
CART = Scope("shop", name="cart")


@pytest.fixture
def source(api: ApiServer, tmp_path: Path) -> LiveSource:
    return source_of(api, tmp_path, "admin")


def source_of(api: ApiServer, folder: Path, user: str, namespace: str = "shop") -> LiveSource:
    path = folder / f"{user}.kubeconfig"
    api.write_kubeconfig(path, user, namespace=namespace)
    return LiveSource(open_connection(Connection(kubeconfig=path)))


def scripted(script: Script, *steps: object) -> LiveSource:
    script.steps = list(steps)  # type: ignore[arg-type]
    return LiveSource(open_connection(Connection(server=script.url, token="t"), environ={"HOME": "/nowhere"}))


def names(objects: tuple[object, ...]) -> list[str]:
    return [o.name for o in objects]  # type: ignore[attr-defined]


def queries(api: ApiServer) -> list[str]:
    return [f"{r.path}?{r.query}" if r.query else r.path for r in api.requests]


def test_nothing_is_asked_before_it_is_needed(source: LiveSource, api: ApiServer) -> None:
    snapshot = source.snapshot()
    assert snapshot.source == f"context svcdoctor-lab ({api.url})"
    assert snapshot.facts == {}
    assert source.refill(snapshot, ()).facts == {}
    assert source.requests == len(api.requests) == 0


def test_lists_hold_every_object_in_order_with_its_kind(source: LiveSource) -> None:
    snapshot = source.refill(source.snapshot(), (PODS, Need(Kind.SERVICE, EVERYTHING)))
    assert names(snapshot.pods) == ["cart-0", "cart-1", "cart-2", "db-0", "front-0"]
    assert {p.kind for p in snapshot.pods} == {"Pod"}
    assert snapshot.facts[Kind.POD] == (Known(EVERYTHING),)
    assert names(snapshot.services) == ["cart", "front"]
    assert snapshot.source == source.snapshot().source


@pytest.mark.parametrize(
    ("need", "asked", "found"),
    [
        (Need(Kind.POD, Scope("shop")), "/api/v1/namespaces/shop/pods?limit=500", 4),
        (
            Need(Kind.POD, selector_scope("shop", {"app": "cart"})),
            "/api/v1/namespaces/shop/pods?labelSelector=app%3Dcart&limit=500",
            3,
        ),
        (Need(Kind.SERVICE, CART), "/api/v1/namespaces/shop/services/cart", 1),
        (Need(Kind.SERVICE, Scope("shop", name="none")), "/api/v1/namespaces/shop/services/none", 0),
        (
            Need(Kind.SERVICE, Scope(name="cart")),
            "/api/v1/services?fieldSelector=metadata.name%3Dcart&limit=500",
            1,
        ),
        (Need(Kind.NODE, Scope(name="n1")), "/api/v1/nodes/n1", 1),
        (Need(Kind.NODE, Scope(name="n2")), "/api/v1/nodes/n2", 0),
    ],
)
def test_a_scope_is_one_request(
    source: LiveSource, api: ApiServer, need: Need, asked: str, found: int
) -> None:
    snapshot = source.refill(source.snapshot(), (need,))
    assert queries(api) == [asked]
    assert len(snapshot.of(need.kind)) == found
    assert snapshot.facts[need.kind] == (Known(need.scope),)


def test_what_a_larger_need_covers_is_not_asked_twice(source: LiveSource, api: ApiServer) -> None:
    needs = (
        Need(Kind.POD, selector_scope("shop", {"app": "cart"})),
        PODS,
        PODS,
        Need(Kind.POD, Scope("shop")),
    )
    snapshot = source.refill(source.snapshot(), needs)
    assert queries(api) == ["/api/v1/pods?limit=500"]
    source.refill(snapshot, needs)
    assert source.requests == 1


def test_equal_needs_said_in_another_order_are_one(source: LiveSource, api: ApiServer) -> None:
    one, other = (("app", "cart"), ("tier", "x")), (("tier", "x"), ("app", "cart"))
    snapshot = source.refill(
        source.snapshot(), (Need(Kind.POD, Scope("shop", one)), Need(Kind.POD, Scope("shop", other)))
    )
    assert source.requests == 1
    assert snapshot.knows(Kind.POD, Scope("shop", other))


def test_every_kind_is_answered_in_one_call(source: LiveSource) -> None:
    snapshot = source.refill(source.snapshot(), tuple(Need(kind, EVERYTHING) for kind in Kind))
    assert all(snapshot.knows(kind) for kind in Kind)
    assert source.requests == len(Kind) + 2  # two ConfigMaps, two versions of Istio's


def test_only_the_two_config_maps_are_read(source: LiveSource, api: ApiServer) -> None:
    snapshot = source.refill(
        source.snapshot(),
        (Need(Kind.CONFIG_MAP, Scope("kube-system")), Need(Kind.CONFIG_MAP, Scope("shop", name="secrets"))),
    )
    folder = "/api/v1/namespaces/kube-system/configmaps"
    assert sorted(queries(api)) == [f"{folder}/coredns", f"{folder}/kube-proxy"]
    assert names(snapshot.of(Kind.CONFIG_MAP)) == ["coredns", "kube-proxy"]
    assert snapshot.knows(Kind.CONFIG_MAP, Scope("kube-system"))


def test_a_forbidden_config_map_names_the_one_to_grant(api: ApiServer, tmp_path: Path) -> None:
    source = source_of(api, tmp_path, "alice")
    snapshot = source.refill(
        source.snapshot(), (Need(Kind.CONFIG_MAP, Scope("kube-system", name="coredns")),)
    )
    unknown = snapshot.why_unknown(Kind.CONFIG_MAP, Scope("kube-system", name="coredns"))
    assert unknown is not None
    assert "--verb=get --resource=configmaps --resource-name=coredns -n kube-system" in unknown.grant


def test_a_list_of_many_pages_is_whole(
    source: LiveSource, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    assert len(source.refill(source.snapshot(), (PODS,)).pods) == 5
    assert source.requests == 3
    assert [a.path for a in source.session.asked][1] == "/api/v1/pods?limit=2&continue=..."


@pytest.mark.parametrize(("expiries", "requests"), [(1, 5), (2, 5)])
def test_an_expired_token_starts_the_list_anew(
    source: LiveSource, api: ApiServer, monkeypatch: pytest.MonkeyPatch, expiries: int, requests: int
) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    api.faults.expire_tokens(expiries)
    snapshot = source.refill(source.snapshot(), (PODS,))
    assert names(snapshot.pods) == ["cart-0", "cart-1", "cart-2", "db-0", "front-0"]
    # Once: 2 + 3 pages. Twice: 2 + 2 pages, and then all in one piece.
    assert source.requests == requests
    assert ("limit" in list(api.requests)[-1].query) == (expiries == 1)


def test_a_server_that_rejects_limit_is_asked_without(script: Script) -> None:
    source = scripted(script, refuse(400, "unknown query parameter limit"), page("Pod", pod("a", "b")))
    assert names(source.refill(source.snapshot(), (PODS,)).pods) == ["b"]
    assert script.paths == ["/api/v1/pods?limit=500", "/api/v1/pods"]


# --- what may not be read


def test_a_user_of_one_namespace_gets_it_and_the_rest_stays_unknown(api: ApiServer, tmp_path: Path) -> None:
    source = source_of(api, tmp_path, "alice")
    snapshot = source.refill(source.snapshot(), (PODS, Need(Kind.NODE, EVERYTHING)))
    assert names(snapshot.pods) == ["cart-0", "cart-1", "cart-2", "db-0"]
    assert snapshot.knows(Kind.POD, Scope("shop"))
    assert snapshot.why_unknown(Kind.POD, Scope("shop")) is None
    assert snapshot.why_unknown(Kind.POD, Scope("web")) is None, "one namespace may still be asked for"
    assert snapshot.why_unknown(Kind.POD) == Unknown(
        'pods is forbidden: User "alice" cannot list resource "pods" in API group "" at the cluster scope',
        "verb list on pods in all namespaces: "
        "kubectl create clusterrole svcdoctor-pods --verb=get,list --resource=pods && "
        "kubectl create clusterrolebinding svcdoctor-pods --clusterrole=svcdoctor-pods --user=alice",
        EVERYTHING,
        narrower=True,
    )
    nodes = snapshot.why_unknown(Kind.NODE)
    assert nodes is not None and nodes.grant.startswith("verb list on nodes: kubectl create clusterrole ")
    assert source.requests == 3


def test_what_a_refused_list_would_have_covered_is_asked_on_its_own(api: ApiServer, tmp_path: Path) -> None:
    source = source_of(api, tmp_path, "bob")  # of the namespace web, while his context says shop
    snapshot = source.refill(source.snapshot(), (PODS, Need(Kind.POD, Scope("web"))))
    assert names(snapshot.pods) == ["front-0"]
    assert snapshot.knows(Kind.POD, Scope("web")) and not snapshot.knows(Kind.POD, Scope("shop"))


def test_forbidden_holds_for_its_kind_and_scope_alone(api: ApiServer, tmp_path: Path) -> None:
    source = source_of(api, tmp_path, "alice")
    slices, one = Need(Kind.ENDPOINT_SLICE, Scope("shop")), Need(Kind.SERVICE, Scope("web", name="front"))
    snapshot = source.refill(source.snapshot(), (slices, one, Need(Kind.SERVICE, CART)))
    assert names(snapshot.services) == ["cart"]
    unknown = snapshot.why_unknown(Kind.ENDPOINT_SLICE, Scope("shop"))
    assert unknown is not None and unknown.scope == Scope("shop")
    assert unknown.grant == (
        "verb list on endpointslices.discovery.k8s.io in namespace shop: "
        "kubectl create role svcdoctor-endpointslices --verb=get,list "
        "--resource=endpointslices.discovery.k8s.io -n shop && "
        "kubectl create rolebinding svcdoctor-endpointslices --role=svcdoctor-endpointslices --user=alice -n shop"
    )
    named = snapshot.why_unknown(Kind.SERVICE, one.scope)
    assert named is not None and named.grant.startswith("verb get on services in namespace web: ")


def test_the_grant_is_what_makes_it_known(api: ApiServer, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    source, need = source_of(api, tmp_path, "carol"), Need(Kind.ENDPOINT_SLICE, Scope("shop"))
    unknown = source.refill(source.snapshot(), (need,)).why_unknown(need.kind, need.scope)
    assert unknown is not None
    api.write_kubeconfig(tmp_path / "admin")
    environment = {
        "PATH": str(Path(kubectl).parent),
        "HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "admin"),
    }
    for command in unknown.grant.partition(": ")[2].split(" && "):
        # kubectl would send protobuf, which the lab's API server does not take; of a file it sends JSON.
        piped = f"{command} --dry-run=client -o json | kubectl create -f -"
        subprocess.run(piped, shell=True, check=True, env=environment, capture_output=True, timeout=20)
    assert source.refill(source.snapshot(), (need,)).knows(need.kind, need.scope)


def test_a_service_account_is_granted_as_one(script: Script) -> None:
    message = 'pods is forbidden: User "system:serviceaccount:ci:doctor" cannot list resource "pods": RBAC: x'
    source = scripted(script, refuse(403, message))
    unknown = source.refill(source.snapshot(), (Need(Kind.POD, Scope("shop")),)).why_unknown(
        Kind.POD, Scope("shop")
    )
    assert unknown is not None
    assert unknown.grant.endswith("--serviceaccount=ci:doctor -n shop")
    assert unknown.reason.endswith('resource "pods"')


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            'pods is forbidden: User "system:anonymous" cannot list resource "pods"',
            "came without credentials",
        ),
        ('users "x" is forbidden: User "a" cannot impersonate resource "users"', "leave --as out"),
    ],
)
def test_the_wrong_user_is_an_error_and_no_grant(script: Script, message: str, expected: str) -> None:
    source = scripted(script, refuse(403, message))
    with pytest.raises(SvcdoctorError) as error:
        source.refill(source.snapshot(), (PODS,))
    assert error.value.exit_code == 3
    assert expected in error.value.message and script.url in error.value.message


# --- what is not served, and what is broken


@pytest.mark.parametrize("body", ["404 page not found\n", "status"])
def test_optional_kinds_that_are_not_served_are_known_to_be_none(script: Script, body: str) -> None:
    nothing = (
        refuse(404, "the server could not find the requested resource", "NotFound")
        if body == "status"
        else reply(404, body)
    )
    source = scripted(script, nothing)
    kinds = (Kind.ENDPOINT_SLICE, Kind.SERVICE_CIDR, Kind.GATEWAY, Kind.HTTP_ROUTE, Kind.GRPC_ROUTE)
    snapshot = source.refill(source.snapshot(), tuple(Need(kind, EVERYTHING) for kind in kinds))
    assert all(snapshot.knows(kind) and not snapshot.of(kind) for kind in kinds)
    other = source.refill(snapshot, (Need(Kind.INGRESS, EVERYTHING),)).why_unknown(Kind.INGRESS)
    assert other is not None and "does not serve ingresses.networking.k8s.io" in other.reason


def test_an_older_version_is_asked_for_where_the_newer_is_not_served(script: Script) -> None:
    policy = {"metadata": {"name": "default", "namespace": "shop"}, "spec": {"mtls": {"mode": "STRICT"}}}
    older = {"kind": "PeerAuthenticationList", "apiVersion": "security.istio.io/v1beta1", "items": [policy]}
    source = scripted(script, reply(404, "404 page not found\n"), reply(200, json.dumps(older)))
    snapshot = source.refill(source.snapshot(), (Need(Kind.PEER_AUTHENTICATION, EVERYTHING),))
    (found,) = snapshot.of(Kind.PEER_AUTHENTICATION)
    assert found.spec.mtls.mode == "STRICT"
    nothing = scripted(script, reply(404, "404 page not found\n"), reply(404, "404 page not found\n"))
    none = nothing.refill(nothing.snapshot(), (Need(Kind.PEER_AUTHENTICATION, EVERYTHING),))
    assert none.knows(Kind.PEER_AUTHENTICATION)


@pytest.mark.parametrize("scope", [EVERYTHING, CART])
def test_a_server_without_services_is_no_kubernetes(script: Script, scope: Scope) -> None:
    source = scripted(script, reply(404, "404 page not found\n"))
    with pytest.raises(SvcdoctorError, match="there are no services in its API") as error:
        source.refill(source.snapshot(), (Need(Kind.SERVICE, scope),))
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, "{}"),
        reply(404, "<html>no such page</html>"),
        reply(302, "", Location="http://login.example/"),
        reply(400, "Client sent an HTTP request to an HTTPS server.\n"),
        reply(403, "<html>blocked by policy</html>"),
    ],
)
@pytest.mark.parametrize("scope", [EVERYTHING, Scope("shop", name="cart-0")])
def test_another_web_server_is_told_apart(script: Script, answer: object, scope: Scope) -> None:
    source = scripted(script, answer)
    with pytest.raises(SvcdoctorError, match="is not the Kubernetes API's") as error:
        source.refill(source.snapshot(), (Need(Kind.POD, scope),))
    assert error.value.exit_code == 3
    assert script.url in error.value.message and "\n" not in error.value.message


def test_an_object_of_the_wrong_shape_is_named(script: Script) -> None:
    bad = service("shop", "cart") | {"spec": {"clusterIP": 7}}
    for steps, scope in ((page("Service", service("a", "b"), bad), EVERYTHING), (reply(200, bad), CART)):
        source = scripted(script, steps)
        with pytest.raises(SvcdoctorError) as error:
            source.refill(source.snapshot(), (Need(Kind.SERVICE, scope),))
        expected = f"{script.url}: Service shop/cart is not a valid Service: Expected `str`, got `int`"
        assert error.value.message.startswith(expected)
        assert error.value.exit_code == 3


def test_json_that_is_cut_off_unnoticed_is_asked_again(script: Script) -> None:
    source = scripted(
        script, cut('{"kind":"PodList","items":[{"meta', framed=False), page("Pod", pod("a", "b"))
    )
    assert names(source.refill(source.snapshot(), (PODS,)).pods) == ["b"]
    assert source.requests == 2


def test_lists_survive_cuts_and_failures(source: LiveSource, api: ApiServer) -> None:
    api.faults.cut(1, resource="pods")
    api.faults.fail(1, resource="services")
    snapshot = source.refill(source.snapshot(), (PODS, Need(Kind.SERVICE, EVERYTHING)))
    assert len(snapshot.pods) == 5 and len(snapshot.services) == 2
    assert source.requests == 4


def test_a_kind_that_keeps_failing_is_unknown(script: Script) -> None:
    source = scripted(script, refuse(422, "the wrong kind of selector"))
    unknown = source.refill(source.snapshot(), (PODS,)).why_unknown(Kind.POD)
    assert unknown is not None
    assert unknown.reason == "the API server answers 422: the wrong kind of selector"
    assert "kubectl get --raw /api/v1/pods" in unknown.grant


def test_the_first_error_ends_the_call(api: ApiServer, tmp_path: Path) -> None:
    source = source_of(api, tmp_path, "admin")
    api.stop()
    with pytest.raises(SvcdoctorError, match="refused the connection") as error:
        source.refill(source.snapshot(), (PODS, Need(Kind.SERVICE, EVERYTHING)))
    assert error.value.exit_code == 3


def test_six_lists_are_under_way_at_once(
    source: LiveSource, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(6, timeout=10)
    take = api.faults.take

    def wait_for_the_others(fault: Fault, resource: str) -> float | None:
        if fault is Fault.DELAY:
            meeting.wait()
        return take(fault, resource)

    monkeypatch.setattr(api.faults, "take", wait_for_the_others)
    kinds = (Kind.POD, Kind.SERVICE, Kind.NODE, Kind.NAMESPACE, Kind.EVENT, Kind.JOB)
    snapshot = source.refill(source.snapshot(), tuple(Need(kind, EVERYTHING) for kind in kinds))
    assert all(snapshot.knows(kind) for kind in kinds)
