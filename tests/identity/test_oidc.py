"""How the claims of a provider become ours."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.core.config import IssuerEntry
from airlock.core.errors import Unauthenticated
from airlock.identity import oidc
from airlock.identity.claims import Claims

PUBLIC = "https://gw.example"
BASE: dict[str, Any] = {"iss": "https://idp.example", "aud": "https://gw.example/mcp", "sub": "alice"}


def read(payload: dict[str, Any], **entry: Any) -> Claims:
    configured = IssuerEntry(issuer="https://idp.example", **entry)
    return oidc.trust(configured, PUBLIC).read({**BASE, **payload})


def test_claims_stand_where_they_usually_do() -> None:
    claims = read({"tenant": "t1", "roles": ["a"], "groups": ["g"], "scope": "mcp.call x"})
    assert (claims.tenant, claims.roles, claims.groups, claims.scope) == ("t1", ("a",), ("g",), "mcp.call x")


@pytest.mark.parametrize(
    ("entry", "payload"),
    [
        ({"tenant_claim": "org"}, {"org": "t1"}),
        ({"tenant_claim": "org.id"}, {"org": {"id": "t1"}}),
        ({"tenant_claim": "https://x.example/org"}, {"https://x.example/org": "t1"}),
        ({"tenant": "t1"}, {}),
        ({"tenant": "t1"}, {"tenant": "t2"}),
    ],
)
def test_the_tenant_comes_from_its_claim_or_is_fixed(entry: dict[str, str], payload: dict[str, Any]) -> None:
    assert read(payload, **entry).tenant == "t1"


@pytest.mark.parametrize("payload", [{}, {"org": {}}, {"org": "t1"}, {"org": None}, {"tenant": "t1"}])
def test_a_tenant_that_is_elsewhere_is_none(payload: dict[str, Any]) -> None:
    assert read(payload, tenant_claim="org.id").tenant is None


def test_roles_and_groups_come_from_their_claims() -> None:
    claims = read(
        {"realm": {"roles": ["a", "b"]}, "teams": ["g"]}, roles_claim="realm.roles", groups_claim="teams"
    )
    assert (claims.roles, claims.groups) == (("a", "b"), ("g",))


def test_a_map_gives_our_roles_once_each_and_drops_the_rest() -> None:
    role_map = {"Eng": ("developer", "viewer"), "Ops": ("viewer", "admin")}
    assert read({"roles": ["Eng", "Ops", "admin"]}, role_map=role_map).roles == (
        "developer",
        "viewer",
        "admin",
    )
    assert read({"roles": ["admin"]}, role_map=role_map).roles == ()
    assert read({}, role_map=role_map).roles == ()


@pytest.mark.parametrize(
    ("scopes", "expected"), [("a b", "a b"), (["a", "b"], "a b"), ([], ""), (None, ""), ("", "")]
)
def test_scopes_are_text_or_a_list(scopes: object, expected: str) -> None:
    assert read({"scp": scopes}, scopes_claim="scp").scope == expected


def test_a_client_is_known_by_either_name() -> None:
    assert read({"azp": "app"}).client_id == "app"
    assert read({"azp": "app", "client_id": "own"}).client_id == "own"


@pytest.mark.parametrize(
    "payload",
    [
        {"tenant": 1}, {"tenant": ["t1"]}, {"tenant": "a\0b"}, {"roles": "admin"}, {"roles": [1]},
        {"groups": {"g": 1}}, {"scope": 1}, {"scope": ["a b"]}, {"scope": [1]}, {"scope": [""]}, {"azp": 7},
    ],
)  # fmt: skip
def test_a_claim_of_a_wrong_type_refuses_the_token(payload: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        read(payload)
    assert refused.value.reason == "token_claims"


def test_without_a_list_any_resource_of_the_gateway_may_be_named() -> None:
    issuer = oidc.trust(IssuerEntry(issuer="https://idp.example"), PUBLIC)
    assert issuer.may_name("https://gw.example/mcp/docs")
    assert not issuer.may_name("https://other.example")
    assert issuer.auth == "oidc"


def test_with_a_list_nothing_else_may_be_named() -> None:
    listed = ("https://gw.example/mcp", "https://other.example")
    issuer = oidc.trust(IssuerEntry(issuer="https://idp.example", audience=listed), PUBLIC)
    assert issuer.may_name("https://other.example")
    assert not issuer.may_name("https://gw.example/mcp/docs")
