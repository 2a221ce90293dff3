"""The auth-provider of a kubeconfig's user: the older way to OpenID Connect, whose tokens are renewed and saved.

Theory. The ``kubernetes`` package renews the tokens in the fields that it is given. It gets a copy, because
one field is added for it alone; the new tokens are then put into the kubeconfig file, as kubectl does.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from svcdoctor.model.errors import SvcdoctorError

_AUTHORITIES = ("idp-certificate-authority", "idp-certificate-authority-data")
_RENEWED = ("id-token", "refresh-token", "access-token", "expiry")


def prepared(
    provider: dict[str, Any], save: Callable[[], None] | None
) -> tuple[dict[str, Any], Callable[[], None]]:
    """A copy of the provider's fields for the package, and what it is to call once it renewed its tokens.

    Without an authority the package asks the identity provider's discovery document from whoever answers,
    and then sends the refresh token where that says; so it gets the authorities that this machine trusts.
    """
    fields = provider.get("config")
    copy: dict[str, Any] = dict(fields) if isinstance(fields, dict) else {}
    if provider.get("name") == "oidc" and not any(copy.get(key) for key in _AUTHORITIES):
        copy["idp-certificate-authority"] = _trusted()

    def persist() -> None:
        if isinstance(fields, dict):
            fields.update({key: copy[key] for key in _RENEWED if key in copy})
        if save is not None:
            save()

    return provider | {"config": copy}, persist


def _trusted() -> str:
    import ssl

    system = ssl.get_default_verify_paths().cafile
    if system:
        return system
    import certifi

    return certifi.where()


def saver(path: Path, document: dict[str, Any]) -> Callable[[], None]:
    """Writes a kubeconfig file back in place, as kubectl does when an auth-provider renewed its tokens.

    Where the identity provider takes back a refresh token that was used, not saving the new one would log
    the user out.
    """

    def save() -> None:
        import yaml

        try:
            path.write_text(yaml.safe_dump(document, default_flow_style=False), encoding="utf-8")
        except OSError as e:
            raise SvcdoctorError(
                f"kubeconfig {path}: the renewed token cannot be saved: {e.strerror or e}"
            ) from None

    return save
