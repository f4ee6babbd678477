"""From token text to a signed payload: compact JWS only (RFC 7515, RFC 8725), nothing optional.

The library verifies signatures. What it would accept is narrowed here first: header members, spelling of
base64url, repeated members, and the algorithm, which belongs to the pinned key and never to the token.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from typing import Any, NoReturn, cast

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact

from airlock.core import config
from airlock.core.errors import Rejected
from airlock.identity.refusals import Reason, invalid
from airlock.mcp import strict

ALGORITHMS = frozenset(config.ALGORITHMS)
"""Asymmetric, and recommended or common (RFC 7518, RFC 9864). `EdDSA` is deprecated by RFC 9864."""

MAX_TOKEN = 16 * 1024
"""Bytes. Access tokens are 1-2 KiB; a list of several hundred groups still fits."""

Key = OKPKey | ECKey | RSAKey

_PART = r"[A-Za-z0-9_-]"
_COMPACT = re.compile(rf"({_PART}+)\.({_PART}+)\.({_PART}*)")
ACCESS = frozenset(("at+jwt", "application/at+jwt", "jwt"))
"""Values of `typ` of access tokens (RFC 9068 section 2.1); many providers still say `JWT`."""

IDENTITY = frozenset(("jwt", ""))
"""Those of identity tokens, for which OpenID Connect asks for none."""

_REFUSED_MEMBERS = {
    "jwk": Reason.KEY_EMBEDDED,
    "x5c": Reason.KEY_EMBEDDED,
    "jku": Reason.KEY_REMOTE,
    "x5u": Reason.KEY_REMOTE,
    "crit": Reason.CRITICAL,
    "b64": Reason.CRITICAL,
}


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole header that we understand."""

    alg: str
    kid: str = ""
    typ: str = ""
    x5t: str = ""
    x5t_s256: str = msgspec.field(default="", name="x5t#S256")
    """Thumbprints of a certificate, which some providers add. Nothing looks at them: `kid` names the key."""


class Compact(msgspec.Struct, frozen=True, kw_only=True):
    """A token taken apart. Its signature has not been looked at: `payload` is a claim of its sender."""

    header: Header
    payload: dict[str, Any]
    text: str


def pin(algorithm: str, key: Key) -> tuple[str, Key]:
    """A key as `Keys` holds it: public, for one algorithm. Raises `ValueError` if the two do not fit."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{algorithm} is not an algorithm that Airlock accepts")
    public = type(key).import_key({**key.as_dict(private=False), "alg": algorithm})
    try:
        JWSRegistry.algorithms[algorithm].check_key(public)
    except JoseError as unfit:
        raise ValueError(f"this key does not fit {algorithm}: {unfit}") from unfit
    return algorithm, public


def take_apart(token: str, types: Collection[str] = ACCESS) -> Compact:
    """Split and parse a token whose `typ` is one of `types`.

    Raises `Unauthenticated` for whatever is not plainly a signed JWT.
    """
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise invalid(Reason.MALFORMED)
    header = _header(_members(parts[1]), types)
    if not parts[3]:
        raise invalid(Reason.SIGNATURE_STRIPPED)
    _decode(parts[3])
    return Compact(header=header, payload=_members(parts[2]), text=token)


def check_signature(compact: Compact, algorithm: str, key: Key) -> None:
    """Verify with the pinned algorithm and key. Raises `Unauthenticated`."""
    if compact.header.alg != algorithm:
        raise invalid(Reason.ALGORITHM_MISMATCH)
    try:
        deserialize_compact(compact.text, key, algorithms=[algorithm])
    except (JoseError, ValueError) as broken:
        raise invalid(Reason.SIGNATURE) from broken


def _header(members: dict[str, Any], types: Collection[str]) -> Header:
    for name, reason in _REFUSED_MEMBERS.items():
        if name in members:
            raise invalid(reason)
    _check_algorithm(members.get("alg"))
    try:
        header = msgspec.convert(members, Header)
    except msgspec.ValidationError as wrong:
        raise invalid(Reason.HEADER) from wrong
    if header.typ.lower() not in types:
        raise invalid(Reason.TYPE)
    return header


def _check_algorithm(algorithm: object) -> None:
    if not isinstance(algorithm, str):
        raise invalid(Reason.ALGORITHM)
    if algorithm.lower() == "none":
        raise invalid(Reason.UNSIGNED)
    if algorithm not in ALGORITHMS:
        raise invalid(Reason.ALGORITHM)


def _members(part: str) -> dict[str, Any]:
    """A header or payload as an object in which nothing is said twice."""
    content = _decode(part)
    try:
        value = strict.parse(content)
    except Rejected as refused:
        _refuse_json(refused)
    if not isinstance(value, dict):
        raise invalid(Reason.MALFORMED)
    return cast("dict[str, Any]", value)


def _decode(part: str) -> bytes:
    """Canonical base64url: one spelling per value, so no token can be respelled around a list."""
    try:
        content = base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True)
    except ValueError as broken:
        raise invalid(Reason.MALFORMED) from broken
    if base64.urlsafe_b64encode(content).rstrip(b"=") != part.encode():
        raise invalid(Reason.MALFORMED)
    return content


def _refuse_json(refused: Rejected) -> NoReturn:
    duplicate = refused.reason == "duplicate_key"
    raise invalid(Reason.DUPLICATE_MEMBER if duplicate else Reason.MALFORMED) from refused
