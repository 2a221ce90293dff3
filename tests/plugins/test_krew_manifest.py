"""krew's manifest: what krew demands of one, of ours and of what the build makes of it.

Specification: https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
"""

import hashlib
import re
import runpy
import tarfile
from pathlib import Path

import pytest
import yaml

from svcdoctor import __version__

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "plugins/krew/svcdoctor.yaml"
PLATFORMS = [
    (system, machine)
    for system in ("darwin", "linux", "windows")
    for machine in ("386", "amd64", "arm", "arm64")
]
BUILD = runpy.run_path(str(ROOT / "plugins/single-file/build.py"), run_name="build")


def selected(selector):
    """The platforms that a selector of matchLabels selects."""
    assert set(selector) == {"matchLabels"}
    assert selector["matchLabels"] and set(selector["matchLabels"]) <= {"os", "arch"}
    wanted = selector["matchLabels"]
    return [(s, m) for s, m in PLATFORMS if wanted.get("os", s) == s and wanted.get("arch", m) == m]


def check(path):
    """What krew and the checks of its index demand; the manifest."""
    held = yaml.safe_load(path.read_text())
    assert held["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert held["kind"] == "Plugin"
    assert held["metadata"]["name"] == path.stem
    assert re.fullmatch(r"[\w-]+", path.stem)
    spec = held["spec"]
    assert set(spec) <= {"version", "homepage", "shortDescription", "description", "caveats", "platforms"}
    assert re.fullmatch(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", spec["version"])
    assert 0 < len(spec["shortDescription"]) <= 50
    assert not re.search(r"[\r\n]|\.$|kubectl|plugin", spec["shortDescription"])
    assert all(len(line) <= 80 or " " not in line.strip() for line in spec["description"].splitlines())
    assert spec["platforms"]
    taken = [one for platform in spec["platforms"] for one in selected(platform["selector"])]
    assert len(taken) == len(set(taken)), "two platforms select the same"
    for platform in spec["platforms"]:
        assert set(platform) <= {"selector", "uri", "sha256", "bin", "files"}
        assert selected(platform["selector"])
        assert re.fullmatch(r"https://\S+\.(tar\.gz|zip)", platform["uri"])
        assert re.fullmatch(r"[a-f0-9]{64}", platform["sha256"])
        assert platform["bin"] and not platform["bin"].startswith("/") and ".." not in platform["bin"]
        assert "files" not in platform or platform["files"]
    return held


def test_the_manifest_is_as_krew_demands():
    held = check(MANIFEST)
    assert held["spec"]["version"] == f"v{__version__}"
    assert f"v{__version__}/" in held["spec"]["platforms"][0]["uri"]


@pytest.mark.parametrize("built", [["linux-amd64"], ["linux-amd64", "darwin-arm64"]])
def test_the_build_fills_in_the_checksums_of_what_it_made(tmp_path, built):
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/sh\n")
    archives = {one: BUILD["krew_archive"](program, *one.split("-")) for one in built}
    plugin = tmp_path / "svcdoctor.yaml"
    plugin.write_text(BUILD["manifest"](tmp_path, "1.2.3"))
    held = check(plugin)
    assert held["spec"]["version"] == "v1.2.3"
    sums = {p["uri"].rpartition("/")[2]: p["sha256"] for p in held["spec"]["platforms"]}
    assert sums == {a.name: hashlib.sha256(a.read_bytes()).hexdigest() for a in archives.values()}
    for platform in held["spec"]["platforms"]:
        assert "/v1.2.3/" in platform["uri"]
        with tarfile.open(tmp_path / platform["uri"].rpartition("/")[2]) as archive:
            modes = {member.name: member.mode for member in archive}
        assert modes["LICENSE"] == 0o644
        assert modes[platform["bin"]] == modes["kubectl_complete-svcdoctor"] == 0o755
