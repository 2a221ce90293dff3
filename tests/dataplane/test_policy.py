"""NetworkPolicies row by row against the words of the API reference, and against a second reading of the same words."""

import ipaddress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcdoctor.dataplane.policy import Answer, Direction, Party, PartyKind, directions, isolating, ruling
from svcdoctor.model.policy import NetworkPolicy

ALLOWED, DENIED, UNDECIDED = Answer
INGRESS, EGRESS = Direction
V4, V6 = "10.244.1.9", "fd00:10:244:1::9"
WEB = Party(
    PartyKind.POD,
    "10.244.1.2",
    name="shop/web",
    labels={"app": "web", "tier": "front"},
    namespace_labels={"kubernetes.io/metadata.name": "shop", "team": "a"},
    node="node1",
    ports=(("http", 8080, "TCP"), ("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")),
)


def policy(spec, namespace="shop", name="p"):
    data = {
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {}, **spec},
    }
    return msgspec.convert(data, NetworkPolicy)


def pod(namespace="shop", address=V4, node="node2", ports=(), team="a", known=True, **labels):
    space = {"kubernetes.io/metadata.name": namespace, "team": team} if known else None
    family = 6 if ":" in address else 4
    return Party(PartyKind.POD, address, family, f"{namespace}/client", labels, space, node, ports)


def node(name="node2", address="192.0.2.12"):
    return Party(PartyKind.NODE, address, 6 if address and ":" in address else 4, node=name)


def outside(address="203.0.113.9"):
    return Party(PartyKind.OUTSIDE, address, 6 if address and ":" in address else 4)


ANY_POD = Party(PartyKind.POD)
ANYBODY = Party(PartyKind.OUTSIDE)


def ingress(*rules, types=("Ingress",)):
    return policy({"policyTypes": list(types), "ingress": list(rules)})


def asked(*policies, other=None, port=8080, protocol="TCP", direction=INGRESS, server=WEB):
    return answered(policies, direction, server, other or pod(), port, protocol).answer


