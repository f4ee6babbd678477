"""What agents of responders may read: every tool, and that there is no server without a tenant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.app.responders import MOST, NAME, OFFER, Responders, entries
from airlock.core.config import Config
from airlock.core.incident_config import IncidentSection
from airlock.incident.keeping import said
from airlock.incident.regulation import shipped
from airlock.model.upstream import UpstreamRequest
from airlock.store import incidents
from airlock.store.database import Store
from tests.app.play_parts import opened as opened_store
from tests.gateway.parts import HandClock
from tests.incident.life_parts import at, opened


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    store = opened_store(tmp_path / "data")
    yield store
    store.close()


def ask(store: Store, tool: str, **arguments: object) -> dict[str, Any]:
    responders = Responders(store=store, law=shipped, clock=HandClock())
    request = UpstreamRequest(
        method="tools/call", params={"name": tool, "arguments": arguments}, deadline=0.0
    )
    answer = asyncio.run(responders.request(request))
    assert answer.result is not None
    assert answer.size == len(msgspec.json.encode(answer.result))
    return answer.result


def told(store: Store, tool: str, **arguments: object) -> Any:
    return json.loads(ask(store, tool, **arguments)["content"][0]["text"])


def test_there_is_no_server_until_a_tenant_is_named() -> None:
    assert entries(Config()) == ()
    (own,) = entries(Config(incident=IncidentSection(agents_tenant="ops")))
    assert (own.name, own.tenant, own.read_only, own.sensitivity) == (NAME, "ops", True, "high")
    assert all(tool["annotations"]["readOnlyHint"] for tool in OFFER.tools)


def test_what_it_offers_is_what_it_answers(store: Store) -> None:
    responders = Responders(store=store, law=shipped, clock=HandClock())
    assert asyncio.run(responders.describe()) is OFFER
    incident = opened()
    incidents.create(store, incident, ())
    for tool in OFFER.tools:
        given = {"id": incident.id} if "id" in tool["inputSchema"]["required"] else {}
        assert not ask(store, tool["name"], **given).get("isError")
    asyncio.run(responders.close())


def test_incidents_are_listed_with_who_commands(store: Store) -> None:
    incident = opened()
    incidents.create(store, incident, ())
    ended = msgspec.structs.replace(incident, id="INC-20260101-000001", status="CLOSED")
    incidents.create(store, ended, ())
    (row,) = told(store, "list")["incidents"]
    assert (row["id"], row["public_status"], row["commander"]) == (incident.id, "INVESTIGATING", "alice")
    assert row["opened_at"].endswith("Z")
    assert len(told(store, "list", ended=True)["incidents"]) == 2


def test_a_record_is_shown_with_its_clocks(store: Store) -> None:
    incident = opened()
    incidents.create(store, incident, ())
    shown = told(store, "show", id=incident.id)
    assert (shown["incident"]["severity"], shown["containment"]) == ("P1", "NONE")
    assert "response" in {clock["name"] for clock in shown["clocks"]}
    assert "acknowledge" in {each["name"] for each in shown["durations"]}


def test_a_long_timeline_comes_in_parts(store: Store) -> None:
    incident = opened()
    events = [said("note", at(), f"note {number}") for number in range(MOST + 5)]
    incidents.create(store, incident, events)
    first = told(store, "timeline", id=incident.id)
    assert (len(first["events"]), first["more"]) == (MOST, True)
    rest = told(store, "timeline", id=incident.id, after=MOST)
    assert told(store, "timeline", id=incident.id, after=None) == first
    assert [each["summary"] for each in rest["events"]] == [f"note {MOST + n}" for n in range(5)]
    assert not rest["more"]


def test_an_incident_that_nobody_knows_is_a_tool_error(store: Store) -> None:
    result = ask(store, "show", id="INC-20000101-000000")
    assert result["isError"]
    assert "INC-20000101-000000" in result["content"][0]["text"]
