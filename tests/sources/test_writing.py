"""Snapshots on disk: round trip, all or nothing, private, deterministic, nothing outside the folder."""

from __future__ import annotations

import errno
import os
import resource
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known, Scope, Unknown
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.archive import node_dumps, read_snapshot
from svcdoctor.sources.metafile import META_FILE, SnapshotMeta, encode_meta, facts_from_meta
from svcdoctor.sources.redaction import redacted
from svcdoctor.sources.writing import write_snapshot

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"
DUMPS = {
    "node1": {"iptables-save.txt": b"*nat\nCOMMIT\n", "ip-addr.json": b"[]"},
    "node2": {"sysctl.txt": b"x"},
}
TIME = datetime(2026, 11, 21, 1, 2, 3, 456, tzinfo=UTC)
DENIED = Unknown("pods is forbidden", "kubectl create role …", Scope("shop"))


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    read = read_snapshot(CAPTURES / "iptables.tar.gz")
    objects: dict[Kind, tuple[KubeObject, ...]] = {
        kind: read.of(kind) for kind in Kind if read.of(kind) and kind is not Kind.ENDPOINTS
    }
    facts: dict[Kind, tuple[Known | Unknown, ...]] = {kind: (Known(),) for kind in objects}
    facts[Kind.JOB] = (Known(),)
    facts[Kind.POD] = (Known(Scope("truth", (("app", "web"),))), DENIED)
    facts[Kind.GATEWAY] = (Unknown("not served"),)
    return Snapshot(objects, facts, source="test")


