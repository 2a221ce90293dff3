"""Pages in a real browser: no error, nothing asked for, readable by everybody, by keyboard, on paper, and large ones.

One browser for all. The texts of drawings are measured there, in the fonts that there are.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import drawn_ways
import pytest
from checkups import ALL_SORTS, NOTHING, SOUND, hostile, large
from test_pages import compared

from svcdoctor.report.drawing.svg import svg
from svcdoctor.report.html.checking import checkup_page
from svcdoctor.report.html.comparing import comparison_page
from svcdoctor.report.html.tracing import trace_page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = "axe_playwright_python"
NARROW, WIDE = {"width": 400, "height": 800}, {"width": 1440, "height": 900}

# Pairs of texts of a drawing that lie on each other, and texts that stick out of their box.
COLLIDING = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('figure svg[role=group], svg[role=img]')) {
    const sheet = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect(), t]);
    for (const [words, r, t] of texts) {
      const box = t.closest('g')?.querySelector(':scope > rect:not(.pill)')?.getBoundingClientRect() ?? sheet;
      if (r.right > box.right + 1 || r.bottom > box.bottom + 1 || r.left < box.left - 1) found.push(`out: ${words}`);
    }
    for (let i = 0; i < texts.length; i++) for (let j = 0; j < i; j++) {
      const [a, p] = texts[i], [b, q] = texts[j];
      const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (wide > 1 && high > 4) found.push(`on each other: ${a} / ${b}`);
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser. Skips with the reason where there is none, but fails in CI."""
    program = shutil.which("chromium")
    missing = "" if program else "chromium is not installed"
    if find_spec("playwright") is None or find_spec(AXE) is None:
        missing = "playwright and axe-playwright-python are not installed"
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    texts = {
        "healthy": trace_page(drawn_ways.node_port()),
        "typo": trace_page(drawn_ways.typo()),
        "stale": trace_page(drawn_ways.stale(folder)),
        "name": trace_page(drawn_ways.lost_name()),
        "local": trace_page(drawn_ways.local()),
        "crowd": trace_page(drawn_ways.crowd()),
        "few": trace_page(drawn_ways.crowd(12, 30)),
        "hostile": trace_page(drawn_ways.hostile()),
        "check": checkup_page(ALL_SORTS),
        "hostile-check": checkup_page(hostile()),
        "sound": checkup_page(SOUND),
        "nothing": checkup_page(NOTHING),
        "large": checkup_page(large(5000)),
        "diff": comparison_page(compared()),
    }
    found = {}
    for name, text in texts.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(text)
    found["svg"] = folder / "way.svg"
    found["svg"].write_text(svg(drawn_ways.local()))
    return found


Open = Callable[..., Any]


@pytest.fixture
def opened(chromium: Any, files: dict[str, Path]) -> Iterator[Open]:
    """``with opened("typo", color_scheme="dark") as page``: no error in it, nothing asked for beside the file."""

    @contextmanager
    def visit(name: str, **options: Any) -> Iterator[Any]:
        context = chromium.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url != url else None)
        url = files[name].as_uri()
        page.goto(url)
        yield page
        context.close()
        assert said == []

    return visit


def axe(page: Any, **rules: Any) -> list[str]:
    """What axe-core holds against the page, by all of its rules or some: rule, element, message."""
    spec = find_spec(AXE)
    assert spec is not None and spec.origin is not None
    if not page.evaluate("'axe' in window"):
        page.evaluate(next(Path(spec.origin).parent.glob("**/axe*.js")).read_text())
    found = page.evaluate("rules => axe.run(document, {resultTypes: ['violations'], ...rules})", rules)[
        "violations"
    ]
    return [f"{v['id']}: {n['html'][:120]} {n['failureSummary']}" for v in found for n in v["nodes"]]


@pytest.mark.parametrize("name", ["healthy", "typo", "stale", "few", "check", "diff"])
def test_everybody_can_read_it_light_and_dark(opened: Open, name: str) -> None:
    with opened(name, color_scheme="light", bypass_csp=True) as page:
        if name not in ("stale", "few"):  # axe takes its time with thousands of elements
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert axe(page) == []
        page.emulate_media(color_scheme="dark")
        assert axe(page, runOnly=["color-contrast"]) == []


@pytest.mark.parametrize("name", ["healthy", "typo", "stale", "name", "local", "crowd", "hostile", "svg"])
def test_no_text_of_a_drawing_lies_on_another_or_sticks_out(opened: Open, name: str) -> None:
    with opened(name) as page:
        assert page.locator("svg text").count() > 5
        assert page.evaluate(COLLIDING) == []


