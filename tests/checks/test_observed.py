"""What observed traffic makes of a trace: agreement, and what the differences between places prove."""

import json

import pytest
from answers import fits
from observed_world import (
    CLUSTER_IPS,
    COUNT,
    NODE_PORT,
    NODES,
    OUTSIDE,
    PORT,
    TARGET,
    WEB,
    codes,
    ends,
    entries,
    judged,
    met,
    snapshot,
)

from svcdoctor.checks.diagnose import exit_code
from svcdoctor.checks.registry import REGISTRY
from svcdoctor.model.facts import Kind, MissingFact
from svcdoctor.model.finding import Severity
from svcdoctor.model.nodefacts import Listener
from svcdoctor.model.observed import Met, ProbeKind, Speaks
from svcdoctor.model.trace import Basis, Client, ClientKind, EntryKind, Result, Status, Verdict
from svcdoctor.path.jsonform import trace_json

POD = WEB[1]  # on k8s-node1
NODE = "k8s-node1"
OTHERS = tuple(n.name for n in NODES if n.name != NODE)
MOST = {Met.ANSWERED: 40, Met.TIMEOUT: 20}


def edited(kind, name, **spec):
    """The cluster with other fields in an object's spec."""

    def change(items):
        for item in items:
            if item["kind"] == kind and item["metadata"]["name"] == name:
                item["spec"].update(spec)

    return snapshot(change)


def with_policy(*rules, **spec):
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "bq-api-service"}}, "ingress": list(rules), **spec},
    }
    return snapshot(lambda items: items.append(policy))


def listening(*sockets):
    """The same sockets in each pod: ``127.0.0.1:8080`` as pairs of address and port."""
    return {p.key: tuple(Listener("TCP", a, n) for a, n in sockets) for p in WEB}


def outcome_codes(answer, family=None):
    return {
        o.code
        for p in answer.paths
        if family is None or (":" in (p.entry.address or "")) == (family == 6)
        for o in p.outcomes
    }


def test_without_observations_the_trace_is_as_it_was():
    answer = judged()
    assert codes(answer) == [] and answer.verdict is Verdict.HEALTHY
    assert {p.basis for p in answer.paths} == {Basis.OBJECTS}
    assert all(p.observed is None and all(h.observed is None for h in p.hops) for p in answer.paths)


def test_agreement_on_every_hop():
    answer = judged(entries(), ends())
    assert (codes(answer), answer.verdict) == ([], Verdict.HEALTHY)
    for path in answer.paths:
        assert path.basis is Basis.OBSERVED
        assert path.observed.agrees and path.observed.answered == COUNT
        assert all(h.observed.predicted is h.observed.status is Status.OK for h in path.hops)
        assert [o.observed.share for o in path.outcomes] == [1 / 3] * 3
    document = trace_json(answer)
    fits(json.loads(json.dumps(document)))
    hop = next(h for h in document["paths"][-1]["hops"] if h["kind"] == "nodePort")
    assert hop["observed"]["detail"] == "60 of 60 answered, p50 1 ms, p99 4 ms"


@pytest.mark.parametrize(
    ("what", "who", "differs"),
    [
        (Met.REFUSED, (), "all 60 requests did not arrive (60 refused)"),
        (Met.TIMEOUT, (), "all 60 requests did not arrive (60 timeout)"),
        ({Met.ANSWERED: 59, Met.RESET: 1}, WEB, ""),  # it arrived, and was cut then
        (MOST, WEB, "20 of 60 requests did not arrive (20 timeout)"),
        (Met.ANSWERED, WEB[:2], f"{WEB[2].name} answered none of 60"),
        (Met.ANSWERED, {"client": 60}, "client answers, which is no endpoint of this way"),
        (Met.ANSWERED, {"nginx": 60}, ""),  # a name that is no pod's tells nothing
        (Met.ANSWERED, {}, ""),
    ],
)
def test_a_contradiction_is_a_finding(what, who, differs):
    who = who if isinstance(who, dict) else tuple(p.name for p in who)
    odd = entries(NODE, what=what, who=who, cluster=False)
    answer = judged(entries(*OTHERS), odd, ends())
    mine = [p for p in answer.paths if p.entry.node == NODE]
    assert {p.observed.differs for p in mine} == {differs}
    assert codes(answer) == (["OBS001"] if differs else [])
    if differs:
        finding = answer.findings[0]
        arrived = isinstance(what, Met) and what is Met.ANSWERED
        assert finding.severity is (Severity.WARNING if arrived else Severity.ERROR)
        assert any(e.startswith(f"nodePort {NODE} 192.168.0.44:31372: {differs}") for e in finding.evidence)
        assert any("[fd00:192:168::44]:31372" in e for e in finding.evidence)
        assert exit_code(answer, "error") == (0 if arrived else 1)


