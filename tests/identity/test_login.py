"""Tokens of the gateway for its clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.errors import Unauthenticated
from airlock.identity import login
from airlock.identity.login import Login, LoginIssuer
from airlock.identity.tokens import Verifier
from airlock.model.snapshot import Revocations
from tests.gateway.parts import NOW
from tests.identity.login_parts import CALLBACK, GATEWAY, PROVIDER

WHO = Login(
    client="registered-1",
    redirect_uri=CALLBACK,
    challenge="c",
    resource=f"{GATEWAY}/mcp",
    scopes=("mcp.list", "mcp.call"),
    issuer=PROVIDER,
    subject="alice",
    tenant="acme",
    roles=("developer",),
    groups=("staff",),
    acr="gold",
    auth_time=int(NOW) - 5,
)


@pytest.fixture
def issuer(tmp_path: Path) -> LoginIssuer:
    return LoginIssuer.open(tmp_path, GATEWAY, 600)


def verify(issuer: LoginIssuer, token: str, *audience: str, now: float = NOW) -> object:
    verifier = Verifier(issuers=[login.trust(GATEWAY, 600)])
    return verifier.verify(
        token,
        audience=audience or (f"{GATEWAY}/mcp",),
        keys=issuer.keys(),
        revocations=Revocations(),
        now=now,
    )


def test_a_minted_token_says_who_logged_in_for_which_client(issuer: LoginIssuer) -> None:
    minted = issuer.mint(WHO, "g1", scopes=("mcp.list",), ends=NOW + 9999, now=NOW)
    verifier = Verifier(issuers=[login.trust(GATEWAY, 600)])
    principal = verifier.verify(
        minted.token, audience=(f"{GATEWAY}/mcp",), keys=issuer.keys(), revocations=Revocations(), now=NOW
    )
    assert (principal.issuer, principal.subject, principal.tenant) == (GATEWAY, "alice", "acme")
    assert (principal.roles, principal.groups, principal.scopes) == (
        ("developer",),
        ("staff",),
        ("mcp.list",),
    )
    assert (principal.client_id, principal.auth, principal.acr) == ("registered-1", "login", "gold")
    assert principal.auth_time == int(NOW) - 5
    assert principal.expires_at == minted.expires_at == int(NOW) + 600


def test_a_token_does_not_outlive_its_login(issuer: LoginIssuer) -> None:
    assert issuer.mint(WHO, "g1", scopes=(), ends=NOW + 60, now=NOW).expires_at == int(NOW) + 60


def test_a_token_is_for_its_resource_alone(issuer: LoginIssuer) -> None:
    minted = issuer.mint(WHO, "g1", scopes=(), ends=NOW + 9999, now=NOW)
    with pytest.raises(Unauthenticated) as refused:
        verify(issuer, minted.token, f"{GATEWAY}/mcp/other")
    assert refused.value.reason == "resource_mismatch"


def test_a_token_names_its_grant(issuer: LoginIssuer) -> None:
    minted = issuer.mint(WHO, "g1", scopes=(), ends=NOW + 9999, now=NOW)
    assert login.grant_of(minted.id) == "g1"


def test_what_a_verifier_would_refuse_is_not_issued(issuer: LoginIssuer) -> None:
    nobody = Login(
        client="x",
        redirect_uri="",
        challenge="",
        resource=f"{GATEWAY}/mcp",
        scopes=(),
        issuer="",
        subject="",
        tenant="t",
    )
    with pytest.raises(ValueError, match="sub"):
        issuer.mint(nobody, "g1", scopes=(), ends=NOW + 9999, now=NOW)


def test_the_key_stays_over_a_restart(tmp_path: Path) -> None:
    first, second = (LoginIssuer.open(tmp_path, GATEWAY, 600) for _ in range(2))
    minted = first.mint(WHO, "g1", scopes=(), ends=NOW + 9999, now=NOW)
    assert verify(second, minted.token)
    assert (tmp_path / "keys/login.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("wanted", "granted"),
    [
        ("", ("mcp.list", "mcp.call")),
        ("mcp.call", ("mcp.call",)),
        ("mcp.list mcp.list", ("mcp.list",)),
        ("offline_access openid mcp.call.notes", ("mcp.call.notes",)),
        ("mcp.call.Not_A_Server mcp.other", ()),
        ("openid", ()),
    ],
)
def test_scopes_that_exist_are_granted_once(wanted: str, granted: tuple[str, ...]) -> None:
    assert login.granted_scopes(wanted) == granted
