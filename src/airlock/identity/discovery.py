"""What a provider publishes about itself, judged before anything of it is used.

Pure: documents come in as bytes. Where they come from, and whether an address may be connected to, is the
caller's business; what is refused here is a document that is not the provider's own (RFC 8414 section 3.3),
that sends us or a client somewhere else than to a web server, or that holds no key that can be pinned.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from airlock.core.errors import Rejected
from airlock.identity import jws
from airlock.mcp import strict

MOST_KEYS = 100
"""Keys of one provider; the largest publish about a dozen."""

RSA_BITS = range(2048, 8193)
"""Shorter ones can be broken; each signature of longer ones takes milliseconds to check."""

LONGEST = 1400
"""Characters of a number in base64url: a modulus of 8192 bits has 1366."""

Pinned = tuple[str, jws.Key]
"""A key, and the one algorithm that it signs with."""

_KINDS = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_PUBLIC = frozenset(("kty", "n", "e", "crv", "x", "y"))
_PRIVATE = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))


class BadDocument(ValueError):
    """A document that is not used. `reason` is the word of the audit row."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The members that mean something here (RFC 8414 section 2); every address is one of a web server."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    registration_endpoint: str = ""
    end_session_endpoint: str = ""
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


_ADDRESSES = (
    "jwks_uri",
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "end_session_endpoint",
)


def locations(issuer: str) -> tuple[str, ...]:
    """Where the metadata of an issuer may be: OpenID Connect Discovery section 4, RFC 8414 section 3.1."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    root = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        f"{root}/.well-known/oauth-authorization-server{path}",
    )


def read_metadata(body: bytes, issuer: str) -> Metadata:
    """The metadata of this very issuer. Raises `BadDocument`."""
    members = _members(body)
    if members.get("issuer") != issuer:
        raise BadDocument("issuer_mismatch", "the document names another issuer than the configuration")
    for name in _ADDRESSES:
        if name in members:
            _check_address(name, members[name], issuer)
    try:
        return msgspec.convert(members, Metadata)
    except msgspec.ValidationError as wrong:
        raise BadDocument("metadata_invalid", f"{wrong}") from wrong


def read_keys(body: bytes, algorithms: tuple[str, ...]) -> dict[str, Pinned]:
    """The keys of a JWK set (RFC 7517) by `kid`, each pinned to one of `algorithms`. Raises `BadDocument`.

    A key for another purpose, of another kind or with its private half is passed over, as section 5 wants; of
    two with one `kid` the first counts.
    """
    published = _members(body).get("keys")
    if not isinstance(published, list):
        raise BadDocument("keys_unusable", "no list of keys")
    listed = cast("list[object]", published)
    if len(listed) > MOST_KEYS:
        raise BadDocument("keys_unusable", f"more than {MOST_KEYS} keys")
    found: dict[str, Pinned] = {}
    for jwk in listed:
        if isinstance(jwk, dict):
            _add(found, cast("dict[str, Any]", jwk), algorithms)
    if not found:
        raise BadDocument("keys_unusable", "no key that can verify a signature")
    return found


def _add(found: dict[str, Pinned], jwk: dict[str, Any], algorithms: tuple[str, ...]) -> None:
    kid = jwk.get("kid", "")
    if not isinstance(kid, str) or kid in found or not _verifies(jwk):
        return
    named = jwk.get("alg")
    for algorithm in algorithms if named is None else {named} & set(algorithms):
        with contextlib.suppress(ValueError, TypeError, KeyError, JoseError, UnsupportedAlgorithm):
            found[kid] = jws.pin(algorithm, _key(jwk))
            return


def _verifies(jwk: Mapping[str, Any]) -> bool:
    kind, operations = jwk.get("kty"), jwk.get("key_ops", ["verify"])
    if not isinstance(kind, str) or kind not in _KINDS or jwk.keys() & _PRIVATE:
        return False
    if jwk.get("use", "sig") != "sig" or not isinstance(jwk.get("alg"), str | None):
        return False
    return isinstance(operations, list) and "verify" in operations


def _key(jwk: dict[str, Any]) -> jws.Key:
    """The public key. Raises `ValueError`, or what the library raises for a broken one."""
    public = {name: jwk[name] for name in _PUBLIC & jwk.keys()}
    if any(not isinstance(value, str) or len(value) > LONGEST for value in public.values()):
        raise ValueError("no number of a key that is used here")
    if jwk["kty"] == "RSA" and _bits(public["n"]) not in RSA_BITS:
        raise ValueError("an RSA key of this size is not used")
    return _KINDS[jwk["kty"]].import_key(public)


def _bits(number: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()


def _check_address(name: str, value: object, issuer: str) -> None:
    """A web address, over TLS wherever the issuer is: a client, or we, will go there."""
    schemes = ("https",) if issuer.startswith("https:") else ("https", "http")
    try:
        parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
        sound = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise BadDocument("ssrf_guard", f"{name} is no address to go to")


def _members(body: bytes) -> dict[str, Any]:
    try:
        value = strict.parse(body)
    except Rejected as refused:
        raise BadDocument("metadata_invalid", f"not JSON: {refused.reason}") from refused
    if not isinstance(value, dict):
        raise BadDocument("metadata_invalid", "not a JSON object")
    return cast("dict[str, Any]", value)
