"""A certificate authority of the test's own, and a server certificate for this machine."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Authority:
    """``ca`` is the file that clients trust."""

    ca: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, folder: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(_name("test CA"), key, _name("test CA"), key, x509.BasicConstraints(True, 0), None)
        ca = folder / "ca.pem"
        ca.write_bytes(certificate.public_bytes(Encoding.PEM))
        ca.chmod(0o644)
        return cls(ca, key, certificate)

    def issue(self, folder: Path, name: str, host: str = "127.0.0.1") -> tuple[Path, Path]:
        """Certificate and key files for ``host``, an address, and localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(host))])
        certificate = _signed(
            _name(name), key, self.certificate.subject, self.key, x509.BasicConstraints(False, None), names
        )
        return _written(folder, name, certificate, key)

    def issue_for_client(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Certificate and key files of an agent, good for an hour: a year would be a static password."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(
            _name(name), key, self.certificate.subject, self.key, x509.BasicConstraints(False, None), None, HOUR
        )
        return _written(folder, name, certificate, key)


def _written(
    folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.touch(0o600)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    constraints: x509.BasicConstraints,
    names: x509.SubjectAlternativeName | None,
    lifetime: datetime.timedelta = 3 * DAY,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - lifetime / 3)
        .not_valid_after(now + 2 * lifetime / 3)
        .add_extension(constraints, critical=True)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
