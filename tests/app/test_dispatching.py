"""The loop that tells people: what happened makes messages once, each is delivered or its failure is said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from airlock.app.dispatching import Dispatch, load
from airlock.core.clock import SYSTEM
from airlock.core.errors import ConfigError
from airlock.core.incident_config import IncidentSection, TargetEntry
from airlock.incident.comms.outgoing import Text
from airlock.incident.comms.payloads import Verdict
from airlock.model.incident import SYSTEM_ACTOR, Decided, Incident, IncidentEvent, Kind
from airlock.model.message import Message, Template
from airlock.store import incidents, messages
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store, open_store
from tests.incident.comms.example import INCIDENT, NOW

HOOK = TargetEntry(
    name="hook", kind="webhook", url="https://a.example", audiences=("page", "war_room", "status_updates")
)
OTHER = TargetEntry(name="other", kind="slack", url="https://b.example", audiences=("page",))
TRACKER = TargetEntry(
    name="tracker", kind="jira", url="https://t.example", audiences=("ticket",), project="OPS"
)
MANAGER = TargetEntry(name="manager", kind="alertmanager", url="https://m.example")


class Heard:
    """A notifier that keeps what it was given, and answers as it is told."""

    def __init__(self, **verdicts: Verdict) -> None:
        self.messages: list[Message] = []
        self.verdicts = verdicts

    async def deliver(self, target: TargetEntry, message: Message) -> Verdict:
        self.messages.append(message)
        return self.verdicts.get(target.name, Verdict(delivered=True, detail="200"))


class Lines:
    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.said.append((event, fields))

    warning = error = info


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    opened = open_store(tmp_path / "sark.db")
    incidents.create(opened, INCIDENT, [])
    yield opened
    opened.close()


def write(incident: str, template: Template) -> Text:
    return Text(subject=f"{template} {incident}", body="text")


def dispatch(store: Store, heard: Heard, *targets: TargetEntry, contacts_file: str | None = None) -> Dispatch:
    settings = IncidentSection(targets=targets, contacts_file=contacts_file)
    return Dispatch(store=store, settings=settings, notifier=heard, write=write, clock=SYSTEM, log=Lines())


def happened(store: Store, kind: Kind, /, **details: object) -> None:
    event = IncidentEvent(
        kind=kind, at=NOW, occurred_at=NOW, actor=SYSTEM_ACTOR, summary="it happened", details=details
    )
    incidents.append(store, INCIDENT.id, [event])


def states(store: Store) -> dict[str, str]:
    return {
        f"{each.template}:{each.target}": each.state for each in messages.listing(store, incident=INCIDENT.id)
    }


def kinds(store: Store) -> list[str]:
    return [each.event.kind for each in incidents.timeline(store, INCIDENT.id)]


def test_an_escalation_pages_its_level_once(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "contacts.yaml"
    file.write_text("contacts: {on_call: {secondary: '+1-555-0102'}}")
    heard = Heard()
    loop = dispatch(store, heard, HOOK, contacts_file=str(file))
    happened(store, "escalated", level="L2", contacts=["on_call.secondary"], parties=["security_team"])
    assert (loop.make(), loop.make()) == (1, 0)
    assert asyncio.run(loop.deliver()) == 1
    assert states(store) == {"page:hook": "sent"}
    assert "+1-555-0102" in heard.messages[0].body
    assert kinds(store) == ["escalated", "comm_drafted", "comm_sent"]


def test_a_declaration_tells_the_house_and_opens_a_ticket(store: Store) -> None:
    heard = Heard(tracker=Verdict(delivered=True, detail="201", ticket="https://t.example/browse/OPS-1"))
    loop = dispatch(store, heard, HOOK, TRACKER)
    happened(store, "declared")
    loop.make()
    asyncio.run(loop.deliver())
    assert states(store) == {
        "notification:hook": "sent",
        "team:hook": "sent",
        "ticket:tracker": "sent",
    }
    found = incidents.get(store, INCIDENT.id)
    assert found is not None
    assert found.ticket_url == "https://t.example/browse/OPS-1"
    assert found.last_update_at is not None


def test_a_small_incident_only_gets_its_ticket(store: Store) -> None:
    def lower(incident: Incident) -> Decided:
        return Decided(incident=msgspec.structs.replace(incident, severity="P2"))

    incidents.change(store, INCIDENT.id, lower)
    loop = dispatch(store, Heard(), HOOK, TRACKER)
    happened(store, "declared")
    loop.make()
    assert states(store) == {"ticket:tracker": "queued"}


def test_an_overdue_update_reminds_the_house(store: Store) -> None:
    loop = dispatch(store, Heard(), HOOK)
    happened(store, "clock_breached", clock="update", kind="update", due_at="2026-11-22T18:15:00Z")
    happened(store, "clock_breached", clock="response", kind="response")
    loop.make()
    assert states(store) == {"reminder:hook": "queued"}


def test_what_cannot_be_delivered_is_said_by_every_other_way(store: Store) -> None:
    gone = Verdict(delivered=False, detail="404", again=False)
    heard = Heard(hook=gone)
    loop = dispatch(store, heard, HOOK, OTHER)
    happened(store, "declared")
    loop.make()
    asyncio.run(loop.deliver())
    assert states(store)["team:hook"] == "failed"
    assert states(store)["reminder:other"] == "queued"
    asyncio.run(loop.deliver())
    assert "was not delivered" in heard.messages[-1].body


def test_a_target_that_left_the_configuration_fails_by_name(store: Store) -> None:
    loop = dispatch(store, Heard(), HOOK)
    happened(store, "escalated", level="L9", trigger="t")
    loop.make()
    loop.configure(IncidentSection())
    asyncio.run(loop.deliver())
    (message,) = messages.listing(store, incident=INCIDENT.id, state="failed")
    assert (message.channel, message.receipts[0].detail) == ("L9", "the configuration has no such target")


def test_the_end_of_an_incident_ends_its_pages(store: Store) -> None:
    pager = TargetEntry(name="pager", kind="pagerduty", audiences=("page",))

    def resolved(incident: Incident) -> Decided:
        return Decided(incident=msgspec.structs.replace(incident, status="RESOLVED"))

    incidents.change(store, INCIDENT.id, resolved)
    loop = dispatch(store, heard := Heard(), pager)
    happened(store, "status_changed")
    loop.make()
    asyncio.run(loop.deliver())
    assert [message.action for message in heard.messages] == ["resolve"]


def test_an_alertmanager_hears_again_while_it_lasts(store: Store) -> None:
    loop = dispatch(store, heard := Heard(manager=Verdict(delivered=False, detail="down")), MANAGER)

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await loop.run()

    asyncio.run(run())
    assert [message.incident for message in heard.messages] == [INCIDENT.id]
    assert states(store) == {}


class Held(Heard):
    """`hook` answers once somebody else has been told."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    async def deliver(self, target: TargetEntry, message: Message) -> Verdict:
        if target.name == "hook":
            async with asyncio.timeout(30):
                await self.told.wait()
        else:
            self.told.set()
        return await super().deliver(target, message)


