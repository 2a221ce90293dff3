"""The kernel as oracle: what real packets meet in real rules is what the evaluator says."""

import itertools

import pytest
from differential import BATCH, DIALECTS, run
from hypothesis import given
from hypothesis import strategies as st
from oracle import Rules
from oracle_frequency import too_far, wrong_frequencies
from oracle_packets import OWN, PEERS, PORTS, shapes
from oracle_predict import fitting, predict
from oracle_reduce import reduced
from oracle_wire import ICMPV6, Sent, decode, encode

PACKETS = 6 * BATCH  # for each dialect and family
FAMILIES = (4, 6)
EACH = {4: ("192.0.2.10", "10.96.0.1"), 6: ("2001:db8:1::10", "fd00:96::1")}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_packet_meets_what_the_evaluator_does_not_say(oracle, dialect, family):
    before = oracle.compared[dialect]
    found = []

    def report(rules, wrong):
        if not found:
            found.append("\n".join(map(str, reduced(oracle, rules, wrong.sent)[::-1])))

    run(oracle, dialect, family, PACKETS, 1, report)
    assert not found, found[0]
    assert not oracle.compared["wrong frequencies"]
    assert oracle.compared[dialect] - before >= PACKETS


def test_at_least_2000_packets_are_compared():
    assert PACKETS * len(DIALECTS) * len(FAMILIES) >= 2000


# --- random choice

