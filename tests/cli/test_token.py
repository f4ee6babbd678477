"""`airlock token issue`: what it prints, and where it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli.token import app
from airlock.core.clock import SYSTEM
from airlock.identity.local import LocalIssuer, trust
from airlock.identity.resources import accepted
from airlock.identity.tokens import Verifier
from airlock.model.principal import Principal
from airlock.model.snapshot import Revocations

URL = "http://localhost:8080"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "airlock.yaml"
    file.write_text(f"data_dir: {tmp_path}/data\n")
    return file


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["issue", "--config", str(config), "--subject", "alice", "--tenant", "t1", *arguments]
    )


def verify(token: str, data_dir: Path, server: str = "") -> Principal:
    issuer = LocalIssuer.open(data_dir, URL)
    return Verifier(issuers=[trust(URL)]).verify(
        token,
        audience=accepted(URL, server),
        keys=issuer.keys(),
        revocations=Revocations(),
        now=SYSTEM.wall(),
    )


def test_the_token_stands_alone_on_standard_output(config: Path, tmp_path: Path) -> None:
    result = run(config, "--role", "admin", "--role", "dev", "--group", "staff")
    assert result.exit_code == 0
    caller = verify(result.stdout.removesuffix("\n"), tmp_path / "data")
    assert (caller.subject, caller.tenant, caller.roles) == ("alice", "t1", ("admin", "dev"))
    assert (caller.groups, caller.scopes) == (("staff",), ("mcp.list", "mcp.call"))
    assert result.stderr == "alice of t1, for 1h\n"


def test_scope_audience_and_duration_are_as_asked_for(config: Path, tmp_path: Path) -> None:
    result = run(config, "--scope", "mcp.list", "--audience", f"{URL}/mcp/notes", "--ttl", "30s")
    caller = verify(result.stdout.strip(), tmp_path / "data", server="notes")
    assert (caller.scopes, caller.audience) == (("mcp.list",), (f"{URL}/mcp/notes",))
    assert 25 < caller.expires_at - SYSTEM.wall() <= 30


def test_json_tells_what_the_token_says(config: Path, tmp_path: Path) -> None:
    answer: dict[str, Any] = json.loads(run(config, "--json").stdout)
    caller = verify(answer.pop("token"), tmp_path / "data")
    assert answer == {
        "subject": "alice",
        "tenant": "t1",
        "issuer": f"{URL}/local",
        "audience": f"{URL}/mcp",
        "token_id": caller.token_id,
        "expires_at": caller.expires_at,
    }


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("server: {host: 0.0.0.0}", "not loopback"),
        ("auth: {local_issuer: false}", "switched off"),
    ],
)
def test_without_a_local_issuer_it_refuses_with_the_reason(config: Path, section: str, why: str) -> None:
    config.write_text(config.read_text() + section)
    result = run(config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert why in result.stderr


def test_a_key_that_others_can_read_is_refused(config: Path, tmp_path: Path) -> None:
    run(config)
    (tmp_path / "data" / "keys" / "local-issuer.json").chmod(0o644)
    result = run(config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "chmod 600" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--ttl", "25h"), "24 hours"),
        (("--ttl", "soon"), "not a duration"),
        (("--audience", "https://elsewhere.example"), "not a resource"),
        (("--role", ""), "roles"),
    ],
)
def test_a_token_that_cannot_be_is_a_usage_error(config: Path, arguments: tuple[str, ...], why: str) -> None:
    result = run(config, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr


def test_a_configuration_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    result = run(tmp_path / "absent.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "absent.yaml" in result.stderr


def test_a_sign_in_is_claimed_only_where_that_is_asked_for(config: Path, tmp_path: Path) -> None:
    assert verify(run(config).stdout.strip(), tmp_path / "data").auth_time is None
    signed_in = verify(run(config, "--signed-in").stdout.strip(), tmp_path / "data").auth_time
    assert signed_in is not None
    assert abs(signed_in - SYSTEM.wall()) < 60
