"""The real kubectl against the server: what it prints, and that it finds nothing to complain about."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from lab_client import Kubectl

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.resources import SERVICES
from svcdoctor.lab.store import ObjectStore


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of a command that must have gone well, without a word on stderr."""
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def columns(line: str) -> list[str]:
    return line.split()


SERVICE_COLUMNS = "NAMESPACE NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR"
POD_COLUMNS = "NAMESPACE NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"
NODE_COLUMNS = (
    "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME"
)
NODE_ROW = (
    "node1 Ready <none> 12m v1.36.2 172.30.0.11 <none> Debian GNU/Linux 12 (bookworm) "
    "6.18.44-fc-v595 (amd64) containerd://2.1.9+unknown"
)
WORKLOAD_COLUMNS = "NAMESPACE NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"


@pytest.mark.parametrize(
    ("resources", "header", "row"),
    [
        ("svc", SERVICE_COLUMNS, "truth dual NodePort 10.96.1.34 <none> 80:30100/TCP 12m app=web"),
        ("svc", SERVICE_COLUMNS, "truth v6only NodePort fd00:10:96::35 <none> 80:30101/TCP 12m app=web"),
        ("pods", POD_COLUMNS, "truth term-a 1/1 Terminating 0 12m 10.244.1.7 node1 <none> <none>"),
        ("nodes", NODE_COLUMNS, NODE_ROW),
        (
            "endpointslices",
            "NAMESPACE NAME ADDRESSTYPE PORTS ENDPOINTS AGE",
            "default kubernetes IPv4 6443 172.30.0.1 12m",
        ),
        ("endpoints", "NAMESPACE NAME ENDPOINTS AGE", "default kubernetes 172.30.0.1:6443 12m"),
        ("deploy", WORKLOAD_COLUMNS, "truth web 3/3 3 3 12m web truth.local/truthd:1 app=web"),
        ("ns", "NAME STATUS AGE", "truth Active 12m"),
    ],
)
def test_get_wide(kubectl: Kubectl, resources: str, header: str, row: str) -> None:
    printed = [columns(line) for line in lines(kubectl("get", resources, "-A", "-o", "wide"))]
    assert printed[0] == header.split()
    assert row.split() in printed


def test_get_json_and_yaml_are_the_objects(kubectl: Kubectl, store: ObjectStore) -> None:
    known = store.list_page(SERVICES).items
    assert json.loads(kubectl("get", "svc", "-A", "-o", "json").stdout)["items"] == known
    assert yaml.safe_load(kubectl("get", "svc", "-A", "-o", "yaml").stdout)["items"] == known
    assert yaml.safe_load(kubectl("get", "svc", "dual", "-o", "yaml").stdout) in known


def test_get_all_and_names(kubectl: Kubectl) -> None:
    printed = lines(kubectl("get", "all", "-o", "name"))
    assert {"service/dual", "pod/edge-1", "deployment.apps/web"} <= set(printed)


def test_selectors(kubectl: Kubectl) -> None:
    printed = lines(kubectl("get", "pods", "-l", "app in (web,edge),!nosuch", "-o", "name"))
    assert len(printed) == 4
    chosen = "spec.nodeName=node1,status.phase!=Failed"
    printed = lines(kubectl("get", "pods", "--field-selector", chosen, "-o", "name"))
    assert "pod/edge-1" in printed
    assert "pod/half-2" not in printed
    failed = kubectl("get", "pods", "--field-selector", "spec.foo=x")
    assert (failed.returncode, "field label not supported: spec.foo" in failed.stderr) == (1, True)


def test_chunks(kubectl: Kubectl, server: ApiServer) -> None:
    assert len(lines(kubectl("get", "pods", "--chunk-size=3", "-o", "name"))) == 8
    assert server.requests.count("/api/v1/namespaces/truth/pods") == 3


def test_an_expired_token_is_told(kubectl: Kubectl, server: ApiServer) -> None:
    server.faults.expire_tokens(1)
    done = kubectl("get", "pods", "--chunk-size=3")
    assert done.returncode == 1
    assert "The provided continue parameter is too old" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["svc", "dual"], ["IP Families:", "fd00:10:244:3::2", "Events:"]),
        (["svc", "-A"], ["Name: multi-named", "10.96.1.34"]),
        (["pods", "-A"], ["Readiness probe failed", "Name: term-a"]),
        (["endpointslices", "-A"], ["AddressType: IPv6", "NodeName:"]),
        (["node", "node1"], ["Non-terminated Pods:", "edge-1", "172.30.0.11"]),
        (["nodes", "-A"], ["node3"]),
        (["ns", "truth"], ["No resource quota."]),
        (["ing,netpol,deploy"], ["/bad", "PodSelector: app=edge", "NewReplicaSet: web-"]),
    ],
)
def test_describe(kubectl: Kubectl, arguments: list[str], expected: list[str]) -> None:
    printed = " ".join(" ".join(lines(kubectl("describe", *arguments))).split())
    for text in expected:
        assert text in printed


