"""Commands that change one field of an object, for the fixes of findings."""

from __future__ import annotations

import json
import re
from typing import Any

_PART = re.compile(r"\[(\d+)\]|\['([^']+)'\]|([^.\[\]]+)")


def patch_field(kind: str, namespace: str, name: str, field: str, value: Any) -> str:
    """The command that sets a field (``spec.rules[0].http``) of an object, by JSON Patch (RFC 6902)."""
    parts = ("".join(match.groups("")) for match in _PART.finditer(field))
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
    change = [{"op": "add", "path": pointer, "value": value}]  # which replaces what is there
    body = json.dumps(change, separators=(",", ":"))
    return f"kubectl -n {namespace} patch {kind.lower()} {name} --type=json -p '{body}'"
