"""A checkup as columns for a shell: a row for each object, for each finding, for each thing left out."""

from __future__ import annotations

from svcdoctor.model.checkup import Checkup, Reported, Row
from svcdoctor.report.checkupwords import place_words, where, worst_first
from svcdoctor.report.tables import plain

OBJECT = ("VERDICT", "KIND", "NAMESPACE", "NAME", "TYPE", "PORTS", "READY", "CODES")
FINDING = ("CODE", "SEVERITY", "SUBJECT", "AFFECTS", "WHERE", "TITLE")


def table(checkup: Checkup) -> str:
    """All tables that have a row, an empty line between them; no borders, ``-`` for nothing."""
    parts = []
    if checkup.rows:
        parts.append(plain(OBJECT, [object_row(r) for r in worst_first(checkup.rows)]))
    if checkup.findings:
        parts.append(plain(FINDING, [finding_row(r) for r in checkup.findings]))
    if checkup.suppressed:
        parts.append(
            plain(
                ("CODE", "SUBJECT", "SUPPRESSED BY"), [[s.code, s.subject, s.by] for s in checkup.suppressed]
            )
        )
    if checkup.problems:
        rows = [[place_words(p.place) if p.place is not None else "", p.message] for p in checkup.problems]
        parts.append(plain(("WHERE", "PROBLEM"), rows))
    if checkup.unknowns:
        rows = [[u.fact, "yes" if u.required else "no", u.reason] for u in checkup.unknowns]
        parts.append(plain(("NOT KNOWN", "NEEDED", "REASON"), rows))
    return "\n".join(parts) or f"{checkup.scope}: nothing to check\n"


def object_row(r: Row) -> list[str]:
    ready = "" if r.endpoints is None else f"{r.endpoints[0]}/{r.endpoints[1]}"
    ports, codes = ",".join(r.ports), ",".join(r.codes)
    return [str(r.verdict), r.kind, r.namespace, r.name, r.type, ports, ready, codes]


def finding_row(r: Reported) -> list[str]:
    f = r.finding
    return [f.code, str(f.severity), ",".join(f.subjects), str(len(r.affects)), where(r), f.title]
