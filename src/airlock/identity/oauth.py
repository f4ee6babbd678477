"""The wire of OAuth 2.1 as an authorization server sees it: parameters, errors, PKCE, metadata (RFC 8414).

Pure. A parameter that is given twice, or left empty, is a different request to different readers: refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from urllib.parse import parse_qsl, urlencode

from airlock.core.errors import Rejected, Stage
from airlock.identity.scopes import SUPPORTED

MAX_FIELDS = 32
"""Parameters of a request."""

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
"""RFC 7636 sections 4.1 and 4.2."""


def wrong(error: str, reason: str, text: str, *, http: int = 400) -> Rejected:
    """A refusal with a word of OAuth (`error`) and one of ours for rows and lines (`reason`)."""
    return Rejected(http, -32600, reason, text, data={"error": error}, stage=Stage.AUTHENTICATE)


def parameters(encoded: str) -> dict[str, str]:
    """The fields of a query or form. Raises `Rejected` for doubled, broken or too many ones."""
    try:
        pairs = parse_qsl(
            encoded,
            keep_blank_values=True,
            strict_parsing=bool(encoded),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as broken:
        raise wrong("invalid_request", "login_request_invalid", "The parameters cannot be read.") from broken
    found = dict(pairs)
    if len(found) != len(pairs):
        raise wrong("invalid_request", "login_request_invalid", "A parameter is given twice.")
    return {name: value for name, value in found.items() if value}


def is_challenge(text: str) -> bool:
    """Whether this can be the S256 challenge of a verifier."""
    return bool(_CHALLENGE.fullmatch(text))


def challenge_of(verifier: str) -> str:
    """S256 of RFC 7636 section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def proves(verifier: str, challenge: str) -> bool:
    """Whether the sender of the verifier made the challenge."""
    return bool(_VERIFIER.fullmatch(verifier)) and hmac.compare_digest(challenge_of(verifier), challenge)


def with_parameters(uri: str, values: dict[str, str]) -> str:
    """A redirect URI with the answer in its query; the query that it was registered with stays."""
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(values)}"


def server_metadata(issuer: str, *, registration: bool, documents: bool) -> dict[str, object]:
    """What clients learn of the authorization server at `issuer`."""
    found: dict[str, object] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "scopes_supported": list(SUPPORTED),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": documents,
    }
    if registration:
        found["registration_endpoint"] = f"{issuer}/oauth/register"
    return found
