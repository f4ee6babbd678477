"""Secrets made up on the spot, to try a redaction with: valid by every checksum, and nobody's."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from airlock.redaction.validate import is_card, is_iban

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from airlock.core.config import Detector

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"
_BASE62 = _UPPER + _UPPER.lower() + _DIGITS
_LETTERS = _UPPER.lower()


class Canary(msgspec.Struct, frozen=True):
    """`secret` must be gone from `text`; what stands around it may stay."""

    text: str
    secret: str


def canary(detector: Detector, random: Random) -> Canary:
    """One secret of a kind, of a generator that the caller seeds or not."""
    secret = _MAKERS[detector](random)
    return Canary(f"password={secret}" if detector == "password" else secret, secret)


def _some(random: Random, alphabet: str, length: int) -> str:
    return "".join(random.choices(alphabet, k=length))


def _private_key(random: Random) -> str:
    body = "\n".join(_some(random, _BASE62, 64) for _ in range(4))
    return f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----"


def _jwt(random: Random) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": _some(random, _LETTERS, 8)})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*encoded, _some(random, _BASE62, 43)))


def _card(random: Random) -> str:
    start = f"4{_some(random, _DIGITS, 14)}"
    return next(number for digit in _DIGITS if is_card(number := start + digit))


def _iban(random: Random) -> str:
    account = _some(random, _DIGITS, 18)
    return next(number for check in range(2, 99) if is_iban(number := f"DE{check:02}{account}"))


def _phone(random: Random) -> str:
    return f"+1 {random.randint(201, 989)} {random.randint(201, 989)} {random.randint(0, 9999):04}"


def _ssn(random: Random) -> str:
    return f"{random.randint(100, 665)}-{random.randint(1, 99):02}-{random.randint(1, 9999):04}"


_MAKERS: Mapping[Detector, Callable[[Random], str]] = {
    "private_key": _private_key,
    "aws_key": lambda random: f"AKIA{_some(random, _UPPER, 16)}",
    "github_token": lambda random: f"ghp_{_some(random, _BASE62, 36)}",
    "slack_token": lambda random: f"xoxb-{_some(random, _DIGITS, 12)}-{_some(random, _BASE62, 24)}",
    "jwt": _jwt,
    "credit_card": _card,
    "iban": _iban,
    "ssn": _ssn,
    "password": lambda random: f"{_some(random, _LETTERS, 8)}7{_some(random, _UPPER, 4)}",
    "email": lambda random: f"{_some(random, _LETTERS, 10)}@example.com",
    "phone": _phone,
}


def _wide(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "json": lambda text: json.dumps({"value": text}),
    "unicode escapes": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "percent": lambda text: quote(text, safe=""),
    "percent, all": lambda text: "".join(f"%{ord(char):02X}" for char in text),
    "html": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64, glued": lambda text: "v/" + base64.b64encode(text.encode()).decode(),
    "zero width": "\u200b".join,
    "wide": _wide,
}
"""Ways to write a text that a reader, or a model, undoes without being asked."""
