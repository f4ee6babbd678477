"""Secrets of a configuration are replaced by digests that are the same for the same secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airlock.core.config import Config, CredentialEntry, ServerEntry
from airlock.core.incident_config import IncidentSection, TargetEntry
from airlock.incident.evidence.scrub import Scrubber, configuration
from airlock.incident.evidence.signing import Signer
from airlock.incident.evidence.state import program


def shown(tmp_path: Path, server: ServerEntry, environ: dict[str, str] | None = None) -> dict[str, Any]:
    digest = Signer.of(tmp_path / "data").keyed_digest
    return configuration(Config(servers=(server,)), environ or {}, digest)


def servers(document: dict[str, Any]) -> dict[str, Any]:
    return document["configuration"]["servers"][0]


def stdio(*arguments: str) -> ServerEntry:
    return ServerEntry(name="docs", transport="stdio", command=("/usr/bin/npx", *arguments))


@pytest.mark.parametrize(
    "argument", ["-y", "--verbose", "@scope/server", "/etc/passwd", "--root=/etc/passwd"]
)
def test_what_opens_nothing_is_shown(tmp_path: Path, argument: str) -> None:
    assert servers(shown(tmp_path, stdio(argument)))["command"] == ["/usr/bin/npx", argument]


@pytest.mark.parametrize(
    "argument", ["hunter2", "--token=hunter2", "key=hunter2", "/nowhere/hunter2", "-=hunter2"]
)
def test_what_may_open_something_is_not(tmp_path: Path, argument: str) -> None:
    (_, found) = servers(shown(tmp_path, stdio(argument)))["command"]
    assert "hunter2" not in found
    assert "hmac-sha256:" in found


def test_the_same_secret_has_the_same_digest_in_one_gateway_alone(tmp_path: Path) -> None:
    one, same = (servers(shown(tmp_path / "a", stdio("s")))["command"][1] for _ in range(2))
    other = servers(shown(tmp_path / "b", stdio("s")))["command"][1]
    assert one == same != other


def test_addresses_lose_what_identifies_and_what_is_asked(tmp_path: Path) -> None:
    server = ServerEntry(name="docs", transport="http", url="https://u:p4ss@docs.example/mcp?key=k3y#x")
    url = servers(shown(tmp_path, server))["url"]
    assert url.startswith("https://hmac-sha256-")
    assert url.endswith("#x")
    assert "docs.example/mcp?hmac-sha256:" in url
    assert not [secret for secret in ("p4ss", "k3y") if secret in url]


@pytest.mark.parametrize(
    ("url", "begins"),
    [
        ("https://hooks.slack.com/services/T0/B0/c4nary", "https://hooks.slack.com/hmac-sha256:"),
        ("https://u:p@c4nary@hook.example", "https://hmac-sha256-"),
        ("tgram://1:c4nary/5", "tgram://hmac-sha256:"),
        ("https://tracker.example/", "https://tracker.example/"),
        ("", ""),
    ],
)
def test_addresses_of_targets_are_secrets_themselves(tmp_path: Path, url: str, begins: str) -> None:
    told = IncidentSection(targets=(TargetEntry(name="told", kind="webhook", url=url),))
    document = configuration(Config(incident=told), {}, Signer.of(tmp_path / "data").keyed_digest)
    (target,) = document["configuration"]["incident"]["targets"]
    assert target["url"].startswith(begins)
    assert "c4nary" not in str(document)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("/v/bin/python -m airlock.worker --line 16", "/v/bin/python -m airlock.worker"),
        ("/v/bin/python3.11 -m airlock.cli serve --config x", "/v/bin/python3.11 -m airlock.cli serve"),
        ("/v/bin/python /v/bin/airlock verify --token s3cret", "/v/bin/python /v/bin/airlock verify"),
        ("airlock --token=s3cret", "airlock"),
        ("curl -u admin:s3cret https://airlock.example/", ""),
        ("sh -c TOKEN=s3cret;airlock", ""),
        ("psql s3cret airlock", ""),
    ],
)
def test_of_processes_the_program_and_its_verb_are_named(command: str, told: str) -> None:
    assert program([word.encode() for word in command.split()]) == told


def test_files_and_variables_are_known_by_digest(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    server = ServerEntry(
        name="docs",
        transport="http",
        url="https://docs.example/mcp",
        credential=CredentialEntry(file=str(tmp_path / "secret"), env="TOKEN"),
        env_from={"A": "/nowhere/at/all"},
    )
    document = shown(tmp_path, server, {"TOKEN": "t0ken", "OTHER": "x"})
    assert document["files"][str(tmp_path / "secret")].startswith("hmac-sha256:")
    assert document["files"]["/nowhere/at/all"] == "cannot be read: No such file or directory"
    assert list(document["variables"]) == ["TOKEN"]
    assert "t0ken" not in str(document)


def test_what_was_taken_out_is_counted(tmp_path: Path) -> None:
    scrub = Scrubber()
    token = "ghp_" + "a1" * 18
    assert token not in scrub.text("a.txt", f"one {token}, two {token}")
    assert token not in str(scrub.value("b.json", {"deep": [token]}))
    assert scrub.text("c.txt", "alice@example.com") == "alice@example.com"
    assert scrub.replaced == {"a.txt": {"github_token": 2}, "b.json": {"github_token": 1}}
