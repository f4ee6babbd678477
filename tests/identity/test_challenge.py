"""Metadata documents and challenges, word for word."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import Unauthenticated
from airlock.identity.challenge import challenge, identifier, metadata, step_up
from airlock.identity.refusals import Reason, insufficient, invalid, missing, too_weak
from airlock.identity.resources import metadata_url

URL = "https://gw.example/"
RESOURCE = "https://gw.example/mcp"
WHERE = 'resource_metadata="https://gw.example/.well-known/oauth-protected-resource/mcp"'


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/.well-known/oauth-protected-resource", "https://gw.example"),
        ("/.well-known/oauth-protected-resource/mcp", "https://gw.example/mcp"),
        ("/.well-known/oauth-protected-resource/mcp/any-name", "https://gw.example/mcp/any-name"),
        ("/.well-known/oauth-protected-resource/mcp/", None),
        ("/.well-known/oauth-protected-resource/mcp/../x", None),
        ("/.well-known/oauth-protected-resource/mcp/a\n", None),
        ("/.well-known/oauth-protected-resource/", None),
        ("/.well-known/oauth-authorization-server", None),
        ("/mcp", None),
    ],
)
def test_a1_a_document_describes_the_resource_that_its_url_was_derived_from(
    path: str, resource: str | None
) -> None:
    found = identifier(path, URL)
    assert found == resource
    assert found is None or metadata_url(found) == f"https://gw.example{path}"


def test_a2_the_document_has_these_members() -> None:
    assert metadata(RESOURCE, authorization_servers=("https://gw.example/local",), name="Airlock") == {
        "resource": RESOURCE,
        "authorization_servers": ["https://gw.example/local"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["mcp.list", "mcp.call"],
        "resource_name": "Airlock",
    }


def test_a2_a_document_without_authorization_server_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        metadata(RESOURCE, authorization_servers=(), name="Airlock")


@pytest.mark.parametrize(
    ("refusal", "value"),
    [
        (missing(), f'Bearer {WHERE}, scope="mcp.list mcp.call"'),
        (
            invalid(Reason.EXPIRED),
            f'Bearer {WHERE}, scope="mcp.list mcp.call", error="invalid_token", '
            'error_description="The access token is not valid here."',
        ),
        (
            insufficient(("mcp.list", "mcp.call.notes")),
            f'Bearer error="insufficient_scope", scope="mcp.list mcp.call.notes", {WHERE}, '
            'error_description="The access token lacks a scope that this operation needs."',
        ),
    ],
    ids=["no token", "bad token", "scope missing"],
)
def test_a_refusal_has_this_challenge(refusal: Unauthenticated, value: str) -> None:
    assert challenge(refusal, RESOURCE) == value


def test_a_login_that_is_too_old_or_too_weak_has_this_challenge() -> None:
    assert step_up(RESOURCE, acr_values=("2", "3"), max_age=300) == (
        f'Bearer error="insufficient_user_authentication", acr_values="2 3", max_age="300", {WHERE}'
    )


@settings(max_examples=100)
@given(text=st.text(max_size=30), scopes=st.lists(st.text(max_size=10), max_size=3))
def test_no_text_can_break_out_of_its_quotes(text: str, scopes: list[str]) -> None:
    refusal = Unauthenticated(403, "any", text, error="insufficient_scope", scopes=tuple(scopes))
    value = challenge(refusal, RESOURCE)
    names = re.findall(r'(\w+)="[ !#-\[\]-~]*"', value)
    assert names == ["error", "scope", "resource_metadata", "error_description"]
    assert re.sub(r'\w+="[ !#-\[\]-~]*"', "p", value) == "Bearer p, p, p, p"


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        (too_weak(("mfa",), 300), 'acr_values="mfa", max_age="300", '),
        (too_weak((), 300), 'max_age="300", '),
        (too_weak(("a", "b"), 0), 'acr_values="a b", '),
    ],
)
def test_a_step_up_names_what_is_asked_for(refusal: Unauthenticated, named: str) -> None:
    value = challenge(refusal, RESOURCE)
    assert value == f'Bearer error="insufficient_user_authentication", {named}{WHERE}'
