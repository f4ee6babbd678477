"""`airlock block`, `lease` and `contain`: on the files while nothing runs, and as clients of a gateway."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import program
from airlock.core.clock import SYSTEM
from airlock.model.lease import Lease
from airlock.store import leases, replicas
from airlock.store.database import FILE, Store, open_store
from tests.cli.admin_api import Answer, Gateway, gateway

CONFIG = """
data_dir: data
server: {{host: 127.0.0.1, port: {port}, trusted_proxies: [192.0.2.0/28]}}
"""
HELD: dict[str, Any] = {
    "lease_id": "L1",
    "lease": {
        "id": "L1",
        "action": "subject.suspend",
        "selector": {"subject": "bob"},
        "state": "active",
        "expires_at": "2027-01-15T09:00:00Z",
        "ended_at": None,
        "reason": "stolen",
        "actor": "ops",
    },
    "epoch": 4,
    "replicas_acked": 2,
    "replicas_total": 2,
    "missing": [],
    "audit_seq": 17,
}
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
PENDING: dict[str, Any] = {**HELD, "replicas_acked": 1, "missing": ["two"], "audit_seq": None}


class Site:
    """A configuration whose port nobody listens on, and its data."""

    def __init__(self, folder: Path, port: int = 1) -> None:
        self.config = folder / "airlock.yaml"
        self.config.write_text(CONFIG.format(port=port))
        self.file = folder / "data" / FILE

    def run(self, *arguments: str, token: bool = False) -> Result:
        access = ["--token", "secret"] if token else []
        return CliRunner().invoke(program(), [*arguments, *access, "--config", str(self.config)])

    @contextmanager
    def store(self) -> Generator[Store]:
        opened = open_store(self.file)
        try:
            yield opened
        finally:
            opened.close()

    def held(self) -> list[Lease]:
        with self.store() as store:
            return leases.listing(store, now=SYSTEM.wall())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Where a gateway ran once."""
    made = Site(tmp_path)
    with made.store():
        return made


@contextmanager
def answering(tmp_path: Path, body: Any, status: int = 200) -> Generator[tuple[Site, Gateway]]:
    with gateway(Answer(body, status=status)) as server:
        yield Site(tmp_path, server.port), server


def give(site: Site, *more: str) -> dict[str, Any]:
    result = site.run(
        "contain", "subject.suspend", "--selector", "subject=bob", "--reason", "x", "--json", *more
    )
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_without_a_gateway_a_lease_is_given_in_the_files(site: Site) -> None:
    given = give(site)
    (lease,) = site.held()
    assert (lease.id, lease.actor, lease.origin) == (given["lease_id"], ACCOUNT, "cli")
    assert (given["replicas_total"], given["audit_seq"]) == (0, None)


def test_a_lease_that_nobody_enforces_yet_says_so(site: Site) -> None:
    result = site.run("block", "add", "203.0.113.7")
    assert result.exit_code == 0
    assert "203.0.113.7/32 is blocked until" in result.stdout
    assert "enforced by 0 of 0 workers; not in the log yet" in result.stdout
    assert "no worker runs" in result.stderr


def test_a_worker_that_runs_elsewhere_has_to_confirm_it(site: Site) -> None:
    with site.store() as store:
        replicas.seen(store, replica="elsewhere", epoch=0, now=SYSTEM.wall())
    result = site.run("block", "add", "203.0.113.7")
    assert result.exit_code == 3
    assert "enforced by 0 of 1 workers, not by elsewhere" in result.stdout
    assert len(site.held()) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("block", "add", "127.0.0.1"), "loopback"),
        (("block", "add", "192.0.2.0/24"), "trusted proxies"),
        (("block", "add", "0.0.0.0/0"), "everybody"),
        (("block", "add", "203.0.113.7", "nonsense"), "nonsense"),
        (("block", "add", "203.0.113.7", "--ttl", "25h"), "1d at most"),
        (("block", "add", "203.0.113.7", "--ttl", "soon"), "30s"),
        (("contain", "subject.delete", "--selector", "subject=x", "--reason", "x"), "subject.suspend"),
        (("contain", "subject.suspend", "--selector", "server=x", "--reason", "x"), "subject"),
        (("contain", "subject.suspend", "--selector", "subject=x", "--reason", ""), "why"),
        (("lease", "show", "nothing"), "no lease"),
        (("lease", "release", "nothing", "--reason", "x"), "no lease"),
        (("lease", "release", "a/../b", "--reason", "x"), "no lease"),
        (("block", "remove", "203.0.113.9"), "nothing blocks 203.0.113.9"),
        (("block", "remove", "\x1b[2J"), "nothing blocks \\x1b[2J"),
    ],
)
def test_what_is_refused_changes_nothing(site: Site, arguments: tuple[str, ...], why: str) -> None:
    result = site.run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert why in result.stderr
    assert site.held() == []


