"""Secrets put together when a test runs: a scanner of repositories finds none in these files."""

from __future__ import annotations

from random import Random

from airlock.redaction.detectors import NAMES
from airlock.redaction.rewrite import Redactor
from airlock.redaction.scan import Scanner

SCANNER = Scanner(NAMES)
REDACTOR = Redactor(SCANNER)

AWS = "AKIA" + "IOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG" + "/bPxRfiCYEXAMPLEKEY"
GITHUB = "ghp_" + "a1B2" * 9
CARD = "4111 1111 " + "1111 1111"
SSN = "123-45" + "-6789"
IBAN = "DE89 3704 0044 " + "0532 0130 00"
EMAIL = "bob" + "@example.com"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJhbGljZSJ9" + ".c2lnbmF0dXJlLW9mLXRoaXM"
BODY = "\n".join(["A1b2C3d4" * 8] * 5)


def pem(kind: str = "RSA ", body: str = BODY, end: str = "\n") -> str:
    """A private key in its frame."""
    return f"-----BEGIN {kind}PRIVATE " + f"KEY-----{end}{body}{end}-----END {kind}PRIVATE " + "KEY-----"


def dice(seed: object) -> Random:
    """The same numbers for the same seed."""
    return Random(str(seed))  # noqa: S311 (trials, not keys)


def tell(text: str) -> None:
    """A measurement, for whoever runs the test with `-rP`."""
    print(text)  # noqa: T201


def found(text: str) -> list[tuple[str, str]]:
    """Detector and stretch of every hit."""
    return [(hit.detector, text[hit.start : hit.end]) for hit in SCANNER.find(text)]


def kinds(text: str) -> list[str]:
    return [detector for detector, _ in found(text)]
