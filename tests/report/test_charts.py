"""Ways as graphs: every place is in it, what is broken leads nowhere sound, and its finding stands beside it."""

from __future__ import annotations

import drawn_ways
import pytest
from report_cluster import EXTERNAL_NAME, HEADLESS, INGRESS, cluster

from svcdoctor.model.trace import Status, Trace
from svcdoctor.report.drawing.chart import Chart, Role
from svcdoctor.report.drawing.charting import charts, drawn_pictures
from svcdoctor.report.ways import pictures
from svcdoctor.report.wording import address


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return drawn_ways.stale(tmp_path_factory.mktemp("stale"))


def traces() -> list[Trace]:
    return [
        drawn_ways.node_port(),
        drawn_ways.typo(),
        drawn_ways.lost_name(),
        drawn_ways.local(),
        drawn_ways.crowd(),
        drawn_ways.answered(cluster(dual=True, more=INGRESS)),
        drawn_ways.answered(cluster(service=HEADLESS)),
        drawn_ways.answered(cluster(service=EXTERNAL_NAME)),
        drawn_ways.answered(cluster(kind="LoadBalancer")),
    ]


def leads_to(chart: Chart, key: str) -> set[str]:
    """The boxes at which what comes into one box can end."""
    out = [e.target for e in chart.edges if e.source == key]
    return {key} if not out else set().union(*(leads_to(chart, target) for target in out))


@pytest.mark.parametrize("number", range(9))
def test_edges_join_boxes_and_nothing_hangs_loose(number: int) -> None:
    trace = traces()[number]
    seen: set[str] = set()
    for chart in charts(trace):
        boxes = {box.key: box for box in chart.boxes}
        assert len(boxes) == len(chart.boxes) and not seen & boxes.keys()
        seen |= boxes.keys()
        assert {e.source for e in chart.edges} | {e.target for e in chart.edges} == boxes.keys()
        for edge in chart.edges:
            assert list(Role).index(boxes[edge.source].role) < list(Role).index(boxes[edge.target].role)
            assert edge.status is boxes[edge.target].status or boxes[edge.target].role is not Role.END
    assert len(charts(trace)) == len(pictures(trace.paths))


@pytest.mark.parametrize("number", range(9))
def test_every_endpoint_and_every_node_is_in_it(number: int) -> None:
    trace = traces()[number]
    for chart, picture in zip(charts(trace), drawn_pictures(trace), strict=True):
        shown = {text for box in chart.boxes for text in (box.title, box.address, box.name)}
        shown |= {text for box in chart.boxes for m in box.members for text in (m.address, m.name)}
        for path in picture.paths:
            for backend in (o.backend for o in path.outcomes if o.backend is not None):
                assert address(backend.ip, backend.port) in shown or backend.host in shown
            if path.entry.node is not None and path.entry.kind == "nodePort":
                assert path.entry.node in shown


def test_a_healthy_way_is_one_lane_with_the_shares_on_its_edges() -> None:
    (chart,) = charts(drawn_ways.node_port())
    (lane,) = chart.lanes
    assert chart.status is Status.OK and not chart.remarks
    assert [len(s.entries) for s in lane.sources] == [1, 4]
    assert lane.service is not None and lane.service.address == "10.105.158.88:32111"
    assert [e.label for e in chart.edges if e.source == lane.service.key] == ["33.3 %"] * 3


def test_a_selector_typo_is_an_end_without_endpoint_with_its_finding() -> None:
    (chart,) = charts(drawn_ways.typo())
    (lane,) = chart.lanes
    ((block, remark),) = chart.remarks
    assert remark.code == "OBJ002" and remark.finding is not None and "kubectl" in remark.finding.fix
    assert lane.service is not None
    (broken,) = [e for e in chart.edges if e.status is Status.FAIL]
    assert (broken.source, broken.target) == (lane.service.key, block.boxes[0].key)


def test_a_name_without_record_fails_before_the_service() -> None:
    (chart,) = charts(drawn_ways.lost_name())
    (lane,) = chart.lanes
    assert lane.service is None
    ((block, remark),) = chart.remarks
    assert remark.code == "DNS011" and remark.finding is not None
    (entry,) = lane.sources[0].entries
    assert [(e.source, e.status) for e in chart.edges if e.target == block.boxes[0].key] == [
        (entry.key, Status.FAIL)
    ]


def test_the_node_with_stale_rules_has_a_lane_of_its_own(stale: Trace) -> None:
    assert "RUL004" in {f.code for f in stale.findings}
    chart = next(c for c in charts(stale) if c.clients[0].lines[0].startswith("by nodePort"))
    bad, good = chart.lanes
    (entry,) = bad.sources[0].entries
    assert entry.title == "node2" and bad.service is not None and "as on node2" in bad.service.lines
    assert entry.status is Status.WARN and entry.lines == ("unlike node1, node3",)
    assert {b.title for s in good.sources for b in s.entries} == {"node1", "node3"}
    broken = [b for block in bad.ends for b in block.boxes if b.status is Status.FAIL]
    assert [b.title for b in broken] == ["10.244.1.99:8080"]
    ((_, remark),) = [r for r in chart.remarks if r[1].code == "RUL004"]
    assert remark.finding is not None
    assert not any(b.status is not Status.OK for block in good.ends for b in block.boxes)
    assert "10.244.1.99:8080" not in {b.title for block in good.ends for b in block.boxes}
    ends = {b.key for block in good.ends for b in block.boxes}
    assert all(leads_to(chart, b.key) <= ends for s in good.sources for b in s.entries)


def test_a_finding_is_told_whole_once() -> None:
    found = [
        r
        for c in charts(drawn_ways.answered(cluster(100, 3, policy="Local", dual=True)))
        for _, r in c.remarks
    ]
    told = [r.told for r in found if r.code == "RUL009"]
    assert len(told) > 1 and told == [False] + [True] * (len(told) - 1)


def test_many_that_are_alike_share_a_box_and_what_differs_does_not() -> None:
    chart = next(c for c in charts(drawn_ways.crowd()) if len(c.clients) > 1)
    sizes = sorted(len(b.members) for b in chart.boxes if b.members)
    assert sizes == [98, 198]
    odd = [b.title for b in chart.boxes if b.role is Role.ENTRY and b.status is not Status.OK]
    assert odd == ["node-7", "node-77"]
    doubtful = [b.name for b in chart.boxes if b.role is Role.END and b.status is Status.WARN]
    assert sorted(doubtful) == ["web-150", "web-177"]


def test_sound_lanes_beyond_a_few_are_folded_and_named() -> None:
    chart = next(c for c in charts(drawn_ways.answered(cluster(20, 60, policy="Local"))) if len(c.lanes) > 1)
    folded = chart.lanes[-1].sources[0].entries[0]
    assert len(chart.lanes) == 5 and len(folded.members) == 16
    assert folded.title == "16 more nodes, each with its own endpoints"
