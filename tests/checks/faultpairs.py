"""fixtures/faults: each a broken cluster, its healthy twin, and the question to both."""

import json
from pathlib import Path

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.request import Request
from svcdoctor.model.trace import EntryKind
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.manifests import ManifestSource

FAULTS = Path(__file__).parents[2] / "fixtures" / "faults"
CODES = sorted(p.name for p in FAULTS.iterdir())


def question(code):
    return json.loads((FAULTS / code / "question.json").read_text())


def ask(code, which):
    """The answer for the ``broken`` or the ``healthy`` cluster of a code."""
    asked = question(code)
    path, ns = FAULTS / code / f"{which}.yaml", asked["namespace"]
    snapshot = ManifestSource([str(path)], ns).snapshot() if asked.get("manifests") else read_snapshot(path)
    target = asked.get("healthyTarget", asked["target"]) if which == "healthy" else asked["target"]
    request = Request(
        parse_target(target, ns),
        parse_client(asked["from"]) if asked.get("from") else None,
        frozenset(EntryKind(v) for v in asked.get("via") or ()),
    )
    return answer_once(snapshot, request, ns)
