"""What tests of logins share: keys, a sealer, requests, and identity tokens as a provider signs them."""

from __future__ import annotations

from typing import Any

import msgspec
from joserfc.jwk import OKPKey
from joserfc.jws import serialize_compact

from airlock.core.sealed import Sealer
from airlock.identity.clients import Client
from airlock.identity.flow import Request
from airlock.identity.jws import pin
from airlock.identity.oauth import challenge_of
from airlock.identity.tokens import Issuer
from tests.gateway.parts import NOW

GATEWAY = "https://gate.example"
PROVIDER = "https://idp.example"
CALLBACK = "https://app.example/callback"
VERIFIER = "v" * 43

SEALER = Sealer({"k1": bytes(range(32))}, "k1")
KEY = OKPKey.generate_key("Ed25519", private=True)
KEYS = {"one": pin("Ed25519", KEY)}
ISSUER = Issuer(identifier=PROVIDER, max_lifetime=3600, auth="oidc")
CLIENT = Client(id="registered-1", name="An App", redirect_uris=(CALLBACK,))


def request(**changed: Any) -> Request:
    """What a client asks for."""
    values: dict[str, Any] = {
        "client": CLIENT.id,
        "name": CLIENT.name,
        "redirect_uri": CALLBACK,
        "state": "theirs",
        "challenge": challenge_of(VERIFIER),
        "resource": f"{GATEWAY}/mcp",
        "scopes": ("mcp.list", "mcp.call"),
    }
    return Request(**{**values, **changed})


def given(**changed: str | None) -> dict[str, str]:
    """The parameters of an authorization request; one that is None is left out."""
    values: dict[str, str | None] = {
        "response_type": "code",
        "client_id": "theirs",
        "redirect_uri": CALLBACK,
        "state": "theirs",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
        **changed,
    }
    return {name: value for name, value in values.items() if value is not None}


def id_token(*, header: dict[str, Any] | None = None, key: OKPKey = KEY, **changed: Any) -> str:
    """An identity token for `airlock`, answering the nonce `n`; a claim that is None is left out."""
    claims: dict[str, Any] = {
        "iss": PROVIDER,
        "sub": "alice",
        "aud": "airlock",
        "exp": NOW + 300,
        "iat": NOW,
        "nonce": "n",
        "tenant": "acme",
        **changed,
    }
    said = {name: value for name, value in claims.items() if value is not None}
    head = {"alg": "Ed25519", "kid": "one", **(header or {})}
    return serialize_compact(head, msgspec.json.encode(said), key, algorithms=["Ed25519"])
