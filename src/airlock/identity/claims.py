"""What a payload says, strictly typed, and the principal that follows from it (RFC 7519, RFC 9068).

A wrong type refuses the token: `roles: "admin"` is a different mistake from `roles: ["admin"]`, and guessing
what was meant is how identities get stronger than their issuer made them.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from airlock.identity.refusals import Reason, invalid
from airlock.model.principal import Principal

LEEWAY = 60
"""Seconds that the clock of an issuer may differ from ours."""

MAX_ACTORS = 8
"""Length of a delegation chain (RFC 8693 `act`)."""

Text = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"\A[^\x00-\x1f\x7f-\x9f]+\Z")]
"""No control characters: names go into keys that join with NUL, into logs and onto screens."""

Names = Annotated[tuple[Text, ...], Meta(max_length=512)]
ScopeText = Annotated[str, Meta(max_length=4096, pattern=r"\A(?:[!#-\[\]-~]+(?: [!#-\[\]-~]+)*)?\Z")]
"""RFC 6749 section 3.3: visible ASCII without quote and backslash, separated by single spaces."""

Audience = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=32)]
Time = Annotated[float, Meta(ge=0, le=253402300799)]
"""A NumericDate up to the year 9999."""


class Actor(msgspec.Struct, frozen=True):
    """Who acts for the subject, and for whom that one acts."""

    sub: Text
    act: Actor | None = None


class Claims(msgspec.Struct, frozen=True):
    """The claims that mean something here; others are ignored, as RFC 7519 section 4 wants."""

    iss: Text
    aud: Text | Audience
    exp: Time | None = None
    nbf: Time | None = None
    iat: Time | None = None
    sub: Text | None = None
    client_id: Text | None = None
    jti: Text | None = None
    tenant: Text | None = None
    roles: Names = ()
    groups: Names = ()
    scope: ScopeText = ""
    acr: Text | None = None
    auth_time: Time | None = None
    act: Actor | None = None


class Period(msgspec.Struct, frozen=True):
    """When a token counts, leeway included: `start <= now < end`."""

    start: float
    end: float

    def check(self, now: float) -> None:
        """Raises `Unauthenticated` outside the period."""
        if now >= self.end:
            raise invalid(Reason.EXPIRED, expired_for_s=round(now - self.end + LEEWAY))
        if now < self.start:
            raise invalid(Reason.NOT_YET_VALID, valid_in_s=round(self.start + LEEWAY - now))


def read(payload: dict[str, Any]) -> Claims:
    """The typed claims. Raises `Unauthenticated`."""
    try:
        return msgspec.convert(payload, Claims)
    except msgspec.ValidationError as wrong:
        raise invalid(Reason.CLAIMS) from wrong


def period(claims: Claims, *, max_lifetime: float, now: float) -> Period:
    """When the token counts. Raises `Unauthenticated` if that never ends, never begins or lasts too long."""
    if claims.exp is None:
        raise invalid(Reason.EXPIRY_MISSING)
    start = max(claims.nbf or 0.0, claims.iat or 0.0)
    born = now if claims.iat is None else claims.iat
    if claims.exp <= start or claims.exp - born > max_lifetime:
        raise invalid(Reason.LIFETIME)
    return Period(start - LEEWAY, claims.exp + LEEWAY)


def principal(claims: Claims, lasts: Period, *, token: str, auth: str) -> Principal:
    """The principal that these verified claims describe. Raises `Unauthenticated` where one lacks."""
    subject = claims.sub or claims.client_id
    if subject is None:
        raise invalid(Reason.SUBJECT_MISSING)
    if claims.tenant is None:
        raise invalid(Reason.TENANT_MISSING)
    return Principal(
        issuer=claims.iss,
        subject=subject,
        tenant=claims.tenant,
        roles=claims.roles,
        groups=claims.groups,
        scopes=tuple(claims.scope.split()),
        client_id=claims.client_id or "",
        auth=auth,
        token_id=claims.jti or hashlib.sha256(token.encode()).hexdigest()[:32],
        audience=(claims.aud,) if isinstance(claims.aud, str) else claims.aud,
        auth_time=None if claims.auth_time is None else int(claims.auth_time),
        acr=claims.acr or "",
        actor=_actors(claims.act),
        expires_at=int(lasts.end - LEEWAY),
    )


def _actors(actor: Actor | None) -> tuple[str, ...]:
    chain: list[str] = []
    while actor is not None:
        if len(chain) == MAX_ACTORS:
            raise invalid(Reason.CLAIMS)
        chain.append(actor.sub)
        actor = actor.act
    return tuple(chain)
