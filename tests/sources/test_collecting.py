"""The table of commands run on one node and on many: what is missing has its reason, and everything ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.sources.collecting import AT_ONCE, Limits, NotRun, collect, each_node, nothing_known
from svcdoctor.sources.dumpnames import COLLECTED, Arguments
from svcdoctor.sources.localnode import run as run_here
from svcdoctor.sources.podexec import Output, Streams

LIMITS = Limits(command=5, node=60, output=1 << 20)
NAMES = [one.name for one in COLLECTED]


@dataclass
class Machine:
    """Answers by the first word, with what is written down for it."""

    answers: dict[str, Output | NotRun] = field(default_factory=dict)
    asked: list[Arguments] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def run(self, arguments: Arguments, seconds: float, limit: int) -> Output:
        self.asked.append(arguments)
        self.seconds.append(seconds)
        words = " ".join(arguments)
        found = next(
            (a for start, a in self.answers.items() if words.startswith(start)), Output(b"x", b"", 0)
        )
        if isinstance(found, NotRun):
            raise found
        return found


def test_everything_there_is() -> None:
    refused = Output(b"", b"", 7)
    machine = Machine({"ip -j addr": Output(b"[]", b"", 0), "curl": refused, "cat /var/lib": refused})
    facts = collect("n1", machine.run, LIMITS)
    proc = {n for n in NAMES if n.startswith("proc-net")}
    assert set(facts.dumps) | set(facts.missing) == set(NAMES) - proc, "ip and ss tell more than /proc"
    assert set(facts.missing) == {n for n in NAMES if n.startswith("kube-proxy")}
    assert facts.missing["kube-proxy-mode.txt"].endswith("/proxyMode ended with 7: without a word")
    assert "/configz ended with 7: without a word; cat /var/lib" in facts.missing["kube-proxy-configz.json"]
    assert facts.raw["nft.json"].where == "node n1: nft -j list ruleset"
    assert facts.addresses == ()


def test_a_program_that_is_not_there_is_asked_for_once() -> None:
    machine = Machine({"ip ": NotRun("no program ip", program="ip")})
    facts = collect("n1", machine.run, LIMITS)
    assert [a for a in machine.asked if a[0] == "ip"] == [("ip", "-j", "addr")]
    assert {"proc-net-fib_trie.txt", "proc-net-route.txt"} <= set(facts.dumps)
    assert "proc-net-tcp.txt" not in facts.dumps
    assert {n for n, why in facts.missing.items() if why == "no program ip"} == {
        "ip-addr.json", "ip-route.json", "ip-6-route.json", "ip-rule.json", "ip-6-rule.json", "ip-link.json",
        "ip-neigh.json",
    }  # fmt: skip


def test_what_would_load_a_part_of_the_kernel_runs_only_where_it_is_loaded() -> None:
    machine = Machine({"cat /proc/net/ip_vs": Output(b"", b"No such file or directory", 1)})
    facts = collect("n1", machine.run, LIMITS)
    assert not [a for a in machine.asked if a[0] == "ipvsadm"]
    assert [a for a in machine.asked if a == ("cat", "/proc/net/ip_vs")] == [("cat", "/proc/net/ip_vs")]
    assert "/proc/net/ip_vs cannot be read" in facts.missing["ipvsadm.txt"]
    assert facts.raw["ipset.txt"].data == b"x"
    without_cat = Machine({"cat": NotRun("no program cat", program="cat")})
    facts = collect("n1", without_cat.run, LIMITS)
    assert not [a for a in without_cat.asked if a[0] in ("ipvsadm", "ipset", "conntrack")]
    assert facts.missing["conntrack.txt"] == "no program cat"


def test_the_second_command_where_the_first_is_missing_or_fails() -> None:
    by_file = Output(b"/proc/sys/net/ipv4/ip_forward:1\n", b"some could not be read", 2)
    for first in (NotRun("no program sysctl", program="sysctl"), Output(b"", b"invalid option", 1)):
        facts = collect("n1", Machine({"sysctl": first, "grep": by_file}).run, LIMITS)
        assert facts.raw["sysctl.txt"].data == b"net.ipv4.ip_forward = 1\n"
    nothing = Machine({"sysctl": Output(b"", b"\nno\n", 1), "grep": Output(b"", b"nor this", 2)})
    assert collect("n1", nothing.run, LIMITS).missing["sysctl.txt"] == (
        "sysctl -a -e -r ^net\\. ended with 1: no; grep -rs . /proc/sys/net ended with 2: nor this"
    )


def test_a_node_that_cannot_be_asked_is_not_asked_again() -> None:
    machine = Machine({"ipset save": NotRun("forbidden", node=True)})
    facts = collect("n1", machine.run, LIMITS)
    assert machine.asked[-1] == ("ipset", "save")
    before = NAMES[: NAMES.index("ipset.txt")]
    assert set(facts.dumps) | {n for n in before if n in facts.missing} == set(before)
    assert facts.missing["conntrack.txt"] == "forbidden"


def test_a_node_has_so_much_time() -> None:
    now = 0.0

    def slow(arguments: Arguments, seconds: float, limit: int) -> Output:
        nonlocal now
        now += seconds
        raise NotRun("it did not end")

    facts = collect("n1", slow, Limits(command=20, node=50), clock=lambda: now)
    assert now == 50
    reasons = [facts.missing[name] for name in NAMES]
    assert reasons[:3] == ["it did not end"] * 3
    assert set(reasons[3:]) == {"the 50 s that one node may take were over"}


# --- many nodes ---------------------------------------------------------------------------------------


def facts_of(node: str) -> NodeFacts:
    return NodeFacts(node, dumps=("nft.json",))


def test_some_nodes_at_once_and_each_is_told() -> None:
    lock, busy, most = threading.Lock(), 0, 0
    told: list[str] = []

    def ask(node: str) -> NodeFacts:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.05)
        with lock:
            busy -= 1
        if node == "n3":
            raise SvcdoctorError("the API server is gone", 3)
        return facts_of(node)

    nodes = [f"n{i}" for i in range(12)]
    facts = each_node(nodes, ask, Streams(), told.append)
    assert most == AT_ONCE
    assert list(facts) == nodes
    assert facts["n3"] == nothing_known("n3", "the API server is gone")
    assert len(told) == 12
    assert told[-1].partition("(")[2].startswith("12 of 12): ")
    assert any(line.endswith("no facts: the API server is gone") for line in told)


def test_an_interruption_ends_what_runs_and_starts_nothing_more() -> None:
    streams, asked = Streams(), []

    def ask(node: str) -> NodeFacts:
        asked.append(node)
        streams.ended.wait(20)
        return facts_of(node)

    def progress(line: str) -> None:
        raise KeyboardInterrupt

    def first(node: str) -> NodeFacts:
        return facts_of(node) if node == "n0" else ask(node)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        each_node([f"n{i}" for i in range(50)], first, streams, progress)
    assert time.monotonic() - started < 10
    assert streams.ended.is_set()
    assert len(asked) <= AT_ONCE + 1


# --- this machine -------------------------------------------------------------------------------------


def test_a_program_of_this_machine() -> None:
    assert run_here(("sh", "-c", "printf 'a\\0'; printf no >&2; exit 4"), 5, 100) == Output(b"a\0", b"no", 4)
    with pytest.raises(NotRun, match=r"no program nosuch-program; install it") as error:
        run_here(("nosuch-program",), 5, 100)
    assert error.value.program == "nosuch-program"
    started = time.monotonic()
    with pytest.raises(NotRun, match=r"sleep 60 did not end within 0.3 s"):
        run_here(("sleep", "60"), 0.3, 100)
    with pytest.raises(NotRun, match=r"did not end within 0.3 s"):
        run_here(("sh", "-c", "exec >&- 2>&-; sleep 60"), 0.3, 100)
    with pytest.raises(NotRun, match=r"cat /dev/zero wrote more than 1,000 bytes"):
        run_here(("cat", "/dev/zero"), 5, 1000)
    assert time.monotonic() - started < 5


def test_programs_do_not_see_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert sorted(run_here(("env",), 5, 1000).stdout.decode().split("\n"))[1:][0].startswith("LC_ALL=C")
    assert b"http_proxy" not in run_here(("env",), 5, 1000).stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_only_root_is_let_in() -> None:
    code = (
        "import os\nfrom svcdoctor.sources.localnode import check_local\n"
        "if os.geteuid() == 0: check_local(); os.setuid(65534)\n"
        "check_local()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "only root can read a node's rules; run it with sudo" in done.stderr.splitlines()[-1]
