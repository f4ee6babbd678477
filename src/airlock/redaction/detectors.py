"""What is looked for: for each detector the shapes that a hit may have, in the syntax of RE2.

Shapes are wide, `airlock.redaction.validate` decides. No shape takes a hit away because of the words beside
it, so nothing is hidden by writing "example" next to it. Where a shape has a group, the group is the hit.
"""

from __future__ import annotations

from typing import get_args

import msgspec

from airlock.core.config import Detector
from airlock.redaction.validate import IBAN_LENGTHS

NAMES: tuple[Detector, ...] = get_args(Detector)
"""Every detector, in the order in which one of them names a stretch that several of them found."""


class Shape(msgspec.Struct, frozen=True):
    """One pattern of a detector."""

    detector: Detector
    pattern: str


_PEM = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_BODY = r"[A-Za-z0-9+/=]"
_LINES = rf"(?:(?:[ \t]*\r?\n[ \t]*|[ ]+){_BODY}{{10,}})*(?:\r?\n{_BODY}{{1,9}})?"
_PEM_HEADERS = r"(?:(?:Proc-Type|DEK-Info|Version|Comment|Hash):[^\n]{0,200}\n\s*)*"

_PREFIXES = r"(?:4[0-9]{3}|5[0-9]{3}|2[2-7][0-9]{2}|6[0-9]{3}|3[0-9]{3})"
_GAP = r"[ .-]{0,2}"

NAMES_OF_SECRETS = (
    r"(?i:password|passwd|passphrase|passcode|pwd|secret|api[ _.-]?key"
    r"|(?:access|auth|refresh|bearer|session)[ _.-]?token"
    r"|(?:secret|private|account|access|encryption|signing)[ _.-]?key)(?:s|[A-Z0-9_][A-Za-z0-9_]{0,20})?"
)
"""Names whose values are secrets, with what may follow: `password2`, `secretKey`, `API_KEY_PROD`."""

_IS = r"\\{0,3}[\"'`]?\s{0,3}(?::=|=>|[:=])\s{0,3}\\{0,3}"
SSN_WORDS = r"(?:ssn|social[ _-]?security(?:[ _-]?(?:number|num|no))?)"
PHONE_WORDS = r"(?:phone|mobile|telephone|tel|cell|fax|whatsapp)"

_COUNTRIES = "|".join(IBAN_LENGTHS)

