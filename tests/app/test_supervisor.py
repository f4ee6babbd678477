"""What a supervisor decides without its processes: who may run, what a reload may change."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from airlock import supervisor
from airlock.app.facts import metrics_directory
from airlock.app.revisions import Chosen
from airlock.channel import Channel
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.settings import BASELESS, Loaded
from airlock.policy import kept
from airlock.policy.bundle import Bundle
from airlock.store import revisions
from airlock.store.database import FILE, open_store
from airlock.supervisor import (
    FIXED,
    Plan,
    Supervisor,
    Wish,
    claim,
    clear_metrics,
    listen,
    plan_message,
    refuse_fixed,
    runner_message,
)
from tests.gateway.parts import HandClock, Lines, entry, until
from tests.policy.revised import Files, text

BUNDLE = Bundle.of({"a.rego": b"package a\n"}, origin="test")
NEXT = Bundle.of({"a.rego": b"package b\n"}, origin="test")


def config(**sections: dict[str, Any]) -> Config:
    """The default configuration with some sections changed."""
    return msgspec.convert(sections, Config)


def plan(of: Config | None = None, bundle: Bundle = BUNDLE) -> Plan:
    loaded = Loaded(config=of or config(), origins={}, not_ready=("weak_key",), digest="d" * 64)
    return Plan(loaded=loaded, chosen=Chosen(bundle=bundle, files=bundle.revision))


def supervised(
    read_plan: Callable[[], Plan] = plan,
    *,
    relog: Callable[[Config], None] = lambda _: None,
    check: Callable[[Bundle], object] = lambda _: None,
    log: Lines | None = None,
) -> Supervisor:
    """A supervisor of the default plan."""
    return Supervisor(
        plan=plan(), read_plan=read_plan, check=check, relog=relog, clock=HandClock(), log=log or Lines()
    )


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data directory of the default configuration is one of the current directory."""
    monkeypatch.chdir(tmp_path)


def reloaded(read_plan: Callable[[], Plan]) -> list[dict[str, Any]]:
    """The log of a supervisor of the default plan that is told to reload."""

    async def scenario() -> list[dict[str, Any]]:
        lines = Lines()
        told: list[Config] = []
        await supervised(read_plan, relog=told.append, log=lines).reload()
        assert len(told) == [line["result"] for line in changes(lines.lines)].count("accepted")
        return lines.lines

    return asyncio.run(scenario())


def changes(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "config_change"]


def test_a_good_plan_is_accepted_by_its_digests() -> None:
    other = config(logging={"level": "debug"})
    assert changes(reloaded(lambda: plan(other, bundle=NEXT))) == [
        {
            "level": "info",
            "event": "config_change",
            "result": "accepted",
            "digest": "d" * 64,
            "policy": NEXT.revision,
            "sections": ("logging", "policy"),
            "changed": ("logging.level", "policy"),
            "acked": 0,
            "total": 0,
        }
    ]


@pytest.mark.parametrize(
    "error", [ConfigError("airlock.yaml:3", "unknown key"), OSError("gone"), RecursionError("deep")]
)
def test_whatever_is_wrong_with_a_new_plan_is_said(error: Exception) -> None:
    def read_plan() -> Plan:
        raise error

    lines = changes(reloaded(read_plan))
    assert [(line["result"], line["error"]) for line in lines] == [("refused", str(error))]


def test_a_plan_that_needs_a_restart_is_refused() -> None:
    (line,) = changes(reloaded(lambda: plan(config(server={"port": 1}))))
    assert line["result"] == "refused"
    assert "restart to change it" in line["error"]


def test_a_few_keys_do_not_take_the_place_of_the_configuration() -> None:
    baseless = replace(plan().loaded, not_ready=(BASELESS,))
    (line,) = changes(reloaded(lambda: replace(plan(), loaded=baseless)))
    assert line["result"] == "refused"
    assert BASELESS in line["error"]


CHANGES: dict[str, Any] = {
    "data_dir": "elsewhere",
    "server": {"workers": 3},
    "auth": {"local_issuer": False},
    "audit": {"intent": "all"},
    "legacy": {"one_shot": False},
    "tracing": {"sample": 0.5},
}


def test_every_fixed_section_is_tried() -> None:
    assert set(CHANGES) == set(FIXED)


@pytest.mark.parametrize("section", CHANGES)
def test_a_fixed_section_cannot_change(section: str) -> None:
    with pytest.raises(ConfigError, check=lambda error: error.where == section):
        refuse_fixed(config(), config(**{section: CHANGES[section]}))


@pytest.mark.parametrize(
    "wanted",
    [
        config(),
        config(logging={"level": "debug"}),
        config(policy={"path": "p"}),
        replace(config(), servers=(entry(),)),
    ],
    ids=["nothing", "logging", "policy", "servers"],
)
def test_everything_else_may_change(wanted: Config) -> None:
    refuse_fixed(config(), wanted)


def sent(message: dict[str, Any]) -> dict[str, Any]:
    """The message as the other end of the line reads it."""
    return msgspec.json.decode(msgspec.json.encode(message))


