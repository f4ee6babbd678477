"""Airlock as the issuer of its own clients: what a login becomes, and the tokens that follow from it.

A person logs in at the identity provider; what the client then holds are tokens of the gateway, signed with a
key of its own, short-lived and for one resource. No token of the provider is ever given to a client.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import msgspec
from joserfc.jwk import OKPKey
from joserfc.jws import serialize_compact

from airlock.identity import keyfile, resources
from airlock.identity.claims import Claims
from airlock.identity.jws import pin
from airlock.identity.scopes import CALL, LIST, SUPPORTED
from airlock.identity.tokens import Issuer
from airlock.mcp.names import SERVER
from airlock.model.snapshot import Keys

ALGORITHM = "Ed25519"

KEY_FILE = "login.json"
"""Under `data_dir/keys`."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody logged in for a client: everything that its tokens will say, and what the code is bound to."""

    client: str
    """`clients.Client.id`."""
    redirect_uri: str
    challenge: str
    resource: str
    scopes: tuple[str, ...]
    issuer: str
    """The identity provider."""
    subject: str
    tenant: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    acr: str = ""
    auth_time: int | None = None


class Minted(msgspec.Struct, frozen=True, kw_only=True):
    """An access token. `id` is its `jti`; times are Unix seconds."""

    token: str
    id: str
    expires_at: int
    scopes: tuple[str, ...]


def identifier(public_url: str) -> str:
    """The `iss` of these tokens, and the issuer of RFC 8414: the origin of the gateway."""
    return resources.origin(public_url)


def trust(public_url: str, access: float) -> Issuer:
    """How far a gateway trusts these tokens: for anything under its own origin, for `access` seconds."""
    origin = identifier(public_url)
    return Issuer(identifier=origin, own=origin, max_lifetime=access, auth="login")


class LoginIssuer:
    """Signs tokens with one key. `access` is how many seconds they last."""

    def __init__(self, *, key: OKPKey, public_url: str, access: float) -> None:
        self._key = key
        self._kid = key.thumbprint()
        self._access = int(access)
        self.identifier = identifier(public_url)

    @classmethod
    def open(cls, data_dir: Path, public_url: str, access: float) -> LoginIssuer:
        """With the key under `data_dir`, made on first use. Raises `ConfigError`."""
        key = keyfile.load_or_create(data_dir / "keys" / KEY_FILE)
        return cls(key=key, public_url=public_url, access=access)

    def keys(self) -> Keys:
        """The public half, as verifiers pin it."""
        return Keys(issuers={self.identifier: {self._kid: pin(ALGORITHM, self._key)}}, version=1)

    def mint(self, login: Login, grant: str, *, scopes: tuple[str, ...], ends: float, now: float) -> Minted:
        """An access token with some scopes of a grant; it does not outlive the grant, which `ends`."""
        expires_at = min(int(now) + self._access, int(ends))
        token_id = f"{grant}.{secrets.token_urlsafe(9)}"
        claims: dict[str, object] = {
            "iss": self.identifier,
            "sub": login.subject,
            "aud": login.resource,
            "iat": int(now),
            "nbf": int(now),
            "exp": expires_at,
            "jti": token_id,
            "client_id": login.client,
            "tenant": login.tenant,
            "roles": login.roles,
            "groups": login.groups,
            "scope": " ".join(scopes),
        }
        claims.update({"acr": login.acr} if login.acr else {})
        claims.update({} if login.auth_time is None else {"auth_time": login.auth_time})
        msgspec.convert(claims, Claims)  # what we issue is what we accept; its error is a ValueError
        header = {"typ": "at+jwt", "alg": ALGORITHM, "kid": self._kid}
        token = serialize_compact(header, msgspec.json.encode(claims), self._key, algorithms=[ALGORITHM])
        return Minted(token=token, id=token_id, expires_at=expires_at, scopes=scopes)


def grant_of(token_id: str) -> str:
    """The grant that a token of ours was issued under, from its `jti`."""
    return token_id.partition(".")[0]


def secret() -> str:
    """A code, a state, a refresh token: 256 bits that nobody guesses."""
    return secrets.token_urlsafe(32)


def digest(text: str) -> str:
    """What is kept of a secret: enough to know it again, and no use to a thief of the store."""
    return hashlib.sha256(text.encode()).hexdigest()


def granted_scopes(wanted: str) -> tuple[str, ...]:
    """The scopes of a request that exist here, each once; all of them where it names none.

    `offline_access`, `openid` and the like mean nothing here and are left out (RFC 6749 section 3.3).
    """
    if not wanted:
        return SUPPORTED
    known = (scope for scope in wanted.split() if scope in (LIST, CALL) or _of_a_server(scope))
    return tuple(dict.fromkeys(known))


def _of_a_server(scope: str) -> bool:
    prefix, _, server = scope.rpartition(".")
    return prefix == CALL and bool(SERVER.fullmatch(server))
