"""Who vouches for evidence: an Ed25519 key under `data_dir/keys`, and what it signs.

The key is the gateway's own: it shows that a bundle is as this gateway made it, not that this gateway was
honest. Its fingerprint is shown wherever a bundle is made, to be kept elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airlock.core.errors import ConfigError
from airlock.identity import keyfile
from airlock.incident.evidence import verify_bundle as bundle

FILE = "keys/evidence.json"
"""Where the key stands in the data directory."""


class Signer:
    """Signs statements and lines of custody."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.fingerprint = hashlib.sha256(self.public).hexdigest()

    @classmethod
    def of(cls, data_dir: Path) -> Signer:
        """The key of this data directory, made on first use. Raises `ConfigError` where it is not safe to
        use."""
        private = keyfile.load_or_create(data_dir / FILE).private_key
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError(str(data_dir / FILE), "this is no private Ed25519 key")
        return cls(private)

    def envelope(self, tagmanifest: str, predicate: dict[str, Any]) -> bytes:
        """DSSE around an in-toto statement about the manifest of manifests, named by its SHA-256."""
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": bundle.TAGS, "digest": {"sha256": tagmanifest}}],
            "predicateType": bundle.PREDICATE,
            "predicate": {**predicate, "public_key": base64.b64encode(self.public).decode()},
        }
        payload, kind = msgspec.json.encode(statement, order="sorted"), bundle.PAYLOAD_TYPE.encode()
        signature = self._private.sign(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
        document = {
            "payloadType": bundle.PAYLOAD_TYPE,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [
                {"keyid": f"sha256:{self.fingerprint}", "sig": base64.b64encode(signature).decode()}
            ],
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"

    def line(self, statement: bytes) -> bytes:
        """A line of custody around its statement, without the line feed."""
        signature = self._private.sign(bundle.CUSTODY + statement)
        signed = {"statement": statement.decode(), "signature": base64.b64encode(signature).decode()}
        return msgspec.json.encode(signed)

    def keyed_digest(self, secret: bytes) -> str:
        """Stands for a secret: the same for the same one in every bundle of this gateway, and of no use for
        guessing to whoever lacks the private key."""
        key = hashlib.sha256(b"airlock secret digest v1" + self._private.private_bytes_raw()).digest()
        return f"hmac-sha256:{hmac.digest(key, secret, 'sha256').hex()}"
