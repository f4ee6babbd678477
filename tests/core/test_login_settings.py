"""`auth.login`: what fits together, and what is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.config import LoginSection
from airlock.core.errors import ConfigError
from airlock.core.settings import load

ISSUER = "issuer: 'https://idp.example'"
LOGIN = f"{ISSUER}, client_id: airlock"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "empty").write_text("\n")
    return tmp_path / "airlock.yaml"


def settled(
    file: Path, login: str, *, issuer: str = ISSUER, server: str = "port: 8080"
) -> LoginSection | None:
    file.write_text(f"server: {{{server}}}\nauth:\n  issuers: [{{{issuer}}}]\n  login: {login}\n")
    return load(file, {}).config.auth.login


def problems(file: Path, login: str, **more: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        settled(file, f"{{{login}}}", **more)
    return [problem.what for problem in refused.value.problems]


def test_a_login_needs_its_provider_and_an_id(file: Path) -> None:
    login = settled(
        file,
        f"{{{LOGIN}, client_secret_file: secret, redirect_schemes: [vscode], unsafe_document_origins: ['https://a.example:8']}}",
    )
    assert login is not None
    assert login.client_secret_file == str(file.parent / "secret")
    assert (login.access, login.session, login.scopes) == (600.0, 43200.0, ("openid", "profile"))


def test_without_a_login_clients_go_to_the_issuers(file: Path) -> None:
    assert settled(file, "null") is None


def test_the_environment_can_name_the_provider(file: Path) -> None:
    file.write_text(f"auth: {{issuers: [{{{ISSUER}}}]}}\n")
    environ = {
        "AIRLOCK__AUTH__LOGIN__ISSUER": "https://idp.example",
        "AIRLOCK__AUTH__LOGIN__CLIENT_ID": "airlock",
    }
    login = load(file, environ).config.auth.login
    assert login is not None
    assert login.client_id == "airlock"


@pytest.mark.parametrize(
    ("login", "what"),
    [
        ("issuer: 'https://other.example', client_id: x", "auth.login.issuer: is none of auth.issuers"),
        (f"{LOGIN}, client_secret_file: missing", "auth.login.client_secret_file: no readable file"),
        (f"{LOGIN}, client_secret_file: empty", "auth.login.client_secret_file: no secret in"),
        (f"{LOGIN}, scopes: [profile]", "auth.login.scopes: openid is missing"),
        (f"{LOGIN}, scopes: [openid, 'a b']", "auth.login.scopes.1: found `a b`"),
        (f"{LOGIN}, redirect_schemes: [javascript]", "auth.login.redirect_schemes.0: found `javascript`"),
        (f"{LOGIN}, redirect_schemes: [https]", "auth.login.redirect_schemes.0: found `https`"),
        (f"{LOGIN}, redirect_schemes: ['Not one']", "auth.login.redirect_schemes.0: found `Not one`"),
        (
            f"{LOGIN}, unsafe_document_origins: ['https://a.example/path']",
            "auth.login.unsafe_document_origins.0: found `https://a.example/path`",
        ),
        (f"{LOGIN}, access: 2h", "auth.login.access: found `2h`"),
        (f"{LOGIN}, session: 1m", "auth.login.session: found `1m`"),
    ],
)
def test_what_does_not_fit_is_refused(file: Path, login: str, what: str) -> None:
    assert [problem for problem in problems(file, login) if problem.startswith(what)], problems(file, login)


def test_a_provider_without_discovery_has_no_login(file: Path) -> None:
    issuer = f"{ISSUER}, jwks_url: 'https://idp.example/keys'"
    assert problems(file, LOGIN, issuer=issuer) == ["auth.login.issuer: has no discovery"]


def test_a_login_over_plain_http_is_for_loopback_only(file: Path) -> None:
    server = "public_url: 'http://gate.example'"
    assert problems(file, LOGIN, server=server) == ["server.public_url: not https"]


def test_the_gateway_is_not_its_own_provider(file: Path) -> None:
    server, issuer = "public_url: 'https://idp.example'", ISSUER
    assert problems(file, LOGIN, server=server, issuer=issuer) == [
        "auth.issuers: https://idp.example is this gateway"
    ]
