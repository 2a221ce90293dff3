"""Benchmarks of pages, run by hand: python tests/benchmarks/pages.py

A check of 5,000 Services, all sound and all broken with a cause each, as a page: its size, and in a headless Chromium
how long it takes until it can be used (scripts have run, a frame is painted, the browser is idle), and until what is
typed into the filter is shown. Then a trace to 1,000 endpoints. Best of three. Needs chromium and playwright.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from check import BIN, folder_of
from measured import report
from playwright.sync_api import sync_playwright

from svcdoctor.report.html.checking import checkup_page

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from checkups import large

SERVICES = 5000
ROUNDS = 3
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
USABLE = """() => new Promise(done =>
  requestAnimationFrame(() => requestIdleCallback(() => done(performance.now() / 1000))))"""
FILTERED = """text => new Promise(done => {
  const began = performance.now(), box = document.getElementById('filter');
  new MutationObserver(() => requestAnimationFrame(() => done((performance.now() - began) / 1000)))
    .observe(document.getElementById('objects-count'), {childList: true, characterData: true, subtree: true});
  box.value = text;
  box.dispatchEvent(new Event('input'));
})"""


def page_of(words, file):
    """Runs the program, which may find errors; returns the page's size."""
    done = subprocess.run([BIN / "svcdoctor", *words, "-o", f"html={file}"], check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"failed: {words}")
    return file.stat().st_size


def opened(browser, file, typed):
    """Seconds until the page can be used, and until the filter shows what it was told to."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(file.as_uri())
    usable = page.evaluate(USABLE)
    filtered = page.evaluate(FILTERED, typed) if typed else 0.0
    page.close()
    return usable, filtered


def main():
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name in ("sound", "broken"):
            file = folder / f"{name}.html"
            if name == "sound":
                size = page_of(["check", "-A", "--snapshot", str(folder_of(SERVICES, 2))], file)
            else:
                size = file.write_text(checkup_page(large(SERVICES)))
            typed = "svc-4999" if name == "sound" else "web-4999"
            times = [opened(browser, file, typed) for _ in range(ROUNDS)]
            report(f"{SERVICES} {name} Services: size", size / (1 << 20), 10, " MiB")
            report(f"{SERVICES} {name} Services: usable", min(t for t, _ in times), 3, " s")
            report(f"{SERVICES} {name} Services: filtered", min(t for _, t in times), 0.5, " s")
        many = folder_of(1, 1000)
        file = folder / "trace.html"
        size = page_of(["trace", "svc/svc-0", "-n", "ns-0", "--snapshot", str(many)], file)
        report("1,000 endpoints: size", size / (1 << 20), 10, " MiB")
        report("1,000 endpoints: usable", min(opened(browser, file, "")[0] for _ in range(ROUNDS)), 3, " s")
        browser.close()


if __name__ == "__main__":
    main()