def test_a_few_requests_do_not_prove_that_a_pod_never_answers():
    few = entries(who=(WEB[0].name,), count=10)
    assert codes(judged(few, ends())) == []


def test_with_session_affinity_one_pod_answers_all():
    held = edited("Service", "bq-api-service-1", sessionAffinity="ClientIP")
    answer = judged(entries(who=(WEB[0].name,)), ends(), held=held)
    assert codes(answer) == [] and {p.observed.agrees for p in answer.paths} <= {True, None}


def test_what_works_against_the_prediction_is_known_to_work():
    held = edited("Service", "bq-api-service-1", selector={"app": "other"})

    def without_slices(items):
        items[:] = [i for i in items if i["kind"] != "EndpointSlice"]

    held = snapshot(without_slices)
    answer = judged(entries(), held=held)
    assert "OBS001" in codes(answer)
    assert {o.result for p in answer.paths for o in p.outcomes} == {Result.DELIVERED}
    assert "all 60 requests arrived" in " ".join(answer.findings[-1].evidence)


def test_from_one_node_and_not_from_another():
    answer = judged(entries(*OTHERS), entries(NODE, what=Met.TIMEOUT, who=(), cluster=False), ends())
    [finding] = answer.findings
    assert finding.subjects == ("Service/default/bq-api-service-1", f"Node/{NODE}")
    assert f"other nodes answer: {', '.join(OTHERS)}" in finding.evidence
    assert f"--node {NODE} --node-facts exec" in finding.fix


def test_on_the_pods_addresses_and_not_on_the_cluster_ip_it_is_the_rules():
    client = Client(ClientKind.POD, "default/client")
    answer = judged(
        [met(ip, PORT, Met.TIMEOUT) for ip in CLUSTER_IPS], ends(), client=client, asked="pod/client"
    )
    [finding] = answer.findings
    assert finding.code == "OBS001"
    assert "the node's rules are to blame" in finding.explanation
    hops = {h.kind: h for p in answer.paths for h in p.hops if p.entry.kind is EntryKind.CLUSTER_IP}
    assert (hops["service"].observed.predicted, hops["service"].observed.status) == (Status.OK, Status.FAIL)


def test_pods_of_one_node_that_do_not_answer_point_at_that_node():
    rest = tuple(p for p in WEB if p is not POD)
    shares = {p.name: 20 for p in rest}
    answer = judged(entries(what=MOST, who=shares), ends(*rest), ends(POD, what=Met.TIMEOUT, tunnel=None))
    [finding] = answer.findings
    assert f"the pods that do not answer at theirs are on {NODE}" in finding.evidence
    assert {o.backend.pod for p in answer.paths for o in p.outcomes if o.status is Status.FAIL} == {POD.key}


# --- sockets


@pytest.mark.parametrize(
    ("sockets", "direct", "tunnel", "code", "families"),
    [
        ([("127.0.0.1", TARGET)], Met.REFUSED, Met.ANSWERED, "NOD010", (4, 6)),
        ([("::1", TARGET)], Met.REFUSED, Met.ANSWERED, "NOD010", (4, 6)),
        ([("0.0.0.0", 9090)], Met.REFUSED, Met.REFUSED, "NOD011", (4, 6)),
        ([], Met.REFUSED, Met.REFUSED, "NOD011", (4, 6)),
        ([("0.0.0.0", TARGET)], Met.REFUSED, Met.ANSWERED, "NOD015", (6,)),
        ([("::", TARGET)], Met.REFUSED, Met.ANSWERED, "NOD015", (4,)),  # made IPV6_V6ONLY
        (None, Met.REFUSED, Met.ANSWERED, "NOD010", (4, 6)),
        (None, Met.REFUSED, Met.REFUSED, "NOD011", (4, 6)),
        (None, Met.REFUSED, Met.ANSWERED, "NOD015", (6,)),
        (None, Met.REFUSED, Met.ANSWERED, "NOD015", (4,)),
    ],
)
def test_why_a_pod_refuses(sockets, direct, tunnel, code, families):
    fine = tuple(f for f in (4, 6) if f not in families)
    held = listening(*sockets) if sockets is not None else None
    answer = judged(
        entries(what=Met.REFUSED, who=(), families=families),
        entries(families=fine),
        ends(what=direct, tunnel=tunnel, families=families),
        ends(tunnel=None, families=fine),
        sockets=held,
    )
    assert codes(answer) == [code]
    for family in (4, 6):
        assert outcome_codes(answer, family) == ({code} if family in families else {None})
    assert answer.verdict is (Verdict.BROKEN if len(families) == 2 else Verdict.DEGRADED)
    assert answer.findings[0].subjects == tuple(f"Pod/{p.key}" for p in WEB)
    text = " ".join(answer.findings[0].evidence)
    assert ("the sockets are" in text) is (sockets is not None)
    assert "the pod's own address is refused" in text
    assert f"a tunnel to localhost is {tunnel}" in text


