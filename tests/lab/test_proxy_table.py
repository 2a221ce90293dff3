"""Who answers whom: the same table for kube-proxy's own rules, and for ``svcdoctor proxy`` where there are none.

Every case is real connections from where the asker is. In user space endpoints see the node, and who is to meet silence
may be refused: a listener answers for all of its addresses.
"""

from __future__ import annotations

import re
import shlex

import pytest
from proxy_lab import ProxyLab, proxied
from proxy_table import (
    ALL,
    FOREIGN,
    NODE,
    NODE4,
    NODE6,
    REFUSED,
    ROWS,
    SILENT,
    Case,
    cases,
    cluster_ips,
    numbered,
    objects,
)  # fmt: skip
from test_lab_network import possible, who  # noqa: F401 (possible is a fixture)

CASES = tuple(cases())
NOBODY = REFUSED | SILENT | {"reset"}
PATIENCE = 5.0  # seconds
IMPATIENCE = (
    1.3  # where nobody should answer; a refusal reaches a TCP client of IPv6 at its second packet, after 1 s
)
MOST = 120
"""Questions until all of three pods must have answered: that one has not is a matter of 1e-20."""


APP = "svc/bq-api-service-1"
COMMAND = re.compile(r"svcdoctor proxy ([^`,;()]*[^`,;() .])")
PLANES = {"iptables": (), "nftables": ("--mode", "nftables")}
"""What carries the traffic on the lab's node instead of kube-proxy in that mode: user space, the kernel."""


@pytest.fixture(scope="module", params=PLANES)
def lab(request, tmp_path_factory):
    made = ProxyLab(tmp_path_factory.mktemp("lab"), request.param)
    try:
        made.run("client", "ip", "-batch", str(routes(tmp_path_factory.mktemp("routes") / "client")))
        made.create(objects())
        made.settle(*(cluster_ips(numbered(row))[0] for row in ROWS))
        yield made
    finally:
        made.close()


def routes(path):
    """The outside client's ways to the Services' addresses: past the node."""
    path.write_text(
        f"route replace 10.96.0.0/12 via {NODE4}\nroute replace fd00:10:96::/112 via {NODE6}\n"
        f"route add 198.51.100.0/24 via {NODE4}\nroute add 2001:db8:51::/64 via {NODE6}\n"
    )
    return path


def question(case: Case) -> list[object]:
    answering = case.answer <= ALL
    most = (9 if case.row.one else MOST) if answering else 5
    return [
        case.protocol,
        case.ip,
        case.port,
        sorted(case.answer),
        IMPATIENCE if case.answer == SILENT else PATIENCE,
        most,
    ]


def met(lab, chosen):
    """What each case's asker met."""
    lab.forget_connections()
    asked: dict[str, list[Case]] = {}
    for case in chosen:
        asked.setdefault(case.asker, []).append(case)
    told = lab.ask({asker: [question(c) for c in found] for asker, found in asked.items()})
    return [
        (case, counts)
        for asker, found in asked.items()
        for case, counts in zip(found, told[asker], strict=True)
    ]


def wrong(case: Case, counts: dict[str, int], user_space: bool) -> str:
    """What is not as the table has it, empty where all is."""
    who = {word.partition(" ")[0] for word in counts}
    if case.row.one and case.answer <= ALL:
        right = who <= case.answer and len(who) == 1
    elif not case.answer <= ALL and user_space:
        right = who <= (REFUSED | {"reset"} if case.answer == REFUSED else NOBODY)
    else:
        right = who == case.answer
    if right and case.seen and case.answer <= ALL and not user_space:
        asking = case.asker.rpartition("-")[2]  # a pod that reaches itself must be masqueraded
        right = all(word.endswith("masked" if word.startswith(asking) else case.seen) for word in counts)
    return "" if right else f"{case.name}: {sorted(case.answer)} {case.seen}, met {dict(counts)}"


def check(lab, user_space=False):
    found = met(lab, CASES)
    wrongs = [text for case, counts in found if (text := wrong(case, counts, user_space))]
    asked = sum(sum(counts.values()) for _, counts in found)
    print(f"{len(found)} cases, {asked} connections and datagrams, {len(wrongs)} wrong")
    assert not wrongs, "\n".join(wrongs[:20])
    return asked


def test_kube_proxys_own_rules_pass(lab):
    check(lab)


def test_what_they_leave_alone(lab):
    [silent, *_] = lab.ask({"client": [["TCP", FOREIGN, 80, ["silent"], IMPATIENCE, 5]]})["client"]
    assert not silent.keys() & {f"{pod} masked" for pod in ALL}, silent


@pytest.fixture(scope="module")
def broken(lab):
    """The node has no Service rule."""
    lab("break", "RUL001")
    return lab


def test_trace_gives_the_command_that_carries_the_traffic_meanwhile(broken):
    answer, ended = broken.answer("trace", APP, "--node-facts", "exec", "--node", NODE)
    [finding] = answer["findings"]
    assert (finding["code"], ended) == ("RUL001", 1)
    found = COMMAND.search(finding["fix"])
    assert found is not None, finding["fix"]
    urls = [f"http://{NODE4}:31372/", f"http://[{NODE6}]:31372/"]
    before = broken.state()
    assert [broken.get(url) for url in urls] == [7, 7]
    with proxied(broken, *shlex.split(found[1]), *PLANES[broken.mode]):
        pages = broken.run("client", "curl", "-sS", "-m", "5", *(f"{url}?[1-40]" for url in urls))
        assert {who(line) for line in pages.splitlines()} == ALL
    assert [broken.get(url) for url in urls] == [7, 7]
    assert broken.state() == before


def test_a_node_without_any_rule_passes(broken):
    before = broken.state()
    plane = PLANES[broken.mode]
    with proxied(broken, "-A", *plane) as proxy:
        check(broken, user_space=not plane)
        test_what_they_leave_alone(broken)
        assert not re.search("headless|foreign", proxy.said), proxy.said
    assert broken.state() == before