def test_a_slow_target_holds_up_no_other(store: Store) -> None:
    loop = dispatch(store, Held(), HOOK, OTHER)
    happened(store, "escalated", level="L1", trigger="t")
    loop.make()
    assert asyncio.run(loop.deliver()) == 2
    assert set(states(store).values()) == {"sent"}


def test_a_message_that_the_record_cannot_note_is_sent_once(store: Store) -> None:
    """Its words are too many for the timeline: the receipt counts, and the engine goes on."""
    heard = Heard()
    loop = dispatch(store, heard, HOOK)
    happened(store, "declared")
    loop.make()
    (long,) = [
        msgspec.structs.replace(each, channel="#" * 10_001)
        for each in messages.listing(store, incident=INCIDENT.id)
        if each.template == "notification"
    ]
    with store.change(INCIDENTS) as change:
        messages.put(change.connection, long)
    assert asyncio.run(loop.deliver()) == 2
    assert asyncio.run(loop.deliver()) == 0
    assert states(store)["notification:hook"] == "sent"


def test_broken_contacts_leave_a_page_without_numbers(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "contacts.yaml"
    file.write_text("contacts: [")
    loop = dispatch(store, Heard(), HOOK, contacts_file=str(file))
    happened(store, "escalated", level="L1", trigger="t")
    assert loop.make() == 1
    with pytest.raises(ConfigError):
        load(str(tmp_path / "missing.yaml"))
