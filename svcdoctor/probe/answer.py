"""What a probe's conversation came to when it was answered."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.observed import Certificate, Met, Sample, Speaks


@dataclass(frozen=True, slots=True)
class Answer:
    """As `Sample` has it. ``speaks`` is set where the answer shows that another protocol is wanted."""

    who: str = ""
    status: str = ""
    detail: str = ""
    speaks: Speaks | None = None
    certificate: Certificate | None = None

    def sample(self, seconds: float, connect: float | None) -> Sample:
        """The try that was answered so, with its times."""
        return Sample(
            Met.ANSWERED, seconds, connect, self.who, self.status, self.speaks, self.detail, self.certificate
        )
