"""A forge: signs whatever it is told to, sound or not, without any library that might know better."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OKPKey, RSAKey

from airlock.identity.jws import pin
from airlock.identity.resources import accepted
from airlock.identity.tokens import Issuer, Verifier
from airlock.model.principal import Principal
from airlock.model.snapshot import Keys, Revocations

ISSUER = "https://idp.example"
OTHER = "https://other.example"
PUBLIC_URL = "https://gw.example"
NOW = 1_800_000_000


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Forge:
    """Holds the private keys of two issuers, `ISSUER` (`ed`, `rsa`) and `OTHER` (`far`), and of nobody."""

    now = NOW
    issuer = ISSUER
    public_url = PUBLIC_URL

    def __init__(self) -> None:
        self.ed, self.far, self.nobody = (Ed25519PrivateKey.generate() for _ in range(3))
        self.rsa = generate_private_key(65537, 2048)
        own = {
            "ed": pin("Ed25519", OKPKey.import_key(self._pem(self.ed))),
            "team/2026": pin("Ed25519", OKPKey.import_key(self._pem(self.ed))),
            "rsa": pin("RS256", RSAKey.import_key(self._pem(self.rsa))),
        }
        far = {"far": pin("Ed25519", OKPKey.import_key(self._pem(self.far)))}
        self.keys = Keys(issuers={ISSUER: own, OTHER: far})

    @staticmethod
    def _pem(key: Any) -> bytes:
        return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def hmac(self, message: bytes) -> bytes:
        return hmac.digest(self._pem(self.rsa), message, hashlib.sha256)

    def rs256(self, message: bytes) -> bytes:
        return self.rsa.sign(message, PKCS1v15(), SHA256())

    def ps256(self, message: bytes) -> bytes:
        return self.rsa.sign(message, PSS(mgf=MGF1(SHA256()), salt_length=32), SHA256())

    def token(
        self,
        *,
        header: dict[str, Any] | bytes | None = None,
        claims: dict[str, Any] | bytes | None = None,
        sign: Callable[[bytes], bytes] | None = None,
    ) -> str:
        """A sound token, with members of header and claims added, changed, or (None) left out."""
        start = {"typ": "at+jwt", "alg": "Ed25519", "kid": "ed"}
        head = header if isinstance(header, bytes) else self._json(start, header)
        body = claims if isinstance(claims, bytes) else self._json(self.claims(), claims)
        message = f"{encode(head)}.{encode(body)}"
        return f"{message}.{encode((sign or self.ed.sign)(message.encode()))}"

    def claims(self) -> dict[str, Any]:
        return {
            "iss": ISSUER,
            "sub": "alice",
            "aud": "https://gw.example/mcp",
            "iat": NOW,
            "exp": NOW + 3600,
            "jti": "j-1",
            "tenant": "t1",
            "roles": ["developer"],
            "scope": "mcp.list mcp.call",
        }

    @staticmethod
    def _json(start: dict[str, Any], changes: dict[str, Any] | None) -> bytes:
        merged = start | (changes or {})
        return json.dumps({name: value for name, value in merged.items() if value is not None}).encode()

    def verifier(self, *, cache_tokens: int = 100) -> Verifier:
        ours = frozenset((*accepted(PUBLIC_URL, "a"), *accepted(PUBLIC_URL, "b"), "https://api.example"))
        return Verifier(
            issuers=(
                Issuer(identifier=ISSUER, audiences=ours, max_lifetime=86400, auth="oidc"),
                Issuer(identifier=OTHER, audiences=ours, max_lifetime=86400, auth="oidc"),
            ),
            cache_tokens=cache_tokens,
        )

    def verify(
        self,
        token: str,
        *,
        verifier: Verifier | None = None,
        server: str = "",
        keys: Keys | None = None,
        revocations: Revocations | None = None,
        now: float = NOW,
    ) -> Principal:
        return (verifier or self.verifier()).verify(
            token,
            audience=accepted(PUBLIC_URL, server),
            keys=keys or self.keys,
            revocations=revocations or Revocations(),
            now=now,
        )


@pytest.fixture(scope="session")
def forge() -> Forge:
    return Forge()
