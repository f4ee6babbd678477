"""Identity providers and step-up in the configuration, seen through `load`."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.config import IssuerEntry
from airlock.core.errors import ConfigError
from airlock.core.settings import load

IDP = "issuer: 'https://idp.example'"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "empty.pem").write_text("no certificate")
    return tmp_path / "airlock.yaml"


def issuer(file: Path, entry: str) -> IssuerEntry:
    file.write_text(f"auth:\n  issuers:\n  - {{{entry}}}\n")
    return load(file, {}).config.auth.issuers[0]


def refusals(file: Path, entry: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        issuer(file, entry)
    return [part.what.removeprefix("auth.issuers.0.") for part in caught.value.problems]


def test_a_provider_needs_nothing_but_its_name(file: Path) -> None:
    entry = issuer(file, IDP)
    assert (entry.tenant_claim, entry.roles_claim, entry.stale, entry.allow_private) == (
        "tenant",
        "roles",
        86400.0,
        False,
    )


@pytest.mark.parametrize(
    "entry",
    [
        f"{IDP}, audience: ['http://localhost:8080/mcp', 'https://other.example']",
        f"{IDP}, audience: ['http://localhost:8080']",
        f"{IDP}, role_map: {{Eng: [developer, viewer]}}, algorithms: [PS256], stale: 1h, max_lifetime: 5m",
        f"{IDP}, jwks_url: 'https://keys.example/jwks', tenant: acme",
        "issuer: 'http://127.0.0.1:9000/realms/a', allow_private: true",
        "issuer: 'http://[::1]:9000', allow_private: true",
    ],
)
def test_a_provider_may_be_described_further(file: Path, entry: str) -> None:
    assert issuer(file, entry).issuer


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("issuer: 'file:///etc/passwd'", "issuer: not an https URL"),
        ("issuer: idp.example", "issuer: not an https URL"),
        ("issuer: 'https://a@idp.example'", "issuer: not an https URL"),
        ("issuer: 'https://idp.example:0'", "issuer: not an https URL"),
        ("issuer: 'https://[x'", "issuer: not an https URL"),
        ("issuer: 'https://idp.example/a b'", "issuer: not an https URL"),
        ("issuer: 'https://idp.example?x=1'", "issuer: has a query or fragment"),
        ("issuer: 'http://127.0.0.1:9000'", "issuer: not an https URL"),
        ("issuer: 'http://10.0.0.1', allow_private: true", "issuer: not an https URL"),
        ("issuer: 'http://localhost:8080/local'", "issuer: not an https URL"),
        (f"{IDP}, jwks_url: 'http://idp.example/jwks'", "jwks_url: not an https URL"),
        (f"{IDP}, tenant: a, tenant_claim: org", "tenant_claim: tenant is given too"),
        (f"{IDP}, algorithms: []", "algorithms: no algorithm"),
        (f"{IDP}, algorithms: [HS256]", "algorithms.0: found `HS256`"),
        (f"{IDP}, algorithms: [none]", "algorithms.0: found `none`"),
        (
            f"{IDP}, audience: ['https://x.example']",
            "audience: no resource of this gateway, so that no token counts",
        ),
        (f"{IDP}, ca_file: missing.pem", "ca_file: no readable file "),
        (f"{IDP}, ca_file: empty.pem", "ca_file: no certificate in "),
        (f"{IDP}, stale: -1s", "stale: found `-1s`"),
        ("tenant: a", "issuer: missing"),
    ],
)
def test_what_cannot_work_is_refused(file: Path, entry: str, what: str) -> None:
    assert refusals(file, entry)[0].startswith(what)


def test_the_gateways_own_issuer_is_no_provider(file: Path) -> None:
    entry = "issuer: 'http://localhost:8080/local', allow_private: true"
    assert refusals(file, entry) == ["issuer: is the name of this gateway's own issuer"]


def test_a_provider_is_given_once(file: Path) -> None:
    file.write_text(f"auth:\n  issuers:\n  - {{{IDP}}}\n  - {{{IDP}, tenant: b}}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert [part.what for part in caught.value.problems] == [
        "auth.issuers.1.issuer: auth.issuers.0.issuer is the same"
    ]


@pytest.mark.parametrize("needed", ["{max_age: 5m}", "{acr: [mfa]}", "{max_age: 5m, acr: [mfa, hw]}", "null"])
def test_a_server_may_ask_for_a_login(file: Path, needed: str) -> None:
    file.write_text(f"servers: [{{name: a, transport: http, url: 'https://a.example', step_up: {needed}}}]")
    step_up = load(file, {}).config.servers[0].step_up
    assert (step_up is None) is (needed == "null")


def test_a_step_up_that_asks_for_nothing_is_refused(file: Path) -> None:
    file.write_text("servers: [{name: a, transport: http, url: 'https://a.example', step_up: {}}]")
    with pytest.raises(ConfigError, match="asks for nothing"):
        load(file, {})