def test_sockets_alone_prove_it_for_clients_that_were_not_tried():
    answer = judged(sockets=listening(("127.0.0.1", TARGET)), asked=None)
    assert codes(answer) == ["NOD010"]
    assert {p.basis for p in answer.paths} == {Basis.OBJECTS}
    assert {p.client.kind for p in answer.paths} == {ClientKind.EXTERNAL, ClientKind.POD}


def test_an_answer_takes_back_what_settings_hinted_at():
    """BIND=127.0.0.1 in the environment means nothing where the pod's address answers."""

    def bind(items):
        for item in items:
            if item["kind"] == "Pod" and item["metadata"]["name"] in {p.name for p in WEB}:
                item["spec"]["containers"][0]["env"].append({"name": "BIND", "value": "127.0.0.1"})

    assert codes(judged(held=snapshot(bind))) == ["NOD010"]
    answer = judged(ends(), held=snapshot(bind))
    assert codes(answer) == [] and answer.verdict is Verdict.HEALTHY
    assert "OBS001" in codes(judged(entries(), ends(), held=snapshot(bind)))  # and the hint was wrong


def test_an_undeclared_port_is_the_cause_where_nothing_listens_on_it_and_none_where_something_does():
    held = edited("Service", "bq-api-service-1", ports=[{"name": "8080-port", "port": PORT, "targetPort": 8081,
                                                         "nodePort": NODE_PORT, "protocol": "TCP"}])  # fmt: skip

    def moved(items):
        for item in items:
            if item["kind"] == "EndpointSlice":
                item["ports"][0]["port"] = 8081
            if item["kind"] == "Service" and item["metadata"]["name"] == "bq-api-service-1":
                item["spec"]["ports"][0]["targetPort"] = 8081
            if item["kind"] == "Pod":  # without the list of ports that would be proof enough
                item["spec"]["containers"][0].pop("env", None)

    held = snapshot(moved)
    guess = judged(held=held).findings[0]
    assert (guess.code, guess.severity) == ("OBJ013", Severity.WARNING)
    absent = judged(held=held, sockets=listening(("0.0.0.0", TARGET)))
    assert codes(absent) == ["OBJ013"] and absent.findings[0].severity is Severity.ERROR
    assert "nothing listens on 8081/TCP in the pod (its sockets: 0.0.0.0:8080)" in absent.findings[0].evidence
    there = judged(held=held, sockets=listening(("::", 8081), ("0.0.0.0", 8081)))
    assert codes(there) == [] and there.verdict is Verdict.HEALTHY


# --- what is on the way


def test_a_policy_is_named_where_the_tunnel_is_answered_and_the_address_is_silent():
    quiet = [entries(what=Met.TIMEOUT, who=()), ends(what=Met.TIMEOUT)]
    answer = judged(*quiet, held=with_policy())
    assert codes(answer) == ["NOD012"]
    assert answer.findings[0].subjects[0] == "NetworkPolicy/default/deny"
    assert answer.findings[0].evidence[0].startswith("NetworkPolicy/default/deny isolates")
    for twin in (
        judged(*quiet),  # no policy
        judged(*quiet, held=with_policy({})),  # one that allows everything
        judged(*quiet, held=with_policy(podSelector={"matchLabels": {"app": "other"}})),
        judged(*quiet, held=with_policy(policyTypes=["Egress"])),
        judged(entries(what=Met.REFUSED, who=()), ends(what=Met.REFUSED), held=with_policy()),
    ):
        assert "NOD012" not in codes(twin)


