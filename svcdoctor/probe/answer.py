"""What a probe's conversation came to when it was answered."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.observed import Certificate, Speaks


@dataclass(frozen=True, slots=True)
class Answer:
    """As `Sample` has it. ``speaks`` is set where the answer shows that another protocol is wanted."""

    who: str = ""
    status: str = ""
    detail: str = ""
    speaks: Speaks | None = None
    certificate: Certificate | None = None
