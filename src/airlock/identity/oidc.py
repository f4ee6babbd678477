"""From the claims of a provider to ours: where tenant, roles, groups and scopes stand, and what they mean.

A claim of a wrong type refuses the token, as everywhere. A claim is named by its whole name (`https://x/roles`
is one) or by a path of members (`realm_access.roles`). Nothing else of the payload changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from airlock.core.config import IssuerEntry
from airlock.identity import claims as said
from airlock.identity import resources
from airlock.identity.claims import Claims
from airlock.identity.tokens import Issuer


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How the payloads of one provider are read."""

    tenant: str = ""
    """Tenant of every token; empty: the claim says it."""
    tenant_claim: str = "tenant"
    roles_claim: str = "roles"
    groups_claim: str = "groups"
    scopes_claim: str = "scope"
    role_map: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])

    def read(self, payload: dict[str, Any]) -> Claims:
        """The typed claims of a verified payload. Raises `Unauthenticated`."""
        ours = {
            "tenant": self.tenant or _find(payload, self.tenant_claim),
            "roles": _find(payload, self.roles_claim),
            "groups": _find(payload, self.groups_claim),
            "scope": _spaced(_find(payload, self.scopes_claim)),
            "client_id": payload.get("client_id", payload.get("azp")),
        }
        rest = {name: value for name, value in payload.items() if name not in ours}
        claims = said.read(rest | {name: value for name, value in ours.items() if value is not None})
        return msgspec.structs.replace(claims, roles=self._roles(claims.roles)) if self.role_map else claims

    def _roles(self, theirs: tuple[str, ...]) -> tuple[str, ...]:
        """Ours, each once. What the operator did not name means nothing."""
        return tuple(dict.fromkeys(role for name in theirs for role in self.role_map.get(name, ())))


def rule(entry: IssuerEntry) -> Rule:
    """The rule of a configured provider."""
    return Rule(
        tenant=entry.tenant,
        tenant_claim=entry.tenant_claim,
        roles_claim=entry.roles_claim,
        groups_claim=entry.groups_claim,
        scopes_claim=entry.scopes_claim,
        role_map=entry.role_map,
    )


def trust(entry: IssuerEntry, public_url: str) -> Issuer:
    """How far a configured provider is trusted: for its audiences, or for every resource of this gateway."""
    return Issuer(
        identifier=entry.issuer,
        audiences=frozenset(entry.audience),
        own="" if entry.audience else resources.origin(public_url),
        max_lifetime=entry.max_lifetime,
        auth="oidc",
        read=rule(entry).read,
    )


def _find(payload: dict[str, Any], name: str) -> object:
    """The value of a claim; None where it is missing or null."""
    if name in payload:
        return payload[name]
    value: object = payload
    for member in name.split("."):
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, object]", value).get(member)
    return value


def _spaced(scopes: object) -> object:
    """Scopes as RFC 6749 writes them; some providers send a list."""
    if not isinstance(scopes, list):
        return scopes
    names = cast("list[object]", scopes)
    whole = all(isinstance(name, str) and name and " " not in name for name in names)
    return " ".join(cast("list[str]", names)) if whole else names
