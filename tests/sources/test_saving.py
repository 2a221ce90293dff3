"""Saved snapshots read back: what is known stays known, and anonymised ones give the same answers."""

import ipaddress
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from svcdoctor.model.facts import Kind, Known, Scope, Unknown
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.anonymize import anonymize
from svcdoctor.sources.archive import node_dumps, read_snapshot
from svcdoctor.sources.writing import write_snapshot

FIXTURES = Path(__file__).parents[2] / "fixtures"
CAPTURES = [FIXTURES / "captures" / f"{mode}.tar.gz" for mode in ("iptables", "nftables")]


def test_a_round_trip_keeps_what_is_known_and_what_is_not(tmp_path):
    saved = read_snapshot(CAPTURES[0]).merged({}, {})
    partly = Snapshot(
        {Kind.SERVICE: saved.services, Kind.POD: ()},
        {
            Kind.SERVICE: (Known(),),
            Kind.POD: (Known(Scope("shop")), Unknown("forbidden", "grant list pods")),
            Kind.NODE: (Unknown("forbidden", "grant list nodes"),),
            Kind.INGRESS: (Known(),),
        },
        source="context prod",
    )
    for name in ("folder", "archive.tar.gz"):
        write_snapshot(partly, tmp_path / name)
        back = read_snapshot(tmp_path / name)
        assert {s.name for s in back.services} == {s.name for s in saved.services}
        assert back.knows(Kind.INGRESS), "an empty kind is still known"
        assert back.knows(Kind.POD, Scope("shop"))
        assert not back.knows(Kind.POD)
        assert back.why_unknown(Kind.NODE).grant == "grant list nodes"
        assert not back.knows(Kind.JOB)
        assert back.warnings == ()


def test_saved_dumps_of_nodes_are_the_same_bytes(tmp_path):
    dumps = node_dumps(CAPTURES[1])
    write_snapshot(read_snapshot(CAPTURES[1]), tmp_path / "s.tgz", dumps=dumps)
    assert node_dumps(tmp_path / "s.tgz") == dumps
    assert read_snapshot(tmp_path / "s.tgz").node_facts["node1"].proxy.mode == "nftables"


# --- anonymised ---------------------------------------------------------------------------------------

OWN_WORDS = [
    b"truth",
    b"edge-1",
    b"web-6bdc9b754",
    b"node1",
    b"node2",
    b"np-local",
    b"hostnet",
    b"half-ready",
]
OWN_ADDRESSES = [b"10.244.1.", b"10.96.1.", b"172.30.0.1", b"172.31.0.", b"fd00:10:244", b"fd00:172:30"]


@pytest.fixture(scope="module", params=CAPTURES, ids=["iptables", "nftables"])
def anonymous(request, tmp_path_factory):
    """A capture, and what is read back of it after saving it anonymised."""
    original = read_snapshot(request.param)
    result = anonymize(original, node_dumps(request.param))
    path = tmp_path_factory.mktemp("anonymous") / "s.tar.gz"
    write_snapshot(result.snapshot, path, dumps=result.dumps, left_out=result.left_out)
    return original, path, read_snapshot(path)


def test_no_name_and_no_address_survives(anonymous):
    _, path, _ = anonymous
    with tarfile.open(path) as tar:
        for member in tar:
            data = member.name.encode() + b"\n" + (tar.extractfile(member).read() if member.isfile() else b"")
            for word in OWN_WORDS + OWN_ADDRESSES:
                assert word not in data, f"{word!r} in {member.name}"


def test_the_hashes_of_the_chains_are_new_and_fit_the_new_names(anonymous):
    original, path, _ = anonymous
    chains = [b"KUBE-SVC-", b"KUBE-SEP-", b"KUBE-EXT-"]
    before = {w for d in node_dumps_text(CAPTURES) for w in d.split() if any(w.startswith(c) for c in chains)}
    after = {w for d in node_dumps_text([path]) for w in d.split() if any(w.startswith(c) for c in chains)}
    # default/kubernetes:https, whose name every cluster has, keeps its chain.
    assert before & after <= {b"KUBE-SVC-NPX46M4PTMTKRN6Y"}
    assert original.node_facts["node1"].proxy.mode == "nftables" or after


def node_dumps_text(paths):
    for path in paths:
        for files in node_dumps(path).values():
            yield from (data for name, data in files.items() if "tables-save" in name)


def test_relations_stay(anonymous):
    original, _, back = anonymous

    def shape(snapshot):
        found = []
        for s in snapshot.services:
            slices = snapshot.slices(s.namespace, s.name)
            endpoints = [e for x in slices for e in x.endpoints or ()]
            found.append(
                (
                    s.type,
                    tuple(p.port for p in s.ports),
                    len(snapshot.select_pods(s.namespace, s.spec.selector or {})),
                    len(endpoints),
                    sum(e.target_ref is not None and snapshot.pod(s.namespace, e.target_ref.name) is not None
                        for e in endpoints),
                )
            )  # fmt: skip
        return sorted(found)

    assert shape(original) == shape(back)
    for pod in back.pods:
        node = back.node(pod.spec.node_name)
        networks = [ipaddress.ip_network(c) for c in node.pod_cidrs]
        for ip in pod.ips:
            address = ipaddress.ip_address(ip)
            assert pod.spec.host_network or any(address in n for n in networks)


def test_the_same_answers_come_of_it(anonymous):
    from svcdoctor.checks.diagnose import answer_once
    from svcdoctor.model.request import ObjectTarget, Request

    original, _, back = anonymous

    def verdicts(snapshot):
        answers = [
            answer_once(snapshot, Request(ObjectTarget("Service", s.name, s.namespace)), s.namespace)
            for s in snapshot.services
        ]
        return sorted(
            (str(a.verdict), tuple(sorted(f.code for f in a.findings)), len(a.paths)) for a in answers
        )

    assert Counter(verdicts(original)) == Counter(verdicts(back))


def test_a_kind_that_is_added_by_hand_is_held(tmp_path):
    saved = Snapshot({}, {Kind.SERVICE: (Known(),), Kind.POD: (Unknown("forbidden", "grant it"),)})
    write_snapshot(saved, tmp_path / "s")
    assert not read_snapshot(tmp_path / "s").knows(Kind.POD)
    (tmp_path / "s" / "pods.json").write_text('{"kind": "Pod", "metadata": {"name": "p"}}')
    assert read_snapshot(tmp_path / "s").knows(Kind.POD)
    assert read_snapshot(tmp_path / "s").knows(Kind.SERVICE)
