"""The cells of `kubectl get`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from svcdoctor.lab.cluster_tables import printer_of
from svcdoctor.lab.resources import RESOURCES, Object, resource_of
from svcdoctor.lab.tables import human_duration, selector_text, table

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (12_000, "3h20m"),
        (86_400, "24h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (63_071_999, "729d"),
        (63_072_000, "2y"),
        (64_000_000, "2y10d"),
        (300_000_000, "9y"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert human_duration(timedelta(seconds=seconds)) == text


def cells(obj: Object) -> dict[str, Any]:
    obj = {"metadata": {"name": "x", "creationTimestamp": "2026-11-20T23:00:00Z"}} | obj
    resource = resource_of(obj)
    assert resource is not None
    printer = printer_of(resource)
    return dict(zip((column.name for column in printer.columns), printer.cells(obj, NOW), strict=True))


def service(**spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Service", "spec": spec}


LB = {"loadBalancer": {"ingress": [{"ip": "fd00::1"}, {"hostname": "a.example"}, {"ip": "10.0.0.1"}]}}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (
            service(type="ClusterIP", clusterIP="10.0.0.1", ports=[{"port": 80}]),
            {"Cluster-IP": "10.0.0.1", "External-IP": "<none>", "Port(s)": "80/TCP", "Selector": "<none>"},
        ),
        (
            service(type="NodePort", clusterIPs=["fd00::a", "10.0.0.1"], selector={"b": "2", "a": "1"}),
            {"Cluster-IP": "fd00::a", "Port(s)": "<none>", "Selector": "a=1,b=2"},
        ),
        (service(type="LoadBalancer"), {"External-IP": "<pending>", "Cluster-IP": "<none>"}),
        (
            service(type="LoadBalancer", externalIPs=["1.1.1.1"]) | {"status": LB},
            {"External-IP": "10.0.0.1,a.example,fd00::1,1.1.1.1"},
        ),
        (service(type="ExternalName", externalName="db.example"), {"External-IP": "db.example"}),
        (service(), {"Type": "", "External-IP": "<unknown>", "Age": "60m"}),
    ],
)
def test_services(obj: Object, expected: dict[str, Any]) -> None:
    assert cells(obj).items() >= expected.items()


def pod(status: Object | None = None, spec: Object | None = None, **metadata: Any) -> Object:
    obj: Object = {"apiVersion": "v1", "kind": "Pod", "spec": spec or {"containers": [{"name": "c"}]}}
    obj["metadata"] = {"name": "p", **metadata}
    return obj | {"status": {"phase": "Running"} | (status or {})}


def container(state: Object, ready: bool = False, **more: Any) -> Object:
    return {"name": "c", "state": state, "ready": ready, "restartCount": 0} | more


UP = container({"running": {}}, True)
ENDED = {"terminated": {"reason": "Error", "finishedAt": "2026-11-20T23:59:30Z", "exitCode": 1}}
INIT, SIDECAR = {"name": "i"}, {"name": "s", "restartPolicy": "Always"}
INITS = {"containers": [{"name": "c"}], "initContainers": [INIT, SIDECAR]}
CRASHED = container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ENDED, restartCount=4)


def init(state: Object) -> Object:
    return {"initContainerStatuses": [{"name": "i", "state": state}]}


@pytest.mark.parametrize(
    ("obj", "ready", "state", "restarts"),
    [
        (pod({"phase": "Pending"}), "0/1", "Pending", "0"),
        (pod({"containerStatuses": [UP]}), "1/1", "Running", "0"),
        (
            pod({"containerStatuses": [UP]}, deletionTimestamp="2026-11-20T23:00:00Z"),
            "1/1",
            "Terminating",
            "0",
        ),
        (
            pod({"reason": "NodeLost"}, deletionTimestamp="2026-11-20T23:00:00Z"),
            "0/1",
            "Unknown",
            "0",
        ),
        (
            pod({"containerStatuses": [CRASHED]}),
            "0/1",
            "CrashLoopBackOff",
            "4 (30s ago)",
        ),
        (pod({"containerStatuses": [container({"terminated": {"exitCode": 3}})]}), "0/1", "ExitCode:3", "0"),
        (pod({"containerStatuses": [container({"terminated": {"signal": 9}})]}), "0/1", "Signal:9", "0"),
        (pod({"phase": "Failed", "reason": "Evicted"}), "0/1", "Evicted", "0"),
        (
            pod({"conditions": [{"type": "PodScheduled", "reason": "SchedulingGated", "status": "False"}]}),
            "0/1",
            "SchedulingGated",
            "0",
        ),
        (
            pod(init({"running": {}}), INITS),
            "0/2",
            "Init:0/2",
            "0",
        ),
        (
            pod(init({"waiting": {"reason": "ErrImagePull"}}), INITS),
            "0/2",
            "Init:ErrImagePull",
            "0",
        ),
        (
            pod(init({"terminated": {"exitCode": 7}}), INITS),
            "0/2",
            "Init:ExitCode:7",
            "0",
        ),
        (
            pod(
                {
                    "initContainerStatuses": [
                        {"name": "i", "state": {"terminated": {"exitCode": 0}}, "restartCount": 5},
                        {
                            "name": "s",
                            "state": {"running": {}},
                            "started": True,
                            "ready": True,
                            "restartCount": 1,
                        },
                    ],
                    "containerStatuses": [UP],
                },
                INITS,
            ),
            "2/2",
            "Running",
            "1",
        ),
    ],
)
def test_pods(obj: Object, ready: str, state: str, restarts: str) -> None:
    shown = cells(obj)
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == (ready, state, restarts)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (
            {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "subsets": [
                    {
                        "addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                        "ports": [{"port": 80}, {"port": 81}],
                    }
                ],
            },
            {"Endpoints": "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more..."},
        ),
        ({"apiVersion": "v1", "kind": "Endpoints"}, {"Endpoints": "<none>"}),
        (
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "addressType": "IPv6",
                "ports": [{"name": "http"}, {"port": 1}, {}, {"port": 2}],
                "endpoints": [{"addresses": ["fd00::1"]}],
            },
            {"Ports": "http,1,* + 1 more...", "Endpoints": "fd00::1", "AddressType": "IPv6"},
        ),
        (
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "spec": {"tls": [{}], "rules": [{"host": "a"}, {}]},
                "status": LB,
            },
            {"Class": "<none>", "Hosts": "a", "Ports": "80, 443", "Address": "10.0.0.1,a.example,fd00::1"},
        ),
        (
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "spec": {"controller": "c", "parameters": {"kind": "P", "apiGroup": "g", "name": "n"}},
            },
            {"Controller": "c", "Parameters": "P.g/n"},
        ),
        (
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}},
            {"Pod-Selector": "<none>"},
        ),
        (
            {
                "apiVersion": "v1",
                "kind": "Node",
                "spec": {"unschedulable": True},
                "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
                "status": {
                    "conditions": [{"type": "Ready", "status": "Unknown"}],
                    "addresses": [{"type": "InternalIP", "address": "fd00::1"}],
                },
            },
            {"Status": "NotReady,SchedulingDisabled", "Roles": "control-plane", "Internal-IP": "fd00::1"},
        ),
        (
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "spec": {"parallelism": 2},
                "status": {
                    "startTime": "2026-11-20T23:00:00Z",
                    "completionTime": "2026-11-20T23:01:00Z",
                    "succeeded": 1,
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            },
            {"Status": "Complete", "Completions": "1/1 of 2", "Duration": "60s"},
        ),
        (
            {
                "apiVersion": "v1",
                "kind": "Event",
                "count": 3,
                "message": " hi\n",
                "involvedObject": {"kind": "Pod", "name": "p"},
                "firstTimestamp": "2026-11-20T23:00:00Z",
                "lastTimestamp": "2026-11-20T23:59:00Z",
            },
            {"Last Seen": "60s", "First Seen": "60m", "Object": "pod/p", "Count": "3", "Message": "hi"},
        ),
    ],
)
def test_others(obj: Object, expected: dict[str, Any]) -> None:
    assert cells(obj).items() >= expected.items()


@pytest.mark.parametrize("resource", [r for r in RESOURCES if r.stored], ids=lambda r: r.qualified)
def test_every_resource_shows_an_object_that_holds_nothing(resource: Any) -> None:
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x"}}
    shown = table(printer_of(resource), [obj], now=NOW, metadata={})
    assert len(shown["rows"][0]["cells"]) == len(shown["columnDefinitions"])
    assert "x" in shown["rows"][0]["cells"]


def test_selectors_as_text() -> None:
    expressions = [
        {"key": "b", "operator": "In", "values": ["y", "x"]},
        {"key": "c", "operator": "NotIn", "values": ["z"]},
        {"key": "d", "operator": "Exists"},
        {"key": "e", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"a": "1"}, "matchExpressions": expressions}
    assert selector_text(selector) == "a=1,b in (x,y),c notin (z),d,!e"


@pytest.mark.parametrize(
    ("include", "expected"),
    [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "Pod")],
)
def test_what_a_row_includes(include: str, expected: str | None) -> None:
    obj = pod({"phase": "Succeeded"})
    resource = resource_of(obj)
    assert resource is not None
    (row,) = table(printer_of(resource), [obj], now=NOW, metadata={}, include=include)["rows"]
    assert (row["object"] or {}).get("kind") == expected
    assert row["conditions"][0]["reason"] == "Succeeded"
