"""Pages as text: complete in themselves, under a policy that fits, and nothing foreign is ever markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import drawn_ways
import pytest
from checkups import ALL_SORTS, HOSTILE, NOTHING, SOUND, hostile, large, obeyed

from svcdoctor.model.comparison import Change, Compared, Comparison, Shifted
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Verdict
from svcdoctor.report.html.checking import checkup_page
from svcdoctor.report.html.comparing import comparison_page
from svcdoctor.report.html.tracing import trace_page


class Reader(HTMLParser):
    """Every element with its attributes, the raw text of scripts and styles, and whether all that opens closes."""

    VOID = frozenset({"meta", "link", "input", "br", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]].append(data)
        else:
            self.text.append(data)


def compared(text: str = "plain") -> Comparison:
    reported = ALL_SORTS.findings[0] if text == "plain" else hostile().findings[2]
    change = Change("Service/shop/web", text, text, None, ("Service/shop/web",))
    shared = Change("Node/n1", text, None, text, tuple(f"Service/shop/s{i}" for i in range(9)))
    services = (
        Compared("Service/shop/web", Verdict.HEALTHY, Verdict.BROKEN, 1),
        Compared(text, None, Verdict.UNKNOWN, 0),
    )
    shifted = (Shifted(reported, Severity.WARNING),)
    return Comparison(
        text, text, text, 9, services, (change, shared), (reported,), (reported,), shifted, (), (text,)
    )


PAGES = {
    "healthy": lambda: trace_page(drawn_ways.node_port()),
    "typo": lambda: trace_page(drawn_ways.typo()),
    "crowd": lambda: trace_page(drawn_ways.crowd()),
    "hostile trace": lambda: trace_page(drawn_ways.hostile()),
    "all sorts": lambda: checkup_page(ALL_SORTS),
    "sound": lambda: checkup_page(SOUND),
    "nothing": lambda: checkup_page(NOTHING),
    "hostile check": lambda: checkup_page(hostile()),
    "diff": lambda: comparison_page(compared()),
    "hostile diff": lambda: comparison_page(compared("".join(HOSTILE))),
    "same": lambda: comparison_page(Comparison("a", "b", "all", 4)),
}


@pytest.fixture(params=PAGES, scope="module")
def page(request: pytest.FixtureRequest) -> str:
    return PAGES[request.param]()


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def test_a_page_is_ascii_well_formed_and_names_no_other_place(page: str) -> None:
    assert page.isascii() and not obeyed(page)
    reader = read(page)
    assert not reader.open
    idents = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(idents) == len(set(idents))
    for tag, attributes in reader.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in ("src", "style", "srcdoc", "action")
            if name == "href":
                assert value is not None and (value == "data:," or value.startswith("#"))
                assert tag == "link" or value[1:] in idents
    assert not re.findall(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", "".join(reader.raw["style"]))


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else(page: str) -> None:
    reader = read(page)
    policy = next(
        a["content"] or "" for _, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    data = [i for i, (t, _) in enumerate(e for e in reader.elements if e[0] == "script") if i == 0]
    scripts = [s for s in reader.raw["script"] if not s.startswith("{")]
    assert data and len(scripts) == len(reader.raw["style"]) == 1
    for rule, text in (("script-src", scripts[0]), ("style-src", reader.raw["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_foreign_words_are_text(page: str) -> None:
    reader = read(page)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "link",
        "style",
        "body",
        "a",
        "header",
        "p",
        "b",
        "time",
        "button",
    }
    allowed |= {
        "main",
        "section",
        "svg",
        "g",
        "circle",
        "path",
        "h1",
        "h2",
        "h3",
        "h4",
        "span",
        "div",
        "article",
    }
    allowed |= {
        "code",
        "details",
        "summary",
        "ul",
        "li",
        "ol",
        "pre",
        "figure",
        "figcaption",
        "desc",
        "rect",
        "text",
    }
    allowed |= {
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "footer",
        "script",
        "noscript",
        "label",
    }
    allowed |= {"input", "kbd", "del", "ins"}
    assert {tag for tag, _ in reader.elements} <= allowed
    assert "</script" not in "".join(reader.raw["script"])


def test_what_a_trace_found_is_in_its_page() -> None:
    trace = drawn_ways.typo()
    shown = " ".join("".join(read(trace_page(trace)).text).split())
    for finding in trace.findings:
        for said in (
            finding.code,
            finding.title,
            *finding.evidence,
            *finding.explanation.splitlines(),
            finding.fix,
        ):
            assert " ".join(said.split()) in shown
    assert "broken Service sales/bq-api-service-1" in shown


def test_the_tables_name_every_endpoint_and_every_node() -> None:
    shown = "".join(read(trace_page(drawn_ways.crowd())).text)
    for i in range(200):
        assert f"web-{i}" in shown
    for i in range(100):
        assert f"node-{i}" in shown


def data_of(text: str) -> dict[str, list[object]]:
    (data,) = [s for s in read(text).raw["script"] if s.startswith("{")]
    found: dict[str, list[object]] = json.loads(data)
    return found


def test_a_checkups_data_is_all_of_it() -> None:
    data = data_of(checkup_page(ALL_SORTS))
    assert len(data["rows"]) == len(ALL_SORTS.rows) and len(data["findings"]) == len(ALL_SORTS.findings)
    shown = "".join(read(checkup_page(ALL_SORTS)).text)
    for said in ("deploy/bad.yaml:3", "pods is forbidden", "1 ignored by an annotation", "svcdoctor.toml"):
        assert said in shown


def test_five_thousand_broken_services_take_less_than_ten_mebibytes() -> None:
    assert len(checkup_page(large(5000))) < 10 << 20


def test_a_diff_says_what_came_and_went() -> None:
    shown = " ".join("".join(read(comparison_page(compared())).text).split())
    for said in (
        "1 finding appeared",
        "1 gone",
        "was warning",
        "gone, was plain",
        "(9 Services:",
        "not there",
    ):
        assert said in shown
    assert "nothing changed" in "".join(read(PAGES["same"]()).text)
