"""What is sent to a token endpoint, and what is believed of its answer.

Pure (OAuth 2.1, RFC 7523, 8707). A credential shows itself to the request that needs it, in no `repr` and no
exception.
"""

from __future__ import annotations

import base64
import secrets
from urllib.parse import quote

import msgspec
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import serialize_compact

from airlock.core.errors import LinkRefused
from airlock.upstream.oauth_discovery import read_scopes

LIFETIME_UNSAID = 3600.0
"""Seconds for which a token counts whose server does not say."""
LIFETIME_MOST = 86400.0 * 30
ASSERTION = 60
"""Seconds for which a client assertion counts."""

SECRET_MOST = 8 * 1024
"""Characters of a token or client secret."""

_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Key = ECKey | RSAKey | OKPKey

Fields = dict[str, str]


class Hidden(msgspec.Struct, frozen=True):
    """A secret text that no `repr` shows."""

    value: str = ""

    def __repr__(self) -> str:
        return "<hidden>"

    def __bool__(self) -> bool:
        return bool(self.value)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """As whom the gateway comes to one authorization server."""

    client_id: str
    secret: Hidden = Hidden()
    method: str = "none"


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a login brought."""

    access: Hidden
    refresh: Hidden = Hidden()
    scopes: tuple[str, ...] = ()
    """Granted, as far as the server says; else those that were asked for."""
    until: float
    """Unix seconds until which the access token counts."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    access_token: str
    token_type: str
    refresh_token: str | None = None
    scope: str | None = None
    expires_in: float | None = None


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    error: str = ""


def refresh_form(refresh: Hidden, resource: str) -> dict[str, str]:
    """What a refresh token is exchanged with; the scopes stay."""
    return {"grant_type": "refresh_token", "refresh_token": refresh.value, "resource": resource}


def own_form(resource: str, scopes: tuple[str, ...]) -> dict[str, str]:
    """How the gateway asks for a token of its own."""
    form = {"grant_type": "client_credentials", "resource": resource}
    return {**form, "scope": " ".join(scopes)} if scopes else form


def proof(
    client: Identity, issuer: str, key: Key | None, now: float
) -> tuple[dict[str, str], dict[str, str]]:
    """Fields of the form and header fields by which a client proves itself at the token endpoint."""
    fields = {"client_id": client.client_id}
    if key is not None:
        assertion = {
            "client_assertion_type": _JWT_BEARER,
            "client_assertion": _assertion(client.client_id, issuer, key, now),
        }
        return fields | assertion, {}
    if client.method == "client_secret_basic":
        pair = f"{quote(client.client_id, safe='')}:{quote(client.secret.value, safe='')}"
        return {}, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if client.method == "client_secret_post":
        return fields | {"client_secret": client.secret.value}, {}
    return fields, {}


def import_key(pem: bytes) -> Key:
    """A private key that signs assertions. Raises `ValueError`."""
    for kind in (ECKey, RSAKey, OKPKey):
        try:
            key = kind.import_key(pem)
        except Exception:  # noqa: BLE001, S112  # of another kind: the library says so in many ways
            continue
        if key.is_private:
            return key
    raise ValueError("no private key of a kind that signs")


def _assertion(client_id: str, issuer: str, key: Key, now: float) -> str:
    algorithm = {"EC": "ES256", "RSA": "RS256", "OKP": "Ed25519"}[key.key_type]
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": issuer,
        "iat": int(now),
        "exp": int(now) + ASSERTION,
        "jti": secrets.token_urlsafe(16),
    }
    header = {"alg": algorithm, "typ": "JWT"}
    return serialize_compact(header, msgspec.json.encode(claims), key, algorithms=[algorithm])


def read_tokens(status: int, body: bytes, asked: tuple[str, ...], now: float) -> Tokens:
    """The tokens of an answer. Raises `LinkRefused`; nothing of the answer is in it but the word of OAuth."""
    text = "The authorization server gave no token."
    if status != 200:
        raise LinkRefused("link_token_refused", text, detail=f"status {status} {word_of(body)}")
    try:
        found = msgspec.json.decode(body, type=_Answer)
    except ValueError as broken:
        raise LinkRefused("link_token_refused", text, detail=complaint(broken)) from None
    refresh = found.refresh_token or ""
    for token in (found.access_token, refresh):
        if len(token) > SECRET_MOST or not token.isascii() or not token.isprintable() or " " in token:
            raise LinkRefused("link_token_refused", text, detail="a token that fits in no header")
    if found.token_type.lower() != "bearer" or not found.access_token:
        raise LinkRefused("link_token_refused", text, detail="no token of type Bearer")
    lifetime = LIFETIME_UNSAID if found.expires_in is None else found.expires_in
    return Tokens(
        access=Hidden(found.access_token),
        refresh=Hidden(refresh),
        scopes=asked if found.scope is None else read_scopes(found.scope),
        until=now + max(0.0, min(lifetime, LIFETIME_MOST)),
    )


def gone(refused: LinkRefused) -> bool:
    """Whether the server says that a refresh token counts no more, in contrast to a failure of its own."""
    return "invalid_grant" in refused.detail


def unknown_client(refused: LinkRefused) -> bool:
    """Whether the server says that it does not know us any more."""
    return "invalid_client" in refused.detail


def word_of(body: bytes) -> str:
    """The word of OAuth in a refusal; empty where there is none."""
    try:
        word = msgspec.json.decode(body, type=_Refusal).error
    except ValueError:
        return ""
    return word if word.isascii() and word.replace("_", "").isalnum() and len(word) <= 64 else ""


def complaint(broken: ValueError) -> str:
    """What the decoder complains of: positions and types, no values."""
    return str(broken)[:200] if not isinstance(broken, UnicodeDecodeError) else "not UTF-8"
