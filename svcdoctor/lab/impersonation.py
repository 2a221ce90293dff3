"""Acting as somebody else: `kubectl --as` and `--as-group`.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
"""

from __future__ import annotations

from email.message import Message

from svcdoctor.lab.rbac import Action, Authorizer, User
from svcdoctor.lab.status import bad_request

_SERVICE_ACCOUNT = "system:serviceaccount:"


def impersonated(user: User, headers: Message, authorizer: Authorizer) -> User:
    """The user that the request is to be made as, which is the user itself where nobody else is named.

    Raises `ApiError` 403 where the user may not act as that one, 400 for groups without a user and for
    what is not imitated here (UIDs and extra fields).
    """
    name = headers.get("Impersonate-User", "")
    groups = tuple(headers.get_all("Impersonate-Group", ()))
    others = [h for h in headers if h.lower().startswith(("impersonate-extra", "impersonate-uid"))]
    if others:
        raise bad_request(f"impersonation by {others[0]} is not supported by this server")
    if not name:
        if groups:
            raise bad_request(f"requested groups {', '.join(groups)} without impersonating a user")
        return user
    namespace, _, account = name.removeprefix(_SERVICE_ACCOUNT).partition(":")
    if name.startswith(_SERVICE_ACCOUNT) and account:
        action = Action("impersonate", resource="serviceaccounts", namespace=namespace, name=account)
    else:
        action = Action("impersonate", resource="users", name=name)
    authorizer.check(user, action)
    for group in groups:
        authorizer.check(user, Action("impersonate", resource="groups", name=group))
    return User(name, groups)