@pytest.mark.parametrize(("allowed", "named"), [({"run": "client"}, False), ({"run": "other"}, True)])
def test_between_pods_the_rules_of_the_policy_decide(allowed, named):
    held = with_policy({"from": [{"podSelector": {"matchLabels": allowed}}]})
    client = Client(ClientKind.POD, "default/client")
    quiet = [met(ip, PORT, Met.TIMEOUT) for ip in CLUSTER_IPS]
    answer = judged(quiet, ends(what=Met.TIMEOUT), held=held, client=client, asked="pod/client")
    assert ("NOD012" in codes(answer)) is named


@pytest.mark.parametrize("lost", [Met.TIMEOUT, Met.STALLED, Met.GARBLED])
def test_large_requests_that_hang(lost):
    pod_lost = [met(ip, TARGET, lost, count=3, size=3000, pod=POD.key) for ip in (POD.ip4, POD.ip6)]
    rest = [
        met(ip, TARGET, Met.ANSWERED, count=3, size=3000)
        for p in WEB
        if p is not POD
        for ip in (p.ip4, p.ip6)
    ]
    part = {Met.ANSWERED: 40, lost: 20}
    lucky = judged(entries(), ends(), entries(size=3000), pod_lost, rest)  # none came to that pod
    assert codes(lucky) == ["NOD007"]
    from_afar = judged(
        entries(), ends(what=Met.TIMEOUT), entries(what=part, size=3000)
    )  # pods are not routed to
    assert codes(from_afar) == ["NOD007"]
    answer = judged(entries(), ends(), entries(what=part, size=3000), pod_lost, rest)
    assert codes(answer) == ["NOD007"]
    assert answer.findings[0].subjects == ("Service/default/bq-api-service-1", f"Node/{NODE}")
    assert {o.backend.pod for p in answer.paths for o in p.outcomes if o.code} == {POD.key}
    assert all(p.observed.large.payload_size == 3000 for p in answer.paths)
    fits(json.loads(json.dumps(trace_json(answer))))


def test_large_requests_that_pass_and_answers_that_stall():
    assert codes(judged(entries(), ends(), entries(size=3000), ends(size=3000))) == []
    stalled = entries(what={Met.ANSWERED: 40, Met.STALLED: 20})
    assert codes(judged(stalled, ends())) == ["NOD007"]


@pytest.mark.parametrize(
    ("declared", "kind", "spoken", "named"),
    [
        ("http", ProbeKind.HTTP, Speaks.TLS, True),
        ("grpc", ProbeKind.GRPC, Speaks.HTTP, True),
        ("https", ProbeKind.HTTP, Speaks.HTTP, True),
        (None, ProbeKind.HTTP, Speaks.TLS, False),  # nobody says that it is HTTP
        ("http", ProbeKind.HTTP, None, False),
    ],
)
def test_another_protocol_than_the_service_says(declared, kind, spoken, named):
    def says(items):
        for item in items:
            if item["kind"] == "Service" and item["metadata"]["name"] == "bq-api-service-1" and declared:
                item["spec"]["ports"][0]["appProtocol"] = declared

    what = Met.GARBLED if spoken else Met.ANSWERED
    answer = judged(entries(what=what, kind=kind, speaks=spoken, who=()), held=snapshot(says))
    assert codes(answer) == (["EXT010"] if named else [])


HEALTH = 32500


@pytest.mark.parametrize(
    ("statuses", "found"),
    [
        ({n.name: "200" for n in NODES}, []),
        ({NODE: None, OTHERS[0]: "200", OTHERS[1]: "200"}, [NODE]),
        ({NODE: "503", OTHERS[0]: "200", OTHERS[1]: "200"}, [NODE]),
        (dict.fromkeys(n.name for n in NODES), [n.name for n in NODES]),
    ],
)
def test_the_health_check_port(statuses, found):
    def local(items):
        for item in items:
            if item["kind"] == "Service" and item["metadata"]["name"] == "bq-api-service-1":
                item["spec"].update(
                    type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=HEALTH
                )
                item["status"] = {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}

    health = []
    for node in NODES:
        for ip in (node.ip4, node.ip6):
            status = statuses[node.name]
            one = met(
                ip,
                HEALTH,
                Met.ANSWERED if status else Met.REFUSED,
                count=3,
                statuses={status: 3} if status else {},
            )
            aim = type(one.aim)(ip, HEALTH, ProbeKind.HTTP, path="/healthz")
            health.append(type(one)(aim, one.place, one.sent, one.met, statuses=one.statuses))
    alone = [entries(n.name, who=(p.name,), cluster=False) for n in NODES for p in WEB if p.node == n.name]
    answer = judged(*alone, entries("none"), ends(), health, held=snapshot(local))
    assert codes(answer) == (["EXT003"] if found else [])
    if found:
        assert answer.findings[0].subjects[1:] == tuple(f"Node/{n}" for n in found)
        everywhere = len(found) == len(NODES)
        assert answer.findings[0].severity is (Severity.ERROR if everywhere else Severity.WARNING)