def test_a_plan_survives_the_line() -> None:
    of = replace(config(), servers=(entry("docs"),))
    message = sent(plan_message(plan(of)))
    assert msgspec.convert(message["config"], Config) == of
    assert (message["digest"], message["not_ready"]) == ("d" * 64, ["weak_key"])


def test_a_policy_survives_the_line() -> None:
    message = sent(plan_message(plan()))
    assert Bundle.from_bytes(msgspec.convert(message["bundle"], bytes)).revision == BUNDLE.revision


def test_the_runner_gets_no_more_than_it_needs() -> None:
    message = sent(runner_message(plan(replace(config(), servers=(entry("docs"),)))))
    assert set(message) == {"servers", "log_level", "log_place", "detectors"}
    assert [server["name"] for server in message["servers"]] == ["docs"]


def test_a_data_directory_has_one_supervisor(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        claim(data),
        pytest.raises(ConfigError, match="another airlock runs", check=lambda e: e.where == str(data)),
    ):
        claim(data)


def test_a_data_directory_is_free_again_when_its_supervisor_is_gone(tmp_path: Path) -> None:
    claim(tmp_path).close()
    claim(tmp_path).close()


def test_a_data_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    claim(tmp_path).close()
    assert (tmp_path.stat().st_mode & 0o777, (tmp_path / "run").stat().st_mode & 0o777) == (0o700, 0o700)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_port_is_taken_on_the_configured_address(host: str) -> None:
    with closing(listen(config(server={"host": host, "port": 0}))) as listener:
        assert listener.getsockname()[0] == host
        socket.create_connection(listener.getsockname()[:2], timeout=5).close()


def test_a_port_that_is_taken_is_a_mistake_of_the_configuration() -> None:
    with closing(listen(config(server={"port": 0}))) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen(config(server={"port": port}))


def test_an_address_that_is_not_ours_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0"):
        listen(config(server={"host": "192.0.2.1", "port": 0}))


def test_counting_starts_from_zero(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for _ in range(2):
        clear_metrics(tmp_path)
        directory = metrics_directory(tmp_path)
        assert list(directory.iterdir()) == []
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "counter_1.db").touch()


def test_an_engine_that_is_silent_or_gone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        own = supervised()
        ours, theirs = socket.socketpair()
        engine, line = await Channel.over(theirs), await Channel.over(ours)
        monkeypatch.setattr(supervisor, "SILENT", 0.01)
        talking = asyncio.create_task(vars(Supervisor)["_talk_engine"](own, line))
        parts: dict[str, Any] = vars(own)["_parts"]
        assert parts == {}
        await until(lambda: parts.get("engine") == {"error": "it was silent for 0.01 s"}, within=30)
        monkeypatch.setattr(supervisor, "SILENT", 30.0)
        engine.send({"op": "standing", "error": "clocks: failed with KeyError"})
        await until(lambda: parts["engine"] == {"error": "clocks: failed with KeyError"}, within=30)
        engine.send({"op": "standing", "error": ""})
        await until(lambda: parts["engine"] == {}, within=30)
        engine.close()
        await talking
        line.close()
        assert parts["engine"] == {"error": "it is not running"}

    asyncio.run(scenario())


def test_a_rollback_changes_policy_alone(tmp_path: Path) -> None:
    files = Files(tmp_path)
    good, bad = files.load(text("echo")).bundle, files.load(text("fail"))
    loaded = replace(plan().loaded, config=files.config)
    lines = Lines()
    own = Supervisor(
        plan=Plan(loaded=loaded, chosen=bad),
        read_plan=lambda: plan(config(logging={"level": "debug"})),
        check=lambda _: None,
        relog=lambda _: None,
        clock=HandClock(),
        log=lines,
    )
    wish = Wish(asked_by="api", by="olga", rollback=True)
    with closing(open_store(tmp_path / FILE)) as store:
        files.ordered(store, good, bad.bundle)
        asyncio.run(own.reload(wish))
        assert [line["changed"] for line in changes(lines.lines)] == [("policy",)]
        assert [line["policy"] for line in changes(lines.lines)] == [good.revision]

        files.ordered(store, bad.bundle, good)
        (tmp_path / kept.FOLDER / bad.bundle.revision / "main.rego").write_text("package other\n")
        asyncio.run(own.reload(wish))
        assert [line["result"] for line in changes(lines.lines)] == ["accepted", "refused"]
        assert [each.kind for each in files.changes(store)] == ["reload", "reload", "rollback"]


def test_a_policy_that_may_not_decide_is_noted_with_who_brought_it(tmp_path: Path) -> None:
    def check(bundle: Bundle) -> None:
        raise ConfigError("main.rego:7", "no Rego")

    lines = Lines()
    own = supervised(lambda: plan(bundle=NEXT), check=check, log=lines)
    asyncio.run(own.reload())
    assert [line["result"] for line in changes(lines.lines)] == ["refused"]
    with closing(open_store(Path(config().data_dir) / FILE)) as store, store.read() as connection:
        (noted,) = revisions.listing(connection)
    assert (noted.kind, noted.by, noted.revision) == ("refused", "SIGHUP", NEXT.revision)
