"""`airlock doctor`: each check sees the fault that it is for, and says so."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from typer.testing import CliRunner

from airlock.cli import program
from airlock.cli.diagnosis import network, provider, resources, rules, storage
from airlock.cli.diagnosis.check import Asked, Check
from airlock.cli.doctor import PARTS, bounded, line, verdict
from airlock.core.errors import ConfigError
from airlock.core.settings import load
from airlock.policy.bundle import load_bundle
from airlock.store.database import open_store
from tests.cli.admin_api import Answer, gateway

TOKEN = "secret"
RULES = 'package airlock\ndecision := {"allow": true, "reason": "r", "rule": "r"}\n'


def asked(folder: Path, text: str = "{}", *, token: str = TOKEN) -> Asked:
    """A configuration in a directory where nothing runs."""
    file = folder / "airlock.yaml"
    file.write_text(text)
    return Asked(config=load(file, {}).config, token=token, environ={})


def judged(found: list[Check]) -> dict[str, str]:
    return {check.check: check.verdict for check in found}


def status(*revisions: str, refused: dict[str, str] | None = None, **more: object) -> dict[str, Any]:
    workers = [
        {"slot": slot, "active_sha256": revision, "silent": False, **more}
        for slot, revision in enumerate(revisions)
    ]
    return {"workers": workers, "policy": {"last_error": refused}}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "a.rego").write_text(RULES)
    return folder


def test_a_policy_that_every_worker_runs_is_well(tmp_path: Path, bundle: Path) -> None:
    revision = load_bundle(bundle).revision
    with gateway(Answer(status(revision, revision))) as server:
        found = rules.policy(asked(tmp_path, f"policy: {{path: policy}}\nserver: {{port: {server.port}}}"))
    assert set(judged(found).values()) == {"ok"}


def test_a_policy_that_does_not_compile_is_bad_with_its_line(tmp_path: Path, bundle: Path) -> None:
    (bundle / "a.rego").write_text("package airlock\nallow if http.send({})\n")
    found = rules.policy(asked(tmp_path, "policy: {path: policy}", token=""))
    assert (found[0].verdict, "a.rego:2" in found[0].observed) == ("bad", True)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status("b" * 64), {"every worker decides by it": "bad", "last reload": "ok"}),
        (status(), {"every worker decides by it": "bad", "last reload": "ok"}),
        (status("", refused={"what": "x"}), {"every worker decides by it": "bad", "last reload": "bad"}),
    ],
)
def test_a_policy_that_is_not_in_force_is_bad(
    tmp_path: Path, bundle: Path, answer: dict[str, Any], expected: dict[str, str]
) -> None:
    with gateway(Answer(answer)) as server:
        found = rules.policy(asked(tmp_path, f"policy: {{path: policy}}\nserver: {{port: {server.port}}}"))
    assert judged(found[1:]) == expected


@pytest.mark.parametrize(("token", "seen"), [("", "needs the token"), ("secret", "no gateway listens")])
def test_what_a_gateway_would_say_is_unknown_without_one(tmp_path: Path, token: str, seen: str) -> None:
    found = asked(tmp_path, "server: {port: 1}", token=token).status()
    assert isinstance(found, str)
    assert seen in found


def test_a_refused_token_is_unknown(tmp_path: Path) -> None:
    with gateway(Answer({}, status=403)) as server:
        found = asked(tmp_path, f"server: {{port: {server.port}}}").status()
    assert "answered 403" in str(found)


def idp(port: int) -> tuple[str, dict[str, Any]]:
    """A provider that answers the same to everything: its metadata and its keys in one document."""
    issuer = f"http://127.0.0.1:{port}"
    key = ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256"}).as_dict(private=False)
    return issuer, {"issuer": issuer, "jwks_uri": f"{issuer}/jwks", "keys": [key]}


def providers(folder: Path, port: int, change: dict[str, Any]) -> list[Check]:
    with gateway(Answer({})) as server:
        issuer, document = idp(port or server.port)
        server.answer = Answer({**document, **change})
        entry = f'{{issuer: "{issuer}", allow_private: true}}'
        return provider.oidc(asked(folder, f"auth: {{local_issuer: false, issuers: [{entry}]}}"))


def test_a_provider_that_answers_is_well(tmp_path: Path) -> None:
    found = providers(tmp_path, 0, {})
    assert [check.verdict for check in found] == ["ok", "ok"]
    assert "k1" in found[0].observed


def test_a_clock_that_is_off_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> str:
        return formatdate(time.time() + 600, usegmt=True)

    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", late)
    published, clock = providers(tmp_path, 0, {})
    assert (published.verdict, clock.verdict) == ("ok", "bad")
    assert clock.observed.startswith(("+600 s", "+599 s"))


@pytest.mark.parametrize(
    ("port", "change", "seen"),
    [
        (1, {}, "upstream_unavailable"),
        (0, {"issuer": "http://other.example"}, "issuer_mismatch"),
        (0, {"keys": []}, "keys_unusable"),
    ],
)
def test_a_provider_that_is_not_well_is_bad(
    tmp_path: Path, port: int, change: dict[str, Any], seen: str
) -> None:
    (found,) = providers(tmp_path, port, change)
    assert (found.verdict, seen in found.observed) == ("bad", True), found


def test_keys_that_are_not_there_are_bad(tmp_path: Path) -> None:
    with gateway(Answer({}, status=404)) as server:
        url = f"http://127.0.0.1:{server.port}"
        for more in ("", f', jwks_url: "{url}/jwks"'):
            entry = f'{{issuer: "{url}", allow_private: true{more}}}'
            text = f"auth: {{local_issuer: false, issuers: [{entry}]}}"
            (found,) = provider.oidc(asked(tmp_path, text))
            assert (found.verdict, "HTTP 404" in found.observed) == ("bad", True)


def test_without_a_provider_the_local_issuer_counts(tmp_path: Path) -> None:
    assert [check.verdict for check in provider.oidc(asked(tmp_path))] == ["ok"]


@pytest.mark.parametrize(
    ("date", "expected"),
    [("Thu, 01 Jan 1970 00:10:00 GMT", 500.0), ("yesterday", None)],
)
def test_a_date_is_held_against_this_clock(date: str, expected: float | None) -> None:
    assert provider.skew(date, 100.0) == expected


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with whole databases."""
    folder = tmp_path / "data"
    folder.mkdir()
    open_store(folder / "sark.db").close()
    with closing(sqlite3.connect(folder / "audit.db")) as database:
        database.execute("CREATE TABLE t(x)")
    return folder


