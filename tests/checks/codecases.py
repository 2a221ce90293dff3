"""What a case of one code is: a broken cluster that is asked about as a user would, and its near miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from svcdoctor.model.lookup import Lookup
from svcdoctor.model.trace import Trace

Answer = Callable[[], Trace | Lookup]


@dataclass(frozen=True)
class CodeCase:
    """``broken`` raises the code before all others, ``sound`` does not raise it; ``case`` and ``twin`` say what they
    are, ``how`` what they are made of."""

    code: str
    how: str
    case: str
    broken: Answer
    twin: str
    sound: Answer


CAPTURE = "real capture, changed"
OBJECTS = "objects"
PROBES = "real objects, planted probes"
DNS = "objects, asked as dns does"
ANSWERS = "objects, planted answers"
FIXTURE = "fixtures/faults"
MANIFESTS = "manifests"
