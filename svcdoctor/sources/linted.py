"""The answer of ``lint``: manifests checked as the cluster that they would make, each finding with its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from svcdoctor.checks.checkup import CHECKED, EVERY_FINDING, checkup
from svcdoctor.checks.choosing import ANNOTATION, Choice, chosen
from svcdoctor.checks.registry import REGISTRY, kept
from svcdoctor.checks.rejected import raised
from svcdoctor.model.checkup import Checkup, Place, Problem, Reported, Suppressed
from svcdoctor.model.finding import Finding
from svcdoctor.sources.manifests import Manifest, ManifestSource, Read

_KINDS = frozenset(str(k) for k in CHECKED)


@dataclass(frozen=True, slots=True)
class Linted:
    """The answer, and how much of the inputs it rests on.

    ``unread`` says that a part could not be read, ``nothing`` that no object could.
    """

    answer: Checkup
    unread: bool
    nothing: bool


def linted(source: ManifestSource, choice: Choice = EVERY_FINDING) -> Linted:
    """Everything wrong with the manifests of a tolerant source."""
    read = source.read
    answer = checkup(source, None, choice=choice)
    rest, left_out = _unasked(read, answer, choice)
    findings = [replace(r, place=_place(read, r)) for r in answer.findings]
    findings = sorted([*findings, *rest], key=lambda r: r.finding.severity.rank)
    problems = [
        *(Problem(t.message, t.place) for t in read.troubles),
        *(_placed(read, p) for p in answer.problems),
    ]
    answer = replace(
        answer,
        scope=", ".join("standard input" if n == "-" else n for n in source.names),
        findings=tuple(findings),
        suppressed=(*answer.suppressed, *left_out),
        problems=tuple(problems),
        notes=(*_notes(read), *answer.notes),
    )
    nothing = not read.manifests and not read.others
    return Linted(answer, any(t.unread for t in read.troubles), nothing)


def _unasked(read: Read, answer: Checkup, choice: Choice) -> tuple[list[Reported], list[Suppressed]]:
    """What the API server refuses of objects that no question was about, such as workloads without a Service."""
    said = {(r.finding.subjects, r.finding.field, r.finding.evidence) for r in answer.findings}
    said_to_ignore = {(s.code, s.subject) for s in answer.suppressed}
    check = REGISTRY["OBJ032"]
    found: list[Reported] = []
    left_out: list[Suppressed] = []
    for manifest in read.manifests:
        asked = manifest.kind in _KINDS and manifest is read.by_subject[manifest.subject]
        if asked or not manifest.rejections or (check.code, manifest.subject) in said_to_ignore:
            continue
        findings = kept((check, raised(manifest.subject, r)) for r in manifest.rejections)
        left, out = chosen(manifest.subject, findings, choice, None)
        left_out += out
        for f in left:
            if (f.subjects, f.field, f.evidence) in said:
                continue
            reported = Reported(f, (), _written(manifest, f.field))
            if reported.fingerprint not in choice.baseline:
                found.append(reported)
    return found, left_out


def _written(manifest: Manifest, field: str) -> Place:
    return manifest.written.place(field)


def _place(read: Read, reported: Reported) -> Place | None:
    """Where the cause is written: the first subject that is a manifest, or what it affects."""
    finding = reported.finding
    for subject in _subjects(finding, reported.affects):
        manifest = read.by_subject.get(subject)
        if manifest is not None:
            return manifest.written.place(finding.field if subject == finding.subjects[0] else "")
    return None


def _subjects(finding: Finding, affects: tuple[str, ...]) -> Iterator[str]:
    yield from finding.subjects
    yield from affects


def _placed(read: Read, problem: Problem) -> Problem:
    """A problem that begins with its object's name, with the line of the annotation that it is about."""
    manifest = read.by_subject.get(problem.message.partition(": ")[0])
    if problem.place is not None or manifest is None:
        return problem
    return replace(problem, place=manifest.written.place(f"metadata.annotations['{ANNOTATION}']"))


def _notes(read: Read) -> Iterator[str]:
    if read.others:
        kinds = sorted(read.others.items(), key=lambda item: (-item[1], item[0]))
        told = ", ".join(f"{count} {kind}" for kind, count in kinds[:8])
        more = f" and {len(kinds) - 8} more kinds" if len(kinds) > 8 else ""
        yield f"not looked into, as no Service rests on them: {told}{more}"
    if read.no_objects:
        files = list(dict.fromkeys(read.no_objects))
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        yield f"no Kubernetes objects, so left out: {', '.join(files[:5])}{more}"
    if "Kustomization" in read.others:
        yield "a kustomization is not built: kubectl kustomize DIR | svcdoctor lint -f -"
