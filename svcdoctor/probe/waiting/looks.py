"""One look at a Service: what it still lacks, and what was met."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding
from svcdoctor.model.service import Service
from svcdoctor.model.waiting import WaitFor


@dataclass(frozen=True, slots=True)
class Look:
    """``lacking`` is empty when there is nothing to wait for any more, and ``how`` then says what was met.

    ``tried``: it is worth trying again soon, without a change of any object. ``determined`` is false where it could
    not be told, and ``final`` is true where that will not change.
    """

    lacking: tuple[str, ...]
    how: str = ""
    tried: bool = False
    determined: bool = True
    final: bool = False
    findings: tuple[Finding, ...] = ()
    unknowns: tuple[MissingFact, ...] = ()


def check_meant(what: WaitFor, service: Service) -> None:
    """Raises SvcdoctorError where waiting for that makes no sense with such a Service."""
    if service.type == "ExternalName" and what is not WaitFor.DNS:
        host = service.spec.external_name or "another host"
        raise SvcdoctorError(
            f"service/{service.name} is of type ExternalName: it is a DNS name for {host}, without endpoints; only "
            "--for dns can be waited for"
        )
    if service.headless and not service.ports and what is WaitFor.REACHABLE:
        raise SvcdoctorError(
            f"service/{service.name} is headless and has no ports: there is nothing to connect to; say --for ready or "
            "--for dns"
        )
