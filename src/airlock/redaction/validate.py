"""Is a stretch that has the shape of a secret one? Checksums, issuers, areas, and what is plainly no value.

A check gets the bytes and the span of the shape. It answers with the span to replace, or with the place from
which to look on, so that a stretch that is none cannot hide one that begins inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from stdnum import iban as _iban
from stdnum.us import ssn as _ssn

from airlock.core.config import Detector
from airlock.redaction.password import password
from airlock.redaction.pattern import compiled

Verdict = tuple[int, int] | int
Check = Callable[[bytes, int, int], Verdict]

_valid_iban = cast("Callable[..., bool]", _iban.is_valid)
_valid_ssn = cast("Callable[[str], bool]", _ssn.is_valid)

_DIGITS = bytes(range(48, 58))
_NOT_DIGITS = bytes(byte for byte in range(256) if byte not in _DIGITS)
_DOUBLED = str.maketrans("0123456789", "0246813579")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_ALNUM = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

DIGEST_LEAST = 32
"""Hexadecimal digits of the shortest digest: digits inside one are no number of their own."""

PEM_LEAST = 80
"""Bytes of a private key with its frame: the frame takes 57, the shortest key 64 more."""

JWT_LEAST = 30

PHONE_LEAST, PHONE_MOST = 7, 15
"""Digits of a telephone number with its codes (ITU-T E.164)."""
PREFIXED_LEAST = 9
"""Digits behind the prefix 00: what has fewer is an account number as often."""

PUBLISHED_SSN = frozenset(("078051120", "219099999", "457555462"))
"""Numbers that were printed in advertisements: as likely a trial of this gateway as anything else."""

_CARDS: tuple[tuple[tuple[int, int], frozenset[int]], ...] = (
    ((400000, 499999), frozenset((16, 19))),
    ((510000, 559999), frozenset((16,))),
    ((222100, 272099), frozenset((16,))),
    ((340000, 349999), frozenset((15,))),
    ((370000, 379999), frozenset((15,))),
    ((601100, 601199), frozenset((16, 19))),
    ((644000, 659999), frozenset((16, 19))),
    ((622126, 622925), frozenset((16, 17, 18, 19))),
    ((352800, 358999), frozenset((16, 17, 18, 19))),
    ((300000, 305999), frozenset((14,))),
    ((360000, 369999), frozenset((14,))),
    ((380000, 399999), frozenset((14,))),
)
"""First six digits and lengths by scheme (ISO/IEC 7812): Visa, Mastercard twice, American Express twice,
Discover twice, UnionPay, JCB, Diners three times. Visa of 13 digits is left out: EAN codes have that form."""

_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 "
    "EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 "
    "IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 "
    "NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 "
    "SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _REGISTRY.split()}
"""Length by country (ISO 13616 registry): tells where a number ends and the next word begins."""

_CALLING = compiled(
    r"1|7|2(?:[07]|[1-689][0-9])|3(?:[0-469]|[578][0-9])|4(?:[013-9]|2[0-9])|5(?:[1-8]|[09][0-9])"
    r"|6(?:[0-6]|[789][0-9])|8(?:[1246]|0[08]|5[02356]|[78][0-9])"
    r"|9(?:[0-58]|6[0-8]|7[0-79]|9[2-68])"
)
"""Country codes (ITU-T E.164), without those that nobody has, such as 83, 89 and 999."""

_IMAGES_AND_SOURCES = (
    b"png jpg jpeg gif svg webp avif ico bmp css js jsx ts tsx mjs json yaml yml html htm xml txt pdf"
)
_FILES = frozenset(_IMAGES_AND_SOURCES.split())
"""`logo@2x.png` is a file: none of these is a top level domain."""


def _digits(raw: bytes, start: int, end: int) -> str:
    return raw[start:end].translate(None, _NOT_DIGITS).decode("ascii")


def _in_digest(raw: bytes, start: int, end: int) -> bool:
    """Whether the span lies in a run of hexadecimal digits that is longer than any number is."""
    low, high = start, end
    while low > 0 and start - low < DIGEST_LEAST and raw[low - 1] in _HEX:
        low -= 1
    while high < len(raw) and high - end < DIGEST_LEAST and raw[high] in _HEX:
        high += 1
    return high - low >= DIGEST_LEAST


def _is_fraction(raw: bytes, start: int) -> bool:
    """Whether the span is what stands behind a decimal point."""
    return start >= 2 and raw[start - 1] == 0x2E and raw[start - 2] in _DIGITS


def is_card(digits: str) -> bool:
    """Whether digits are the number of a card: issuer, length and check digit."""
    if not digits.isdecimal() or not 14 <= len(digits) <= 19:
        return False
    first = int(digits[:6])
    known = any(low <= first <= high and len(digits) in lengths for (low, high), lengths in _CARDS)
    return known and _luhn(digits)


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B. By table: a text of 16 MiB may hold a million candidates."""
    even, odd = digits[-1::-2].encode(), digits[-2::-2].translate(_DOUBLED).encode()
    return (sum(even) + sum(odd) - 48 * len(digits)) % 10 == 0


