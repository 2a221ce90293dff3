"""Which findings an answer holds, and with which severity: the user's choice, and what objects say of themselves.

Theory. A choice is made case by case, before findings of many cases become one: an annotation speaks for its own
object only. What is left out is never forgotten: it is counted, with what left it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
from msgspec.structs import replace

from svcdoctor.checks.plugins import loaded
from svcdoctor.checks.registry import REGISTRY
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.base import AnnotatedMeta, KubeObject
from svcdoctor.model.checkup import By, Problem, Reported, Suppressed
from svcdoctor.model.facts import Kind
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.snapshot import Snapshot

ANNOTATION = "svcdoctor.io/ignore"


@dataclass(frozen=True)
class Choice:
    """What to report. ``select`` and ``ignore`` hold codes or their beginnings (``OBJ``); ``ignore`` wins.

    ``severities`` changes codes' severity, ``annotations`` says whether objects may ignore codes, ``baseline``
    holds the fingerprints of what is known already.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severities: Mapping[str, Severity] = field(default_factory=dict)
    annotations: bool = True
    baseline: frozenset[str] = frozenset()

    @cached_property
    def by_code(self) -> Mapping[str, Severity]:
        """The severities by whole codes; a longer beginning wins over a shorter one."""
        words = sorted(self.severities, key=len)
        return {c: self.severities[w] for w in words for c in REGISTRY if c.startswith(w)}

    def refused(self, code: str) -> By | None:
        """What leaves a code out, whatever the object."""
        if self.ignore and code.startswith(self.ignore):
            return By.IGNORE
        return By.SELECT if self.select and not code.startswith(self.select) else None


def why_unknown(word: str) -> str | None:
    """Why a word is no code and no beginning of one, or ``None`` where it is; near codes are named."""
    loaded()  # other packages' codes are codes too
    if word and any(code.startswith(word) for code in REGISTRY):
        return None
    near = near_names(word.upper(), REGISTRY) if word else []
    return f"no code {word!r}" + (f"; near: {', '.join(near)}" if near else "; svcdoctor codes lists all")


class _Answer(msgspec.Struct):
    kind: str
    findings: list[Finding]


def fingerprints(data: bytes) -> frozenset[str]:
    """The fingerprints of an earlier answer's findings, from its JSON. Raises ValueError for what is none."""
    try:
        answer = msgspec.json.decode(data, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ValueError(str(e)) from None
    if answer.kind != "Checkup":
        raise ValueError(f"kind is {answer.kind}, not Checkup")
    return frozenset(Reported(f).fingerprint for f in answer.findings)


class Ignoring:
    """What the annotations of a Snapshot's objects ignore.

    ``problems`` are annotations that name a code that there is none of.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._codes: dict[str, tuple[str, ...]] = {}
        self.problems: list[Problem] = []
        for kind in Kind:
            for o in snapshot.of(kind):
                text = _annotation(o)
                if text is not None:
                    self._read(_subject(o), text)

    def _read(self, subject: str, text: str) -> None:
        words = [w.strip() for w in text.split(",") if w.strip()]
        for word in words:
            why = why_unknown(word)
            if why is not None:
                self.problems.append(Problem(f"{subject}: annotation {ANNOTATION}: {why}"))
        self._codes[subject] = tuple(w for w in words if why_unknown(w) is None)

    def ignores(self, subject: str, finding: Finding) -> bool:
        """Whether the case's object or one that the finding is about ignores its code."""
        if not self._codes:
            return False
        return any(
            finding.code.startswith(words)
            for s in (subject, *finding.subjects)
            if (words := self._codes.get(s))
        )


def _annotation(o: KubeObject) -> str | None:
    meta = o.metadata
    return (meta.annotations or {}).get(ANNOTATION) if isinstance(meta, AnnotatedMeta) else None


def _subject(o: KubeObject) -> str:
    return f"{o.kind}/{o.namespace}/{o.name}" if o.namespace else f"{o.kind}/{o.name}"


def chosen(
    subject: str, findings: Iterable[Finding], choice: Choice, ignoring: Ignoring | None
) -> tuple[tuple[Finding, ...], tuple[Suppressed, ...]]:
    """A case's findings that are reported, with the severities chosen, and what was left out of them."""
    left: list[Finding] = []
    out: list[Suppressed] = []
    for finding in findings:
        by = choice.refused(finding.code)
        if by is None and ignoring is not None and ignoring.ignores(subject, finding):
            by = By.ANNOTATION
        if by is not None:
            out.append(Suppressed(finding.code, subject, by))
            continue
        severity = choice.by_code.get(finding.code) if choice.severities else None
        left.append(replace(finding, severity=severity) if severity is not None else finding)
    left.sort(key=lambda f: f.severity.rank)
    return tuple(left), tuple(out)
