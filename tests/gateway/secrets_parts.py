"""Secrets that are none, put together at run time: no scanner of a repository takes this one for a leak."""

from __future__ import annotations

import base64

AWS = "AKIA" + "Q7N5YWUM2TBXK4HD"
GITHUB = "ghp_" + "a1B2c3D4e5F6" * 3
SLACK = "xoxb-" + "2718281828-3141592653-q7N5yWuM2tBxK4hD"
EMAIL = "jo.doe" + "@mail.test"
CARD = "4111 1111 " + "1111 1111"
CONNECTION = "postgresql://app:" + "s3cr3t-Pa55w0rd" + "@db.internal:5432/main"
PASSWORD = "s3cr3t-Pa55w0rd"


def b64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


JWT = ".".join((b64url('{"alg":"ES256","typ":"JWT"}'), b64url('{"sub":"alice","aud":"x"}'), "c2ln" * 16))
PEM = "\n".join(
    (
        "-----BEGIN " + "PRIVATE KEY-----",
        *("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg" + str(line) * 16 for line in range(3)),
        "-----END " + "PRIVATE KEY-----",
    )
)
PEM_LINE = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"

KINDS = {
    "aws_key": AWS,
    "github_token": GITHUB,
    "jwt": JWT,
    "private_key": PEM,
    "password": CONNECTION,
}
"""Detector -> text of the five kinds that attack XB-3 names."""

NEEDLES = {**KINDS, "private_key": PEM_LINE, "password": PASSWORD}
"""What must stand nowhere of each kind."""
