"""What a person and a program read of a connection."""

import json
import time

import pytest
from capture_frames import (
    CLIENT,
    CNI0,
    DOORS,
    ETH0,
    IN,
    NODE,
    NODE_PORT,
    OUT,
    POD,
    SECOND,
    TARGET_PORT,
    Fed,
    tcp,
)
from test_joiner import Conversation

from svcdoctor.capture.doors import Doors
from svcdoctor.probe.sniffing.run import Ended
from svcdoctor.report.capture import CaptureLines
from svcdoctor.report.capturejson import news_json, summary_json

INTERFACES = {ETH0: "eth0", CNI0: "cni0"}


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def feed(doors=DOORS, encoding="utf-8", color=False, **options):
    """A joiner whose news become lines at once."""
    fed = Fed(doors, **options)
    fed.lines = CaptureLines(doors, INTERFACES, encoding, color)
    fed.said = []
    fed.joiner.table.tell = lambda news: fed.news.append(news) or fed.said.extend(fed.lines.lines(news))
    return fed


def told(fed):
    fed.joiner.table.finish()
    ended = Ended(fed.joiner.tally, "Ctrl-C", 16, 1000, 2.5, 0, interfaces=INTERFACES)
    return fed.said, fed.lines.summary(ended, "a.pcapng")


def test_the_three_lines_of_a_masqueraded_connection():
    fed = feed()
    talk = Conversation(fed)
    talk.open()
    talk.ask("PA", b"question")
    talk.answer("PA", b"answer")
    talk.close()
    said, summary = told(fed)
    counts = "4 packets (224 B), 4 back (222 B)"
    assert said == [
        "#1 TCP 22:13:20.000010  ✔ closed after 0.15 ms, first answer after 0.02 ms",
        f"         192.0.2.7:40000   → 10.1.0.4:31372    nodePort of node node1  eth0  {counts}",
        "   DNAT  192.0.2.7:40000   → 10.244.1.45:8080  pod web-1",
        f"   SNAT  10.244.1.1:40001  → 10.244.1.45:8080                          cni0  {counts}",
    ]
    assert summary == [
        "",
        "1 connection, 16 packets (1.0 kB) on eth0, cni0; ended by Ctrl-C after 2.5 s",
        "joined across NAT: 1 by sequence numbers",
        "no packet was dropped by the kernel",
        "0 packets written to a.pcapng",
    ]


def test_who_refused_and_what_was_sent_again():
    fed = feed()
    talk = Conversation(fed)
    talk.ask("S")
    talk.seq -= 1
    talk.ask("S", after=SECOND)
    talk.answer("RA", seq=0)
    said, summary = told(fed)
    assert said[0].endswith("✘ refused after 1.0 s")
    assert said[-2:] == [
        "   ! retransmission of SYN from 192.0.2.7 (the client), first after 1.0 s",
        "   ✘ RST (refused) from 10.244.1.45 (pod web-1), came in by cni0, after 1.0 s",
    ]
    assert summary[2:5] == [
        "joined across NAT: 1 by sequence numbers",
        "1 reset by 10.244.1.45 (pod web-1)",
        "1 retransmission",
    ]


def test_a_leg_that_is_missing_and_one_that_this_node_refused():
    fed = feed()
    fed.frame(tcp(CLIENT, NODE, "S", 9))
    fed.frame(tcp(NODE, CLIENT, "RA", 0, 10, sport=NODE_PORT, dport=40000), ETH0, OUT)
    said, _ = told(fed)
    assert said[2:] == [
        "   ? no leg behind the nodePort was seen",
        "   ✘ RST (refused) from 10.1.0.4 (node node1), made on this node, out by eth0, after 0.01 ms",
    ]


def test_live_what_happens_has_a_line_of_its_own():
    fed = feed(live=True)
    fed.frame(tcp(CLIENT, POD, "S", 9, dport=TARGET_PORT))
    fed.joiner.table.settle(fed.now + SECOND, 0)
    fed.frame(tcp(CLIENT, POD, "S", 9, dport=TARGET_PORT), after=SECOND)
    fed.frame(tcp(POD, CLIENT, "R", 0, 10, sport=TARGET_PORT, dport=40000), ETH0, IN, after=SECOND)
    said, _ = told(fed)
    assert [line.split(",")[0] for line in said if line.startswith("#1")] == [
        "#1 TCP 22:13:20.000010  ✘ no answer in 0 ms",
        "#1 ! retransmission of SYN from 192.0.2.7 (the client)",
        "#1 ✘ RST (refused) from 10.244.1.45 (pod web-1)",
        "#1 ✘ refused after 2.0 s",
    ]


def test_without_unicode_and_with_colour():
    fed = feed(encoding="ascii")
    Conversation(fed).open()
    assert all(line.isascii() for line in told(fed)[0])
    fed = feed(color=True)
    Conversation(fed).open()
    assert any("\x1b[" in line for line in told(fed)[0])


def test_names_cannot_write_to_the_terminal():
    fed = feed(Doors(DOORS.doors, {NODE: "node \x1b[31mred\u202e", POD: "pod x\ny"}))
    talk = Conversation(fed)
    talk.ask("S")
    talk.answer("R")
    lines, summary = told(fed)
    assert "\x1b" not in "".join(lines + summary) and "\u202e" not in "".join(lines)
    assert all("\n" not in line for line in lines + summary)


def test_json_is_one_line_of_all_that_is_known():
    fed = feed()
    talk = Conversation(fed)
    talk.ask("S")
    talk.answer("RA", seq=0)
    fed.joiner.table.finish()
    [news] = fed.news
    text = news_json(news, DOORS, INTERFACES)
    form = json.loads(text)
    assert "\n" not in text
    assert (form["kind"], form["type"], form["state"], form["joinedBy"]) == (
        "CaptureEvent", "connection", "refused", "sequence",
    )  # fmt: skip
    assert [leg["destination"] for leg in form["legs"]] == ["10.1.0.4:31372", "10.244.1.45:8080"]
    assert form["legs"][1]["translations"] == ["DNAT", "SNAT"]
    [notice] = form["notices"]
    assert (notice["from"], notice["name"], notice["interface"], notice["way"], notice["count"]) == (
        POD, "pod web-1", "cni0", "in", 1,
    )  # fmt: skip
    summary = json.loads(summary_json(Ended(fed.joiner.tally, "Ctrl-C", 4, 216, 1.0, 7), "-"))
    assert (summary["type"], summary["dropped"], summary["cut"], summary["file"]) == ("summary", 7, None, "-")