def names(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", ["out", "out.tar.gz", "out.tgz"])
def test_round_trip(snapshot: Snapshot, tmp_path: Path, name: str) -> None:
    written = write_snapshot(snapshot, tmp_path / name, dumps=DUMPS)
    back = read_snapshot(tmp_path / name)
    for kind in Kind:
        expected = [msgspec.json.encode(redacted(o)) for o in snapshot.of(kind)]
        assert [msgspec.json.encode(redacted(o)) for o in back.of(kind)] == expected
        if snapshot.facts.get(kind):
            assert back.facts[kind] == snapshot.facts[kind]
    assert back.knows(Kind.JOB)  # known, and there are none
    assert not back.knows(Kind.POD)
    assert back.knows(Kind.POD, Scope("truth", (("app", "web"),)))
    assert back.why_unknown(Kind.POD, Scope("shop")) == DENIED
    assert not back.knows(Kind.ENDPOINTS)
    assert not back.warnings
    assert node_dumps(tmp_path / name) == DUMPS
    assert written.objects == sum(len(snapshot.of(kind)) for kind in Kind)
    assert written.nodes == ("node1", "node2")


def test_an_empty_snapshot_is_one(tmp_path: Path) -> None:
    write_snapshot(Snapshot({}, {Kind.SERVICE: (Known(),)}), tmp_path / "out")
    back = read_snapshot(tmp_path / "out")
    assert back.services == ()
    assert back.knows(Kind.SERVICE)


def test_only_the_owner_can_read_it(snapshot: Snapshot, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_snapshot(snapshot, tmp_path / "out", dumps=DUMPS)
        write_snapshot(snapshot, tmp_path / "out.tar.gz", dumps=DUMPS)
    finally:
        os.umask(old)
    for path in (tmp_path / "out", *(tmp_path / "out").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    assert (tmp_path / "out.tar.gz").stat().st_mode & 0o777 == 0o600
    with tarfile.open(tmp_path / "out.tar.gz") as tar:
        assert {m.mode for m in tar} == {0o600}
        assert {(m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, "", "")}


def test_an_archive_of_the_same_facts_has_the_same_bytes(snapshot: Snapshot, tmp_path: Path) -> None:
    for name in ("a.tar.gz", "another-name.tar.gz"):
        write_snapshot(snapshot, tmp_path / name, dumps=DUMPS, clock=lambda: TIME)
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "another-name.tar.gz").read_bytes()


def test_progress_is_told(snapshot: Snapshot, tmp_path: Path) -> None:
    told: list[str] = []
    write_snapshot(snapshot, tmp_path / "out", dumps=DUMPS, progress=told.append)
    assert "services: 43" in told
    assert told[-1] == "node node2: 1 dumps"


@pytest.mark.parametrize("name", ["out", "out.tar.gz"])
class TestNothingHalfWritten:
    def test_an_error_on_the_way(self, snapshot: Snapshot, tmp_path: Path, name: str) -> None:
        def full(text: str) -> None:
            if text.startswith("pods"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(SvcdoctorError, match=r"out.*cannot write.*No space left on device") as error:
            write_snapshot(snapshot, tmp_path / name, progress=full)
        assert error.value.exit_code == 2
        assert "\n" not in error.value.message
        assert not list(tmp_path.iterdir())

    def test_an_interrupt(self, snapshot: Snapshot, tmp_path: Path, name: str) -> None:
        def interrupt(text: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_snapshot(snapshot, tmp_path / name, progress=interrupt)
        assert not list(tmp_path.iterdir())

    def test_a_file_that_may_not_grow(self, tmp_path: Path, name: str) -> None:
        noise = {"node1": {"nft.json": os.urandom(1 << 20)}}
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            with pytest.raises(SvcdoctorError, match="cannot write the snapshot"):
                write_snapshot(Snapshot({}, {}), tmp_path / name, dumps=noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list(tmp_path.iterdir())

    def test_an_old_snapshot_survives_a_failed_new_one(
        self, snapshot: Snapshot, tmp_path: Path, name: str
    ) -> None:
        write_snapshot(snapshot, tmp_path / name)

        def full(text: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.raises(SvcdoctorError):
            write_snapshot(snapshot, tmp_path / name, progress=full, force=True)
        assert len(read_snapshot(tmp_path / name).services) == 43
        assert [p.name for p in tmp_path.iterdir()] == [name]

    def test_it_is_refused_unless_forced(self, snapshot: Snapshot, tmp_path: Path, name: str) -> None:
        write_snapshot(snapshot, tmp_path / name)
        with pytest.raises(SvcdoctorError, match=r"exists already.*--force"):
            write_snapshot(Snapshot({}, {}), tmp_path / name)
        write_snapshot(Snapshot({}, {Kind.SERVICE: (Known(),)}), tmp_path / name, force=True)
        assert read_snapshot(tmp_path / name).services == ()
        assert [p.name for p in tmp_path.iterdir()] == [name]


def test_force_never_replaces_a_folder_that_is_no_snapshot(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("ten years of work")
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "file").write_text("x")
    for path in (home, tmp_path / "link", tmp_path / "file", tmp_path):
        with pytest.raises(SvcdoctorError, match="no snapshot"):
            write_snapshot(Snapshot({}, {}), path, force=True)
    folder = tmp_path / "folder.tar.gz"
    folder.mkdir()
    with pytest.raises(SvcdoctorError, match="is a folder"):
        write_snapshot(Snapshot({}, {}), folder, force=True)
    assert (home / "thesis.txt").read_text() == "ten years of work"


def test_force_fills_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_snapshot(Snapshot({}, {Kind.SERVICE: (Known(),)}), tmp_path / "out", force=True)
    assert META_FILE in names(tmp_path / "out")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SvcdoctorError, match="no such folder to write into"):
        write_snapshot(Snapshot({}, {}), tmp_path / "no" / "out")


@pytest.mark.parametrize(
    "bad", ["..", "../x", "/etc", "a/b", "a\\b", "", ".hidden", "a\nb", "a\0b", "x" * 300]
)
def test_names_stay_in_the_folder(tmp_path: Path, bad: str) -> None:
    for dumps in ({bad: {"sysctl.txt": b""}}, {"node1": {bad: b""}}):
        with pytest.raises(SvcdoctorError, match="not a plain file name"):
            write_snapshot(Snapshot({}, {}), tmp_path / "out", dumps=dumps)
    assert not list(tmp_path.iterdir())


META = SnapshotMeta(
    "1.2.3",
    TIME.replace(microsecond=0),
    "context prod",
    {Kind.POD: (Known(Scope("a", (("k", "v"),), "n")), DENIED), Kind.JOB: (Known(),)},
    {Kind.POD: 3},
    True,
    ("kube-proxy-metrics.txt of node a: not understood",),
)


def test_meta_round_trip() -> None:
    assert facts_from_meta(encode_meta(META), "meta.json") == META


def test_meta_of_a_newer_version_is_understood() -> None:
    document = msgspec.json.decode(encode_meta(META))
    document["novel"] = 1
    document["facts"]["Novelty"] = [{"known": True}]
    document["counts"]["Novelty"] = 1
    assert facts_from_meta(msgspec.json.encode(document), "meta.json") == META


def test_meta_that_is_none() -> None:
    assert facts_from_meta(b'{"kind": "List", "items": []}', "x") is None
    for damaged in (b"", b"[]", b'{"kind": "SnapshotMeta", "facts": 1}', b"{" * 100000):
        with pytest.raises(SvcdoctorError, match=r"^here: "):
            facts_from_meta(damaged, "here")
    with pytest.raises(SvcdoctorError, match="svcdoctor/v2"):
        facts_from_meta(b'{"kind": "SnapshotMeta", "apiVersion": "svcdoctor/v2"}', "here")
