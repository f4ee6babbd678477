"""Following identity providers: what their answers, their silence and their lies do to the snapshot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from joserfc.jwk import ECKey
from structlog.typing import FilteringBoundLogger

from airlock.app import identity, provider
from airlock.app.identity import FOLDER, Providers
from airlock.core import metrics
from airlock.core.clock import SYSTEM
from airlock.core.config import AuthSection, Config, IssuerEntry, ServerSection
from airlock.core.errors import AuditFault, Effect, UpstreamFault
from airlock.identity.shelf import Kept, Shelf
from airlock.model.entry import Event
from airlock.model.server import Registry
from airlock.model.snapshot import Current, Snapshot
from airlock.upstream import guard
from airlock.upstream.fetch import Fetched
from tests.gateway.parts import Lines
from tests.upstream.http_parts import until as within

ISSUER = "https://idp.example"
PLACE = f"{ISSUER}/.well-known/openid-configuration"
OTHER_PLACE = f"{ISSUER}/.well-known/oauth-authorization-server"
JWKS = f"{ISSUER}/jwks"
DOCUMENT = json.dumps({"issuer": ISSUER, "jwks_uri": JWKS}).encode()


def key_set(*kids: str) -> bytes:
    keys = [{**ECKey.generate_key("P-256").as_dict(private=False), "kid": kid} for kid in kids]
    return json.dumps({"keys": keys}).encode()


class Log(Lines):
    """The log of a process."""

    def bind(self, **_: object) -> Log:
        return self


class House:
    """Providers of one worker, whose documents a test writes. An exception as a document is raised."""

    def __init__(self, folder: Path, *, broken: bool = False, **entry: Any) -> None:
        self.documents: dict[str, bytes | Exception] = {PLACE: DOCUMENT, JWKS: key_set("a")}
        self.asked: list[str] = []
        self.events: list[Event] = []
        self.log = Log()
        self.broken = broken
        self.current = Current(Snapshot(registry=Registry(servers={}), policy_revision=""))
        issuer = IssuerEntry(issuer=ISSUER, **entry)
        self.config = Config(
            data_dir=str(folder),
            server=ServerSection(public_url="https://gw.example"),
            auth=AuthSection(issuers=(issuer,)),
        )
        self.providers = Providers(
            config=self.config,
            current=self.current,
            record=self._record,
            clock=SYSTEM,
            log=cast("FilteringBoundLogger", self.log),
            fetches=lambda _: self._get,
        )

    async def _get(self, url: str) -> Fetched:
        self.asked.append(url)
        await asyncio.sleep(0)
        found = self.documents.get(url)
        if isinstance(found, Exception):
            raise found
        return Fetched(url=url, status=404 if found is None else 200, body=found or b"")

    async def _record(self, event: Event) -> None:
        if self.broken:
            raise AuditFault("full")
        self.events.append(event)

    @property
    def kids(self) -> set[str]:
        return set(self.current.get().keys.issuers.get(ISSUER, {}))

    @property
    def rows(self) -> list[tuple[str | None, str]]:
        return [(event.decision, event.reason) for event in self.events]


def live(house: House, scenario: Callable[[], Awaitable[None]]) -> House:
    """Follow the providers while the scenario runs, from the first answer on."""

    async def bounded() -> None:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            following = group.create_task(house.providers.run())
            await house.providers.first()
            await until(lambda: bool(house.events) or house.broken)
            await scenario()
            following.cancel()

    asyncio.run(bounded())
    return house


async def nothing() -> None:
    pass


async def until(condition: Callable[[], bool]) -> None:
    await within(condition, 20)


def test_the_keys_of_a_provider_come_into_the_snapshot(tmp_path: Path) -> None:
    house = live(House(tmp_path), nothing)
    assert house.kids == {"a"}
    assert house.providers.state() == ("ok", "")
    assert house.rows == [("allow", "ok")]
    assert house.events[0].metadata == {"issuer": ISSUER}
    assert house.log.events() == ["oidc_discovery", "jwks_refresh"]
    (sample,) = [
        line
        for line in metrics.exposition().decode().splitlines()
        if line.startswith("airlock_jwks_last_refresh_timestamp_seconds ")
    ]
    assert float(sample.split()[1]) > 1_700_000_000


def test_the_other_place_is_tried_where_the_first_has_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.documents[OTHER_PLACE] = house.documents.pop(PLACE)
    assert live(house, nothing).kids == {"a"}
    assert house.asked == [PLACE, OTHER_PLACE, JWKS]


def test_without_discovery_the_configured_place_is_asked(tmp_path: Path) -> None:
    house = live(House(tmp_path, jwks_url=JWKS), nothing)
    assert (house.kids, house.asked) == ({"a"}, [JWKS])


@pytest.mark.parametrize(
    ("place", "document", "row", "event"),
    [
        (PLACE, None, ("deny", "metadata_invalid"), "oidc_discovery"),
        (PLACE, b"<html>", ("deny", "metadata_invalid"), "oidc_discovery"),
        (PLACE, b'{"issuer":"x"}', ("deny", "issuer_mismatch"), "oidc_discovery"),
        (PLACE, guard.Forbidden.because("inside"), ("deny", "ssrf_guard"), "oidc_discovery"),
        (
            PLACE,
            UpstreamFault.unavailable("down", effect=Effect.NONE),
            ("error", "provider_unavailable"),
            "oidc_discovery",
        ),
        (JWKS, None, ("deny", "keys_unusable"), "jwks_refresh"),
        (JWKS, b"{}", ("deny", "keys_unusable"), "jwks_refresh"),
        (
            JWKS,
            UpstreamFault.timeout("slow", effect=Effect.NONE),
            ("error", "provider_timeout"),
            "jwks_refresh",
        ),
        (JWKS, UpstreamFault.protocol("odd"), ("error", "provider_protocol_error"), "jwks_refresh"),
    ],
)
def test_an_answer_that_is_not_used_is_recorded_and_said(
    tmp_path: Path, place: str, document: Any, row: tuple[str, str], event: str
) -> None:
    house = House(tmp_path)
    house.documents[place] = document
    live(house, nothing)
    assert house.rows == [row]
    line = house.log.lines[-1]
    assert (line["event"], line["result"], line["reason"]) == (event, "failed", row[1])
    assert house.kids == set()
    assert house.providers.state() == (
        "failed",
        f"no keys of 1 of 1 identity providers: {row[1]}",
    )


def test_a_provider_that_takes_its_time_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "LOOK", 0.05)
    house = House(tmp_path)
    house.documents[PLACE] = DOCUMENT

    async def slow(url: str) -> Fetched:
        await asyncio.sleep(60)
        raise AssertionError(url)

    monkeypatch.setattr(house, "_get", slow)
    house.providers = Providers(
        config=house.config,
        current=house.current,
        record=house._record,  # pyright: ignore[reportPrivateUsage]
        clock=SYSTEM,
        log=cast("FilteringBoundLogger", house.log),
        fetches=lambda _: slow,
    )
    assert live(house, nothing).rows == [("error", "provider_timeout")]


def test_an_unknown_key_is_waited_for(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def rotated() -> None:
        house.documents[JWKS] = key_set("b")
        house.providers.unknown_key(ISSUER)
        assert await house.providers.renew()
        assert house.kids == {"b"}

    live(house, rotated)
    assert house.asked == [PLACE, JWKS, JWKS]
    assert house.rows == [("allow", "ok")]


def test_a_key_that_somebody_made_up_changes_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def made_up() -> None:
        before = house.current.get().keys
        house.providers.unknown_key(ISSUER)
        assert not await house.providers.renew()
        assert house.current.get().keys is before

    live(house, made_up)


def test_nobody_waits_where_nobody_is_asked(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def scenario() -> None:
        house.providers.unknown_key("https://other.example")
        assert not await house.providers.renew()

    live(house, scenario)
    assert house.asked == [PLACE, JWKS]


def test_only_so_many_requests_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "WAITING", 0)
    house = House(tmp_path)

    async def scenario() -> None:
        house.documents[JWKS] = key_set("b")
        house.providers.unknown_key(ISSUER)
        assert not await house.providers.renew()

    live(house, scenario)


def test_nobody_waits_for_a_provider_that_is_away(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.documents[PLACE] = UpstreamFault.unavailable("down", effect=Effect.NONE)

    async def scenario() -> None:
        house.providers.unknown_key(ISSUER)
        assert not await house.providers.renew()

    live(house, scenario)


def test_a_provider_that_comes_back_is_recorded_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.documents[PLACE] = UpstreamFault.unavailable("down", effect=Effect.NONE)

    async def back() -> None:
        house.documents[PLACE] = DOCUMENT
        await until(lambda: bool(house.kids))
        await until(lambda: len(house.events) == 2)

    live(house, back)
    assert house.rows == [("error", "provider_unavailable"), ("allow", "ok")]


def test_stale_keys_end(tmp_path: Path) -> None:
    house = House(tmp_path, stale=0.05)

    async def away() -> None:
        assert house.kids == {"a"}
        house.documents[JWKS] = UpstreamFault.unavailable("down", effect=Effect.NONE)
        house.providers.unknown_key(ISSUER)
        await until(lambda: not house.kids)

    live(house, away)
    assert house.providers.state()[0] == "failed"


def test_a_row_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    house = House(tmp_path, broken=True)

    async def said() -> None:
        await until(lambda: "audit_event_lost" in house.log.events())

    live(house, said)
    assert house.kids == {"a"}


def test_keys_that_were_kept_serve_at_once(tmp_path: Path) -> None:
    Shelf(tmp_path / FOLDER).keep(Kept(issuer=ISSUER, fetched_at=SYSTEM.wall() - 60, body=key_set("kept")))
    house = House(tmp_path)
    assert house.kids == {"kept"}
    asyncio.run(house.providers.first())
    assert house.providers.state() == ("ok", "")


@pytest.mark.parametrize(("age", "body"), [(7200.0, key_set("old")), (60.0, b"nonsense")])
def test_keys_that_are_too_old_or_broken_do_not(tmp_path: Path, age: float, body: bytes) -> None:
    Shelf(tmp_path / FOLDER).keep(Kept(issuer=ISSUER, fetched_at=SYSTEM.wall() - age, body=body))
    assert House(tmp_path, stale=3600.0).kids == set()


def test_a_disk_that_keeps_nothing_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("in the way")
    house = House(tmp_path)

    async def said() -> None:
        await until(lambda: house.log.lines[-1].get("result") == "not_kept")

    assert live(house, said).kids == {"a"}


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        (IssuerEntry(issuer=ISSUER), False),
        (IssuerEntry(issuer="http://127.0.0.1:9/x", allow_private=True), True),
        (IssuerEntry(issuer=ISSUER, jwks_url="http://127.0.0.1:9/keys", allow_private=True), True),
    ],
)
def test_a_private_place_is_asked_only_where_the_configuration_says_so(
    entry: IssuerEntry, allowed: bool
) -> None:
    get = identity.fetch(entry, SYSTEM).get
    with pytest.raises(UpstreamFault) as refused:
        asyncio.run(get("http://127.0.0.1:9/keys"))
    assert isinstance(refused.value, guard.Forbidden) is not allowed
