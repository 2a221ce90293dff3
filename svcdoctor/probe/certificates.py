"""What a server's certificates say, and what is wrong with them, without trusting any of them.

Specification: RFC 5280 (validity, chains), RFC 9525 (names; the subject's common name counts for nothing)
"""

from __future__ import annotations

import functools
import ipaddress
import ssl
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from svcdoctor.model.observed import Certificate, CertificateProblem

_LONGEST = 256  # letters of a name
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

Problem = tuple[CertificateProblem, str]


@functools.cache
def trusted_here() -> tuple[x509.Certificate, ...]:
    """The authorities that this machine trusts."""
    found = []
    for der in ssl.create_default_context().get_ca_certs(binary_form=True):
        try:
            found.append(_read(der))
        except ValueError:
            continue
    return tuple(found)


def _read(der: bytes) -> x509.Certificate:
    """Raises ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old authorities' certificates; nobody here can mend them
        return x509.load_der_x509_certificate(der)


def inspected(
    chain: Sequence[bytes],
    host: str,
    version: str,
    now: datetime | None = None,
    authorities: Iterable[x509.Certificate] | None = None,
) -> Certificate | None:
    """The certificate that a server showed first, judged for ``host``: a name or address, empty for no judgement.

    ``chain`` is what it sent, in DER; None where it sent none. ``authorities`` are this machine's by default.
    """
    if not chain:
        return None
    try:
        read = [_read(der) for der in chain]
        return _judged(read, host, version, now or datetime.now(UTC), authorities)
    except _UNREADABLE as e:
        problem = (CertificateProblem.UNREADABLE, f"the certificate cannot be read: {_plain(str(e))}")
        return Certificate("", "", (), "", "", len(chain), version, (problem,))


def _judged(
    chain: list[x509.Certificate],
    host: str,
    version: str,
    now: datetime,
    authorities: Iterable[x509.Certificate] | None,
) -> Certificate:
    leaf = chain[0]
    names = names_of(leaf)
    problems = [*_time(leaf, now)]
    if host and not any(_covers(name, host) for name in names):
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        problems.append((CertificateProblem.WRONG_NAME, f"it is for {listed or 'no name'}, not for {host}"))
    known = trusted_here() if authorities is None else authorities
    problems += _chain(chain, now, known)
    return Certificate(
        subject=_plain(leaf.subject.rfc4514_string()),
        issuer=_plain(leaf.issuer.rfc4514_string()),
        names=names,
        not_before=_written(leaf.not_valid_before_utc),
        not_after=_written(leaf.not_valid_after_utc),
        chain=len(chain),
        version=version,
        problems=tuple(problems),
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses that it is for."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = held.get_values_for_type(x509.IPAddress)
    return (*map(_plain, held.get_values_for_type(x509.DNSName)), *(str(address) for address in addresses))


def _covers(name: str, host: str) -> bool:
    """Whether a certificate's name is that of a host; ``*`` stands for the whole first label."""
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(name)
    except ValueError:
        pass
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:] and not host.startswith(".")
    return name == host


def _time(certificate: x509.Certificate, now: datetime) -> Iterable[Problem]:
    if now > certificate.not_valid_after_utc:
        yield CertificateProblem.EXPIRED, f"it expired on {_written(certificate.not_valid_after_utc)}"
    if now < certificate.not_valid_before_utc:
        yield (
            CertificateProblem.NOT_YET_VALID,
            f"it is valid from {_written(certificate.not_valid_before_utc)} on only",
        )


def _chain(chain: list[x509.Certificate], now: datetime, known: Iterable[x509.Certificate]) -> list[Problem]:
    """Whether each certificate is signed by the next one, and where the chain ends."""
    problems: list[Problem] = []
    for below, above in pairwise(chain):
        name = _plain(above.subject.rfc4514_string()) or "a certificate without a name"
        if not _signed(below, above):
            problems.append((CertificateProblem.BROKEN_CHAIN, f"{name} is sent along, but signed nothing"))
        problems += [(CertificateProblem.BROKEN_CHAIN, f"{name}: {line}") for _, line in _time(above, now)]
    last = chain[-1]
    issuer = _plain(last.issuer.rfc4514_string())
    if any(last == root or (last.issuer == root.subject and _signed(last, root)) for root in known):
        return problems
    if len(chain) == 1 and last.issuer == last.subject and _signed(last, last):
        problems.append((CertificateProblem.SELF_SIGNED, "it is signed by itself"))
    else:
        problems.append((CertificateProblem.UNKNOWN_ISSUER, f"{issuer} is not trusted here"))
    return problems


def _signed(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _plain(text: str) -> str:
    """Without what is no letter: whoever wrote it is not known."""
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST]


def _written(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
