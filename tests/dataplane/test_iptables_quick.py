"""The quick reader and the thorough one read a rule alike."""

import tarfile
from pathlib import Path

import pytest

from svcdoctor.dataplane import iptablesdialect
from svcdoctor.dataplane.iptables import IptablesRules
from svcdoctor.dataplane.language import Op
from svcdoctor.dataplane.packet import packet
from svcdoctor.dataplane.surroundings import PlainSurroundings
from svcdoctor.node.iptablessave import read_iptables_save

CAPTURE = Path(__file__).parents[2] / "fixtures" / "captures" / "iptables.tar.gz"
PACKETS = [
    packet("10.244.1.8", "10.96.1.3", 80),
    packet("192.0.2.1", "10.96.1.3", 80),
    packet("10.244.1.6", "10.244.1.6", 8080),
    packet("10.244.1.8", "10.96.1.18", 53, "udp"),
    packet("10.244.1.8", "10.96.1.18"),
    packet("172.30.0.11", "172.30.0.11", 30080),
    packet("2001:db8::1", "fd00:10:96::1234", 80),
    packet("fd00:10:244:1::6", "fd00:10:244:1::6", 8080),
]


def dumps():
    with tarfile.open(CAPTURE) as tar:
        for member in tar:
            if "tables-save" in member.name:
                yield member.name, tar.extractfile(member).read()


def meaning(rule):
    """What a rule answers to the packets, and what it does, with chains by their names."""
    family = {p.family for p in PACKETS}
    assert family == {4, 6}
    answers = [[test(p) for test in rule.tests] for p in PACKETS]
    answers = [False if False in a else next((x for x in a if x is not True), True) for a in answers]
    actions = [
        (op, argument.name if op in (Op.JUMP, Op.GOTO) else argument)
        for op, argument in rule.actions
        if op is not Op.CHANGE
    ]
    return answers, actions


@pytest.mark.parametrize(("name", "data"), list(dumps()), ids=lambda x: x if isinstance(x, str) else "")
def test_every_recorded_rule_means_the_same_to_both(monkeypatch, name, data):
    quick = thorough = 0
    for save in read_iptables_save(data, name):
        rules = IptablesRules(save, PlainSurroundings())
        for table in rules.tables():
            for chain_name in rules.chains(table):
                chain = rules.chain(table, chain_name)
                for number, raw in enumerate(chain.raws, 1):
                    fast = iptablesdialect.quickly(chain, number, raw, save.family, rules.chain)
                    if fast is None:
                        thorough += 1
                        continue
                    quick += 1
                    with monkeypatch.context() as m:
                        m.setattr(iptablesdialect, "quickly", lambda *_: None)
                        slow = chain.dialect.translate(chain, number, raw)
                    same_family = [p.family == save.family for p in PACKETS]
                    fast_answers, fast_actions = meaning(fast)
                    slow_answers, slow_actions = meaning(slow)
                    assert fast_actions == slow_actions, raw
                    pairs = zip(fast_answers, slow_answers, same_family, strict=True)
                    assert all(a == b for a, b, same in pairs if same), raw
    assert quick > thorough or "ip6" in name, "most of kube-proxy's rules are of the quick kind"


@pytest.mark.parametrize(
    "line",
    [
        b"-A C -d 10.0.0.1/24 -j KUBE-X",
        b"-A C -p tcp -m udp --dport 80 -j KUBE-X",
        b"-A C -m tcp --dport 80 -j KUBE-X",
        b"-A C -p tcp -m tcp ! --dport 80 -j KUBE-X",
        b"-A C -s 10.0.0.256/32 -j KUBE-X",
        b"-A C -m statistic --mode random --probability 0.0 -j KUBE-X",
        b"-A C -j NOWHERE",
        b"-A C -j KUBE-X --to-destination 10.0.0.1:80",
        b'-A C -m comment --comment "a \\" -j DROP" -j KUBE-X',
        b"-A C -d fd00::1/128 -j KUBE-X",
    ],
)
def test_what_is_not_plain_is_left_to_the_thorough_reader(line):
    save = b"*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-X - [0:0]\n:C - [0:0]\n-A PREROUTING -d 10.0.0.9/32 -j C\nCOMMIT\n"
    [read] = read_iptables_save(save, "dump")
    rules = IptablesRules(read, PlainSurroundings())
    assert iptablesdialect.quickly(rules.chain("nat", "C"), 1, line, 4, rules.chain) is None
