"""Tokens for people on their own machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airlock.core.config import AuthSection, Config, ServerSection
from airlock.core.errors import ConfigError, Unauthenticated
from airlock.identity.local import LocalIssuer, identifier, require_loopback, trust
from airlock.identity.refusals import Reason
from airlock.identity.resources import accepted
from airlock.identity.tokens import Verifier
from airlock.model.principal import Principal
from airlock.model.snapshot import Revocations

URL = "http://localhost:8080"
NOW = 1_800_000_000.5


def issue(issuer: LocalIssuer, **claims: Any) -> str:
    asked: dict[str, Any] = {"subject": "alice", "tenant": "t1", "ttl": 3600, "now": NOW}
    return issuer.issue(**(asked | claims))


def verify(issuer: LocalIssuer, token: str, server: str = "") -> Principal:
    return Verifier(issuers=[trust(URL)]).verify(
        token, audience=accepted(URL, server), keys=issuer.keys(), revocations=Revocations(), now=NOW
    )


def test_what_it_issues_is_accepted_and_says_what_was_asked_for(tmp_path: Path) -> None:
    issuer = LocalIssuer.open(tmp_path, URL)
    token = issue(issuer, roles=("admin", "dev"), groups=("g",), scopes=("mcp.list", "mcp.call"))
    caller = verify(issuer, token)
    assert caller.token_id
    assert caller == Principal(
        issuer=identifier(URL),
        subject="alice",
        tenant="t1",
        roles=("admin", "dev"),
        groups=("g",),
        scopes=("mcp.list", "mcp.call"),
        client_id="airlock-local",
        auth="local",
        token_id=caller.token_id,
        audience=("http://localhost:8080/mcp",),
        expires_at=int(NOW) + 3600,
    )


def test_two_tokens_have_two_ids(tmp_path: Path) -> None:
    issuer = LocalIssuer.open(tmp_path, URL)
    assert verify(issuer, issue(issuer)).token_id != verify(issuer, issue(issuer)).token_id


def test_xc2_a_token_for_one_server_opens_no_other(tmp_path: Path) -> None:
    issuer = LocalIssuer.open(tmp_path, URL)
    token = issue(issuer, audience="http://localhost:8080/mcp/notes")
    assert verify(issuer, token, "notes").subject == "alice"
    with pytest.raises(Unauthenticated) as refused:
        verify(issuer, token, "mail")
    assert refused.value.reason == Reason.RESOURCE


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"ttl": 0}, "24 hours"),
        ({"ttl": 86401}, "24 hours"),
        ({"ttl": float("nan")}, "24 hours"),
        ({"audience": "http://localhost:80801/mcp"}, "not a resource"),
        ({"audience": "https://localhost:8080/mcp"}, "not a resource"),
        ({"subject": ""}, "sub"),
        ({"tenant": "a\0b"}, "tenant"),
        ({"roles": ("",)}, "roles"),
        ({"scopes": ("a b", 'c"')}, "scope"),
    ],
)
def test_it_never_issues_what_would_not_be_accepted(tmp_path: Path, claims: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        issue(LocalIssuer.open(tmp_path, URL), **claims)


def test_the_public_half_holds_no_secret(tmp_path: Path) -> None:
    issuer = LocalIssuer.open(tmp_path, URL)
    (pinned,) = issuer.keys(7).issuers[identifier(URL)].values()
    assert (pinned[0], pinned[1].is_private) == ("Ed25519", False)
    assert issuer.keys(7).version == 7


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    first = LocalIssuer.open(tmp_path / "data", URL)
    keys = tmp_path / "data" / "keys"
    assert keys.stat().st_mode & 0o777 == 0o700
    assert [(file.name, file.stat().st_mode & 0o777) for file in keys.iterdir()] == [
        ("local-issuer.json", 0o600)
    ]
    assert LocalIssuer.open(tmp_path / "data", URL).kid == first.kid


def test_processes_that_start_at_once_end_up_with_one_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from airlock.identity.local import LocalIssuer; "
        "print('ready', flush=True); sys.stdin.readline(); "
        "print(LocalIssuer.open(Path(sys.argv[1]), 'http://localhost').kid)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    kids = {process.communicate()[0] for process in running}
    assert len(kids) == 1
    assert [file.name for file in (tmp_path / "keys").iterdir()] == ["local-issuer.json"]


@pytest.mark.parametrize("name", ["keys", "keys/local-issuer.json"])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, name: str) -> None:
    LocalIssuer.open(tmp_path, URL)
    (tmp_path / name).chmod(0o750 if name == "keys" else 0o640)
    with pytest.raises(ConfigError, match="other users can reach") as refused:
        LocalIssuer.open(tmp_path, URL)
    assert refused.value.where == str(tmp_path / name)


def test_a_link_in_place_of_the_key_is_refused(tmp_path: Path) -> None:
    LocalIssuer.open(tmp_path, URL)
    file = tmp_path / "keys" / "local-issuer.json"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be opened"):
        LocalIssuer.open(tmp_path, URL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_that_another_user_owns_is_refused(tmp_path: Path) -> None:
    LocalIssuer.open(tmp_path, URL)
    os.chown(tmp_path / "keys" / "local-issuer.json", 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to another user"):
        LocalIssuer.open(tmp_path, URL)


STORED = {"kty": "OKP", "crv": "Ed25519", "kid": "k"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{}",
        json.dumps({**STORED, "x": "AA", "d": "AA"}).encode(),
        json.dumps({**STORED, "x": "!", "d": "!"}).encode(),
        json.dumps({**STORED, "x": "A" * 43, "d": "A" * 43, "k": "changeme"}).encode(),
    ],
)
def test_xc5_a_file_that_is_no_key_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    LocalIssuer.open(tmp_path, URL)
    (tmp_path / "keys" / "local-issuer.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"local-issuer\.json: this is no Ed25519 key"):
        LocalIssuer.open(tmp_path, URL)


def test_halves_that_do_not_belong_together_are_no_key(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "local-issuer.json"
    LocalIssuer.open(tmp_path, URL)
    mine = json.loads(file.read_bytes())
    LocalIssuer.open(tmp_path / "other", URL)
    other = json.loads((tmp_path / "other" / "keys" / "local-issuer.json").read_bytes())
    file.write_text(json.dumps(mine | {"x": other["x"]}))
    with pytest.raises(ConfigError, match="no Ed25519 key"):
        LocalIssuer.open(tmp_path, URL)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_it_exists_on_loopback(host: str) -> None:
    require_loopback(Config(server=ServerSection(host=host)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gw.example", "localhost.evil"])  # noqa: S104
def test_it_does_not_exist_where_strangers_can_connect(host: str) -> None:
    with pytest.raises(ConfigError, match="not loopback"):
        require_loopback(Config(server=ServerSection(host=host)))


def test_it_can_be_switched_off() -> None:
    with pytest.raises(ConfigError, match="switched off"):
        require_loopback(Config(auth=AuthSection(local_issuer=False)))


def test_a_data_directory_that_a_key_is_made_in_first_is_its_owners_alone(tmp_path: Path) -> None:
    LocalIssuer.open(tmp_path / "data", "http://localhost:8080")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("data", "data/keys")] == [0o700, 0o700]