def test_can_i(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods", "--subresource=portforward").stdout == "yes\n"
    allowed = kubectl("auth", "can-i", "list", "pods", user="alice", by_certificate=True)
    assert (allowed.returncode, allowed.stdout) == (0, "yes\n")
    refused = kubectl("auth", "can-i", "delete", "pods", user="alice")
    assert (refused.returncode, refused.stdout) == (1, "no\n")
    assert kubectl("auth", "can-i", "list", "pods", "--as", "alice").stdout == "yes\n"
    assert kubectl("auth", "can-i", "get", "/version", user="alice").stdout == "yes\n"
    printed = [columns(line) for line in lines(kubectl("auth", "can-i", "--list", user="alice"))]
    assert ["services", "[]", "[]", "[get", "list", "watch]"] in printed
    assert ["[/version]", "[]", "[get]"] in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "svc", "nosuch"], 'Error from server (NotFound): services "nosuch" not found'),
        (["get", "secrets"], 'error: the server doesn\'t have a resource type "secrets"'),
        (
            ["get", "pods", "--as", "nobody"],
            'Error from server (Forbidden): pods is forbidden: User "nobody" cannot list resource "pods" '
            'in API group "" in the namespace "truth"',
        ),
    ],
)
def test_errors(kubectl: Kubectl, arguments: list[str], message: str) -> None:
    done = kubectl(*arguments)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", message)


def test_a_wrong_token(kubectl: Kubectl) -> None:
    done = kubectl("get", "pods", "--token", "wrong")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: You must be logged in to the server")
    assert "provide credentials" in last


def test_watch_sees_an_update(
    server: ApiServer, store: ObjectStore, tmp_path: Path, kubectl_environment: dict[str, str]
) -> None:
    path = tmp_path / "watch.kubeconfig"
    server.write_kubeconfig(path, namespace="truth")
    # A list's watch goes on where the list ended; one object's watch begins anew and hides its first event.
    chosen = "--field-selector=metadata.name=dual"
    command = ["kubectl", "--kubeconfig", str(path), "get", "svc", chosen, "--watch"]
    with subprocess.Popen(command, env=kubectl_environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert columns(process.stdout.readline())[:2] == ["NAME", "TYPE"]
            assert columns(process.stdout.readline())[:2] == ["dual", "NodePort"]
            before = store.get(SERVICES, "truth", "dual")
            store.update(before | {"spec": before["spec"] | {"type": "LoadBalancer"}})
            assert columns(process.stdout.readline())[:2] == ["dual", "LoadBalancer"]
        finally:
            process.terminate()  # else leaving the block would wait for a watch that never ends


def test_writing(kubectl: Kubectl, store: ObjectStore) -> None:
    def manifest(port: int) -> str:
        ports = [{"port": port, "protocol": "TCP"}]
        metadata = {"name": "made", "namespace": "truth"}
        spec = {"type": "ClusterIP", "ports": ports}
        return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})

    assert lines(kubectl("apply", "-f", "-", stdin=manifest(80))) == ["service/made created"]
    assert lines(kubectl("apply", "-f", "-", stdin=manifest(81))) == ["service/made configured"]
    assert lines(kubectl("apply", "-f", "-", stdin=manifest(81))) == ["service/made unchanged"]
    assert store.get(SERVICES, "truth", "made")["spec"]["ports"][0]["port"] == 81
    assert lines(kubectl("label", "svc", "made", "a=b")) == ["service/made labeled"]
    assert lines(kubectl("patch", "svc", "made", "-p", '{"spec":{"selector":{"a":"b"}}}')) == [
        "service/made patched"
    ]
    assert store.get(SERVICES, "truth", "made")["spec"]["selector"] == {"a": "b"}
    change = '[{"op":"add","path":"/spec/ports/0/targetPort","value":8080}]'
    assert lines(kubectl("patch", "svc", "made", "--type=json", "-p", change)) == ["service/made patched"]
    assert store.get(SERVICES, "truth", "made")["spec"]["ports"][0]["targetPort"] == 8080
    assert lines(kubectl("delete", "svc", "made")) == ['service "made" deleted']
