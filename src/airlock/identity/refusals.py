"""Why a credential does not count: one stable word per cause for audit rows, one fixed text for callers.

The caller never learns which check failed: that would help whoever forges a token more than whoever owns one.
"""

from __future__ import annotations

from enum import StrEnum

from airlock.core.errors import Unauthenticated


class Reason(StrEnum):
    """The `reason` of a refused credential."""

    MISSING = "token_missing"
    """No credential, or one of another scheme than Bearer."""
    MALFORMED = "token_malformed"
    """No compact JWS of three canonical base64url parts around strict JSON objects."""
    TOO_LARGE = "token_too_large"
    DUPLICATE_MEMBER = "token_duplicate_member"
    """A header or payload says something twice, so that two readers could understand two things."""
    UNSIGNED = "token_unsigned"
    """`alg` is `none`, in whatever spelling."""
    SIGNATURE_STRIPPED = "token_signature_stripped"
    ALGORITHM = "token_algorithm"
    """Not an asymmetric algorithm of the allow-list."""
    ALGORITHM_MISMATCH = "token_algorithm_mismatch"
    """Not the algorithm that is pinned for this key."""
    KEY_EMBEDDED = "token_key_embedded"
    KEY_REMOTE = "token_key_remote"
    CRITICAL = "token_critical"
    """`crit` or `b64`: an extension that changes what the signature means."""
    HEADER = "token_header"
    """A header member outside the allow-list, or of the wrong type."""
    TYPE = "token_type"
    ISSUER = "token_issuer"
    KEY_UNKNOWN = "token_key_unknown"
    SIGNATURE = "token_signature"
    CLAIMS = "token_claims"
    """A claim of a wrong type or outside its bounds."""
    SUBJECT_MISSING = "token_subject_missing"
    TENANT_MISSING = "token_tenant_missing"
    EXPIRY_MISSING = "token_expiry_missing"
    LIFETIME = "token_lifetime"
    """Valid for longer than its issuer may say, or expired before it was issued."""
    EXPIRED = "token_expired"
    NOT_YET_VALID = "token_not_yet_valid"
    NONCE = "token_nonce"
    """An identity token that answers another login than this one."""
    AUDIENCE = "token_audience"
    """Names an audience that its issuer may not name."""
    RESOURCE = "resource_mismatch"
    """Issued for another resource of ours."""
    REVOKED = "token_revoked"
    SUBJECT_REVOKED = "subject_revoked"
    SCOPE = "scope_missing"
    STEP_UP = "login_insufficient"
    """The login is too old, or not of the kind that the server asks for."""


def missing() -> Unauthenticated:
    """No credential was sent: the challenge carries no error (RFC 6750 section 3.1)."""
    return Unauthenticated(401, Reason.MISSING, "An access token is required.")


def invalid(reason: Reason, **about: object) -> Unauthenticated:
    """A credential that does not count; `about` is what the log says of it."""
    refused = Unauthenticated(401, reason, "The access token is not valid here.", error="invalid_token")
    refused.about.update(about)
    return refused


def insufficient(scopes: tuple[str, ...]) -> Unauthenticated:
    """A credential that counts, without the scopes of the operation; `scopes` are all that it needs."""
    return Unauthenticated(
        403,
        Reason.SCOPE,
        "The access token lacks a scope that this operation needs.",
        error="insufficient_scope",
        scopes=scopes,
    )


def too_weak(acr_values: tuple[str, ...], max_age: int) -> Unauthenticated:
    """A credential that counts, behind a login that does not suffice here (RFC 9470); `max_age` 0: any."""
    return Unauthenticated(
        401,
        Reason.STEP_UP,
        "This needs a more recent or a stronger login.",
        error="insufficient_user_authentication",
        acr_values=acr_values,
        max_age=max_age or None,
    )
