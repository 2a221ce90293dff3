"""What the clients of the SOCKS proxy ask for: hosts, which are names of Services, or addresses.

Theory. A name is one that a pod of the cluster could use: ``NAME`` in the session's own namespace, ``NAME.NS``, or
the whole ``NAME.NS.svc`` with the cluster's domain behind it, whatever that is. For an address the API is asked who
has it. What is found becomes a `Destination`, which is kept while it is used and for some minutes after.

Specification: https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/ (Services)
"""

from __future__ import annotations

import ipaddress
import re

from svcdoctor.model.errors import Forbidden, SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.proxy.addresslookup import AddressLookup, Owner
from svcdoctor.proxy.arguments import ForwardTarget
from svcdoctor.proxy.destination import Asker, Destination, Surroundings
from svcdoctor.proxy.socks5 import Reply
from svcdoctor.proxy.status import PortStatus

MOST = 64
"""Destinations that are watched at once."""

IDLE_SECONDS = 300.0

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)

Key = tuple[str, ForwardTarget]


def service_named(host: str, namespace: str) -> Key | None:
    """The namespace and the Service that a name stands for, None where no Service can have it. ``namespace`` is
    that of bare names."""
    labels = host.lower().removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[2:3] not in ([], ["svc"]):
        return None
    return (labels[1] if len(labels) > 1 else namespace), ForwardTarget(Kind.SERVICE, labels[0])


class Destinations:
    """All that were asked for. ``namespace`` is that of bare names."""

    def __init__(self, around: Surroundings, namespace: str) -> None:
        self._around = around
        self._namespace = namespace
        self._known: dict[Key, Destination] = {}
        self._addresses = AddressLookup(around.loop, around.session, namespace)

    def ask(self, host: str, port: int, asker: Asker) -> None:
        """Give the asker a forwarding to the host's port, or a refusal, now or later."""
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            key = service_named(host, self._namespace)
            if key is None:
                asker.refused(Reply.HOST_UNREACHABLE, "no Service has such a name; say NAME.NAMESPACE")
            else:
                self._ask(key, port, asker)
            return
        plain = str((ip.ipv4_mapped if ip.version == 6 else None) or ip)
        self._addresses.ask(plain, lambda owner: self._owned(plain, owner, port, asker))

    def withdraw(self, asker: Asker) -> None:
        """The asker does not want it any more."""
        for destination in self._known.values():
            destination.withdraw(asker)

    def status(self) -> list[PortStatus]:
        """How they stand, in the order in which they were first asked for."""
        return [status for destination in self._known.values() for status in destination.status()]

    def close(self) -> None:
        """End all that is connected or waits."""
        self._addresses.close()
        ending = [thread for destination in self._known.values() for thread in destination.close()]
        self._known.clear()
        for thread in ending:
            thread.join(1.0)

    def _owned(self, ip: str, owner: Owner, port: int, asker: Asker) -> None:
        if owner is None:
            asker.refused(Reply.HOST_UNREACHABLE, f"no Service or pod has the address {ip} as its first")
        elif isinstance(owner, Forbidden):
            asker.refused(Reply.NOT_ALLOWED, owner.message)
        elif isinstance(owner, SvcdoctorError):
            asker.refused(Reply.GENERAL_FAILURE, owner.message)
        else:
            self._ask((owner.namespace, ForwardTarget(Kind(owner.kind), owner.name)), port, asker)

    def _ask(self, key: Key, port: int, asker: Asker) -> None:
        destination = self._known.get(key)
        if destination is None:
            if len(self._known) >= MOST and not self._forget_oldest():
                asker.refused(Reply.GENERAL_FAILURE, f"{MOST} Services are in use already")
                return
            destination = self._known[key] = Destination(self._around, *key, lambda: self._forget(key))
            destination.start()
            self._look_later(key, destination)
        destination.ask(port, asker)

    def _look_later(self, key: Key, destination: Destination) -> None:
        self._around.loop.call_later(IDLE_SECONDS, lambda: self._look(key, destination))

    def _look(self, key: Key, destination: Destination) -> None:
        """Forget it where it was not used for long."""
        if self._known.get(key) is not destination:
            return
        if destination.busy or self._around.loop.now - destination.used < IDLE_SECONDS:
            self._look_later(key, destination)
        else:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        destination = self._known.pop(key, None)
        if destination is not None:
            destination.close()

    def _forget_oldest(self) -> bool:
        idle = [(d.used, number, key) for number, (key, d) in enumerate(self._known.items()) if not d.busy]
        if idle:
            self._forget(min(idle)[2])
        return bool(idle)
