"""Acting as somebody else: --as and its kin, and the same fields of a kubeconfig's user, as headers.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from svcdoctor.model.errors import SvcdoctorError

# What a header's name may hold besides letters and digits (RFC 9110, token).
_TOKEN = "!#$&'*+-.^_`|~"


def impersonation(
    user: str, groups: tuple[str, ...], uid: str, fields: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    """The headers of each request; ``fields`` are those of the kubeconfig's user, flags win over them.

    Raises SvcdoctorError for groups or a UID without a user, which the API server refuses as well.
    """
    user = user or str(fields.get("as") or "")
    groups = groups or tuple(str(group) for group in fields.get("as-groups") or ())
    uid = uid or str(fields.get("as-uid") or "")
    extra = fields.get("as-user-extra") or {}
    if not user:
        if groups or uid or extra:
            raise SvcdoctorError(
                "--as-group and --as-uid need --as: they say more about the user that it names"
            )
        return ()
    headers = [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)]
    if uid:
        headers.append(("Impersonate-Uid", uid))
    for key, values in extra.items():
        name = f"Impersonate-Extra-{quote(str(key).lower(), safe=_TOKEN)}"
        headers.extend((name, str(value)) for value in values or ())
    return tuple(headers)
