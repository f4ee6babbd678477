"""The one strict verifier of access tokens (RFC 9068, RFC 8725, MCP authorization).

No key material and no algorithm ever comes from the token; no address is ever fetched because of one.
Verified tokens are remembered, so that a signature is checked once. What may change meanwhile (time, route,
revocations, the pinned key itself) is checked on every call, remembered or not.
One verifier per process, used from one thread; a changed configuration makes a new one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from airlock.core.errors import Unauthenticated
from airlock.identity import claims as said
from airlock.identity import jws
from airlock.identity.refusals import Reason, invalid, missing
from airlock.identity.resources import belongs
from airlock.model.principal import Principal
from airlock.model.snapshot import Keys, Revocations

CACHE_TOKENS = 10_000
"""Tokens remembered by one process: about 2 KiB each."""

SHOWN = 128
"""Characters of a claim that a log line repeats."""

_OUTSIDE = frozenset((Reason.EXPIRED, Reason.NOT_YET_VALID))

_BEARER = re.compile(r"bearer(?: +(.*))?", re.IGNORECASE | re.DOTALL)
_B64TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
"""What `b64token` of RFC 6750 section 2.1 is made of, up to its padding."""


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens count, and how far they are trusted."""

    identifier: str
    """The exact `iss`."""
    audiences: frozenset[str] = frozenset()
    """Every audience that its tokens may name."""
    own: str = ""
    """An origin of which every resource counts as one of `audiences`."""
    max_lifetime: float
    """Seconds between `iat` and `exp`."""
    auth: str
    """The word for `Principal.auth`."""
    read: Callable[[dict[str, Any]], said.Claims] = said.read
    """Its payloads as typed claims. Raises `Unauthenticated`."""

    def may_name(self, audience: str) -> bool:
        """Whether a token of this issuer may be meant for this audience too."""
        return audience in self.audiences or (bool(self.own) and belongs(self.own, audience))


