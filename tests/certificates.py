"""Certificates made at run time: an authority of a test, and what it vouches for."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
DAY = datetime.timedelta(days=1)


class Authority:
    """An authority whose files are in one folder: `NAME-ca.pem`, and for each thing it vouches for `WHAT.pem`
    and `WHAT.key`."""

    def __init__(self, folder: Path, name: str = "test") -> None:
        self.folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self._name, self._key.public_key())
        made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
            self._key, hashes.SHA256()
        )
        self.file = folder / f"{name}-ca.pem"
        self.file.write_bytes(made.public_bytes(PEM))

    def vouch(self, what: str, *names: str, password: bytes = b"") -> tuple[Path, Path]:
        """Certificate and key for these names and addresses; an earlier pair is replaced, file by file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, what)])
        known = [self._general(name) for name in names or ("localhost", "127.0.0.1")]
        made = (
            self._builder(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(known), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        closed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        cert_file, key_file = self.folder / f"{what}.pem", self.folder / f"{what}.key"
        replace(cert_file, made.public_bytes(PEM))
        replace(key_file, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, closed))
        return cert_file, key_file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )

    @staticmethod
    def _general(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)


def replace(file: Path, content: bytes) -> None:
    """Write a file as those who renew certificates do: the new one takes the name of the old one."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_bytes(content)
    os.replace(fresh, file)
