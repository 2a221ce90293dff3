"""What goes wrong with nft, and what somebody else does to the rules."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from kernel_run import Run
from kernel_world import (
    CLUSTER_IP,
    GATEWAYS,
    PODS,
    KernelWorld,
    ask,
    inside,
    listing,
    run,
    served,
)

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.kernel import apply
from svcdoctor.proxy.kernel.site import Site

FAMILIES = (4, 6)


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_that_somebody_removed_come_back(
    node: KernelWorld, family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svcdoctor.proxy.kernel.plane.GUARD_SECONDS", 0.2)
    with inside(node.node), Run() as it:
        it.put(served(family, cluster="a"))
        run("nft", "flush", "ruleset")
        it.put(served(family, cluster="b"), whole=False)  # which is no longer to be had by a delta
        with inside(node.client):
            assert ask(CLUSTER_IP[family]).startswith("b ")
        run("nft", "flush", "ruleset")
        until = time.monotonic() + 5
        while not apply.installed() and time.monotonic() < until:
            it.loop.turn(0.3)
        with inside(node.client):
            assert ask(CLUSTER_IP[family]).startswith("b ")
        assert set(it.notes) == {"something removed the rules from this node: they are loaded again"}


def test_what_cannot_be_loaded_now_is_loaded_later(
    node: KernelWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("svcdoctor.proxy.kernel.plane.GUARD_SECONDS", 0.2)
    with inside(node.node), Run() as it:
        it.put(served(4, cluster="a"))
        with monkeypatch.context() as no_nft:
            no_nft.setitem(apply._ENVIRONMENT, "PATH", str(tmp_path))
            it.put(served(4, cluster="b"), whole=False)
            assert it.held == 1
            assert "the rules before hold" in it.notes[0]
            with inside(node.client):
                assert ask(CLUSTER_IP[4]).startswith("a ")
        until = time.monotonic() + 5
        while it.held == 1 and time.monotonic() < until:
            it.loop.turn(0.3)
        with inside(node.client):
            assert ask(CLUSTER_IP[4]).startswith("b ")


def test_pods_that_are_told_otherwise_from_now_on(node: KernelWorld) -> None:
    with inside(node.node), Run(site=Site({4: None, 6: None})) as it:
        it.put(served(4, cluster="a"))
        with inside(node.pods["b"]):
            assert ask(CLUSTER_IP[4]) == f"a {PODS[4]['b']}"
        it.site = Site({4: None, 6: None}, masquerade_all=True)
        it.put(served(4, "UDP", "a"), whole=False)
        with inside(node.pods["b"]):
            assert ask(CLUSTER_IP[4]) == f"a {GATEWAYS[4]['a']}"


def test_no_nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(apply._ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(SvcdoctorError) as refused:
        apply.check_nft()
    assert refused.value.message == (
        "kernel mode needs the program nft: install the package nftables, or leave --mode nftables out and serve in "
        "user space"
    )


@pytest.mark.parametrize(
    "version", ["nftables v1.0.0 (Fearless Fosdick #2)", "nftables v0.9.8 (E.D.S.)", "?"]
)
def test_an_old_nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    old = tmp_path / "nft"
    old.write_text(f"#!/bin/sh\necho '{version}'\n")
    old.chmod(0o755)
    monkeypatch.setitem(apply._ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(
        SvcdoctorError, match=r"nft is too old for kernel mode: .*; install nftables 1\.0\.1 or later"
    ):
        apply.check_nft()
    old.write_text("#!/bin/sh\necho 'nftables v1.0.1 (Fearless Fosdick #3)'\n")  # and may do everything
    apply.check_nft()


def test_no_permission(node: KernelWorld) -> None:
    """Without CAP_NET_ADMIN: the capability is named."""
    if shutil.which("capsh") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("capsh is not installed")
    script = (
        "from svcdoctor.model.errors import SvcdoctorError\n"
        "from svcdoctor.proxy.kernel import apply\n"
        "try: apply.check_nft()\n"
        "except SvcdoctorError as e: print(e.message)\n"
    )
    with inside(node.node):
        words = ("capsh", "--drop=cap_net_admin", "--", "-c", f'exec {sys.executable} -c "$0"', script)
        told = run(*words)
        assert listing() == ""
    assert "grant the capability CAP_NET_ADMIN" in told
    assert told.count("\n") == 1


def test_a_text_that_nft_refuses_changes_nothing(node: KernelWorld) -> None:
    with inside(node.node):
        with pytest.raises(apply.NotLoaded) as refused:
            apply.apply("add table ip svcdoctor\nadd rule ip svcdoctor nowhere drop\n")
        assert listing() == ""
    assert "\n" not in refused.value.message