class _Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A token whose signature and claims were checked with `pinned`."""

    principal: Principal
    owner: tuple[str, str, str]
    kid: str
    pinned: tuple[str, jws.Key]
    lasts: said.Period


def bearer(authorization: str | None) -> str:
    """The token of an `Authorization` header (RFC 6750 section 2.1). Raises `Unauthenticated`."""
    found = _BEARER.fullmatch(authorization or "")
    if found is None:
        raise missing()
    body = (found[1] or "").encode("utf-8", "replace").rstrip(b"=")
    if not body or body.translate(None, _B64TOKEN):
        raise invalid(Reason.MALFORMED)
    return found[1]


class Verifier:
    """Verifies tokens of configured issuers."""

    def __init__(
        self,
        *,
        issuers: Iterable[Issuer],
        unknown_key: Callable[[str], None] = lambda _: None,
        cache_tokens: int = CACHE_TOKENS,
    ) -> None:
        """`unknown_key` is told of every issuer for which a key was named that is not pinned."""
        self._issuers: Mapping[str, Issuer] = {issuer.identifier: issuer for issuer in issuers}
        self._unknown_key = unknown_key
        self._cache_tokens = cache_tokens
        self._known: dict[bytes, _Verified] = {}
        self.asked = self.missed = 0
        """Tokens that were to be verified, and those of them that were not remembered."""

    def verify(
        self, token: str, *, audience: tuple[str, ...], keys: Keys, revocations: Revocations, now: float
    ) -> Principal:
        """Who sent this token.

        1 signature and claims, or the memory of them under a key that is still pinned
        2 the period in which the token counts
        3 the route: one of `audience` must be named
        4 revocations

        `now` is Unix seconds. Raises `Unauthenticated`, with one of `Reason`.
        """
        if len(token) > jws.MAX_TOKEN:
            raise invalid(Reason.TOO_LARGE)
        if not token.isascii():
            raise invalid(Reason.MALFORMED)
        digest = hashlib.sha256(token.encode()).digest()
        self.asked += 1
        verified = self._known.get(digest)
        if verified is None or not _still_pinned(verified, keys):  # 1
            self._known.pop(digest, None)
            self.missed += 1
            verified = self._check(token, keys, now)
            self._remember(digest, verified)
        try:
            verified.lasts.check(now)  # 2
            _check_route(verified.principal, audience)  # 3
            _check_revocations(verified, revocations)  # 4
        except Unauthenticated as refused:
            if refused.reason in _OUTSIDE:
                self._known.pop(digest, None)
            principal = verified.principal
            refused.about.update(_names(principal.issuer, verified.kid, list(principal.audience)))
            refused.claimed = principal.subject
            raise
        return verified.principal

    @property
    def remembered(self) -> int:
        """How many tokens are remembered, for metrics."""
        return len(self._known)

    def _check(self, token: str, keys: Keys, now: float) -> _Verified:
        """What is true of a token for good.

        1 taken apart: compact, canonical, no member that names a key or changes the rules
        2 the issuer it names is configured; this only selects the pinned keys
        3 its key is pinned for that issuer, and signs with the algorithm pinned for the key
        4 the signature
        5 the claims, now trusted: types, period, audiences that the issuer may name
        """
        compact = jws.take_apart(token)  # 1
        try:
            return self._trusted(compact, keys, now)
        except Unauthenticated as refused:
            payload = compact.payload
            refused.about.update(_names(payload.get("iss"), compact.header.kid, payload.get("aud")))
            subject = payload.get("sub")
            refused.claimed = subject[:SHOWN] if isinstance(subject, str) else ""
            raise

    def _trusted(self, compact: jws.Compact, keys: Keys, now: float) -> _Verified:
        issuer = self._issuer(compact.payload.get("iss"))  # 2
        pinned = keys.issuers.get(issuer.identifier, {}).get(compact.header.kid)  # 3
        if pinned is None:
            self._unknown_key(issuer.identifier)
            raise invalid(Reason.KEY_UNKNOWN)
        jws.check_signature(compact, *pinned)  # 4
        claims = issuer.read(compact.payload)  # 5
        lasts = said.period(claims, max_lifetime=issuer.max_lifetime, now=now)
        principal = said.principal(claims, lasts, token=compact.text, auth=issuer.auth)
        if not all(issuer.may_name(audience) for audience in principal.audience):
            raise invalid(Reason.AUDIENCE)
        return _Verified(
            principal=principal,
            owner=(principal.tenant, principal.issuer, principal.subject),
            kid=compact.header.kid,
            pinned=pinned,
            lasts=lasts,
        )

    def _issuer(self, name: object) -> Issuer:
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise invalid(Reason.ISSUER)
        return issuer

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        """The oldest make room: those are nearest to their end."""
        while len(self._known) >= self._cache_tokens:
            del self._known[next(iter(self._known))]
        self._known[digest] = verified


def _names(issuer: object, kid: str, audience: object) -> dict[str, object]:
    """What the log may say of a token. It is its sender's text until the signature is checked: cut short."""
    named: list[object] = list(cast("list[object]", audience)) if isinstance(audience, list) else [audience]
    aud = [text[:SHOWN] for text in named[:4] if isinstance(text, str)]
    return {"iss": issuer[:SHOWN] if isinstance(issuer, str) else "", "kid": kid[:SHOWN], "aud": aud}


def _still_pinned(verified: _Verified, keys: Keys) -> bool:
    """A key that was withdrawn or exchanged takes every token with it that was checked by it."""
    pinned = keys.issuers.get(verified.principal.issuer, {}).get(verified.kid)
    return pinned is verified.pinned


def _check_route(principal: Principal, audience: tuple[str, ...]) -> None:
    for named in principal.audience:
        if named in audience:
            return
    raise invalid(Reason.RESOURCE)


def _check_revocations(verified: _Verified, revocations: Revocations) -> None:
    if verified.principal.token_id in revocations.token_ids:
        raise invalid(Reason.REVOKED)
    if verified.owner in revocations.subjects:
        raise invalid(Reason.SUBJECT_REVOKED)
