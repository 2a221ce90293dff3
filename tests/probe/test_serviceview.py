"""A watched Service out of a stream of slices, probes, findings and gaps; times are plain numbers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from svcdoctor.model.base import AnnotatedMeta, Meta
from svcdoctor.model.endpoints import (
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    ObjectReference,
    SliceEndpoint,
)
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.observed import Met, Sample
from svcdoctor.model.service import Service, ServicePort, ServiceSpec
from svcdoctor.probe.watch.availability import State
from svcdoctor.probe.watch.endpoints import Readiness
from svcdoctor.probe.watch.events import (
    ChangesUnknown,
    EndpointChanged,
    FindingChanged,
    ProbeChanged,
    ServiceChanged,
)
from svcdoctor.probe.watch.subjects import EntryName
from svcdoctor.probe.watch.target import TargetName
from svcdoctor.probe.watch.view import GONE_KEPT, ServiceView

WEB = Service(
    kind="Service",
    metadata=AnnotatedMeta(name="web", namespace="shop"),
    spec=ServiceSpec(
        cluster_ip="10.96.0.9",
        ports=(ServicePort(name="http", port=80), ServicePort(name="dns", port=53, protocol="UDP")),
    ),
)
PORTS = (EndpointPort(name="http", port=8080), EndpointPort(name="dns", port=53, protocol="UDP"))
READY, NOT, LEAVING, STOPPED = "ready", "not", "leaving", "stopped"
CONDITIONS = {
    READY: EndpointConditions(ready=True, serving=True, terminating=False),
    NOT: EndpointConditions(ready=False, serving=False, terminating=False),
    LEAVING: EndpointConditions(ready=False, serving=True, terminating=True),
    STOPPED: EndpointConditions(ready=False, serving=False, terminating=True),
}


def slices(ports=PORTS, family=4, **pods):
    """One slice with these pods: name=state, their addresses by the number in their names."""

    def address(name):
        number = int(name.strip("abcdefghijklmnopqrstuvwxyz"))
        return f"10.1.{number >> 8}.{number & 255}" if family == 4 else f"fd00::{number:x}"

    endpoints = tuple(
        SliceEndpoint(
            addresses=(address(name),),
            conditions=CONDITIONS[state],
            node_name="n1",
            target_ref=ObjectReference(kind="Pod", namespace="shop", name=name),
        )
        for name, state in pods.items()
    )
    return (
        EndpointSlice(
            metadata=Meta(name=f"web-{family}", namespace="shop"),
            address_type=f"IPv{family}",
            endpoints=endpoints,
            ports=ports,
        ),
    )


def view(at=0, **pods):
    made = ServiceView("shop", "web", "", at)
    made.changed(at, WEB, slices(**pods))
    return made


def target(pod="w1", ip="10.1.0.1", port=8080):
    return TargetName(f"shop/{pod}", "endpoint", ip, port)


def answer(met=Met.ANSWERED, seconds=0.001):
    return Sample(met, seconds)


def entry(ip="192.0.2.1", way="nodePort", expected=True):
    name = TargetName(f"{way} {ip}:30080", way, ip, 30080)
    return EntryName(name, "n1", expected)


def spans(spells):
    return [(s.start, s.end) for s in spells]


def of(made, name, at=100):
    return next(e for e in made.summary(at).endpoints if e.name == f"shop/{name}")


def states(events):
    return [(e.was, e.now) for e in events if isinstance(e, EndpointChanged)]


def test_a_pod_that_is_not_ready_for_a_while():
    made = view(w1=READY, w2=READY)
    events = made.changed(5, WEB, slices(w1=NOT, w2=READY))
    assert states(events) == [(Readiness.READY, Readiness.NOT_READY)]
    made.changed(9, WEB, slices(w1=READY, w2=READY))
    assert spans(of(made, "w1").unavailable) == [(5, 9)]
    assert (of(made, "w1").count, of(made, "w1").total) == (1, 4)
    summary = made.summary(20)
    assert summary.state is State.AVAILABLE and summary.unavailable == ()
    assert summary.fewest == (1, 5)
    assert summary.exit_code == 1


def test_a_deployments_rollout_makes_nothing_unavailable():
    made = view(w1=READY, w2=READY)
    steps = [
        {"w1": READY, "w2": READY, "v3": NOT},
        {"w1": READY, "w2": READY, "v3": READY},
        {"w1": LEAVING, "w2": READY, "v3": READY},
        {"w2": READY, "v3": READY, "v4": NOT},
        {"w2": READY, "v3": READY, "v4": READY},
        {"w2": STOPPED, "v3": READY, "v4": READY},
        {"v3": READY, "v4": READY},
    ]
    for at, step in enumerate(steps, 1):
        made.changed(at, WEB, slices(**step))
    summary = made.summary(10)
    assert summary.exit_code == 0
    assert {e.name: (e.came, e.left, e.state) for e in summary.endpoints} == {
        "shop/w1": (None, 4, "gone"),
        "shop/w2": (None, 7, "gone"),
        "shop/v3": (1, None, "ready"),
        "shop/v4": (4, None, "ready"),
    }
    assert summary.fewest == (2, 0)


def test_a_pod_that_comes_back_under_its_name_was_unavailable():
    made = view(w1=READY, w2=READY)
    made.changed(1, WEB, slices(w1=LEAVING, w2=READY))
    made.changed(2, WEB, slices(w2=READY))
    made.changed(3, WEB, slices(w1=NOT, w2=READY))
    assert made.summary(4).exit_code == 0  # it may have left for good
    made.changed(5, WEB, slices(w1=READY, w2=READY))
    assert spans(of(made, "w1").unavailable) == [(1, 5)]
    assert made.summary(6).exit_code == 1


def test_the_service_is_unavailable_where_no_endpoint_can_be_used():
    made = view(w1=READY)
    [changed, service] = made.changed(3, WEB, slices(w1=NOT))
    assert isinstance(changed, EndpointChanged)
    assert (service.was, service.now, service.ready) == (State.AVAILABLE, State.UNAVAILABLE, 0)
    assert service.why == "no endpoint is ready for port http"
    made.changed(7, WEB, slices(w1=READY))
    made.changed(8, WEB, slices(w1=LEAVING))  # it still serves, and is used
    made.changed(9, WEB, slices(w1=STOPPED))
    assert spans(made.summary(12).unavailable) == [(3, 7), (9, None)]


def test_a_port_without_endpoints():
    made = view(w1=READY)
    made.changed(1, WEB, slices(PORTS[:1], w1=READY))
    assert made.summary(2).unavailable[0].why == "no endpoint is ready for port dns"
    only = ServiceView("shop", "web", "http", 0)
    only.changed(0, WEB, slices(PORTS[:1], w1=READY))
    assert only.summary(1).exit_code == 0
    no_longer = ServiceView("shop", "web", "https", 0)
    no_longer.changed(0, WEB, slices(w1=READY))
    assert "no port https" in no_longer.summary(1).unavailable[0].why


def test_two_families_are_one_endpoint_and_the_worse_counts():
    made = ServiceView("shop", "web", "", 0)
    made.changed(0, WEB, slices(w1=READY) + slices(family=6, w1=READY))
    assert made.endpoints["shop/w1"].ips == ("10.1.0.1", "fd00::1")
    made.changed(1, WEB, slices(w1=READY) + slices(family=6, w1=NOT))
    assert made.endpoints["shop/w1"].readiness is Readiness.NOT_READY
    assert sorted(t.address for t in made.targets) == ["10.1.0.1:8080", "[fd00::1]:8080"]


def test_an_address_in_two_slices_has_the_better_state():
    made = ServiceView("shop", "web", "", 0)
    made.changed(0, WEB, slices(w1=NOT) + slices(w1=READY))
    assert made.ready == 1


def test_the_service_goes_and_comes():
    made = view(w1=READY)
    events = made.changed(2, None, slices(w1=READY))
    assert states(events) == [(Readiness.READY, Readiness.GONE)]
    assert events[-1].why == "there is no such Service any more"
    made.changed(5, WEB, slices(w1=READY))
    assert spans(made.summary(9).unavailable) == [(2, 5)]


# --- probes


def test_a_ready_endpoint_that_refuses_is_unavailable():
    made = view(w1=READY, w2=READY)
    assert [type(e) for e in made.probed(1, target(), answer())] == [ProbeChanged]
    assert made.probed(2, target(), answer()) == []
    [changed] = made.probed(3, target(), answer(Met.REFUSED))
    assert (changed.was, changed.now) == (Met.ANSWERED, Met.REFUSED)
    made.probed(4, target(), answer(Met.REFUSED))
    made.probed(5, target(), answer())
    assert spans(of(made, "w1").unavailable) == [(3, 5)]
    assert of(made, "w1").unavailable[0].why == "10.1.0.1:8080 refused"
    [probes] = of(made, "w1").probes
    assert (probes.sent, probes.failed, probes.answered) == (5, 2, True)
    assert made.summary(6).unavailable == ()


def test_silence_says_something_only_where_others_answer():
    made = view(w1=READY, w2=READY)
    made.probed(1, target(), answer(Met.TIMEOUT))
    made.probed(1, target("w2", "10.1.0.2"), answer(Met.UNREACHABLE))
    assert made.summary(2).exit_code == 0  # from here pods cannot be reached
    made.probed(3, target("w2", "10.1.0.2"), answer())
    assert spans(of(made, "w1").unavailable) == [(3, None)]
    assert of(made, "w2").unavailable == ()


def test_what_could_not_be_tried_says_nothing():
    made = view(w1=READY)
    made.probed(1, target(), answer())
    made.probed(2, target(), answer(Met.ERROR))
    assert made.summary(3).exit_code == 0


def test_what_refused_before_it_was_ready_does_not_count():
    made = view(w1=READY)
    made.changed(1, WEB, slices(w1=READY, w2=NOT))
    w2 = target("w2", "10.1.0.2")
    made.probed(2, w2, answer(Met.REFUSED))
    made.changed(3, WEB, slices(w1=READY, w2=READY))
    assert of(made, "w2").unavailable == ()
    made.probed(4, w2, answer(Met.REFUSED))
    assert spans(of(made, "w2").unavailable) == [(4, None)]
    made.changed(5, WEB, slices(w1=READY, w2=LEAVING))
    made.probed(6, w2, answer(Met.REFUSED))
    assert spans(of(made, "w2").unavailable) == [(4, 5)]


def test_every_ready_endpoint_fails():
    made = view(w1=READY, w2=READY)
    for at, pod, ip in ((1, "w1", "10.1.0.1"), (2, "w2", "10.1.0.2")):
        made.probed(at, target(pod, ip), answer(Met.REFUSED))
    assert [(s.start, s.why) for s in made.summary(3).unavailable] == [(2, "no endpoint answers")]


def test_entries_that_fail_together_and_one_alone():
    made = view(w1=READY)
    one, other = entry(), entry("192.0.2.2")
    made.entries_are(0, [one, other])
    made.probed(1, one.target, answer())
    made.probed(1, other.target, answer(Met.TIMEOUT))
    summary = made.summary(2)
    assert [(e.name, spans(e.unavailable)) for e in summary.entries] == [
        ("nodePort 192.0.2.1:30080", []),
        ("nodePort 192.0.2.2:30080", [(1, None)]),
    ]
    assert summary.unavailable == ()
    made.probed(3, one.target, answer(Met.TIMEOUT))
    made.probed(4, one.target, answer())
    assert [(s.start, s.end, s.why) for s in made.summary(9).unavailable] == [(3, 4, "no entry answers")]


def test_an_entry_that_is_not_expected_to_answer():
    """A node without an endpoint under externalTrafficPolicy Local drops, as it should."""
    made = view(w1=READY)
    one, other = entry(), entry("192.0.2.2", expected=False)
    made.entries_are(0, [one, other])
    made.probed(1, one.target, answer())
    made.probed(1, other.target, answer(Met.TIMEOUT))
    assert made.summary(2).exit_code == 0


def test_an_entry_of_another_family_proves_nothing():
    made = view(w1=READY)
    one, other = entry(), entry("2001:db8::1")
    made.entries_are(0, [one, other])
    made.probed(1, one.target, answer())
    made.probed(1, other.target, answer(Met.UNREACHABLE))
    assert made.summary(2).exit_code == 0


def test_an_entry_that_goes():
    made = view(w1=READY)
    one = entry()
    made.entries_are(0, [one])
    made.probed(1, one.target, answer(Met.REFUSED))
    made.entries_are(2, [])
    [summary] = made.summary(5).entries
    assert (spans(summary.unavailable), summary.left) == ([(1, 2)], 2)


# --- what is not known


def test_a_gap_is_not_unavailable():
    made = view(w1=READY, w2=NOT)
    [gap, service] = made.silent(6, 4, "the API server restarts")
    assert isinstance(gap, ChangesUnknown) and (gap.since, gap.at) == (4, 6)
    assert isinstance(service, ServiceChanged) and service.now is State.UNKNOWN
    assert made.silent(7, 4, "still") == []
    made.changed(8, WEB, slices(w1=READY, w2=READY))
    [over, back] = made.heard(9)
    assert (over.why, over.since, back.now) == (None, 4, State.AVAILABLE)
    assert spans(of(made, "w2").unavailable) == [(0, 4)]
    assert spans(of(made, "w2").unknown) == [(4, 9)]
    assert spans(of(made, "w1").unknown) == [(4, 9)]
    summary = made.summary(12)
    assert spans(summary.silent) == [(4, 9)] and spans(summary.unknown) == [(4, 9)]


def test_a_gap_alone_leaves_it_undetermined():
    made = view(w1=READY)
    made.silent(3, 2, "gone")
    assert made.summary(4).exit_code == 3
    made.heard(5)
    assert made.summary(6).exit_code == 3


def test_in_a_gap_entries_are_still_observed():
    made = view(w1=READY)
    one = entry()
    made.entries_are(0, [one])
    made.probed(1, one.target, answer())
    made.silent(3, 2, "gone")
    assert made.availability.state is State.AVAILABLE
    made.probed(4, one.target, answer(Met.REFUSED))
    assert made.availability.state is State.UNAVAILABLE
    made.probed(5, one.target, answer())
    made.probed(5, target(), answer(Met.REFUSED))  # it may have left meanwhile
    made.heard(6)
    summary = made.summary(7)
    assert spans(summary.unavailable) == [(4, 5)]
    assert of(made, "w1").unknown != ()


def test_nothing_was_ever_known():
    made = ServiceView("shop", "web", "", 0)
    assert made.summary(3).exit_code == 3


# --- findings


def finding(code, *subjects):
    return Finding(code, Severity.ERROR, "title", subjects, (), "", "")


def test_findings_appear_and_vanish():
    made = view(w1=READY)
    first, second = finding("OBJ006", "Pod/shop/w1"), finding("OBJ006", "Pod/shop/w2")
    assert [(e.finding, e.there) for e in made.found(1, [first])] == [(first, True)]
    assert made.found(2, [first]) == []
    assert [(e.finding, e.there) for e in made.found(3, [second])] == [(second, True), (first, False)]
    assert [type(e) for e in made.found(5, [first, second])] == [FindingChanged]
    found = {f.finding: spans(f.spells) for f in made.summary(9).findings}
    assert found == {first: [(1, 3), (5, None)], second: [(3, None)]}


# --- long watches


def test_what_has_left_is_forgotten_but_counted():
    made = view(w1=READY)
    for n in range(2, GONE_KEPT + 12):
        made.changed(n, WEB, slices(w1=READY, **{f"w{n}": READY}))
        made.changed(n + 0.5, WEB, slices(w1=READY, **{f"w{n}": NOT if n == 2 else READY}))
    made.changed(1000, WEB, slices(w1=READY))
    assert len(made.endpoints) == GONE_KEPT + 1
    assert not any(t.subject != "shop/w1" for t in made.targets)
    summary = made.summary(1001)
    assert summary.forgotten == 10
    assert summary.exit_code == 1  # though who was unavailable is no longer listed


# --- any stream of events, against an account second by second

STEP = st.tuples(
    st.dictionaries(st.sampled_from(["w1", "w2", "w3"]), st.sampled_from(list(CONDITIONS))),
    st.sampled_from([None, None, None, "silent", "heard"]),
)


def account(steps):
    """For each pod and second: available, unavailable, unknown or away, told in one pass over the seconds."""
    found = {name: [] for name in ("w1", "w2", "w3")}
    last = dict.fromkeys(found, "gone")
    silent = False
    for n, (pods, word) in enumerate(steps):
        silent = word == "silent" or (silent and word != "heard")
        for name, seconds in found.items():
            now = pods.get(name, "gone")
            if now == NOT and n and last[name] not in (READY, NOT):
                now = "starting"
            last[name] = now
            if now in ("gone", "starting", LEAVING, STOPPED):
                seconds.append("away")
            elif silent:
                seconds.append("unknown")
            else:
                seconds.append("unavailable" if now == NOT else "available")
    return found


@settings(max_examples=200)
@given(st.lists(STEP, min_size=1, max_size=25))
def test_any_stream_of_events(steps):
    made = ServiceView("shop", "web", "", 0)
    for at, (pods, word) in enumerate(steps):
        if word == "silent":
            made.silent(at, at, "gone")
        made.changed(at, WEB, slices(**pods))
        if word == "heard":
            made.heard(at)
    end = len(steps)
    summary = made.summary(end)
    endpoints = {e.name.partition("/")[2]: e for e in summary.endpoints}
    for name, seconds in account(steps).items():
        here = [n for n, s in enumerate(seconds) if s in ("available", "unavailable")]
        expected = {n for n, s in enumerate(seconds) if s == "unavailable"}
        if here:
            expected |= {n for n in range(here[0], here[-1]) if seconds[n] == "away"}
        told = endpoints.get(name)
        listed = (
            [set(range(s.start, end if s.end is None else s.end)) for s in told.unavailable] if told else []
        )
        assert set().union(*listed) == expected, (name, seconds)
        if told:
            assert told.total == len(expected)
    usable = [any(state in (READY, LEAVING) for state in pods.values()) for pods, _ in steps]
    silent = False
    for n, (_, word) in enumerate(steps):
        silent = word == "silent" or (silent and word != "heard")
        inside = any(s.start <= n < (end if s.end is None else s.end) for s in summary.unavailable)
        assert inside == (not silent and not usable[n])
