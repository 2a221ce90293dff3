"""``svcdoctor proxy`` on a node without any Service rule, through what happens to a cluster and to itself.

Connections are counted: what could survive did.
"""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from proxy_lab import Proxy, ProxyLab, heard, proxied, told, until
from proxy_table import AWAY, NODE, NODE4, PODS
from proxy_talk import SERVICE, Talk
from test_lab_network import possible  # noqa: F401 (a fixture)

APP, APP_PORT = "svc/bq-api-service-1", "31372"
DEPLOYMENT = "deploy/bq-api-service-deploy-sample"
OTHER, OTHER4 = "k8s-node3", "192.168.0.45"
KERNEL = ("--mode", "nftables")
MANY = 60


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Its node k8s-node1 has no Service rule."""
    made = ProxyLab(tmp_path_factory.mktemp("lab"), "nftables")
    try:
        made("break", "RUL001")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def talking(lab):
    return Talk(lab)


@pytest.fixture
def talk(talking):
    yield talking
    talking.mend()


@pytest.fixture
def proxy(lab):
    """``proxy(*words)`` serves until the test is over."""
    begun = []

    def start(*words, **how):
        begun.append(Proxy(lab, *words, **how))
        return begun[-1]

    yield start
    for made in begun:
        made.end()


def test_a_rolling_restart_fails_nobody(lab):
    """In user space on one node, in the kernel on another one, before its kube-proxy."""
    lab.run(OTHER, "mount", "-t", "tmpfs", "-o", "mode=755", "lab-run", "/run")
    with proxied(lab, APP, "--nodeport"), proxied(lab, APP, "--nodeport", *KERNEL, "--takeover", where=OTHER):
        loads = {
            where: lab.python("client", "proxy_client.py", "pages", where, APP_PORT)
            for where in (NODE4, OTHER4)
        }
        for load in loads.values():
            assert heard(load) == {"begun": True}
        lab.run("client", "kubectl", "rollout", "restart", DEPLOYMENT)
        lab.run("client", "kubectl", "rollout", "status", DEPLOYMENT)
        for where, load in loads.items():
            told(load, "enough")
            said = heard(load)
            print(f"rolling restart, {where}: {sum(said['pods'].values())} pages, failed {said['failed']}")
            assert said["failed"] == {}
            assert said["pods"].keys() == PODS.keys()
            assert min(said["pods"].values()) > 100


def test_control_is_killed_and_another_one_adopts(lab, talk, proxy):
    first = proxy(SERVICE, "--nodeport").serving()
    workers = first.workers
    early = talk.crowd(MANY)
    early.come()
    first.signal(signal.SIGKILL)
    first.wait()
    assert early.do("talk") == {}
    orphaned = talk.crowd(MANY)
    assert orphaned.come().keys() == PODS.keys(), "new connections, without any control"
    talk.lead_to(["tkxck"])
    second = proxy(SERVICE, "--nodeport").serving()
    assert second.workers == workers
    until(lambda: talk.met(8) == {"tkxck"})
    assert early.do("talk") == orphaned.do("talk") == {}
    print(f"control killed: {early.count + orphaned.count} connections, {len(workers)} workers adopted")
    # The end: those that live are waited for, nobody else comes in.
    second.signal(signal.SIGTERM)
    until(lambda: lab.get(f"http://{NODE4}:31900/") == 7)
    assert early.do("talk") == orphaned.do("talk") == {}
    for crowd in (early, orphaned):
        crowd.do("close")
    assert second.wait(10) == 0


def test_a_control_of_other_settings_drains_what_it_finds(lab, talk, proxy):
    first = proxy(SERVICE, "--nodeport").serving()
    workers = first.workers
    early = talk.crowd(MANY)
    early.come()
    first.signal(signal.SIGKILL)
    first.wait()
    second = proxy(SERVICE, "--nodeport", "--drain-timeout", "20s").serving()
    until(lambda: "drained" in second.said, said=lambda: second.said)
    assert talk.met(MANY) == PODS.keys()
    assert second.workers > workers
    assert early.do("talk") == {}
    early.do("close")
    until(lambda: not second.workers & workers)
    assert talk.met(MANY) == PODS.keys()
    print(f"other settings: {len(workers)} workers drained, 0 of {3 * MANY} connections failed")


CNI = """
table ip cni {
  chain out {
    type nat hook postrouting priority 100;
    ip saddr 10.244.9.0/24 masquerade
  }
}
"""


@pytest.fixture
def masquerading(lab):
    """A rule as network plugins have it. Where no rule is left that translates, the kernel no longer tracks."""
    lab.run(NODE, "nft", CNI)
    yield
    lab.run(NODE, "nft", "delete table ip cni")


def test_control_of_kernel_mode_is_killed(lab, talk, proxy, masquerading):
    before = lab.rules()
    first = proxy(SERVICE, "--nodeport", *KERNEL).serving()
    early = talk.crowd(MANY)
    early.come()
    carried = lab.rules()
    first.signal(signal.SIGKILL)
    first.wait()
    assert early.do("talk") == {}
    assert talk.met(MANY) == PODS.keys()
    talk.lead_to(["tkxck"])
    second = proxy(SERVICE, "--nodeport", *KERNEL).serving()
    until(lambda: talk.met(8) == {"tkxck"})
    talk.lead_to(PODS)
    until(lambda: lab.rules() == carried)
    assert early.do("talk") == {}
    second.signal(signal.SIGKILL)
    second.wait()
    assert lab.rules() == carried
    lab.run(NODE, "svcdoctor", "proxy", "cleanup")
    assert lab.rules() == before
    assert early.do("talk") == {}
    early.do("close")


def test_an_endpoint_crashes_in_midstream(lab, talk, proxy):
    """Its connections end; no other does, and nobody new meets it although it is an endpoint still."""
    proxy(SERVICE, "--nodeport").serving()
    crowd = talk.crowd(MANY)
    lost = crowd.come()["vvkt9"]
    talk.crash("vvkt9")
    assert Counter(crowd.do("talk")).total() == lost
    assert crowd.pods.total() == MANY - lost
    assert talk.met(MANY) == PODS.keys() - {"vvkt9"}
    talk.start("vvkt9")
    until(lambda: "vvkt9" in talk.met(12), seconds=10)  # passed by for a while, then tried again
    assert crowd.do("talk") == {}
    print(f"endpoint crash: {lost} of {MANY} lost with it, 0 of {MANY} new ones failed")


@pytest.mark.parametrize("mode", [(), KERNEL], ids=["user space", "kernel"])
def test_the_api_server_is_gone(lab, talk, proxy, mode):
    serving = proxy(SERVICE, "--nodeport", *mode).serving()
    crowd = talk.crowd(MANY)
    crowd.come()
    lab("break", "API")
    try:
        until(lambda: "what was served last goes on being served" in serving.said, said=lambda: serving.said)
        assert crowd.do("talk") == {}
        assert talk.met(MANY) == PODS.keys()
    finally:
        lab("fix")
        lab("break", "RUL001")
    until(lambda: "tells of changes again" in serving.said, said=lambda: serving.said)
    talk.lead_to(AWAY)
    until(lambda: talk.met(8) <= AWAY)
    assert crowd.do("talk") == {}