FREQUENT = {
    "verdicts": "numgen random mod 10 vmap {{ 0-2 : goto a, 3 : drop }}",
    "marks": "meta mark set numgen random mod 4 map {{ 0 : 0x1, 1 : 0x1, 2 : 0x2, 3 : 0x3 }}",
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", FREQUENT)
def test_numgen_draws_as_often_as_the_evaluator_says(oracle, name, family):
    source, target = EACH[family]
    rule = f"{'ip6' if family == 6 else 'ip'} daddr {target} {FREQUENT[name].format()}"
    chains = (
        f"chain a {{\nmeta mark set 0x5\n}}\nchain b {{ type filter hook prerouting priority 0;\n{rule}\n}}"
    )
    oracle.load(Rules(f"table inet one {{\n{chains}\n}}\n"))
    assert not wrong_frequencies(oracle, Sent(0, "eth0", "udp", source, target, 1, 80), 3000)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("pods", [1, 2, 3, 5])
def test_statistic_shares_evenly(oracle, backend, family, pods):
    """As kube-proxy writes it: 1/n, 1/(n-1), …, and the last without a condition."""
    source, target = EACH[family]
    chances = [
        f"-m statistic --mode random --probability {1 / (pods - i):.10f} " for i in range(pods - 1)
    ] + [""]
    chains = [f":SEP{i} - [0:0]" for i in range(pods)]
    rules = [f"-A SVC {chance}-j SEP{i}" for i, chance in enumerate(chances)]
    rules += [f"-A SEP{i} -j MARK --set-xmark {i + 1}/0xff\n-A SEP{i} -j ACCEPT" for i in range(pods)]
    text = "\n".join(
        ("*mangle", ":SVC - [0:0]", *chains, f"-A PREROUTING -d {target} -j SVC", *rules, "COMMIT", "")
    )
    oracle.load(Rules("", ((f"{backend} {family}", text),)))
    packet = Sent(0, "eth0", "udp", source, target, 1, 80)
    assert not wrong_frequencies(oracle, packet, 3000)
    shares = {p.seen.mark: p.probability for p in predict(oracle.node, oracle.numbered([packet])[0])}
    assert shares == {i + 1: pytest.approx(1 / pods, abs=1e-6) for i in range(pods)}


def test_counting_statistic_takes_turns(oracle):
    text = (
        "*mangle\n-A PREROUTING -d 10.96.0.1 -m statistic --mode nth --every 4 --packet 0 -j DROP\nCOMMIT\n"
    )
    oracle.load(Rules("", (("nft 4", text),)))
    packet = Sent(0, "eth0", "udp", *EACH[4], 1, 80)
    assert not wrong_frequencies(oracle, packet, 400)
    fates = [seen.fate for seen in oracle.observe(oracle.numbered([packet] * 400))]
    assert fates.count("dropped") == 100


# --- clients that are remembered

AFFINITY = """*nat
:SVC - [0:0]
:A - [0:0]
:B - [0:0]
-A PREROUTING -d {service} -p udp -m udp --dport 80 -j SVC
-A SVC -m recent --name A --rcheck --seconds 10800 --reap -j A
-A SVC -m recent --name B --rcheck --seconds 10800 --reap -j B
-A SVC -m statistic --mode random --probability 0.5 -j A
-A SVC -j B
-A A -p udp -m recent --name A --set -j DNAT --to-destination {one}
-A B -p udp -m recent --name B --set -j DNAT --to-destination {other}
COMMIT
"""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_a_client_stays_with_its_endpoint(oracle, backend, family):
    service = EACH[family][1]
    one, other = PEERS[family]["cni0"][:2]
    text = AFFINITY.format(service=service, one=one, other=other)
    node = oracle.load(Rules("", ((f"{backend} {family}", text),)))
    clients = [(iface, address) for iface, addresses in PEERS[family].items() for address in addresses]
    first = [Sent(0, iface, "udp", address, service, 1, 80) for iface, address in clients]
    assert not oracle.compare("affinity", first)
    for sent in oracle.numbered(first):
        [memory] = oracle.memories[sent.src]
        assert len(memory) == 1
        [prediction] = predict(node, sent, remembered=memory)
        assert prediction.probability == pytest.approx(1.0)
        assert {seen.dst for seen in oracle.observe(oracle.numbered([sent._replace(sport=2)] * 5))} == {
            prediction.seen.dst
        }


# --- the oracle itself


def test_without_rules_everything_goes_its_way(oracle):
    oracle.load(Rules())
    packets = [
        Sent(0, iface, proto, source, target, 1, port)
        for family, proto, port in itertools.product(FAMILIES, ("tcp", "udp", "sctp", "icmp"), PORTS[:1])
        for iface, sources in PEERS[family].items()
        for source in sources
        for target in (*OWN[family][:3], *(p for ps in PEERS[family].values() for p in ps))
    ]
    sent = oracle.numbered(packets)
    for one, seen in zip(sent, oracle.observe(sent), strict=True):
        expected = "arrives" if one.dst in OWN[one.family] else "leaves"
        assert (seen.fate, seen.src, seen.dst) == (expected, one.src, one.dst)
    assert not oracle.compare("no rules", packets)


@pytest.mark.parametrize(
    ("loaded", "believed"),
    [
        ("udp dport 80 drop", "udp dport 81 drop"),
        ("udp dport 80 reject", "udp dport 80 drop"),
        ("udp dport 80 reject", "udp dport 80 reject with icmp host-unreachable"),
        ("meta mark set 0x1", "meta mark set 0x2"),
        ("numgen random mod 2 0 drop", "accept"),
    ],
)
def test_the_oracle_tells_when_rules_are_not_those_that_are_evaluated(oracle, loaded, believed):
    def rules(rule):
        return Rules(f"table ip one {{\nchain a {{ type filter hook input priority 0;\n{rule}\n}}\n}}\n")

    packets = [Sent(0, "eth0", "udp", "192.0.2.10", "192.0.2.1", 1, 80)] * 40
    node = oracle.load(rules(believed))
    oracle.load(rules(loaded))
    assert not oracle.compare("itself", packets)
    oracle.node = node
    assert oracle.compare("itself", packets)


def test_the_oracle_tells_wrong_frequencies(oracle):
    def rules(of):
        chain = f"type filter hook input priority 0;\nnumgen random mod {of} 0 drop"
        return Rules(f"table ip a {{\nchain b {{ {chain}\n}}\n}}\n")

    node = oracle.load(rules(3))
    oracle.load(rules(4))
    packet = Sent(0, "eth0", "udp", "192.0.2.10", "192.0.2.1", 1, 80)
    assert not wrong_frequencies(oracle, packet, 3000)
    oracle.node = node
    assert wrong_frequencies(oracle, packet, 3000)


def test_a_disagreement_is_made_small(oracle, monkeypatch):
    lines = ["udp dport 99 accept", "tcp dport 80 accept", "udp dport 80 drop", "meta mark set 0x1"]
    text = "table ip one {\nchain a { type filter hook input priority 0;\n" + "\n".join(lines) + "\n}\n}\n"
    monkeypatch.setattr("oracle.fitting", lambda seen, predicted: [] if seen.fate == "dropped" else predicted)
    rules, found = reduced(oracle, Rules(text), Sent(0, "eth0", "udp", "192.0.2.10", "192.0.2.1", 1, 80))
    assert found is not None
    assert [line for line in lines if line in rules.nft] == ["udp dport 80 drop"]


@given(st.integers(0, 4000), st.integers(1, 4000), st.floats(0, 1))
def test_a_frequency_that_is_as_expected_is_never_too_far(less, packets, probability):
    assert not too_far(round(packets * probability), packets, probability)
    assert too_far(packets + less + 1, packets, 0.0) == (packets + less + 1 > 2 / 3 * 21.5)


@given(st.sampled_from(FAMILIES).flatmap(shapes), st.integers(1, 1 << 28))
def test_a_packet_is_found_again(shape, number):
    sent = shape._replace(number=number, sport=1000 + shape.sport)
    found = decode(encode(sent))
    ports = (0, 0) if sent.proto == "icmp" else (sent.sport, sent.dport)
    assert found is not None
    assert (found.number, found.src, found.dst) == (number, sent.src, sent.dst)
    assert (found.sport, found.dport) == ports
    assert found.error is None
    assert (found.proto == ICMPV6) == (sent.proto == "icmp" and sent.family == 6)


def test_what_fits_is_what_was_seen(oracle):
    oracle.load(Rules())
    [sent] = oracle.numbered([Sent(0, "eth0", "udp", "192.0.2.10", "192.0.2.1", 1, 80)])
    [seen] = oracle.observe([sent])
    predicted = predict(oracle.node, sent)
    assert fitting(seen, predicted) == predicted
    for change in ({"fate": "leaves"}, {"src": "192.0.2.11"}, {"sport": 1}, {"dport": 1}, {"mark": 1}):
        assert fitting(seen._replace(**change), predicted) == []
