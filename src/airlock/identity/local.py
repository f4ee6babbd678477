"""The local issuer: tokens for people who try Airlock on their own machine, without an identity provider.

It exists only where the gateway listens on loopback. It signs with a key under `data_dir/keys` that never
leaves it; the gateway verifies these tokens exactly as it verifies those of any other issuer.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
from joserfc.jwk import OKPKey
from joserfc.jws import serialize_compact

from airlock.core.coherence import is_loopback
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.identity import keyfile, resources
from airlock.identity.claims import Claims
from airlock.identity.jws import pin
from airlock.identity.tokens import Issuer
from airlock.model.snapshot import Keys

ALGORITHM = "Ed25519"
"""The fully specified name of RFC 9864; `EdDSA` is deprecated by it."""

MAX_TTL = 24 * 3600
"""Seconds. A demo token that outlives the day is a credential that somebody forgot."""

CLIENT_ID = "airlock-local"


def identifier(public_url: str) -> str:
    """The `iss` of tokens that this gateway issues itself."""
    return f"{resources.origin(public_url)}/local"


def trust(public_url: str) -> Issuer:
    """How far a gateway trusts its own issuer: for anything under its own origin, for a day."""
    return Issuer(
        identifier=identifier(public_url),
        own=resources.origin(public_url),
        max_lifetime=MAX_TTL,
        auth="local",
    )


def require_loopback(config: Config) -> None:
    """Raises `ConfigError` where the local issuer is switched off or strangers could reach the gateway."""
    if not config.auth.local_issuer:
        raise ConfigError("auth.local_issuer", "the local issuer is switched off")
    if not is_loopback(config.server.host):
        raise ConfigError(
            "server.host",
            f"{config.server.host} is not loopback, so the local issuer is refused",
            "set auth.local_issuer to false, or server.host to 127.0.0.1",
        )


class LocalIssuer:
    """Signs tokens with one key."""

    def __init__(self, *, key: OKPKey, public_url: str) -> None:
        self._key = key
        self._public_url = public_url
        self.kid = key.thumbprint()

    @classmethod
    def open(cls, data_dir: Path, public_url: str) -> LocalIssuer:
        """With the key under `data_dir`, made on first use. Raises `ConfigError`."""
        return cls(key=keyfile.load_or_create(data_dir / "keys" / "local-issuer.json"), public_url=public_url)

    def keys(self, version: int = 1) -> Keys:
        """The public half, as verifiers pin it."""
        return Keys(
            issuers={identifier(self._public_url): {self.kid: pin(ALGORITHM, self._key)}}, version=version
        )

    def issue(
        self,
        *,
        subject: str,
        tenant: str,
        roles: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
        scopes: tuple[str, ...] = (),
        ttl: float,
        audience: str = "",
        signed_in: bool = False,
        now: float,
    ) -> str:
        """A signed token; `ttl` in seconds, `audience` defaults to `/mcp`. `signed_in`: it says that the
        subject signed in at this moment. Raises `ValueError`."""
        if not 1 <= ttl <= MAX_TTL:
            raise ValueError("a local token lasts between 1 second and 24 hours")
        meant = audience or resources.resource(self._public_url)
        if not resources.belongs(resources.origin(self._public_url), meant):
            raise ValueError(f"{meant} is not a resource of this gateway")
        claims: dict[str, object] = {
            "iss": identifier(self._public_url),
            "sub": subject,
            "aud": meant,
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + int(ttl),
            "jti": secrets.token_urlsafe(16),
            "client_id": CLIENT_ID,
            "tenant": tenant,
            "roles": roles,
            "groups": groups,
            "scope": " ".join(scopes),
        }
        if signed_in:
            claims["auth_time"] = int(now)
        msgspec.convert(claims, Claims)  # what we issue is what we accept; its error is a ValueError
        header = {"typ": "at+jwt", "alg": ALGORITHM, "kid": self.kid}
        return serialize_compact(header, msgspec.json.encode(claims), self._key, algorithms=[ALGORITHM])