@pytest.mark.parametrize("name", ["typo", "crowd", "check", "diff", "hostile", "hostile-check"])
def test_a_narrow_screen_scrolls_only_what_is_wide(opened: Open, name: str) -> None:
    with opened(name, viewport=NARROW) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_the_policy_holds_what_is_put_into_the_page(opened: Open) -> None:
    with pytest.raises(AssertionError, match="Content Security Policy"), opened("typo") as page:
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/'}))"
        )
        page.wait_for_timeout(100)


def test_light_and_dark_by_the_system_and_by_the_switch(opened: Open) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened("typo", color_scheme="light") as page:
        light = page.evaluate(ground)
        switch = page.get_by_role("button", name="Theme: auto")
        switch.press("Enter")
        assert page.evaluate(ground) == light
        page.get_by_role("button", name="Theme: light").press("Space")
        assert page.get_by_role("button", name="Theme: dark").is_visible()
        dark = page.evaluate(ground)
        assert dark != light
    with opened("typo", color_scheme="dark") as page:
        assert page.evaluate(ground) == dark
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(23, 32, 43)"


def test_a_trace_by_keyboard_alone(opened: Open) -> None:
    with opened("crowd") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "answer"
        seen: set[str] = set()
        for _ in range(25):
            page.keyboard.press("Tab")
            seen.add(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
        assert {"SUMMARY.", "DIV.scroll", "BUTTON.copy"} <= seen
        summary = page.get_by_text("The same as tables").first
        summary.focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("cell", name="10.0.0.7:8080").first.is_visible()


def test_a_code_in_the_drawing_leads_to_its_finding(opened: Open) -> None:
    with opened("typo") as page:
        page.locator("figure a").first.focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.querySelector(':target h3').textContent") == "Selector matches no pod"


def test_a_fix_is_copied_whole(opened: Open) -> None:
    with opened("typo", permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("button", name="Copy").first.click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == drawn_ways.typo().findings[0].fix


def test_a_checkup_is_filtered_by_keyboard(opened: Open) -> None:
    with opened("check") as page:
        assert page.locator("#objects tr").count() == len(ALL_SORTS.rows)
        page.keyboard.press("/")
        page.keyboard.type("OBJ002 web")
        page.locator("#findings-count", has_text="1 of 4").wait_for()
        assert page.locator("#objects th").all_inner_texts() == ["Service shop/web"]
        page.keyboard.press("Escape")
        assert page.locator("#findings > details").count() == len(ALL_SORTS.findings)
        page.get_by_role("button", name="degraded").press("Space")
        assert page.locator("#objects th").all_inner_texts() == ["Service shop/api", "Ingress shop/front"]
        page.get_by_role("button", name="NOD009", exact=True).press("Enter")
        assert page.evaluate("document.activeElement.value") == "NOD009"
        page.locator("#findings summary").first.press("Enter")
        page.get_by_text("kubectl describe node worker-1").wait_for()


def test_where_nothing_is_wrong_or_nothing_is_there(opened: Open) -> None:
    with opened("sound") as page:
        assert page.locator("#objects th").all_inner_texts() == ["Service shop/fine", "Service shop/outside"]
        assert page.locator("h2").all_inner_texts() == ["Objects 2"]
    with opened("nothing") as page:
        page.locator("html[data-ready]").wait_for()
        assert page.locator("main").inner_text().count("nothing to check") == 2


def test_what_others_wrote_is_shown_and_not_obeyed(opened: Open) -> None:
    with opened("hostile-check") as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.get_by_text("<img src=x onerror=alert(1)>").first.wait_for()
        assert page.locator("img").count() == 0


def test_five_thousand_broken_services_are_ready_at_once_and_made_as_they_are_asked_for(opened: Open) -> None:
    with opened("large") as page:
        page.locator("html[data-ready]").wait_for(timeout=10_000)
        assert page.evaluate("document.querySelectorAll('*').length") < 5000
        assert page.locator("#objects-count").inner_text() == "5,000"
        page.locator("#objects-further").press("Enter")
        assert page.locator("#objects tr").count() == 200
        page.locator("#filter").fill("web-4999")
        page.locator("#objects-count", has_text="1 of 5,000").wait_for()
        assert page.locator("#objects th").inner_text() == "Service ns-49/web-4999"


@pytest.mark.parametrize("name", ["local", "check"])
def test_on_paper_the_evidence_stands_open(opened: Open, name: str) -> None:
    with opened(name) as page:
        page.evaluate(
            "addEventListener('beforeprint', () => {"
            "  window.folded = document.querySelectorAll('details.evidence:not([open])').length })"
        )
        pdf = page.pdf(prefer_css_page_size=True)
        assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2
        assert page.evaluate("window.folded") == 0
