"""Pictures of a watched Service of any size, its history in characters, its words."""

from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

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
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.service import ServiceSpec as Spec
from svcdoctor.probe.watch.endpoints import Readiness
from svcdoctor.probe.watch.subjects import EntryName
from svcdoctor.probe.watch.target import TargetName
from svcdoctor.probe.watch.view import ServiceView
from svcdoctor.report.sparkline import latencies, readinesses
from svcdoctor.report.watchpicture import Surroundings, picture
from svcdoctor.report.watchsummary import LISTED, summary_lines
from svcdoctor.report.watchwords import duration, milliseconds, tenths

START = datetime(2026, 11, 21, 12, 0, 0).timestamp()
WEB = Service(metadata=AnnotatedMeta(name="web", namespace="shop"), spec=Spec(ports=(ServicePort(port=80),)))


def slices(ready):
    """Pods p0, p1 …, ready or not."""
    endpoints = tuple(
        SliceEndpoint(
            addresses=(f"10.1.{n >> 8}.{n & 255}",),
            conditions=EndpointConditions(ready=is_ready, serving=is_ready),
            node_name=f"node-{n % 3}",
            target_ref=ObjectReference(kind="Pod", namespace="shop", name=f"web-5d8f-p{n}"),
        )
        for n, is_ready in enumerate(ready)
    )
    ports = (EndpointPort(port=8080),)
    return (EndpointSlice(metadata=Meta(name="s"), address_type="IPv4", endpoints=endpoints, ports=ports),)


def watched(ready, entries=0, findings=0):
    view = ServiceView("shop", "web", "", START)
    view.changed(START, WEB, slices([True] * len(ready)))
    view.changed(START + 5, WEB, slices(ready))
    names = [
        TargetName(f"nodePort 192.0.2.{n}:30080", "nodePort", f"192.0.2.{n}", 30080) for n in range(entries)
    ]
    view.entries_are(START, [EntryName(name, f"node-{n}", True) for n, name in enumerate(names)])
    for n, name in enumerate(names):
        view.probed(START + 6, name, Sample(Met.REFUSED if n % 4 == 1 else Met.ANSWERED, 0.002))
    for name in list(view.targets)[: len(ready)]:
        view.probed(START + 6, name, Sample(Met.ANSWERED, 0.0005))
    found = [Finding(f"OBJ{n:03}", Severity.WARNING, "something", (), (), "", "") for n in range(findings)]
    view.found(START + 6, found)
    for _ in range(3):
        view.tick()
    return view


def around(width, height, drawn=True, pace=1.0, events=()):
    return Surroundings(START + 10, width, height, drawn, pace, "", events)


def plain(lines):
    return [line.plain for line in lines]


def test_the_worst_first_and_the_others_counted():
    ready = [n not in (700, 800) for n in range(1000)]
    lines = plain(picture(watched(ready, entries=30, findings=9), around(120, 30)))
    assert len(lines) == 30
    first = lines.index(next(line for line in lines if line.startswith("ENDPOINT")))
    assert lines[first + 1].startswith("pod/web-5d8f-p700") and "not ready" in lines[first + 1]
    assert lines[first + 2].startswith("pod/web-5d8f-p800")
    [rest] = [line for line in lines if "ready" in line and line.startswith("and ")]
    shown = sum(line.startswith("pod/") for line in lines)
    assert rest == f"and {1000 - shown} more: {1000 - shown} ready"
    entry = next(line for line in lines if line.startswith("nodePort"))
    assert "unavailable" in entry and entry.endswith("refuses")
    assert any(line.startswith("and ") and "available" in line for line in lines)
    assert "FINDINGS" in lines
    assert lines[-1] == "Ctrl-C ends it with a summary"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 60),
    st.lists(st.booleans(), max_size=40),
    st.integers(0, 12),
    st.integers(0, 6),
    st.booleans(),
    st.integers(0, 10),
)
def test_no_picture_is_larger_than_the_terminal(width, height, ready, entries, findings, drawn, events):
    told = [(START, f"event {n}") for n in range(events)]
    lines = picture(watched(ready, entries, findings), around(width, height, drawn, events=told))
    assert len(lines) == max(height, 4)
    assert all(cell_len(line.plain) <= max(width, 20) for line in lines)
    if not drawn:
        assert all(line.plain.isascii() for line in lines)


def test_without_probes_there_is_no_column_for_them():
    lines = plain(picture(watched([True], entries=2), around(120, 30, pace=None)))
    assert "no probes (--probe)" in lines[1]
    assert not any("PROBES" in line or line.startswith("ENTRY") for line in lines)


def test_histories():
    steps = [0.0001, 0.002, 0.009, 0.02, 0.09, 0.2, 0.9, 2.0, None]
    assert latencies(steps, 20, True).plain == "▁▂▃▄▅▆▇█×"
    assert latencies(steps, 20, False).plain == "_.-~=+*#x"
    assert latencies(steps, 2, True).plain == "█×"
    assert latencies(steps, 0, True).plain == ""
    said = [Readiness.STARTING, Readiness.READY, Readiness.NOT_READY, Readiness.TERMINATING, None]
    assert readinesses(said, 20, True).plain == "▂█×▄?"
    assert readinesses(said, 20, False).plain == ".#x=?"


def test_numbers_in_words():
    assert [duration(s) for s in (0, 9.94, 9.96, 59.4, 61, 3600, 90061)] == [
        "0.0 s", "9.9 s", "10 s", "59 s", "1 min 1 s", "1 h", "1 d 1 h",
    ]  # fmt: skip
    assert [milliseconds(s) for s in (0.00042, 0.0042, 0.042, 0.42, 4.2)] == [
        "0.42 ms", "4.2 ms", "42 ms", "420 ms", "4.2 s",
    ]  # fmt: skip
    assert tenths(START + 0.96, START) == "12:00:00.9"
    assert tenths(START - 86400, START) == "2026-11-20 12:00:00.0"


def test_a_summary_lists_what_matters_and_counts_the_rest():
    view = watched([n >= 60 for n in range(1000)])
    lines = summary_lines(view.summary(START + 10))
    assert lines[0] == "service/web in namespace shop, watched 12:00:00 to 12:00:10 (10 s)"
    assert "  fewest ready endpoints: 940, at 12:00:05.0" in lines
    assert "  pod/web-5d8f-p0: node-0, not ready at the end" in lines
    assert "    unavailable 12:00:05.0 to the end (5.0 s): not ready" in lines
    assert sum(line.startswith("  pod/") for line in lines) == LISTED
    assert "  and 20 more (all with -o json)" in lines
    assert "  and 940 endpoints without a change" in lines


def test_what_others_wrote_is_made_printable():
    view = watched([True])
    evil = Finding("OBJ001", Severity.ERROR, "a\x1b[31mb\nc", ("Pod/x\x07",), (), "", "")
    view.found(START + 7, [evil])
    lines = plain(picture(view, around(200, 30))) + summary_lines(view.summary(START + 8))
    assert any("a[31mb c" in line for line in lines)
    assert all(line.isprintable() for line in lines)