@pytest.mark.parametrize("selector", [["subject"], ["subject=a", "subject=b"]])
def test_a_selector_is_a_key_and_a_value(site: Site, selector: list[str]) -> None:
    options = [part for text in selector for part in ("--selector", text)]
    result = site.run("contain", "subject.suspend", *options, "--reason", "x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "KEY=VALUE" in result.stderr


def test_where_no_gateway_ever_ran_nothing_is_made(tmp_path: Path) -> None:
    site = Site(tmp_path)
    result = site.run("block", "add", "203.0.113.7")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no gateway answers" in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_configuration_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.config.write_text("nonsense: true\n")
    result = site.run("lease", "list")
    assert (result.exit_code, result.stdout) == (2, "")


def test_damaged_control_data_is_named(site: Site) -> None:
    site.file.write_bytes(b"no database" * 1000)
    result = site.run("lease", "list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert FILE in result.stderr


def test_the_record_names_the_account_and_not_what_the_environment_says(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "https://issuer.example|alice")
    give(site)
    assert [lease.actor for lease in site.held()] == [ACCOUNT]


def test_an_account_without_a_name_is_its_number(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nameless)
    give(site)
    assert [lease.actor for lease in site.held()] == [f"uid {os.getuid()}"]


def test_leases_are_listed_until_they_end(site: Site) -> None:
    assert site.run("lease", "list").stdout == "nothing is contained\n"
    given = give(site)["lease_id"]
    line = site.run("lease", "list").stdout
    assert line.startswith(f"{given}  subject.suspend  subject=bob  until ")
    released = site.run("lease", "release", given, "--reason", "found")
    assert released.exit_code == 0
    assert "released" in released.stdout
    assert site.run("lease", "list").stdout == "nothing is contained\n"
    assert "subject=bob  released 2" in site.run("lease", "list", "--ended").stdout


def test_one_lease_is_shown(site: Site) -> None:
    given = give(site)["lease_id"]
    shown = site.run("lease", "show", given).stdout.splitlines()
    assert {f"id: {given}", "state: active", "subject: bob", "reason: x", "origin: cli"} <= set(shown)
    document = json.loads(site.run("lease", "show", given, "--json").stdout)
    assert document["lease"]["selector"] == {"subject": "bob"}
    (listed,) = json.loads(site.run("lease", "list", "--json").stdout)["leases"]
    assert listed["id"] == given


def test_what_is_for_good_says_so(site: Site) -> None:
    result = site.run("contain", "token.revoke", "--selector", "token=jti-1", "--reason", "leaked")
    assert result.exit_code == 0
    assert "token=jti-1  for good  leaked" in result.stdout


def test_blocks_are_listed_and_removed_by_their_network(site: Site) -> None:
    assert site.run("block", "list").stdout == "nothing is blocked\n"
    site.run("block", "add", "203.0.113.7", "2001:db8::1", "--reason", "scans")
    listed = site.run("block", "list").stdout
    assert "203.0.113.7/32  until" in listed
    assert "2001:db8::1/128" in listed
    assert "scans, by" in listed
    assert len(json.loads(site.run("block", "list", "--json").stdout)["blocks"]) == 2
    removed = site.run("block", "remove", "203.0.113.7")
    assert removed.exit_code == 0
    assert "203.0.113.7/32 is released" in removed.stdout
    assert [lease.selector.cidr for lease in site.held()] == ["2001:db8::1/128"]


def test_a_block_that_others_cover_is_still_blocked(site: Site) -> None:
    site.run("block", "add", "203.0.113.7", "203.0.113.0/24")
    (single, _) = site.held()
    removed = site.run("block", "remove", single.id, "--reason", "mistake")
    assert removed.exit_code == 0
    assert "203.0.113.7/32 is still blocked" in removed.stderr
    assert "203.0.113.0/24" in removed.stderr


def test_a_running_gateway_is_asked(tmp_path: Path) -> None:
    with answering(tmp_path, HELD) as (site, server):
        result = site.run(
            "contain", "subject.suspend", "--selector", "subject=bob", "--reason", "stolen",
            "--ttl", "1h", "--incident", "INC-1", token=True,
        )  # fmt: skip
    assert result.exit_code == 0
    assert result.stdout == (
        "contained: L1  subject.suspend  subject=bob  until 2027-01-15T09:00:00Z  stolen, by ops\n"
        "enforced by 2 of 2 workers; audit record 17\n"
    )
    assert server.requests == [("/api/v1/leases", "Bearer secret")]
    assert server.asked == [
        (
            "POST",
            {
                "action": "subject.suspend",
                "selector": {"subject": "bob"},
                "ttl": "1h",
                "reason": "stolen",
                "incident": "INC-1",
            },
        )
    ]


def test_what_not_every_worker_has_confirmed_is_not_proven(tmp_path: Path) -> None:
    with answering(tmp_path, PENDING, 207) as (site, _):
        result = site.run("lease", "release", "L1", "--reason", "found", token=True)
    assert result.exit_code == 3
    assert "enforced by 1 of 2 workers, not by two; not in the log yet" in result.stdout
    assert "not every worker has confirmed it" in result.stderr


def test_a_gateway_that_counts_no_worker_is_not_taken_for_none(tmp_path: Path) -> None:
    nobody = {**HELD, "replicas_acked": 0, "replicas_total": 0}
    with answering(tmp_path, nobody, 207) as (site, _):
        result = site.run("lease", "release", "L1", "--reason", "found", token=True)
    assert result.exit_code == 3
    assert "no worker runs" not in result.stderr


@pytest.mark.parametrize(
    ("status", "code"), [(422, 1), (409, 1), (404, 1), (401, 2), (403, 2), (503, 2), (500, 2)]
)
def test_a_refusal_of_the_gateway_is_told(tmp_path: Path, status: int, code: int) -> None:
    with answering(tmp_path, {"detail": "No\x1b[2J.", "code": "x"}, status) as (site, _):
        result = site.run("lease", "release", "L1", "--reason", "x", token=True)
    assert (result.exit_code, result.stdout) == (code, "")
    assert "No\\x1b[2J." in result.stderr
    assert not site.file.exists()


def test_json_spells_out_what_a_terminal_obeys(tmp_path: Path) -> None:
    with answering(tmp_path, {"leases": [{"reason": "\x9b2J"}]}) as (site, _):
        result = site.run("lease", "list", "--json", token=True)
    assert '"reason":"\\u009b2J"' in result.stdout
