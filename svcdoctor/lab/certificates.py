"""The certificates of one run: an authority, the server's certificate and one per user.

Keys exist only as long as the server runs, in a directory that nobody else can read.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Long enough for a lab that stays open over a course, short enough to be worthless when found later.
_LIFETIME = timedelta(days=30)
_CLOCK_SKEW = timedelta(hours=1)


class Authority:
    """A certificate authority that writes what it issues into one directory.

    Validity begins an hour ago by the machine's own clock and lasts 30 days: the other side checks it by
    that clock too.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._start = datetime.now(UTC) - _CLOCK_SKEW
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject("svcdoctor-lab", ())
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = self._write("ca.crt", certificate.public_bytes(serialization.Encoding.PEM))

    def issue_server(self, hosts: Iterable[str]) -> tuple[Path, Path]:
        """The paths of a server's certificate and key for these names and addresses."""
        names = [_general_name(host) for host in dict.fromkeys(hosts)]
        return self._issue(
            "server",
            _subject("svcdoctor-lab-apiserver", ()),
            ExtendedKeyUsageOID.SERVER_AUTH,
            x509.SubjectAlternativeName(names),
        )

    def issue_client(self, number: int, user: str, groups: Iterable[str]) -> tuple[Path, Path]:
        """The paths of a client's certificate and key: the user is the common name, groups are
        organizations. `number` tells the files of different users apart."""
        return self._issue(f"client-{number}", _subject(user, groups), ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self,
        stem: str,
        subject: x509.Name,
        usage: x509.ObjectIdentifier,
        alternative: x509.SubjectAlternativeName | None = None,
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject, key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if alternative is not None:
            builder = builder.add_extension(alternative, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = certificate.public_bytes(serialization.Encoding.PEM)
        return self._write(f"{stem}.crt", public), self._write(f"{stem}.key", private)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        # Both identifiers are there because Python's own client checks strictly (VERIFY_X509_STRICT).
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._start)
            .not_valid_after(self._start + _LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self._directory / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return path


def _subject(name: str, groups: Iterable[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
