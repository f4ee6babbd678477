"""Identity tokens (OpenID Connect Core): who logged in at the provider, for us and for this login.

The same narrow reading and the same pinned keys as for access tokens; what differs is whom it is for (our
client id) and what it answers (our nonce). It is looked at once and never shown to anybody.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from airlock.identity import claims as said
from airlock.identity import jws
from airlock.identity.refusals import Reason, invalid
from airlock.identity.tokens import Issuer


def verify(
    token: str,
    *,
    issuer: Issuer,
    keys: Mapping[str, tuple[str, jws.Key]],
    client_id: str,
    nonce: str,
    max_age: int | None,
    now: float,
) -> said.Claims:
    """Who logged in.

    1 taken apart, from this issuer, signed by one of its pinned keys
    2 for us: `aud` is our client id, or holds it and says that we asked (`azp`)
    3 for this login: our nonce
    4 valid now, and the login itself is as recent as was asked for

    `max_age` in seconds, `now` in Unix seconds. Raises `Unauthenticated`.
    """
    if len(token) > jws.MAX_TOKEN or not token.isascii():
        raise invalid(Reason.MALFORMED)
    compact = jws.take_apart(token, jws.IDENTITY)  # 1
    if compact.payload.get("iss") != issuer.identifier:
        raise invalid(Reason.ISSUER)
    pinned = keys.get(compact.header.kid)
    if pinned is None:
        raise invalid(Reason.KEY_UNKNOWN)
    jws.check_signature(compact, *pinned)
    claims = issuer.read(compact.payload)
    _check_audience(compact.payload, claims, client_id)  # 2
    given = compact.payload.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):  # 3
        raise invalid(Reason.NONCE)
    said.period(claims, max_lifetime=issuer.max_lifetime, now=now).check(now)  # 4
    if max_age is not None and (claims.auth_time is None or now - claims.auth_time > max_age + said.LEEWAY):
        raise invalid(Reason.STEP_UP)
    return claims


def _check_audience(payload: Mapping[str, Any], claims: said.Claims, client_id: str) -> None:
    named = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    asked = payload.get("azp", client_id if len(named) == 1 else None)
    if client_id not in named or asked != client_id:
        raise invalid(Reason.AUDIENCE)
