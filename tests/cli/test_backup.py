"""`airlock backup` and `airlock restore` as an operator runs them, without a gateway."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from airlock.audit.catchup import catch_up
from airlock.cli import audit
from airlock.cli.backup import backup, restore
from airlock.core.clock import SYSTEM
from airlock.core.sealed import load_or_create_keys
from airlock.identity.local import LocalIssuer
from airlock.model.entry import Event
from airlock.policy.bundle import load_bundle
from airlock.store.database import FILE, open_store
from tests.cli.test_audit import seal

POLICY = "package airlock\n\ndefault allow := false\n"


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(backup)
    app.command()(restore)
    app.add_typer(audit.app, name="audit")
    return CliRunner().invoke(app, [str(each) for each in arguments])


class Site:
    """A gateway's files: what it made, and what an operator wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "gateway.yaml"
        self.out = folder / "backup.tar"
        asyncio.run(seal(self.data, Event(event_type="system", action="heartbeat")))
        catch_up(self.data, clock=SYSTEM, pause=lambda _: None)
        open_store(self.data / FILE).close()
        load_or_create_keys(self.data)
        LocalIssuer.open(self.data, "http://localhost")
        (folder / "rules").mkdir()
        (folder / "rules" / "main.rego").write_text(POLICY)
        (folder / "secret").write_text("s")
        self.write()

    def write(self, **sections: Any) -> None:
        self.config.write_text(yaml.safe_dump({"data_dir": "data", "policy": {"path": "rules"}, **sections}))

    def backup(self) -> dict[str, Any]:
        result = run("backup", "--config", self.config, "--out", self.out, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def names(self) -> set[str]:
        with tarfile.open(self.out) as tar:
            return set(tar.getnames())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_backup_holds_all_that_is_not_made_anew(site: Site) -> None:
    told = site.backup()
    (chain,) = told["chains"]
    journal = f"journal/{chain['chain_uid']}"
    (segment,) = (site.data / journal).glob("*.seg")
    assert site.names() == {
        "audit.db", "sark.db", "keys/seal.json", "keys/local-issuer.json",
        f"{journal}/{segment.name}", f"{journal}/durable", f"{journal}/copied",
        "restored/configuration/gateway.yaml", "restored/policy/main.rego", "restored/manifest.json",
    }  # fmt: skip
    assert stat.S_IMODE(site.out.stat().st_mode) == 0o600
    assert told["files"] == len(site.names()) - 1
    assert {path.name for path in site.folder.iterdir()} == {
        "data", "rules", "secret", "gateway.yaml", "backup.tar",
    }  # fmt: skip


def test_a_restore_brings_back_keys_control_data_policy_and_configuration(site: Site) -> None:
    with closing(sqlite3.connect(site.data / FILE)) as db:
        parts = db.execute("SELECT * FROM parts ORDER BY 1").fetchall()
    told = site.backup()
    new = site.folder / "new"
    result = run("restore", site.out, "--data-dir", new, "--json")
    assert (result.exit_code, json.loads(result.stdout)["manifest_sha256"]) == (0, told["manifest_sha256"])
    for name in ("keys/seal.json", "keys/local-issuer.json"):
        assert (new / name).read_bytes() == (site.data / name).read_bytes()
    assert (new / "restored/configuration/gateway.yaml").read_bytes() == site.config.read_bytes()
    assert load_bundle(new / "restored/policy").revision == load_bundle(site.folder / "rules").revision
    with closing(sqlite3.connect(new / FILE)) as db:
        assert db.execute("SELECT * FROM parts ORDER BY 1").fetchall() == parts
    open_store(new / FILE).close()
    assert run("audit", "verify", "--data-dir", new).exit_code == 0


def test_what_the_configuration_names_and_the_backup_lacks_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "t")
    monkeypatch.setenv("AIRLOCK__LOGGING__LEVEL", "warn")
    http = {"transport": "http", "url": "http://127.0.0.1:1/mcp"}
    servers = [
        {"name": "one", **http, "credential": {"file": "secret"}},
        {"name": "two", **http, "credential": {"env": "THE_TOKEN"}},
    ]
    site.write(servers=servers)
    needs = [str(site.folder / "secret"), "environment AIRLOCK__LOGGING__LEVEL", "environment THE_TOKEN"]
    assert site.backup()["needs"] == needs
    text = run("restore", site.out, "--data-dir", site.folder / "new").stdout
    assert [line for line in text.splitlines() if line.startswith("not in it")] == [
        f"not in it, but named by the configuration: {need}" for need in needs
    ]


def test_without_a_configuration_the_data_directory_alone_is_saved(site: Site) -> None:
    result = run("backup", "--data-dir", site.data, "--out", site.out)
    assert result.exit_code == 0, result.output
    assert "not in it: configuration and policy" in result.stdout
    assert not any(name.startswith("restored/") for name in site.names() - {"restored/manifest.json"})


def test_the_starter_policy_comes_with_the_program(site: Site) -> None:
    site.config.write_text("data_dir: data\n")
    site.backup()
    assert "restored/policy/main.rego" not in site.names()


def test_a_backup_replaces_no_file(site: Site) -> None:
    site.out.write_text("precious")
    result = run("backup", "--config", site.config, "--out", site.out)
    assert (result.exit_code, site.out.read_text()) == (2, "precious")
    assert "replaces nothing" in result.stderr


def test_a_directory_where_nothing_was_served_is_no_backup(tmp_path: Path) -> None:
    result = run("backup", "--data-dir", tmp_path / "none", "--out", tmp_path / "backup.tar")
    assert result.exit_code == 2
    assert "no gateway has served there" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_is_wrong_is_told_line_by_line(site: Site) -> None:
    site.config.write_text("server:\n  prot: 1\n  workers: 0\n")
    result = run("backup", "--config", site.config, "--out", site.out)
    assert (result.exit_code, site.out.exists()) == (2, False)
    assert len(result.stderr.splitlines()) == 2


def test_a_damaged_journal_is_refused(site: Site) -> None:
    (segment,) = (site.data / "journal").rglob("*.seg")
    raw = bytearray(segment.read_bytes())
    raw[300] ^= 1
    segment.write_bytes(raw)
    result = run("backup", "--config", site.config, "--out", site.out)
    assert (result.exit_code, site.out.exists()) == (1, False)
    assert "the audit journal is damaged" in result.stderr


def test_a_damaged_backup_is_refused_and_nothing_is_written(site: Site) -> None:
    site.backup()
    with tarfile.open(site.out) as tar:
        inside = tar.getmember("keys/seal.json").offset_data
    raw = bytearray(site.out.read_bytes())
    raw[inside] ^= 1
    site.out.write_bytes(raw)
    result = run("restore", site.out, "--data-dir", site.folder / "new")
    assert (result.exit_code, (site.folder / "new").exists()) == (1, False)


def test_a_directory_in_use_is_refused(site: Site) -> None:
    site.backup()
    before = sorted(path.name for path in site.data.iterdir())
    result = run("restore", site.out, "--data-dir", site.data)
    assert (result.exit_code, sorted(path.name for path in site.data.iterdir())) == (2, before)
    assert "is not empty" in result.stderr


def test_a_missing_backup_is_told(tmp_path: Path) -> None:
    result = run("restore", tmp_path / "none.tar", "--data-dir", tmp_path / "new")
    assert (result.exit_code, (tmp_path / "new").exists()) == (2, False)
