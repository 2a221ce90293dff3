"""The colours of drawings and pages, light and dark, and the style sheet of a drawing.

Theory. Grey is the ground, one blue is for what can be followed, and only what is wrong is loud. No colour says
anything alone: each status has its sign, broken edges are dashed. Every pair of a text and what it stands on has a
contrast of 4.5 at least, lines and signs have 3; a test holds that.
"""

from __future__ import annotations

LIGHT = {
    "ground": "#f4f6f8",
    "paper": "#ffffff",
    "sunk": "#eef1f5",
    "ink": "#17202b",
    "soft": "#526071",
    "line": "#d3dae2",
    "edge": "#7d8b9b",
    "link": "#1a56b0",
    "ok": "#1b7a3d",
    "ok-tint": "#e8f5ec",
    "warn": "#8a5800",
    "warn-tint": "#fdf3dc",
    "fail": "#b3261e",
    "fail-tint": "#fdecea",
    "unknown": "#6d3fa8",
    "unknown-tint": "#f3edfb",
}
DARK = {
    "ground": "#0e1318",
    "paper": "#161c23",
    "sunk": "#1f2730",
    "ink": "#e8edf2",
    "soft": "#a3b1bf",
    "line": "#303b47",
    "edge": "#77879a",
    "link": "#86b7ff",
    "ok": "#5fd086",
    "ok-tint": "#13291b",
    "warn": "#f2bc55",
    "warn-tint": "#2d240f",
    "fail": "#ff8a80",
    "fail-tint": "#371816",
    "unknown": "#cbabff",
    "unknown-tint": "#271d39",
}
STATUSES = ("ok", "warn", "fail", "unknown")

SANS = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","Liberation Sans",Arial,sans-serif'
MONO = 'ui-monospace,SFMono-Regular,"SF Mono",Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace'


def variables(colours: dict[str, str]) -> str:
    """``--ink:#17202b;…``"""
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def drawing_style(scope: str) -> str:
    """The rules of a drawing, for elements within ``scope`` (a selector); the variables are set elsewhere."""
    rules = [
        ("text", f"font-family:{SANS};fill:var(--ink)"),
        (".t", "font-size:13.5px;font-weight:650"),
        (".p", "font-size:12.5px;fill:var(--soft)"),
        (".n,.m,.k,.c", f"font-family:{MONO}"),
        (".n", "font-size:12.5px"),
        (".m", "font-size:13px;font-weight:650"),
        (".c", "font-size:11.5px"),
        (".k", "font-size:12px"),
        (".h", "font-size:11.5px;fill:var(--soft);letter-spacing:.02em"),
        (".a", "fill:var(--link)"),
        (".box", "fill:var(--paper);stroke:var(--line);stroke-width:1.25"),
        (".service .box", "stroke:var(--link);stroke-width:1.75"),
        (".edge", "fill:none;stroke:var(--edge);stroke-width:1.5"),
        (".tip", "fill:var(--edge)"),
        (".pill", "fill:var(--ground)"),
        (".sign circle", "fill:var(--paper)"),
        (".sign path", "fill:none;stroke-width:1.9;stroke-linecap:round;stroke-linejoin:round"),
        (".edge.warn,.edge.fail", "stroke-width:2.25;stroke-dasharray:7 4"),
        (".edge.unknown", "stroke-width:2;stroke-dasharray:2 4"),
    ]
    for name in STATUSES:
        rules += [
            (f".sign.{name} path,.sign.{name} circle", f"stroke:var(--{name})"),
            (f"text.{name}", f"fill:var(--{name})"),
        ]
        if name != "ok":
            rules += [
                (f".edge.{name}", f"stroke:var(--{name})"),
                (f".tip.{name}", f"fill:var(--{name})"),
                (f".box.{name}", f"stroke:var(--{name});stroke-width:1.75"),
                (f".card.{name}", f"fill:var(--{name}-tint);stroke:var(--{name});stroke-width:1.75"),
            ]
    rules.append((".card.ok", "fill:var(--sunk);stroke:var(--line)"))
    return "".join(
        f"{','.join(f'{scope} {part}' for part in selector.split(','))}{{{body}}}" for selector, body in rules
    )


def standalone_style() -> str:
    """The style sheet of a drawing in a file of its own: it follows the reader's light or dark scheme."""
    dark = f"@media (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
    return f":root{{{variables(LIGHT)}}}{dark}{drawing_style('svg')}.ground{{fill:var(--ground)}}"
