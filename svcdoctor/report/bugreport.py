"""What lies beside the snapshot in a bug report: what it is, in which versions, and the answer that it gives.

All of it is made of the anonymised snapshot's answer, and of versions: nothing of the original one is at hand here but
the codes of its findings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from svcdoctor.model.checkup import Checkup
from svcdoctor.model.request import AddressTarget, ClientSpec, ObjectTarget
from svcdoctor.model.trace import Trace
from svcdoctor.path.jsonform import API_VERSION, trace_json
from svcdoctor.report.checkupjson import checkup_json
from svcdoctor.report.machine import form_as_json
from svcdoctor.report.wording import address
from svcdoctor.sources.anonymousrequest import Question

Answer = Trace | Checkup

KIND = "BugReport"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the original's answer found and the anonymised one's does not (``lost``), and the other way round."""

    lost: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not self.lost and not self.new

    @property
    def words(self) -> str:
        """Whether it finds the same, in a sentence."""
        if self.same:
            return "asked of this snapshot, the question has the same verdict and findings as in the cluster"
        parts = [
            f"{what}: {', '.join(codes)}" for what, codes in (("lost", self.lost), ("new", self.new)) if codes
        ]
        return f"asked of this snapshot, the question has another answer than in the cluster ({'; '.join(parts)})"


def compared(original: Answer, anonymous: Answer) -> Comparison:
    """Two answers by their verdicts and the codes of their findings, whatever the names."""
    before, after = _judged(original), _judged(anonymous)
    return Comparison(tuple(sorted((before - after).elements())), tuple(sorted((after - before).elements())))


def _judged(answer: Answer) -> Counter[str]:
    if isinstance(answer, Checkup):
        return Counter(" ".join((r.kind, r.verdict, *r.codes)) for r in answer.rows)
    return Counter([str(answer.verdict), *(f"{f.code} {f.severity}" for f in answer.findings)])


def command(question: Question) -> tuple[str, ...]:
    """The words that ask the question again: of ``trace``, or without a request of ``check``."""
    request, namespace = question.request, question.namespace
    scope = ("-A",) if namespace is None else ("-n", namespace)
    if request is None:
        return ("svcdoctor", "check", *scope)
    asked = ("--from", _client(request.client)) if request.client is not None else ()
    return ("svcdoctor", "trace", _target(request.target), *asked, *scope)


def _target(target: ObjectTarget | AddressTarget) -> str:
    if isinstance(target, ObjectTarget):
        port = f":{target.port}" if target.port else ""
        return f"{target.kind.lower()}/{target.name}{port}{target.path or ''}"
    where = address(target.host, target.port)
    return (
        f"{target.scheme}://{where}{target.path or '/'}" if target.scheme else f"{where}{target.path or ''}"
    )


def _client(client: ClientSpec) -> str:
    named = "/".join(filter(None, (client.namespace, client.name or client.ip)))
    return f"{client.kind}/{named}" if named else str(client.kind)


def beside(
    answer: Answer,
    drawn: str,
    asked: tuple[str, ...],
    versions: Mapping[str, str],
    comparison: Comparison,
    left_out: tuple[str, ...],
) -> dict[str, bytes]:
    """The files by name. ``drawn`` is the answer as the terminal shows it, ``asked`` the words of the question."""
    about = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "command": list(asked),
        "versions": dict(versions),
        "sameFindings": comparison.same,
        "lost": list(comparison.lost),
        "new": list(comparison.new),
    }
    form = checkup_json(answer) if isinstance(answer, Checkup) else trace_json(answer)
    return {
        "README.txt": _readme(asked, comparison, left_out).encode(),
        "bug-report.json": (json.dumps(about, indent=2) + "\n").encode(),
        "answer.json": form_as_json(form).encode(),
        "answer.txt": drawn.encode("utf-8", "replace"),
    }


def _readme(asked: tuple[str, ...], comparison: Comparison, left_out: tuple[str, ...]) -> str:
    lacking = "".join(f"  left out: {what}\n" for what in left_out)
    return (
        "A bug report of svcdoctor.\n\n"
        "  cluster/         the objects that the answer rests on\n"
        "  nodes/           dumps of nodes' rules, where they were asked for\n"
        "  meta.json        what of the cluster is known, and what is not\n"
        "  answer.json      the answer that svcdoctor gives about this snapshot\n"
        "  answer.txt       the same, as the terminal shows it\n"
        "  bug-report.json  the question and versions\n"
        f"{lacking}\n"
        "Names, namespaces, labels, host names and addresses were replaced, the same one by the same one everywhere;\n"
        "the map was not kept. There are no Secrets, annotations of your own or logs in it, and of environment and\n"
        "arguments only settings such as BIND=127.0.0.1. Ports, counts, the objects' times to the hour and what every\n"
        "cluster has (kube-system, kube-dns, the network plugin's name) stay.\n\n"
        f"{comparison.words[0].upper()}{comparison.words[1:]}:\n\n"
        f"  {' '.join(asked)} --snapshot THIS-FILE\n"
    )
