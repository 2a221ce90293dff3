"""Whose address a client named, asked of the API on threads: a few at once, and each address once at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.loop import Loop
from svcdoctor.sources.addressowner import owner_of
from svcdoctor.sources.session import ApiSession

MOST = 16
"""Addresses that are asked for at once."""

Owner = KubeObject | SvcdoctorError | None
"""The Service or the pod; None where nobody has the address."""


class AddressLookup:
    """Asks with one session. ``namespace`` is the one for users who may list in no other."""

    def __init__(self, loop: Loop, session: ApiSession, namespace: str) -> None:
        self._loop = loop
        self._session = session
        self._namespace = namespace
        self._asked: dict[str, list[Callable[[Owner], None]]] = {}

    def ask(self, ip: str, found: Callable[[Owner], None]) -> None:
        """Call ``found`` with the address's owner, later."""
        if ip in self._asked:
            self._asked[ip].append(found)
            return
        if len(self._asked) >= MOST:
            self._loop.call_soon(lambda: found(SvcdoctorError("too many addresses are being looked up")))
            return
        self._asked[ip] = [found]
        threading.Thread(target=self._work, args=(ip,), name=f"owner of {ip}", daemon=True).start()

    def close(self) -> None:
        """Call nobody any more."""
        self._asked.clear()

    def _work(self, ip: str) -> None:
        owner: Owner
        try:
            owner = owner_of(self._session, ip, self._namespace)
        except SvcdoctorError as e:
            owner = e.with_traceback(None)  # or it would keep what its frames hold
        self._loop.call_soon_threadsafe(lambda: self._tell(ip, owner))

    def _tell(self, ip: str, owner: Owner) -> None:
        for found in self._asked.pop(ip, ()):
            found(owner)
