"""Metrics for Prometheus, on the loop: GET /metrics is answered with a text.

Specification: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format)
"""

from __future__ import annotations

from collections.abc import Callable

from svcdoctor.proxy.httpanswers import Answer, Respond

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def scraped(render: Callable[[Callable[[str], None]], None]) -> Respond:
    """Answers with the text that ``render`` gives to its argument, at once or later."""

    def respond(path: str, done: Callable[[Answer], None]) -> None:
        if path == PATH:
            render(lambda text: done(Answer(200, text, CONTENT_TYPE)))
        else:
            done(Answer(404, f"metrics are at {PATH}\n"))

    return respond