def databases(folder: Path) -> dict[str, str]:
    return judged(storage.db(asked(folder, "data_dir: data")))


def test_databases_that_can_be_read_and_changed_are_well(tmp_path: Path, data: Path) -> None:
    assert databases(tmp_path) == {
        "sark.db can be changed": "ok", "sark.db is whole": "ok",
        "audit.db can be changed": "ok", "audit.db is whole": "ok",
    }  # fmt: skip


def test_databases_that_nobody_made_are_unknown(tmp_path: Path) -> None:
    assert databases(tmp_path) == {"sark.db": "unknown", "audit.db": "unknown"}
    assert not (tmp_path / "data").exists()


def test_a_database_that_is_held_is_bad(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAIT", 0.1)
    with closing(sqlite3.connect(data / "sark.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert databases(tmp_path)["sark.db can be used"] == "bad"


def test_a_damaged_database_is_bad(tmp_path: Path, data: Path) -> None:
    (data / "audit.db").write_bytes(b"SQLite format 3\x00" + bytes(5000))
    assert "bad" in databases(tmp_path).values()


def test_a_database_too_large_to_read_whole_is_unknown(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(data / "audit.db")) as database:
        rows = ((str(number) * 20,) for number in range(20_000))
        database.executemany("INSERT INTO t VALUES (?)", rows)
        database.execute("CREATE INDEX i ON t(x)")
        database.commit()
    monkeypatch.setattr(storage, "WHOLE", -1.0)
    assert databases(tmp_path)["audit.db is whole"] == "unknown"


def test_the_disk_is_flushed_and_measured(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "FLUSH_MS", 0.0)
    monkeypatch.setattr(storage, "FREE_LEAST", 101.0)
    with pytest.raises(sqlite3.Error):  # a database without a log
        storage.audit(asked(tmp_path, "data_dir: data"))

    def nothing(_: Path) -> Iterator[Check]:
        return iter(())

    monkeypatch.setattr(storage, "_log", nothing)  # the disk alone
    found = judged(storage.audit(asked(tmp_path, "data_dir: data")))
    assert found == {"a flush of the disk": "bad", "room on the volume": "bad"}
    assert [path.name for path in data.iterdir() if path.name.startswith("tmp")] == []


def test_limits_of_the_container_and_pressure_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "cgroup/memory.max": "1000000\n",
        "cgroup/memory.current": "950000\n",
        "cgroup/memory.events": "oom 1\noom_kill 2\n",
        "proc/pressure/memory": "some avg10=1.00\nfull avg10=45.10 avg60=0.00\n",
        "proc/7/status": "Name: x\nVmRSS:\t  20480 kB\n",
        "proc/7/limits": "Max open files            2                    2                    files\n",
        "proc/7/fd/0": "",
        "proc/7/fd/1": "",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(resources, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "PROC", tmp_path / "proc")
    answer = status("", pid=7)
    answer["workers"] += [{"slot": 1, "pid": 8, "silent": False}, {"slot": 2, "pid": 0, "silent": True}]
    with gateway(Answer(answer)) as server:
        found = resources.resources(asked(tmp_path, f"data_dir: data\nserver: {{port: {server.port}}}"))
    expected = {
        "worker 0 memory": "ok",
        "worker 0 open files": "bad",
        "worker 1": "unknown",
        "worker 2": "bad",
        "memory of the container": "bad",
        "killed for want of memory": "bad",
        "stalled for want of memory": "bad",
    }
    assert expected.items() <= judged(found).items()


def test_workers_that_nobody_tells_of_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    found = resources.resources(asked(tmp_path, "data_dir: data\nserver: {port: 1}"))
    assert judged(found)["workers"] == "unknown"


def reach(folder: Path, *urls: str, port: int = 1) -> list[Check]:
    entries = ", ".join(f'{{name: s{n}, transport: http, url: "{url}"}}' for n, url in enumerate(urls))
    return network.network(asked(folder, f"server: {{port: {port}}}\nservers: [{entries}]"))


def test_a_server_that_answers_anything_is_there(tmp_path: Path) -> None:
    with gateway(Answer({}, status=405)) as server:
        found = reach(tmp_path, f"http://127.0.0.1:{server.port}/mcp")
    assert [check.verdict for check in found] == ["bad", "ok"]
    assert found[0].observed == "nothing listens"
    assert found[1].observed.startswith("HTTP 405")


def test_a_gateway_that_is_alive_is_well(tmp_path: Path) -> None:
    with gateway(Answer({"status": "alive"})) as server:
        assert [check.verdict for check in reach(tmp_path, port=server.port)] == ["ok"]
    with gateway(Answer(b"<html>")) as server:
        assert [check.verdict for check in reach(tmp_path, port=server.port)] == ["bad"]


def test_a_port_that_takes_connections_and_answers_nobody_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "WAIT", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        _, found = reach(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/mcp")
    assert (found.verdict, found.observed) == ("bad", "connected, but no answer: timed out")


def test_a_server_without_the_tls_that_its_address_promises_is_bad(tmp_path: Path) -> None:
    with gateway(Answer({})) as server:
        found = reach(tmp_path, f"https://127.0.0.1:{server.port}/mcp")[1]
    assert (found.verdict, found.observed.startswith("connect: ")) == ("bad", True)


def check(verdict: Any) -> Check:
    return Check(part="p", check="c", observed="seen\x1b", expected="right", verdict=verdict)


@pytest.mark.parametrize(
    ("verdicts", "code"), [(["ok"], 0), (["ok", "unknown"], 3), (["unknown", "bad"], 1), ([], 0)]
)
def test_what_is_bad_outweighs_what_is_unknown(verdicts: list[str], code: int) -> None:
    assert verdict([check(each) for each in verdicts]) == code


def test_a_line_has_check_observed_and_expected_and_moves_no_terminal() -> None:
    assert line(check("bad")) == r"BAD     p: c: seen\x1b (expected: right)"


def failing(error: Exception) -> Callable[[Asked], list[Check]]:
    def examine(_: Asked) -> list[Check]:
        raise error

    return examine


@pytest.mark.parametrize(
    "error", [OSError("gone"), sqlite3.OperationalError("gone"), ConfigError("x", "gone")]
)
def test_what_cannot_be_checked_is_unknown(tmp_path: Path, error: Exception) -> None:
    (found,) = bounded("p", failing(error), asked(tmp_path))
    assert (found.verdict, "gone" in found.observed) == ("unknown", True)


def test_what_hangs_is_bad_and_is_left_behind(tmp_path: Path) -> None:
    def hang(_: Asked) -> list[Check]:
        time.sleep(2)
        return []

    (found,) = bounded("p", hang, asked(tmp_path), limit=0.05)
    assert (found.verdict, found.observed) == ("bad", "no answer in 0.05 s")


def run(folder: Path, *arguments: str) -> Any:
    config = str(folder / "airlock.yaml")
    return CliRunner().invoke(program(), ["doctor", *arguments, "--config", config])


def test_the_command_prints_its_checks(tmp_path: Path) -> None:
    asked(tmp_path, "server: {port: 1}")
    shown = run(tmp_path, "oidc")
    assert (shown.exit_code, shown.stdout.startswith("ok      oidc: providers:")) == (0, True)
    found = json.loads(run(tmp_path, "network", "--json").stdout)
    assert (found["exit"], [each["verdict"] for each in found["checks"]]) == (1, ["bad"])


def test_without_a_part_all_are_checked(tmp_path: Path) -> None:
    asked(tmp_path, "server: {port: 1}")
    found = json.loads(run(tmp_path, "--json").stdout)
    assert list(dict.fromkeys(each["part"] for each in found["checks"])) == list(PARTS)


def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    assert run(tmp_path, "oidc").exit_code == 2  # no configuration
    asked(tmp_path)
    assert run(tmp_path, "everything").exit_code == 2
