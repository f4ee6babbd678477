"""What a worker's metrics say of alerts and incidents: zero from the start, and what the store has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from airlock.app import detected
from airlock.app.detected import OUTSIDE, Reading
from airlock.core import ids, metrics
from airlock.core.errors import Fault, Stage
from airlock.core.standing import Detected, Standing
from airlock.incident import alerts as states
from airlock.incident import declaring
from airlock.model.incident import Actor, Finding
from airlock.store import alerts, cursors
from airlock.store.cursors import Cursor
from airlock.store.database import Store, open_store
from tests.gateway.parts import NOW, HandClock, until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "sark.db")
    yield opened
    opened.close()


def exposed(reading: Reading) -> str:
    standing = Standing(revisions=frozenset(), reloads={}, detected=reading.now())
    return metrics.exposition(standing=standing).decode()


def follow(reading: Reading) -> None:
    """One reading of the loop."""

    async def scenario() -> None:
        before = reading.now()
        running = asyncio.create_task(reading.run())
        async with asyncio.timeout(30):
            while reading.now() is before:  # noqa: ASYNC110 - it says nothing when it has read
                await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())


def test_a_record_that_cannot_be_read_does_not_end_the_worker(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.change("incidents") as change:
        place = Cursor(n=1, at=NOW)
        cursors.remember(change, cursors.DETECT, place)
        change.connection.execute(text("UPDATE cursors SET document = '{}'"))
    monkeypatch.setattr(detected, "EVERY", 0.01)
    tried = 0

    class Counting(Reading):
        def read(self) -> Detected:
            nonlocal tried
            tried += 1
            return super().read()

    async def scenario() -> None:
        running = asyncio.create_task(Counting(store=store, clock=HandClock()).run())
        await until(lambda: tried > 1 or running.done(), within=30)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_every_series_is_there_before_anything_happened(store: Store) -> None:
    text = exposed(Reading(store=store, clock=HandClock()))
    assert 'sark_incidents_open{severity="P0"} 0.0' in text
    assert 'airlock_alerts_total{rule="MCP-002"} 0.0' in text
    assert 'airlock_alerts_waiting{state="NEW"} 0.0' in text
    assert "\nairlock_detection_lag_seconds" not in text


def test_alerts_and_incidents_are_counted_and_names_from_outside_are_not_shown(store: Store) -> None:
    for rule in ("MCP-002", "DiskFull\nevil 1"):
        finding = Finding(rule=rule, severity="P1", summary="x", since=NOW - 1, until=NOW)
        alerts.fold(
            store, [finding], lambda before, it: states.folded(before, it, NOW, ids.uuid7()),
            states.fingerprint, now=NOW, place=(cursors.DETECT, Cursor(n=1, at=NOW - 3)),
        )  # fmt: skip
    (first,) = alerts.listing(store, rule="MCP-002")
    declaring.declare(store, first.id, "x", Actor(type="human", id="bob"), now=NOW)
    reading = Reading(store=store, clock=HandClock())
    follow(reading)
    text = exposed(reading)
    assert 'sark_incidents_open{severity="P1"} 1.0' in text
    assert 'airlock_alerts_waiting{state="NEW"} 1.0' in text
    assert f'airlock_alerts_total{{rule="{OUTSIDE}"}} 1.0' in text
    assert "evil" not in text
    assert "\nairlock_detection_lag_seconds 3.0" in text


def test_a_store_that_cannot_be_read_leaves_what_was_known(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Reading(store=store, clock=HandClock())
    follow(reading)
    known = reading.now()

    def fails() -> None:
        stopped.append(1)
        raise fault

    fault = Fault(Stage.ADMIT, 50302, "control_unavailable", "No.")
    stopped: list[int] = []
    monkeypatch.setattr(reading, "read", fails)

    async def scenario() -> None:
        running = asyncio.create_task(reading.run())
        async with asyncio.timeout(30):
            while not stopped:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert reading.now() is known
