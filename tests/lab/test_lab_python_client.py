"""The Python client against the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client, config, watch

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.resources import PODS, SERVICES
from svcdoctor.lab.store import ObjectStore


@pytest.fixture(params=[False, True], ids=["token", "certificate"])
def core(server: ApiServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    settings = yaml.safe_load(server.kubeconfig(by_certificate=request.param))
    with config.new_client_from_config_dict(settings) as api:
        yield client.CoreV1Api(api)
        api.rest_client.pool_manager.clear()


def test_it_lists(core: Any, store: ObjectStore) -> None:
    pods = core.list_namespaced_pod("truth", label_selector="app=web")
    assert {pod.status.phase for pod in pods.items} == {"Running"}
    assert len(pods.items) == 3
    assert core.read_namespaced_service("dual", "truth").spec.cluster_ips == ["10.96.1.34", "fd00:10:96::34"]


def test_it_pages(core: Any, store: ObjectStore) -> None:
    first = core.list_pod_for_all_namespaces(limit=5)
    rest = core.list_pod_for_all_namespaces(_continue=first.metadata._continue)
    assert len(first.items) == 5
    assert first.metadata.remaining_item_count == len(rest.items) == 3


def test_it_watches(core: Any, store: ObjectStore) -> None:
    version = str(store.version)
    pod = store.get(PODS, "truth", "edge-1")
    store.update(pod | {"status": pod["status"] | {"phase": "Failed"}})
    store.delete(PODS, "truth", "edge-1")
    stream = watch.Watch().stream(
        core.list_namespaced_pod, "truth", resource_version=version, timeout_seconds=1
    )
    seen = [(event["type"], event["object"].status.phase) for event in stream]
    assert seen == [("MODIFIED", "Failed"), ("DELETED", "Failed")]


def test_it_is_told_what_is_wrong(core: Any, server: ApiServer) -> None:
    with pytest.raises(client.ApiException) as caught:
        core.read_namespaced_service("nosuch", "truth")
    assert caught.value.status == 404
    with pytest.raises(client.ApiException) as caught:
        core.list_namespaced_secret("truth")
    assert caught.value.status == 404


def test_it_writes(core: Any, store: ObjectStore) -> None:
    body = {"metadata": {"name": "made"}, "spec": {"ports": [{"port": 80}]}}
    assert core.create_namespaced_service("truth", body).metadata.resource_version
    core.patch_namespaced_service("made", "truth", {"spec": {"externalName": "x"}})
    assert store.get(SERVICES, "truth", "made")["spec"]["externalName"] == "x"
    core.delete_namespaced_service("made", "truth")
