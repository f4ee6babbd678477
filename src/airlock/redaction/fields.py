"""Fields whose name says what their value is: `{"password": "..."}`, also where the value has no shape."""

from __future__ import annotations

from functools import lru_cache

from airlock.core.config import Detector
from airlock.redaction import password
from airlock.redaction.detectors import NAMES_OF_SECRETS, PHONE_WORDS, SSN_WORDS
from airlock.redaction.pattern import Pattern, compiled
from airlock.redaction.validate import PHONE_LEAST, is_ssn

LONGEST_NAME = 128

_NUMBER = r"(?:[ _-]?(?i:number|num|no|nr))?"
_NAMES: tuple[tuple[Detector, Pattern], ...] = (
    ("password", compiled(rf"{NAMES_OF_SECRETS}$")),
    ("ssn", compiled(rf"(?i:{SSN_WORDS})$")),
    ("phone", compiled(rf"(?:^|[^a-z])(?i:{PHONE_WORDS}){_NUMBER}$")),
)
_PHONE = compiled(r"\+?[0-9 .()/-]{7,24}")
_SSN = compiled(r"[0-9]{3}[ .-]?[0-9]{2}[ .-]?[0-9]{4}")


@lru_cache(maxsize=4096)
def named(name: str) -> Detector | None:
    """The detector for the values of a field of this name."""
    if len(name) > LONGEST_NAME:
        return None
    raw = name.encode("utf-8", "replace")
    for detector, pattern in _NAMES:
        if pattern.search(raw) and not password.speaks_about(raw):
            return detector
    return None


def holds(detector: Detector, value: str) -> bool:
    """Whether a value in a field for it is one, and no mask or template."""
    raw = value.encode("utf-8", "replace")
    digits = "".join(filter(str.isdecimal, value))
    match detector:
        case "password":
            return password.holds(raw)
        case "ssn":
            return _SSN.fullmatch(raw) is not None and is_ssn(digits)
        case _:
            return _PHONE.fullmatch(raw) is not None and len(digits) >= PHONE_LEAST
