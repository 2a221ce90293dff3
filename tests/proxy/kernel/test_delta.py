"""The least that nft must be told leads where loading anew does, and the evaluator reads what nft lists."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from kernel_world import CLUSTER_IP, SITE, VIP, KernelWorld, inside, run, served

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.nftjson import NftDump, NftTable, read_nft_json
from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.kernel.compile import Ruleset, compiled
from svcdoctor.proxy.kernel.delta import delta
from svcdoctor.proxy.kernel.evaluated import evaluated
from svcdoctor.proxy.kernel.portrules import SHARING
from svcdoctor.proxy.serving.served import ServedPort

FOREIGN = (
    "table inet other {\nset a { type ipv4_addr; elements = { 192.0.2.1 } }\n"
    "chain c { type nat hook prerouting priority -102; ip daddr @a drop; }\n}\n"
)


def tables() -> NftDump:
    return read_nft_json(run("nft", "-j", "list", "ruleset").encode(), "nft")


def plain(dump: NftDump) -> dict[str, Any]:
    return {name: contents(table) for name, table in dump.tables.items() if table.name == "svcdoctor"}


def contents(table: NftTable) -> dict[str, Any]:
    """Heads, rules in order, elements without theirs."""
    found: dict[str, Any] = {}
    for name, chain in table.chains.items():
        rules = [(_decoded(r.expr), r.comment) for r in table.rules.get(name, ())]
        found[name] = (chain.type, chain.hook, chain.prio, rules)
    for name, kept in table.sets.items():
        data = _decoded(kept.map)
        data = data.split(" . ") if isinstance(data, str) and " . " in data else data
        found[name] = (_decoded(kept.type), data, sorted(_decoded(kept.elem), key=str))
    return found


def _decoded(raw: Any) -> Any:
    return json.loads(bytes(raw)) if bytes(raw) else None


NEW = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}
IDLE = {"nat-postrouting": ("nat", "postrouting", 99, [([NEW, {"return": None}], None)])}
"""What is kept of a family that nothing is served in any more."""


def some_port(random_: random.Random, number: int) -> ServedPort:
    family = random_.choice((4, 6))
    ends = "".join(random_.sample("abc", random_.randint(0, 3)))
    here = "".join(p for p in ends if p != "c")
    ip = CLUSTER_IP[family] + str(number)
    listens = [(ip, 80, "clusterIP"), (("0.0.0.0", "::")[family == 6], 30000 + number, "nodePort")]
    if random_.random() < 0.5:
        listens.append((VIP[family], 80, "loadBalancer"))  # which others claim, too
    if random_.random() < 0.2:
        listens.append((f"192.0.2.{1 + number}" if family == 4 else f"2001:db8::{1 + number}", 90, "local"))
    return served(
        family,
        random_.choice(("TCP", "UDP", "SCTP")),
        ends,
        here,
        f"web{number}",
        tuple(random_.sample(listens, random_.randint(0, len(listens)))),  # type: ignore[arg-type]
        internal_local=random_.random() < 0.3,
        external_local=random_.random() < 0.4,
        has_endpoints=random_.random() < 0.7 or bool(ends),
        affinity_seconds=random_.choice((0, 0, 60, 10800)),
        sources=random_.choice(((), ("10.0.0.0/8", "10.1.0.0/16") if family == 4 else ("fd00::/8",))),
        balance=random_.choice((BalancerPolicy.RANDOM, BalancerPolicy.ROUND_ROBIN)),
    )


@pytest.mark.parametrize("number", range(3))
def test_a_change_leads_where_loading_anew_does(node: KernelWorld, number: int) -> None:
    random_ = random.Random(number)
    with inside(node.node):
        run("nft", "-f", "-", text=FOREIGN)
        foreign = run("nft", "list", "table", "inet", "other")
        now = compiled((), SITE)
        for _ in range(15):
            put = [some_port(random_, random_.randint(0, 6)) for _ in range(random_.randint(0, 3))]
            removed = random_.sample(sorted(now.ports), min(len(now.ports), random_.randint(0, 2)))
            new = now.changed(put, removed)
            run("nft", "-f", "-", text=delta(now, new))
            by_delta, left = tables(), set(now.families) - set(new.families)
            idle = {f"{ip} svcdoctor": IDLE for ip in left}
            assert plain(by_delta) == plain(evaluated(new, new.ports)) | idle, delta(now, new)
            run("nft", "-f", "-", text=new.text)
            assert plain(tables()) == plain(by_delta)
            for ip in left:
                run("nft", "delete", "table", ip, "svcdoctor")
            now = new
        assert run("nft", "list", "table", "inet", "other") == foreign


def test_the_same_is_no_change() -> None:
    ports = [served(4, name="a"), served(6, "UDP", name="b")]
    rules = compiled(ports, SITE)
    again = rules.changed([served(4, name="a")], ())
    assert delta(rules, again) == ""
    assert again.slots == rules.slots


def test_one_endpoint_changes_one_chain_and_its_elements() -> None:
    rules = compiled([served(4, name=f"web{n}") for n in range(100)], SITE)
    text = delta(rules, rules.changed([served(4, cluster="ab", name="web7")], ()))
    lines = [line.partition(" ip svcdoctor ") for line in text.splitlines()]
    assert [(verb, what.split()[0]) for verb, _, what in lines] == [
        ("delete element", "endpoints-tcp-0"),
        ("flush chain", "service-shop/web7/80/tcp"),
        ("add rule", "service-shop/web7/80/tcp"),
        ("add rule", "service-shop/web7/80/tcp"),
    ]


def test_who_claims_an_address_first_by_name_has_it_until_it_goes() -> None:
    listens = ((VIP[4], 80, "loadBalancer"),)
    early, late = (served(4, cluster=c, name=n, listens=listens) for n, c in (("a", "a"), ("b", "")))  # type: ignore[arg-type]
    rules = compiled([late, early], SITE)
    assert f"{VIP[4]} . tcp . 80 : goto external-shop/a/80/tcp" in rules.text
    assert ": goto refuse" not in rules.text  # that b has no endpoints is not a's concern
    text = delta(rules, rules.changed((), ["shop/a:80/TCP/4"]))
    assert (
        f"delete element ip svcdoctor service-ips {{ {VIP[4]} . tcp . 80 : goto external-shop/a/80/tcp }}"
        in text
    )
    assert f"add element ip svcdoctor refused-ips {{ {VIP[4]} . tcp . 80 : goto refuse }}" in text


def test_ports_share_maps_and_leave_them() -> None:
    rules = compiled([served(4, name=f"web{n}") for n in range(SHARING + 1)], SITE)
    assert rules.numbers("ip") == ("endpoints-tcp-0", "endpoints-tcp-1")
    last = f"shop/web{SHARING}:80/TCP/4"
    fewer = rules.changed((), [last])
    assert "delete map ip svcdoctor endpoints-tcp-1\n" in delta(rules, fewer)
    assert fewer.changed([served(4, name="new")], ()).slots["shop/new:80/TCP/4"] == SHARING


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (
            served(4, balance=BalancerPolicy.LEAST_CONN),
            "--balance least-conn: rules choose at random or in turn",
        ),
        (served(4, limit=5), "a limit of connections"),
        (served(4, proxy_protocol=True), "the PROXY protocol"),
        (served(4, listens=(("127.0.0.1", 80, "local"),)), "cannot serve 127.0.0.1:80"),
        (served(6, listens=(("::1", 80, "local"),)), "cannot serve [::1]:80"),
    ],
)
def test_what_rules_cannot_do_is_refused_in_a_line(port: ServedPort, words: str) -> None:
    with pytest.raises(SvcdoctorError) as refused:
        compiled([port], SITE)
    assert refused.value.message.startswith("shop/web:80/TCP/")
    assert words in refused.value.message
    assert "leave --mode nftables out" in refused.value.message
    assert "\n" not in refused.value.message


def test_ports_without_a_place_have_no_rules() -> None:
    rules = compiled([served(4, listens=())], SITE)
    assert rules.text == ""
    assert isinstance(rules, Ruleset)
    assert not rules.ports
