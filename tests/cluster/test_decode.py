"""Dumps in, objects out: every shape that kubectl writes, and one clear line for what is none."""

import json
from pathlib import Path

import pytest

from svcdoctor.cluster.decode import decode_json
from svcdoctor.cluster.yamldoc import load_documents
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.files import MAX_FILE, read_tree, yaml_objects

SVC = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"ports": None},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "shop"},
    "status": {"podIPs": None},
}


def decoded(value):
    return decode_json(json.dumps(value).encode(), "x.json")


@pytest.mark.parametrize(
    ("document", "kinds"),
    [
        (SVC, ["Service"]),
        ({"kind": "List", "items": [SVC, POD]}, ["Service", "Pod"]),
        ({"kind": "List", "items": [POD, SVC]}, ["Pod", "Service"]),
        ({"items": [SVC, SVC], "kind": "List"}, ["Service", "Service"]),
        ({"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}]}, ["Pod"]),
        ({"kind": "ServiceList", "apiVersion": "v1", "items": None}, []),
        ({"kind": "List", "items": []}, []),
        ({"kind": "List", "items": [{"kind": "Secret", "metadata": {}}, SVC]}, ["Service"]),
        # namesakes of other groups are not meant
        ({"kind": "Service", "apiVersion": "serving.knative.dev/v1", "spec": {"ports": "odd"}}, []),
        ({"kind": "List", "items": [{**SVC, "apiVersion": "serving.knative.dev/v1"}, SVC]}, ["Service"]),
        ({"kind": "Gateway", "apiVersion": "networking.istio.io/v1", "spec": {}}, []),
        ({"kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "shop"}, "data": {"a": "b"}}, []),
        ({"kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"}}, ["ConfigMap"]),
    ],
)
def test_shapes(document, kinds):
    assert [o.kind for o in decoded(document)] == kinds


def test_json_that_is_no_object_is_told_apart():
    assert decoded([{"ifname": "lo"}, 1]) is None
    assert decoded({"a": 1}) is None


def test_a_bare_array_of_objects_is_taken():
    assert [o.kind for o in decoded([SVC, POD])] == ["Service", "Pod"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"   \n", "the file is empty"),
        (b'{"kind": "Service", "meta', "cut off"),
        (b"NAME   TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)   AGE\nweb ...", "kubectl's table"),
        (b"NAMESPACE   NAME   READY   STATUS\n", "kubectl's table"),
        (b"\x00\x01\x02\xff", "not JSON"),
        (b'{"kind": "Service", "spec": {"ports": [{"port": "eighty"}]}}', "ports[0].port"),
        (b'{"kind": "Service", "metadata": {"name": 5}}', "metadata.name"),
        (b'{"kind":"Service","metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", "too deeply"),
        (b"[" * 100_000, ""),
    ],
)
def test_bad_json_is_one_line_with_the_place(data, says):
    with pytest.raises(SvcdoctorError) as e:
        decode_json(data, "dumps/svc.json")
    assert e.value.message.startswith("dumps/svc.json: ")
    assert says in e.value.message
    assert "\n" not in e.value.message


def test_a_malformed_pod_names_itself_when_it_is_looked_at():
    (pod,) = decoded({**POD, "spec": {"containers": "none"}})
    with pytest.raises(SvcdoctorError, match="Pod shop/p: not a valid object"):
        _ = pod.spec


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join('*' + p for _ in range(9))}]\n"
    for p, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases expand"),
        ("a: &a [*a]", "contains itself"),
        ("[" * 5000, "nested more than"),
        ("a:\n  - b\n c: d", "line 3: not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML"),
        ("a: \x00", "not YAML"),
        ("key: [unclosed", "not YAML"),
    ],
)
def test_absurd_yaml_is_one_line(text, says):
    with pytest.raises(SvcdoctorError) as e:
        load_documents(text, "m.yaml")
    assert says in e.value.message
    assert "\n" not in e.value.message


def test_yaml_documents_become_objects():
    text = (
        "# comment\n---\nkind: Service\nmetadata: {name: web, creationTimestamp: 2024-04-07T14:44:56Z}\n---\n"
    )
    (service,) = yaml_objects(text, "m.yaml")
    assert service.metadata.creation_timestamp == "2024-04-07T14:44:56Z"