SHAPES: tuple[Shape, ...] = (
    Shape("private_key", rf"-----BEGIN {_PEM}(?:[^-]|-[^-])*-----END {_PEM}"),
    # Cut off at either side, as texts of bounded length are: the body is the secret, not its frame.
    Shape("private_key", rf"-----BEGIN {_PEM}\s*{_PEM_HEADERS}{_BODY}{{10,}}{_LINES}"),
    Shape("private_key", rf"(?:{_BODY}{{20,}}\s+)+{_BODY}*\s*-----END {_PEM}"),
    Shape("aws_key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    Shape(
        "aws_key",
        r"(?i:aws|secret|access)(?i:[a-z_ .-]{0,30}key)[A-Za-z_ ]{0,12}"
        rf"{_IS}[\"'`]?([A-Za-z0-9/+]{{40}})(?:[^A-Za-z0-9/+]|$)",
    ),
    Shape("aws_key", r"A[KS]IA[A-Z0-9]{16}[\s,;:|\"']{1,8}([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+]|$)"),
    Shape("github_token", r"gh[pousr]_[A-Za-z0-9_]{36,}"),
    Shape("github_token", r"github_pat_[A-Za-z0-9_]{36,}"),
    Shape("slack_token", r"xox[abcdeoprs]-[A-Za-z0-9-]{10,}"),
    Shape("slack_token", r"(?:xapp-[0-9]+-|xoxe\.xox[bp]-[0-9]+-)[A-Za-z0-9-]{20,}"),
    Shape("slack_token", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}"),
    # The beginnings of base64url for `{"`, `{ "` and `{` before a line break: every JOSE header is JSON.
    Shape("jwt", r"e(?:yJ|yAi|wog|woJ|w0K)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_.-]*[A-Za-z0-9_-]"),
    Shape(
        "credit_card",
        rf"(?:^|[^0-9])({_PREFIXES}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{1,7}})(?:[^0-9]|$)",
    ),
    Shape("credit_card", rf"(?:^|[^0-9])(3[0-9]{{3}}{_GAP}[0-9]{{6}}{_GAP}[0-9]{{4,5}})(?:[^0-9]|$)"),
    Shape(
        "iban",
        rf"(?:^|[^A-Za-z0-9]|(?i:iban))((?i:{_COUNTRIES})[0-9]{{2}}(?:[ -]?[A-Za-z0-9]{{4}}){{2,7}}"
        r"[ -]?[A-Za-z0-9]{0,3})",
    ),
    Shape("ssn", r"(?:^|[^0-9-]|[^0-9]-)([0-9]{3}[ -][0-9]{2}[ -][0-9]{4})(?:[^0-9-]|-[^0-9]|-?$)"),
    Shape("ssn", rf"(?i:{SSN_WORDS})[\"'`\s.#:=]{{1,6}}(?:is\s)?([0-9]{{9}})(?:[^0-9]|$)"),
    Shape("password", r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s/@:\"'<>]*:([^\s/\"'<>]+)@[A-Za-z0-9\[]"),
    Shape("password", rf"{NAMES_OF_SECRETS}{_IS}[\"'`]?([^\s\"'`<>,;&]{{4,}})"),
    Shape("password", rf"{NAMES_OF_SECRETS}{_IS}(?:\"([^\"\n]{{4,200}})\")"),
    Shape("password", rf"{NAMES_OF_SECRETS}{_IS}(?:'([^'\n]{{4,200}})')"),
    Shape("password", r"(?i:pass(?:word|wd|phrase|code)|pwd)\s{1,3}(?i:is|was)\s{1,3}[\"'`]?([^\s\"'`]{4,})"),
    Shape("password", r"--(?i:password|passwd|token|secret|api-key)\s{1,3}[\"'`]?([^\s\"'`]{4,})"),
    Shape(
        "password",
        r"(?i:authorization)[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
        r"(?i:basic|bearer|token|apikey)\s{1,3}([A-Za-z0-9._~+/=:-]{8,})",
    ),
    Shape(
        "email",
        r"[A-Za-z0-9._%+'-]+@(?:[A-Za-z0-9\x{80}-\x{10FFFF}-]+\.)+(?:xn--[A-Za-z0-9-]+|[A-Za-z]{2,})",
    ),
    Shape("phone", r"\+[1-9](?:[ .()/-]{0,2}[0-9]){7,14}"),
    Shape("phone", r"(?:^|[^0-9A-Za-z.-])(00[1-9][0-9]{0,2}[ ./-](?:[ .()/-]{0,2}[0-9]){6,12})"),
    Shape(
        "phone",
        r"(?:^|[^0-9A-Za-z.+-])((?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])"
        r"[2-9][0-9]{2}[ .-][0-9]{4})(?:[^0-9A-Za-z-]|$)",
    ),
    Shape(
        "phone",
        rf"(?i:{PHONE_WORDS})[A-Za-z_ ]{{0,12}}[\"'`]?\s{{0,3}}[:=]\s{{0,3}}[\"'`]?"
        r"(\+?[(]?[0-9][0-9 .()/-]{6,18}[0-9])",
    ),
)

PERCENT = r"%[0-9A-Fa-f]{2}"
ESCAPE = r"\\(?:u[0-9A-Fa-f{]|U0|x[0-9A-Fa-f]{2}|[nrt/])"
ENTITY = r"&(?:#[0-9xX]|[A-Za-z]{2,31};)"
BASE64 = r"[A-Za-z0-9+/_-]{14,}(?:\r?\n[A-Za-z0-9+/_-]{20,})*(?:\r?\n[A-Za-z0-9+/_-]{2,19}={1,2}|={0,2})"
"""A run of base64 or base64url, wrapped in lines or not."""
