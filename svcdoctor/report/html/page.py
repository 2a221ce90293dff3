"""A whole page in one file: the parts of ``markup`` in the template, with the style, the scripts and their policy.

Theory. A page is opened from a ticket, years later, by somebody who is not on the network. So everything is in it, and
a Content-Security-Policy allows nothing but the very style sheet and script that are in it, by their hashes. It is
ASCII only, whatever names are in it: no encoding on its way can damage it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from svcdoctor import __version__
from svcdoctor.report.drawing.palette import DARK, LIGHT, MONO, SANS, drawing_style, variables
from svcdoctor.report.printable import printable

SMALLEST = 0.82  # of its size, to which a drawing may shrink


def page(command: str, title: str, body: str, data: dict[str, Any] | None = None, script: str = "") -> str:
    """The page. ``data`` is read by ``script``, a file of this package."""
    scripts = _file("page.js")
    if script:
        scripts = f"{_file(script)}\n{scripts}"
    style = _style()
    text = Template(_file("page.html")).substitute(
        policy=_policy(style, scripts),
        title=escape(printable(f"{title} - svcdoctor {command}")),
        command=command,
        version=__version__,
        body=body,
        style=style,
        data=f'<script type="application/json" id="data">{_data(data)}</script>\n'
        if data is not None
        else "",
        script=scripts,
    )
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _policy(style: str, script: str) -> str:
    """Only these two, from nowhere; no text becomes markup while the page runs."""
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(data: dict[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _style() -> str:
    """The style sheet: dark where the reader's system is, or the switch says so; paper is always light."""
    dark = variables(DARK)
    system = f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}"
    chosen = f"@media screen{{:root[data-theme=dark]{{{dark}color-scheme:dark}}}}"
    root = f":root{{color-scheme:light dark;--sans:{SANS};--mono:{MONO};{variables(LIGHT)}}}"
    # A drawing that is a little wider than the window becomes smaller; a much wider one is scrolled.
    least = "".join(f".way svg.w{n}{{min-width:{n * 100 * SMALLEST:.0f}px}}" for n in range(2, 31))
    forced = ":root[data-theme=light]{color-scheme:light}"
    return f"{root}{system}{chosen}{forced}\n{drawing_style('.way svg')}{least}\n{_file('style.css')}"


@cache
def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