def card(raw: bytes, start: int, end: int) -> Verdict:
    if is_card(_digits(raw, start, end)) and not _is_fraction(raw, start) and not _in_digest(raw, start, end):
        return start, end
    return start + 1


def is_ssn(digits: str) -> bool:
    """Whether nine digits may be a social security number (areas, groups and serials in use)."""
    return digits in PUBLISHED_SSN or _valid_ssn(digits)


def ssn(raw: bytes, start: int, end: int) -> Verdict:
    separators = raw[start:end].translate(None, _DIGITS)
    same = not separators or separators[0] == separators[1]
    return (start, end) if same and is_ssn(_digits(raw, start, end)) else start + 1


def iban(raw: bytes, start: int, end: int) -> Verdict:
    stop, left = start, IBAN_LENGTHS[raw[start : start + 2].decode("ascii").upper()]
    while stop < end and left:
        left -= raw[stop] in _ALNUM
        stop += 1
    whole = left == 0 and not (stop < len(raw) and raw[stop] in _ALNUM)
    return (start, stop) if whole and is_iban(raw[start:stop].decode("ascii")) else start + 1


def is_iban(number: str) -> bool:
    """Whether a number has the structure of its country and the check digits (ISO 13616)."""
    # The check digits first: they refuse nearly all, and the rest costs fifty times as much.
    # Those inside of account numbers differ by bank and by decade: too many rules to hide behind.
    plain = number.replace(" ", "").replace("-", "").upper()
    digits = "".join(str(int(mark, 36)) for mark in plain[4:] + plain[:4])
    return int(digits) % 97 == 1 and _valid_iban(number, check_country=False)


def email(raw: bytes, start: int, end: int) -> Verdict:
    at = raw.index(b"@", start, end)
    ending = raw[raw.rindex(b".", at, end) + 1 : end].lower()
    if ending in _FILES or (raw[start:at] == b"git" and raw[end : end + 1] == b":"):
        return at + 1
    return start, end


def phone(raw: bytes, start: int, end: int) -> Verdict:
    """An international number, one of North America, or anything under a word for a telephone."""
    digits = _digits(raw, start, end)
    number = digits.removeprefix("00")
    least = PHONE_LEAST if number == digits else PREFIXED_LEAST
    if not least <= len(number) <= PHONE_MOST or (end < len(raw) and raw[end] in _DIGITS):
        return start + 1
    if raw[start] == 0x2B:
        joined = start > 0 and raw[start - 1] in _ALNUM
        return start + 1 if joined or not _CALLING.match(digits) else (start, end)
    # `3704 0044 0532`: digits before it make it a part of another number.
    inside = number != digits and start >= 2 and raw[start - 2] in _DIGITS
    return start + 1 if inside else (start, end)


def private_key(raw: bytes, start: int, end: int) -> Verdict:
    """A frame around nothing, as documents show it, is no key."""
    return (start, end) if end - start >= PEM_LEAST else end


def jwt(raw: bytes, start: int, end: int) -> Verdict:
    return (start, end) if end - start >= JWT_LEAST else start + 3


def slack(raw: bytes, start: int, end: int) -> Verdict:
    return (start, end) if raw[start:end].translate(None, _NOT_DIGITS) else end


def aws(raw: bytes, start: int, end: int) -> Verdict:
    """Key ids as they are; the 40 characters of a secret key only if they are no digest and no path."""
    span = raw[start:end]
    if len(span) != 40:
        return start, end
    kinds = (span.lower() != span) + (span.upper() != span) + bool(span.translate(None, _NOT_DIGITS))
    return (start, end) if kinds == 3 else start


def anything(raw: bytes, start: int, end: int) -> Verdict:
    return start, end


CHECKS: Mapping[Detector, Check] = {
    "private_key": private_key,
    "aws_key": aws,
    "github_token": anything,
    "slack_token": slack,
    "jwt": jwt,
    "credit_card": card,
    "iban": iban,
    "ssn": ssn,
    "password": password,
    "email": email,
    "phone": phone,
}
