"""The answer of ``wait`` for people and for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from svcdoctor.model.waiting import AwaitedPod, WaitAnswer, WaitEnd, WaitFor
from svcdoctor.path.jsonform import API_VERSION, finding_json, unknown_json
from svcdoctor.report.findings import findings_lines
from svcdoctor.report.layout import Lines, Pen, under, words
from svcdoctor.report.watchwords import duration

_GOOD = {WaitFor.READY: "is ready", WaitFor.REACHABLE: "is reachable", WaitFor.DNS: "resolves"}
_BAD = {WaitFor.READY: "is not ready", WaitFor.REACHABLE: "is not reachable", WaitFor.DNS: "does not resolve"}


def render(answer: WaitAnswer, console: Console, *, verbose: bool) -> None:
    """One line where it was met; else what was waited for, the pods, and the findings that explain it."""
    pen = Pen.of(console, verbose, answer.namespace)
    name = f"service/{answer.service}{f':{answer.port}' if answer.port else ''}"
    after = duration(answer.seconds)
    lines: Lines = []
    if answer.end is WaitEnd.MET:
        how = f": {answer.how}" if answer.how else ""
        lines += pen.wrap(words(f"{name} {_GOOD[answer.what]} after {after}{how}"), 2)
    else:
        bad = _BAD[answer.what] if answer.end is WaitEnd.TIMED_OUT else "could not be determined"
        lines += pen.wrap(words((f"{name} {bad} after {after}", "bold"), "; waited for"), 2)
        for lack in answer.lacking:
            lines += under(pen.narrower(4).wrap(words(lack)), "  - ", "    ")
        lines += _pods(pen, answer)
        if answer.findings:
            lines += [Text(), *findings_lines(pen, answer.findings)]
        for unknown in answer.unknowns:
            if verbose or unknown.required:
                lines += pen.wrap(words(f"to know {unknown.fact}: {unknown.grant}"), 2)
    for line in lines:
        console.print(line)


def _pods(pen: Pen, answer: WaitAnswer) -> Lines:
    found: Lines = []
    for pod in answer.pods:
        short = pod.name.removeprefix(f"{answer.namespace}/")
        where = f" on {pod.node}" if pod.node else ""
        found += pen.wrap(words((f"pod/{short}", "bold"), f"{where}: {_what(pod)}"), 4)
        if pod.message:
            found += under(pen.narrower(4).wrap(words(pod.message)), "    ", "    ")
    return [Text(), *found] if found else []


def _what(pod: AwaitedPod) -> str:
    probes = [
        f"container {p.container} waits for its readiness probe, {p.action}{f' on port {p.port}' if p.port else ''}"
        for p in pod.probes
    ]
    without = [c for c in pod.containers if c not in {p.container for p in pod.probes}]
    if without:
        probes.append(f"container{'s' if len(without) > 1 else ''} {', '.join(without)} not ready")
    return "; ".join([pod.reason, *probes])


def wait_json(answer: WaitAnswer) -> dict[str, Any]:
    """The whole answer, ready for JSON."""
    return {
        "apiVersion": API_VERSION,
        "kind": "WaitResult",
        "for": answer.what,
        "namespace": answer.namespace,
        "service": answer.service,
        "port": answer.port or None,
        "result": answer.end,
        "exitCode": answer.exit_code,
        "seconds": round(answer.seconds, 3),
        "how": answer.how or None,
        "lacking": list(answer.lacking),
        "pods": [
            {
                "name": pod.name,
                "node": pod.node or None,
                "reason": pod.reason,
                "containers": list(pod.containers),
                "readinessProbes": [
                    {"container": p.container, "action": p.action, "port": p.port or None} for p in pod.probes
                ],
                "message": pod.message or None,
            }
            for pod in answer.pods
        ],
        "findings": [finding_json(f) for f in answer.findings],
        "unknowns": [unknown_json(u) for u in answer.unknowns],
    }