@pytest.mark.parametrize(
    ("provider", "what", "code"),
    [
        ("kind://docker/lab/x", Met.UNREACHABLE, "EXT013"),
        ("kind://docker/lab/x", Met.TIMEOUT, "EXT013"),
        ("", Met.TIMEOUT, "EXT013"),
        ("aws:///eu-central-1a/i-1", Met.TIMEOUT, "EXT014"),
        ("gce://p/z/x", Met.TIMEOUT, "EXT014"),
        ("aws:///eu-central-1a/i-1", Met.UNREACHABLE, "EXT013"),
        ("aws:///eu-central-1a/i-1", Met.REFUSED, "OBS001"),  # something is there, and refuses
    ],
)
def test_no_node_answers_from_outside_and_the_application_does(provider, what, code):
    def provided(items):
        for item in items:
            if item["kind"] == "Node":
                item["spec"]["providerID"] = provider

    lost = what if what is not Met.REFUSED else Met.TIMEOUT
    answer = judged(
        entries(what=what, who=(), cluster=False),
        [met(ip, PORT, lost) for ip in CLUSTER_IPS],
        ends(what=lost),
        held=snapshot(provided),
    )
    assert codes(answer) == [code]
    by_cluster_ip = [p for p in answer.paths if p.entry.kind is EntryKind.CLUSTER_IP]
    assert {o.status for p in by_cluster_ip for o in p.outcomes} == {Status.WARN}, "not routed to: no failure"


@pytest.mark.parametrize("lacking", [4, 6])
def test_a_machine_without_one_of_the_families_is_no_error(lacking):
    there = 10 - lacking
    answer = judged(
        entries(what=Met.UNREACHABLE, who=(), families=(lacking,)),
        ends(what=Met.UNREACHABLE, families=(lacking,)),
        entries(families=(there,)),
        ends(families=(there,)),
    )
    assert [(f.code, f.severity) for f in answer.findings] == [("EXT013", Severity.INFO)]
    assert exit_code(answer, "warning") == 0


def test_a_datagram_that_nobody_answers_says_nothing():
    node = Client(ClientKind.NODE, OTHERS[0])
    request = {"target": f"pod/{POD.name}:5353", "asked": f"node/{OTHERS[0]}", "client": node}
    quiet = judged(met(POD.ip4, 5353, Met.TIMEOUT, kind=ProbeKind.UDP), **request)
    assert codes(quiet) == [] and quiet.verdict is Verdict.HEALTHY
    assert {p.observed.agrees for p in quiet.paths if p.observed} == {None}
    refused = judged(met(POD.ip4, 5353, Met.REFUSED, kind=ProbeKind.UDP), **request)
    assert codes(refused) == ["OBS001"]


def test_what_could_not_be_tried_is_unknown_and_says_what_to_grant():
    fact = MissingFact("requests from here", "forbidden", "grant it", required=True)
    untried = entries(what=Met.ERROR, who=())
    answer = judged(untried, missing=(fact,))
    assert answer.verdict is Verdict.UNKNOWN and exit_code(answer, "error") == 3
    assert fact in answer.unknowns
    assert {p.basis for p in answer.paths} == {Basis.OBJECTS}
    optional = judged(entries(), missing=(MissingFact("tunnels into pods", "forbidden", "kubectl …"),))
    assert optional.verdict is Verdict.HEALTHY


def test_policies_that_were_not_read_are_asked_for():
    held = snapshot()
    held.facts.pop(Kind.NETWORK_POLICY)
    answer = judged(entries(what=Met.TIMEOUT, who=()), ends(what=Met.TIMEOUT), held=held)
    assert [(n.kind, n.scope.namespace) for n in answer.needs] == [(Kind.NETWORK_POLICY, "default")]
    assert [n.kind for n in judged(entries(), ends(), held=held).needs] == [Kind.NETWORK_POLICY]


def test_every_code_of_observations_is_registered_with_its_words():
    for code in (
        "OBS001",
        "NOD007",
        "NOD010",
        "NOD011",
        "NOD012",
        "NOD015",
        "EXT003",
        "EXT010",
        "EXT013",
        "EXT014",
    ):
        assert REGISTRY[code].meaning and REGISTRY[code].look
    assert OUTSIDE.kind is ClientKind.EXTERNAL
