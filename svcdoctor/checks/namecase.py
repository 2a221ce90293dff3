"""What checks of names look at, and how they are registered.

A lookup is no trace: nothing of a name's way hangs on ports and packets, and a trace asks no nameserver. So these
checks get a case of their own, and stand in the one registry for their texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from svcdoctor.checks.registry import Case, CheckFunction, Raised, check, subject
from svcdoctor.dns.resolvconf import Libc, ResolvConf, effective
from svcdoctor.model.finding import Severity
from svcdoctor.model.lookup import Met, Query, Resolution
from svcdoctor.model.service import Service
from svcdoctor.path.dnssetting import Setting
from svcdoctor.path.lookup import Observed, is_outside, meant, name_of
from svcdoctor.path.view import View


@dataclass(frozen=True)
class NameCase:
    """A finished lookup. The first resolution is of the library that decides the verdict.

    ``written`` is the resolv.conf that kubelet writes by the pod's spec, ``records`` what was asked beside the name.
    """

    view: View
    setting: Setting
    resolutions: tuple[Resolution, ...]
    records: tuple[Query, ...]
    written: ResolvConf
    observed: Observed | None

    @property
    def first(self) -> Resolution:
        return self.resolutions[0]

    @cached_property
    def name(self) -> str:
        """The name as it was asked for, without a last dot."""
        return name_of(self.setting).rstrip(".")

    @property
    def failed(self) -> bool:
        """Whether the client gets no address."""
        if self.observed is not None and self.observed.whole is not None:
            return not self.observed.whole.addresses
        return self.first.error is not None

    @cached_property
    def queries(self) -> tuple[Query, ...]:
        """Every query that was sent, or would be, each once."""
        found = [q for r in self.resolutions for q in r.queries] + list(self.records)
        return tuple({(q.name, q.rtype, q.nameserver, id(q.reply)): q for q in found}.values())

    @property
    def asked(self) -> tuple[Query, ...]:
        """Those that were really sent."""
        return tuple(q for q in self.queries if q.reply.seconds is not None)

    @cached_property
    def is_outside(self) -> bool:
        """Whether the name is none of the cluster's."""
        return is_outside(self.view, self.setting)

    @cached_property
    def meant(self) -> Service | None:
        """The existing Service that the name means to the client."""
        return meant(self.setting)

    @cached_property
    def obeyed(self) -> ResolvConf:
        """What the library that decides makes of the resolv.conf."""
        return effective(self.setting.conf, Libc(self.first.libc))

    @property
    def ignored(self) -> tuple[str, ...]:
        """What of the pod's spec and of its resolv.conf nobody obeys, and why."""
        return (*self.written.ignored, *self.obeyed.ignored)

    @property
    def client(self) -> str:
        """The first subject of what is about who asks."""
        pod = self.setting.pod
        return f"Pod/{pod.namespace}/{pod.name}" if pod.name else f"Namespace/{pod.namespace}"

    @property
    def about(self) -> tuple[str, ...]:
        """Who asks, and the Service that is meant."""
        return (self.client, *((subject(self.meant),) if self.meant is not None else ()))

    @property
    def dns_subject(self) -> str:
        dns = self.setting.dns
        return subject(dns) if dns is not None else "Service/kube-system/kube-dns"

    def met(self, *kinds: Met) -> tuple[Query, ...]:
        """The queries that met one of these."""
        return tuple(q for q in self.queries if q.reply.met in kinds)


NameCheck = Callable[[NameCase], Iterator[Raised]]

NAME_CHECKS: dict[str, NameCheck] = {}
"""The checks of a lookup by their codes."""


def name_check(
    code: str,
    title: str,
    severity: Severity,
    *,
    meaning: str,
    look: str,
    mend: str,
    links: tuple[str, ...],
    explains: Iterable[str] = (),
    in_trace: CheckFunction = lambda case: iter(()),
) -> Callable[[NameCheck], NameCheck]:
    """Registers a check of lookups; ``in_trace`` is what the same code finds in a trace."""

    def register(function: NameCheck) -> NameCheck:
        NAME_CHECKS[code] = function

        def run(case: Case) -> Iterator[Raised]:
            yield from in_trace(case)

        check(code, title, severity, meaning=meaning, look=look, mend=mend, links=links, explains=explains)(
            run
        )
        return function

    return register