def answered(policies, direction, server, *rest):
    return ruling(isolating(policies, direction, server), direction, server, *rest)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, (INGRESS,)),
        ({"ingress": []}, (INGRESS,)),
        ({"egress": []}, (INGRESS,)),  # the API server fills in Egress for rules only
        ({"egress": [{}]}, (INGRESS, EGRESS)),
        ({"policyTypes": [], "egress": [{}]}, (INGRESS, EGRESS)),
        ({"policyTypes": ["Egress"]}, (EGRESS,)),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, (INGRESS,)),
        ({"policyTypes": ["Egress", "Ingress"]}, (INGRESS, EGRESS)),
    ],
)
def test_policy_types_default_by_the_rules_that_are_there(spec, wanted):
    assert directions(policy(spec)) == wanted


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ({}, ALLOWED),  # neither from nor ports: all sources, all ports
        ({"from": []}, ALLOWED),  # "empty or missing matches all sources"
        ({"from": None, "ports": None}, ALLOWED),
        ({"ports": []}, ALLOWED),
        ({"from": [{}]}, DENIED),  # a peer must choose by something
        ({"from": [{"podSelector": {}}]}, ALLOWED),
        ({"from": [{"podSelector": {"matchLabels": {"app": "front"}}}]}, ALLOWED),
        ({"from": [{"podSelector": {"matchLabels": {"app": "other"}}}]}, DENIED),
        ({"from": [{"podSelector": {"matchLabels": {"app": "front", "tier": "x"}}}]}, DENIED),
        ({"from": [{"namespaceSelector": {}}]}, ALLOWED),
        ({"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}, ALLOWED),
        ({"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}, DENIED),
        (
            {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}]},
            ALLOWED,
        ),
        # One peer with both selectors: both must fit; two peers: one is enough.
        (
            {
                "from": [
                    {
                        "namespaceSelector": {"matchLabels": {"team": "a"}},
                        "podSelector": {"matchLabels": {"app": "other"}},
                    }
                ]
            },
            DENIED,
        ),
        (
            {
                "from": [
                    {"namespaceSelector": {"matchLabels": {"team": "a"}}},
                    {"podSelector": {"matchLabels": {"app": "other"}}},
                ]
            },
            ALLOWED,
        ),
        ({"from": [{"ipBlock": {"cidr": "10.244.0.0/16"}}]}, ALLOWED),
        ({"from": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]}}]}, DENIED),
        ({"from": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.2.0/24"]}}]}, ALLOWED),
        ({"from": [{"ipBlock": {"cidr": "10.244.1.9/32"}}]}, ALLOWED),
        ({"from": [{"ipBlock": {"cidr": "::/0"}}]}, DENIED),
        ({"from": [{"ipBlock": {"cidr": "no network"}}]}, DENIED),
        ({"ports": [{"port": 8080}]}, ALLOWED),
        ({"ports": [{"port": 8080, "protocol": "TCP"}]}, ALLOWED),
        ({"ports": [{"port": 8080, "protocol": "UDP"}]}, DENIED),
        ({"ports": [{"protocol": "TCP"}]}, ALLOWED),
        ({"ports": [{"protocol": "UDP"}]}, DENIED),
        ({"ports": [{}]}, ALLOWED),  # TCP, every port
        ({"ports": [{"port": 80}]}, DENIED),
        ({"ports": [{"port": 80}, {"port": 8080}]}, ALLOWED),
        ({"ports": [{"port": 8000, "endPort": 8080}]}, ALLOWED),
        ({"ports": [{"port": 8080, "endPort": 8080}]}, ALLOWED),
        ({"ports": [{"port": 8000, "endPort": 8079}]}, DENIED),
        ({"ports": [{"port": 9000, "endPort": 8000}]}, DENIED),
        ({"ports": [{"port": "http"}]}, ALLOWED),
        ({"ports": [{"port": "http", "protocol": "UDP"}]}, DENIED),
        ({"ports": [{"port": "dns-tcp"}]}, DENIED),  # the name of another port
        ({"ports": [{"port": "nothing"}]}, DENIED),
        # Both from and ports must fit.
        ({"from": [{"podSelector": {}}], "ports": [{"port": 80}]}, DENIED),
        ({"from": [{"podSelector": {"matchLabels": {"app": "other"}}}], "ports": [{"port": 8080}]}, DENIED),
    ],
)
def test_one_ingress_rule(rule, answer):
    assert asked(ingress(rule), other=pod(app="front")) is answer


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {}}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "back"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": []}]}, False),
        ({"matchExpressions": [{"key": "no", "operator": "In", "values": ["x"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "no", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Unknown"}]}, False),
        (
            {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}],
            },
            False,
        ),
    ],
)
def test_whom_a_policy_isolates(selector, selected):
    answer = asked(policy({"podSelector": selector}))
    assert answer is (DENIED if selected else ALLOWED)


def test_a_policy_isolates_pods_of_its_own_namespace_only():
    assert asked(policy({}, namespace="other")) is ALLOWED
    assert asked() is ALLOWED


def test_policies_add_up_and_the_answer_names_the_one_that_allows():
    closed, opened = (
        policy({}, name="closed"),
        policy({"ingress": [{"ports": [{"port": 1}]}, {}]}, name="open"),
    )
    both = answered((closed, opened), INGRESS, WEB, pod(), 8080, "TCP")
    assert (both.answer, both.by, both.rule) == (ALLOWED, opened, 1)
    assert both.policies == (closed, opened)
    alone = answered((closed,), INGRESS, WEB, pod(), 8080, "TCP")
    assert (alone.answer, alone.by, alone.policies) == (DENIED, None, (closed,))


@pytest.mark.parametrize(
    ("cidr", "excepted", "address", "answer"),
    [
        ("203.0.113.0/24", [], "203.0.113.9", ALLOWED),
        ("203.0.113.0/24", ["203.0.113.0/28"], "203.0.113.9", DENIED),
        ("0.0.0.0/0", [], "203.0.113.9", ALLOWED),
        ("0.0.0.0/0", [], "2001:db8::9", DENIED),
        ("::/0", [], "2001:db8::9", ALLOWED),
        ("::/0", ["2001:db8::/32"], "2001:db8::9", DENIED),
        ("::/0", ["2001:db8::/32"], "2001:db9::9", ALLOWED),
        ("2001:db8::/64", [], "2001:db8:0:1::9", DENIED),
        # Without an address: whom the block treats alike is decided, everybody else is not.
        ("0.0.0.0/0", [], None, ALLOWED),
        ("::/0", [], None, DENIED),
        ("0.0.0.0/0", ["10.0.0.0/8"], None, UNDECIDED),
        ("203.0.113.0/24", [], None, UNDECIDED),
    ],
)
def test_blocks_and_clients_outside(cidr, excepted, address, answer):
    rule = {"from": [{"ipBlock": {"cidr": cidr, "except": excepted}}]}
    assert asked(ingress(rule), other=outside(address) if address else ANYBODY) is answer


def test_labels_are_for_pods_not_for_addresses():
    everyone = ingress({"from": [{"namespaceSelector": {}, "podSelector": {}}]})
    assert asked(everyone, other=outside()) is DENIED
    assert asked(everyone, other=ANYBODY) is DENIED
    assert asked(everyone, other=node()) is DENIED


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ({"from": [{"podSelector": {"matchLabels": {"app": "front"}}}]}, UNDECIDED),
        ({"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}, UNDECIDED),
        ({"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}, UNDECIDED),
        ({"from": [{"podSelector": {}}]}, UNDECIDED),  # those of the policy's namespace only
        ({"from": [{"namespaceSelector": {}}]}, ALLOWED),
        ({"from": [{"namespaceSelector": {}, "podSelector": {}}]}, ALLOWED),
        ({"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}]}, UNDECIDED),
        ({"from": [{"podSelector": {}}], "ports": [{"port": 80}]}, DENIED),
        ({}, ALLOWED),
    ],
)
def test_any_pod_is_undecided_where_pods_differ(rule, answer):
    assert asked(ingress(rule), other=ANY_POD) is answer


def test_labels_of_a_namespace_that_could_not_be_read():
    chooses = ingress({"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]})
    assert asked(chooses, other=pod("far", known=False)) is UNDECIDED
    assert asked(ingress({"from": [{"namespaceSelector": {}}]}), other=pod("far", known=False)) is ALLOWED
    assert asked(ingress({"from": [{"podSelector": {}}]}), other=pod("far", known=False)) is DENIED


@pytest.mark.parametrize(("address", "own"), [("192.0.2.11", "203.0.113.77"), ("2001:db8::b", "fd00::1")])
def test_the_pods_own_node_always_gets_in_other_nodes_by_their_address(address, own):
    closed = ingress()
    assert asked(closed, other=node("node1", address)) is ALLOWED
    assert asked(closed, other=node("node1", own)) is ALLOWED  # kubelet's probes, whatever address they have
    assert asked(closed, other=node("node2", address)) is DENIED
    assert asked(closed, other=node(None, address)) is DENIED
    wide = 64 if ":" in address else 24
    block = str(ipaddress.ip_network(f"{address}/{wide}", strict=False))
    assert asked(ingress({"from": [{"ipBlock": {"cidr": block}}]}), other=node("node2", address)) is ALLOWED


def test_a_pod_reaches_its_own_node():
    closed = policy({"policyTypes": ["Egress"]})
    assert asked(closed, other=node("node1"), direction=EGRESS) is ALLOWED
    assert asked(closed, other=node("node2"), direction=EGRESS) is DENIED


def test_no_pod_can_keep_itself_out():
    closed = policy({"policyTypes": ["Ingress", "Egress"]})
    assert asked(closed, other=WEB) is ALLOWED
    assert asked(closed, other=WEB, direction=EGRESS) is ALLOWED


def test_a_pod_on_its_nodes_network_is_not_asked():
    assert asked(ingress(), server=Party(PartyKind.NODE, "192.0.2.11", node="node1")) is ALLOWED


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ({}, ALLOWED),
        ({"to": []}, ALLOWED),
        ({"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]}, ALLOWED),
        ({"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}, DENIED),
        # A name is looked up at the destination, not at the pod that the policy selects.
        ({"ports": [{"port": "postgres"}]}, ALLOWED),
        ({"ports": [{"port": "http"}]}, DENIED),
        ({"to": [{"ipBlock": {"cidr": "10.244.1.0/24"}}], "ports": [{"port": 5432}]}, ALLOWED),
        (
            {"to": [{"ipBlock": {"cidr": "10.96.0.0/12"}}]},
            DENIED,
        ),  # the Service's address is translated before
    ],
)
def test_egress_goes_by_the_destination(rule, answer):
    closed = policy({"policyTypes": ["Egress"], "egress": [rule]})
    database = pod(ports=(("postgres", 5432, "TCP"),), app="db")
    assert asked(closed, other=database, port=5432, direction=EGRESS) is answer


def test_a_named_port_is_none_outside_the_cluster():
    closed = policy({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "https"}]}]})
    assert asked(closed, other=outside(), port=443, direction=EGRESS) is DENIED


def test_ingress_of_one_direction_says_nothing_of_the_other():
    assert asked(ingress(), direction=EGRESS) is ALLOWED
    assert asked(policy({"policyTypes": ["Egress"]})) is ALLOWED


# --- a second reading of the reference -------------------------------------------------------------------------------

NAMES, VALUES = ["app", "tier"], ["a", "b"]
LABELS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))
EXPRESSION = st.fixed_dictionaries(
    {
        "key": st.sampled_from(NAMES),
        "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
        "values": st.lists(st.sampled_from(VALUES), max_size=2),
    }
)
SELECTOR = st.fixed_dictionaries(
    {}, optional={"matchLabels": LABELS, "matchExpressions": st.lists(EXPRESSION, max_size=1)}
)
BLOCK = st.sampled_from(
    [
        {"cidr": "10.0.0.0/24"},
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/25"]},
        {"cidr": "fd00::/64", "except": ["fd00::8/125"]},
        {"cidr": "::/0"},
    ]
)
PEER = st.one_of(
    st.fixed_dictionaries({"ipBlock": BLOCK}),
    st.fixed_dictionaries({}, optional={"podSelector": SELECTOR, "namespaceSelector": SELECTOR}),
)
PORT = st.fixed_dictionaries(
    {},
    optional={
        "port": st.sampled_from([80, 8080, "http", "dns"]),
        "endPort": st.sampled_from([70, 8080, 9000]),
        "protocol": st.sampled_from(["TCP", "UDP"]),
    },
).filter(lambda p: "endPort" not in p or isinstance(p.get("port"), int))


def _rules(word):
    rule = st.fixed_dictionaries(
        {}, optional={word: st.lists(PEER, max_size=2), "ports": st.lists(PORT, max_size=2)}
    )
    return st.lists(rule, max_size=2)


POLICY = st.fixed_dictionaries(
    {"podSelector": SELECTOR},
    optional={
        "ingress": _rules("from"),
        "egress": _rules("to"),
        "policyTypes": st.lists(st.sampled_from(["Ingress", "Egress"]), unique=True, max_size=2),
    },
)
ADDRESS = st.sampled_from(["10.0.0.7", "10.0.0.200", "198.51.100.3", "fd00::9", "fd00::70", "2001:db8::3"])
PODS = st.builds(
    lambda space, address, labels, ports, where: Party(
        PartyKind.POD, address, 4, f"{space}/{address}", labels, {"app": space}, where, tuple(ports)
    ),
    st.sampled_from(["a", "b"]),
    ADDRESS,
    LABELS,
    st.lists(st.sampled_from([("http", 8080, "TCP"), ("dns", 80, "UDP")]), max_size=2),
    st.sampled_from(["node1", "node2"]),
)
OTHERS = st.one_of(
    PODS,
    st.builds(lambda a, n: Party(PartyKind.NODE, a, 4, node=n), ADDRESS, st.sampled_from(["node1", "node2"])),
    st.builds(lambda a: Party(PartyKind.OUTSIDE, a), ADDRESS),
)


def _fits(selector, labels):
    """LabelSelector: "the result of matchLabels and matchExpressions are ANDed"."""
    by_labels = [labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()]
    by_expressions = []
    for e in selector.get("matchExpressions", []):
        present, among = e["key"] in labels, labels.get(e["key"]) in e["values"]
        by_expressions.append(
            {
                "In": present and among,
                "NotIn": not (present and among),
                "Exists": present,
                "DoesNotExist": not present,
            }[e["operator"]]
        )
    return all(by_labels + by_expressions)


def _naive(policies, direction, here, there, port, protocol):
    """Whether the connection is allowed, sentence by sentence of the reference."""
    section, peers_field = ("ingress", "from") if direction is INGRESS else ("egress", "to")
    applying = []
    for namespace, spec in policies:
        types = spec.get("policyTypes") or (["Ingress"] + (["Egress"] if spec.get("egress") else []))
        if (
            namespace == here.namespace
            and section.capitalize() in types
            and _fits(spec["podSelector"], here.labels)
        ):
            applying.append((namespace, spec))
    if not applying:
        return True
    if there.kind is PartyKind.NODE and there.node == here.node:
        return True
    if there.name == here.name:
        return True
    target = here if direction is INGRESS else there
    for namespace, spec in applying:
        for rule in spec.get(section) or []:
            peer_ok = not rule.get(peers_field)
            for peer in rule.get(peers_field) or []:
                if "ipBlock" in peer:
                    address = ipaddress.ip_address(there.address)
                    inside = address in ipaddress.ip_network(peer["ipBlock"]["cidr"])
                    outside_of = [
                        address in ipaddress.ip_network(x) for x in peer["ipBlock"].get("except", [])
                    ]
                    peer_ok = peer_ok or (inside and not any(outside_of))
                elif there.kind is PartyKind.POD and peer:
                    space_ok = (
                        _fits(peer["namespaceSelector"], there.namespace_labels)
                        if "namespaceSelector" in peer
                        else there.namespace == namespace
                    )
                    peer_ok = peer_ok or (space_ok and _fits(peer.get("podSelector", {}), there.labels))
            port_ok = not rule.get("ports")
            for p in rule.get("ports") or []:
                wanted = p.get("port")
                if isinstance(wanted, str):
                    numbers = [n for name, n, proto in target.ports if (name, proto) == (wanted, protocol)]
                elif wanted is None:
                    numbers = [port]
                else:
                    numbers = range(wanted, p.get("endPort", wanted) + 1)
                port_ok = port_ok or (p.get("protocol", "TCP") == protocol and port in numbers)
            if peer_ok and port_ok:
                return True
    return False


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), POLICY), max_size=3),
    st.sampled_from(list(Direction)),
    PODS,
    OTHERS,
    st.sampled_from([80, 8080, 8081]),
    st.sampled_from(["TCP", "UDP"]),
)
def test_two_readings_of_the_reference_agree(policies, direction, here, there, port, protocol):
    held = tuple(policy(spec, namespace) for namespace, spec in policies)
    found = answered(held, direction, here, there, port, protocol)
    assert (found.answer is ALLOWED) == _naive(policies, direction, here, there, port, protocol)
    assert found.answer is not UNDECIDED
    assert (found.by is None) or found.by in found.policies
