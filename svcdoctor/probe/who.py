"""Who answered, as the answer itself tells: a pod's name in its text, or a server's name in a header or body.

Programs that are put behind a Service to see who answers write their hostname, which is the pod's name: agnhost
(nothing but the name), whoami (``Hostname: x``), echoserver (``Hostname: x``), podinfo (JSON ``"hostname"``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LONGEST = 253  # letters of a name
_HEADERS = (b"x-pod-name", b"x-hostname", b"x-served-by", b"x-backend-server", b"x-server-name")
_NAME = r"[a-zA-Z0-9](?:[-a-zA-Z0-9.]{0,251}[a-zA-Z0-9])?"
_ALONE = re.compile(rf"\s*({_NAME})\s*")
_FIELD = re.compile(
    rf"""(?:^|[\s{{,;>])["']?(?:host[-_ ]?name|pod[-_ ]?name|pod|server[ ]name)["']?\s*[:=]\s*["']?({_NAME})""",
    re.IGNORECASE | re.MULTILINE,
)


def who(text: bytes, names: Sequence[str] = (), headers: Iterable[tuple[bytes, bytes]] = ()) -> str:
    """The name in an answer, empty where there is none.

    ``names`` are looked for first, the longest of them that is there; then the headers that name a server, a text
    that is nothing but a name, and fields that are called hostname or pod.
    """
    told = {name.lower(): value for name, value in headers}
    said = text.decode("utf-8", "replace")
    for known in sorted(names, key=len, reverse=True):
        if re.search(rf"(?<![-\w]){re.escape(known)}(?![-\w])", said):
            return known
    for header in _HEADERS:
        value = told.get(header, b"").decode("latin-1").strip()
        if value:
            return "".join(c for c in value if c.isprintable())[:LONGEST]
    alone = _ALONE.fullmatch(said)
    if alone is not None and "-" in alone[1]:  # as in all names of pods that a controller made; "ok" is none
        return alone[1]
    field = _FIELD.search(said)
    return field[1] if field is not None else ""
