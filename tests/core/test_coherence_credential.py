"""What belongs together in the credential of a server."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airlock.core.coherence import Ground
from airlock.core.coherence_credential import settle_credential
from airlock.core.config import CredentialEntry

ISSUER = "https://login.example"


def settled(folder: Path, **keys: object) -> tuple[CredentialEntry, list[str]]:
    blamed: list[str] = []
    ground = Ground(
        folder=folder,
        environ={"SECRET": "s"},
        blame=lambda key, what, hint: blamed.append(f"{key}: {what} ({hint})"),
        now=0.0,
    )
    entry = msgspec.convert(keys, CredentialEntry)
    return settle_credential(entry, "credential", ground), blamed


@pytest.mark.parametrize(
    "keys",
    [
        {"mode": "user_oauth"},
        {"mode": "user_oauth", "register": ["*"], "scopes": ["a", "b:c"], "issuers": [ISSUER]},
        {"mode": "user_oauth", "client_id": "c", "issuers": [ISSUER]},
        {"mode": "user_oauth", "client_id": "c", "issuers": [ISSUER], "env": "SECRET"},
        {"mode": "user_oauth", "client_metadata_url": "https://gate.example/client.json"},
        {"mode": "user_oauth", "issuers": ["http://localhost:9/t"], "allow_private": True},
        {"mode": "client_credentials", "client_id": "c", "issuers": [ISSUER], "key_file": "key.pem"},
    ],
)
def test_what_fits(tmp_path: Path, keys: dict[str, object]) -> None:
    (tmp_path / "key.pem").write_text("key")
    found, blamed = settled(tmp_path, **keys)
    assert blamed == []
    assert found.key_file == (str(tmp_path / "key.pem") if "key_file" in keys else None)


LOGIN = {"mode": "user_oauth"}
OWN = {"mode": "client_credentials", "client_id": "c", "issuers": [ISSUER], "env": "SECRET"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"env": "SECRET", "issuers": [ISSUER]}, "credential.issuers: not used by this mode"),
        ({"env": "SECRET", "allow_private": True}, "credential.allow_private: not used by this mode"),
        ({**LOGIN, "prefix": "Bearer "}, "credential.prefix: not used by this mode"),
        ({**LOGIN, "header": "X-Key"}, "credential.header: not used by this mode"),
        ({**LOGIN, "env": "SECRET"}, "credential.client_id: missing (env proves"),
        ({**LOGIN, "client_id": "c"}, "credential.issuers: found 0"),
        (
            {**LOGIN, "client_id": "c", "issuers": [ISSUER, "https://b.example"]},
            "credential.issuers: found 2",
        ),
        ({**OWN, "key_file": "key.pem"}, "credential: env and key_file"),
        ({**OWN, "env": "NOT_SET"}, "credential.env: no variable NOT_SET"),
        ({**OWN, "client_id": ""}, "credential.client_id: missing"),
        ({**LOGIN, "mode": "client_credentials"}, "credential.client_id: missing"),
        ({"mode": "client_credentials", "client_id": "c", "issuers": [ISSUER]}, "credential: no secret"),
        ({**OWN, "register": ["*"]}, "credential.register: not used by this mode"),
        ({**LOGIN, "issuers": ["login.example"]}, "credential.issuers.0: not the identifier"),
        ({**LOGIN, "issuers": ["*"]}, "credential.issuers.0: not the identifier"),
        ({**LOGIN, "issuers": ["https://u:p@login.example"]}, "credential.issuers.0: not the identifier"),
        ({**LOGIN, "issuers": ["https://[::1"]}, "credential.issuers.0: not the identifier"),
        ({**LOGIN, "register": [f"{ISSUER}?x=1"]}, "credential.register.0: not the identifier"),
        ({**LOGIN, "issuers": ["http://localhost:9"]}, "credential.issuers.0: an issuer without TLS"),
        (
            {**LOGIN, "issuers": ["http://login.example"], "allow_private": True},
            "credential.issuers.0: an issuer without TLS",
        ),
        ({**LOGIN, "scopes": ["a b"]}, "credential.scopes.0: found `a b`"),
        ({**LOGIN, "client_metadata_url": "http://gate.example/c"}, "credential.client_metadata_url: not an"),
        ({**LOGIN, "client_metadata_url": "https://gate.example"}, "credential.client_metadata_url: not an"),
        ({**LOGIN, "client_metadata_url": "https://[x/c"}, "credential.client_metadata_url: not an"),
        ({**LOGIN, "key_file": "nowhere", "client_id": "c", "issuers": [ISSUER]}, "key_file: no readable"),
    ],
)
def test_what_does_not_fit_is_said_with_the_way_out(
    tmp_path: Path, keys: dict[str, object], said: str
) -> None:
    (tmp_path / "key.pem").write_text("key")
    blamed = settled(tmp_path, **keys)[1]
    assert any(said in line for line in blamed), blamed
    assert not any("u:p" in line for line in blamed)
