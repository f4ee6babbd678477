"""The overlay: what its text asks for holds, what is wrong with it is said and changes nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from airlock.app.overlay import MOST, Overlay
from airlock.core import fragment
from airlock.core.config import Config
from airlock.model.lease import read_selector
from airlock.store import leases
from airlock.store.database import FILE, open_store
from tests.gateway.parts import HandClock, Lines, until


class Site:
    """A data directory, a file over its configuration, and whoever follows it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "overlay.yaml"
        self.data = folder / "data"
        self.config: Config = msgspec.convert(
            {"data_dir": str(self.data), "server": {"trusted_proxies": ["192.0.2.0/24"]}}, Config
        )
        self.clock, self.lines = HandClock(), Lines()
        self.changes = 0
        self.overlay = self.follower()

    def follower(self) -> Overlay:
        def changed() -> None:
            self.changes += 1

        return Overlay(
            self.file, config=lambda: self.config, changed=changed, clock=self.clock, log=self.lines
        )

    def look(self, text: str | None = None) -> str:
        """The state after a look at the file, which says `text` from now on."""
        if text is not None:
            self.file.write_text(text)
        asyncio.run(self.overlay.look())
        return self.overlay.standing.state

    def held(self) -> list[tuple[str, float | None]]:
        store = open_store(self.data / FILE)
        try:
            now = self.clock.wall()
            return [(lease.reason.split()[0], lease.expires_at) for lease in leases.listing(store, now=now)]
        finally:
            store.close()

    def rejected(self) -> list[str]:
        return [line["where"] for line in self.lines.lines if line["event"] == "config_fragment_rejected"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_is_not_there_is_nothing(site: Site) -> None:
    assert site.look() == "absent"
    assert not site.data.exists()
    assert site.look("# to be written\n") == "applied"
    assert site.held() == []


def test_a_text_holds_until_its_leases_end_and_is_not_repeated(site: Site) -> None:
    now = site.clock.wall()
    assert site.look('rate_limiting: {per_token: "10/min"}') == "applied"
    assert site.held() == [("rate_limiting.per_token", now + 4 * 3600)]
    site.look()
    site.overlay = site.follower()  # as after a restart
    assert site.look() == "applied"
    assert len(site.held()) == 1
    site.clock.seconds += 4 * 3600
    site.overlay = site.follower()
    site.look()
    assert site.held() == []


def test_a_text_is_not_repeated_for_a_file_of_another_spelling(site: Site, tmp_path: Path) -> None:
    site.look("logging: {level: debug}")
    site.file = tmp_path / "elsewhere" / ".." / "overlay.yaml"
    site.overlay = site.follower()
    (tmp_path / "elsewhere").mkdir()
    assert site.look() == "applied"
    assert len(site.held()) == 1


def test_later_texts_add_to_earlier_ones(site: Site) -> None:
    site.look('rate_limiting: {per_token: "10/min"}')
    site.look("logging: {level: debug}")
    site.look('rate_limiting: {per_token: "50/min"}')
    site.look("{}")
    assert [key for key, _ in site.held()] == [
        "rate_limiting.per_token", "logging.level", "rate_limiting.per_token",
    ]  # fmt: skip
    site.file.unlink()
    assert site.look() == "absent"
    assert len(site.held()) == 3
    assert site.changes == 5


@pytest.mark.parametrize(
    ("text", "lasts"),
    [
        ("monitoring: {enhanced: true, duration: 12h}", 12),
        ("monitoring: {enhanced: true}", 24),
    ],
)
def test_monitoring_says_how_long_it_lasts(site: Site, text: str, lasts: int) -> None:
    site.look(text)
    assert site.held() == [("monitoring.enhanced", site.clock.wall() + lasts * 3600)]


@pytest.mark.parametrize(
    "text",
    [
        "auth: {local_issuer: true}",
        "servers: []",
        'rate_limiting: {per_token: "10/min", per_ip: "9999/min"}',
        'rate_limiting: {per_ip: "1/h"}',
        "logging: {level: error}",
        "server: {maxConnections: 2}",
        "policy: {cacheTTL: 10m, cacheSize: 999999}",
        "logging: {lvel: debug}",
        "logging: [",
        'logging: {level: "\\U00110000"}',
        "logging: {audit_all_requests: !!bool maybe}",
    ],
)
def test_what_does_not_fit_is_refused_as_a_whole(site: Site, text: str) -> None:
    site.look("logging: {audit_all_requests: true}")
    assert site.look(text) == "refused"
    assert site.rejected() == [f"{site.file}:1"]
    assert [key for key, _ in site.held()] == ["logging.audit_all_requests"]
    site.look()
    assert len(site.rejected()) == 1
    assert site.look("logging: {audit_all_requests: true}") == "applied"
    assert site.overlay.standing.problems == ()


def test_whatever_is_wrong_with_a_text_ends_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(fragment, "read", broken)
    assert site.look("logging: {level: debug}") == "refused"
    assert site.overlay.standing.problems[0].what == "cannot be read: ZeroDivisionError"


def test_of_many_complaints_some_are_told(site: Site) -> None:
    assert site.look("\n".join(f"k{number}: 1" for number in range(500))) == "refused"
    assert len(site.overlay.standing.problems) == len(site.rejected()) == MOST


def test_a_pipe_holds_up_nobody(site: Site) -> None:
    os.mkfifo(site.file)
    assert site.look() == "refused"
    assert site.overlay.standing.problems[0].what == "is no regular file"


def test_a_refused_text_is_judged_again_over_another_configuration(site: Site) -> None:
    site.look("logging: {level: info}")
    assert site.look("logging: {level: warn}") == "refused"
    site.overlay.again()
    assert site.look() == "refused"
    site.config = msgspec.structs.replace(
        site.config, logging=msgspec.structs.replace(site.config.logging, level="error")
    )
    site.overlay.again()
    assert site.look() == "applied"
    site.overlay.again()
    assert [key for key, _ in site.held()] == ["logging.level"]


def test_what_somebody_else_holds_stays_theirs(site: Site) -> None:
    store = open_store(site.data / FILE)
    selector = read_selector("cache.tune", {"cache_ttl": "1m"})
    held = leases.activate(
        store,
        action="cache.tune",
        selector=selector,
        ttl=60,
        reason="r",
        actor="ops",
        origin="api",
        now=site.clock.wall(),
    )
    store.close()
    assert site.look("policy: {cacheTTL: 10m}") == "refused"
    (problem,) = site.overlay.standing.problems
    assert (problem.where, held.lease.id in problem.what) == (str(site.file), True)


def test_a_file_that_cannot_be_read_is_said_once(site: Site) -> None:
    site.file.mkdir()
    assert site.look() == "refused"
    site.look()
    assert site.rejected() == [str(site.file)]


def test_a_store_that_cannot_be_used_is_tried_again(site: Site) -> None:
    site.data.mkdir()
    broken = site.data / FILE
    broken.write_bytes(b"no database" * 1000)
    site.look("logging: {level: debug}")
    assert site.look() == "absent"
    assert site.lines.events() == ["overlay_waits"]
    broken.unlink()
    assert site.look() == "applied"
    assert len(site.held()) == 1


def test_it_is_followed_until_it_is_told_to_stop(site: Site) -> None:
    async def scenario() -> None:
        following = asyncio.create_task(site.overlay.run())
        await until(lambda: site.overlay.standing.state == "applied", within=30)
        following.cancel()
        await asyncio.wait([following])

    site.file.write_text("logging: {level: debug}")
    asyncio.run(scenario())
    assert len(site.held()) == 1