@pytest.mark.parametrize("text", ["just words", "a: b", "- 1", "kind: 5"])
def test_yaml_that_is_no_object_names_the_document(text):
    with pytest.raises(SvcdoctorError, match=r"m\.yaml, document 2: not a Kubernetes object"):
        yaml_objects(f"---\n---\n{text}", "m.yaml")


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_of_all_sorts(tmp_path):
    write(tmp_path, "svc.json", json.dumps({"kind": "List", "items": [SVC]}).encode())
    write(tmp_path, "deep/er/pods.yaml", b"kind: Pod\nmetadata: {name: p}\n")
    write(tmp_path, "notes.txt", b"kubectl get svc was run at noon")
    write(tmp_path, "links.json", b'[{"ifname": "lo"}]')
    write(tmp_path, "endpointslices.json", b'{"kind": "List", "items": []}')
    write(tmp_path, "nodes/n1/kube-proxy-mode.txt", b"nftables")
    write(tmp_path, ".git/config.json", b"broken {")
    write(tmp_path, "windows.json", json.dumps(POD).encode("utf-16"))
    write(tmp_path, "bom.json", b"\xef\xbb\xbf" + json.dumps({**POD, "metadata": {"name": "q"}}).encode())
    snapshot = read_snapshot(tmp_path)
    assert [s.name for s in snapshot.services] == ["web"]
    assert sorted(p.name for p in snapshot.pods) == ["p", "p", "q"]
    assert snapshot.knows(Kind.ENDPOINT_SLICE), "an empty list is knowledge"
    assert not snapshot.knows(Kind.NODE)
    assert "kubectl get nodes" in snapshot.why_unknown(Kind.NODE).grant
    assert snapshot.node_facts["n1"].proxy.mode == "nftables"
    assert any("links.json" in w for w in snapshot.warnings)


def test_the_same_object_twice_and_different_is_told(tmp_path):
    write(tmp_path, "a.json", json.dumps(SVC).encode())
    write(tmp_path, "b.json", json.dumps({**SVC, "spec": {"type": "NodePort"}}).encode())
    write(tmp_path, "c.json", json.dumps({**SVC, "spec": {"type": "NodePort"}}).encode())
    snapshot = read_snapshot(tmp_path)
    assert snapshot.services[0].type == "NodePort"
    assert [w for w in snapshot.warnings if "Service shop/web" in w and "b.json" in w]
    assert len(snapshot.warnings) == 1, "the same thing twice is no news"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.tar.gz", b"\x1f\x8b\x08\x00garbage", "cut off or damaged"),
        ("x.tar.gz", b"not even gzip", "cut off or damaged"),
        ("svc.txt", b"NAME  TYPE  CLUSTER-IP\nweb  x y\n", "kubectl's table"),
        ("svc.yaml", b"\xff\xfa\x00garbage", "not UTF-8"),
        ("svc.json", b'{"kind": "Service"', "cut off"),
    ],
)
def test_unreadable_input_is_one_line(tmp_path, name, content, says):
    path = write(tmp_path, name, content)
    with pytest.raises(SvcdoctorError) as e:
        read_snapshot(path)
    assert says in e.value.message
    assert str(path) in e.value.message
    assert e.value.exit_code == 2


def test_a_truncated_archive_is_told(tmp_path):
    whole = (Path(__file__).parents[2] / "fixtures/captures/iptables.tar.gz").read_bytes()
    path = write(tmp_path, "half.tar.gz", whole[: len(whole) // 2])
    with pytest.raises(SvcdoctorError, match="cut off or damaged"):
        read_snapshot(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as f:
        f.truncate(2 << 30)
    with pytest.raises(SvcdoctorError, match=f"more than the {MAX_FILE >> 20} MiB"):
        list(read_tree(path))


def test_nothing_there_is_told(tmp_path):
    with pytest.raises(SvcdoctorError, match="no such file"):
        read_snapshot(tmp_path / "missing")
    with pytest.raises(SvcdoctorError, match="no Kubernetes objects found"):
        read_snapshot(tmp_path)
