"""What the API server refuses in a manifest."""

from __future__ import annotations

import msgspec

from svcdoctor.model.finding import Severity


class Rejection(msgspec.Struct, frozen=True):
    """One refusal of one object.

    ``field`` is Kubernetes' path to what is refused, ``words`` the API server's own (``Forbidden: may not be …``),
    ``fix`` the change that mends it, ``seen`` what the manifest says, where the words alone do not tell. A warning
    is what only some servers, or only strict clients, refuse.
    """

    field: str
    words: str
    fix: str
    seen: str = ""
    severity: Severity = Severity.ERROR
