"""Notices over HTTP: rendered from the record, sent at once or after somebody's yes."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.config import Config
from airlock.core.incident_config import IncidentSection, TargetEntry
from airlock.store import incidents
from airlock.store.database import Store, open_store
from tests.api.containing import House
from tests.api.doors import ADMIN
from tests.incident.comms.example import INCIDENT

PATH = f"/api/v1/incidents/{INCIDENT.id}/comms"
TARGETS = (
    TargetEntry(name="room", kind="slack", audiences=("war_room", "status_updates")),
    TargetEntry(name="outside", kind="webhook", audiences=("customer", "legal")),
)


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    opened = open_store(tmp_path / "sark.db")
    incidents.create(opened, INCIDENT, [])
    yield opened
    opened.close()


@pytest.fixture
def house(store: Store, tmp_path: Path) -> House:
    made = House(store)
    section = IncidentSection(targets=TARGETS)
    made.base = Config(data_dir=str(tmp_path), incident=section)
    return made


def sent(house: House, template: str, **more: str) -> tuple[int, dict[str, Any]]:
    status, document = house.ask("POST", PATH, {"template": template, **more})
    return status, document["messages"][0]


def assign(store: Store, role: str, person: str) -> None:
    from airlock.model.incident import Decided, Incident, Role

    def given(incident: Incident) -> Decided:
        held = Role(role=role, person=person, assumed_at=0.0)  # pyright: ignore[reportArgumentType]
        return Decided(incident=msgspec.structs.replace(incident, roles=(*incident.roles, held)))

    incidents.change(store, INCIDENT.id, given)


def test_a_text_for_the_house_goes_at_once(house: House) -> None:
    status, message = sent(house, "team")
    assert (status, message["state"], message["channel"]) == (
        201,
        "queued",
        f"#incident-response-{INCIDENT.id}",
    )
    assert INCIDENT.id in message["body"]
    told = f"{message['subject']}\n{message['body']}".encode()
    assert message["sha256"] == hashlib.sha256(told).hexdigest()
    assert house.ask("GET", PATH)[1]["messages"] == [message]


def test_the_same_words_are_sent_once(house: House) -> None:
    assert sent(house, "team")[1]["id"] == sent(house, "team")[1]["id"]


def test_a_text_for_customers_waits_for_the_communications_lead(house: House, store: Store) -> None:
    status, message = sent(house, "customer")
    assert (status, message["state"], message["needs"]) == (202, "waiting", ["communications_lead"])
    yes = {"role": "communications_lead", "sha256": message["sha256"]}
    approve = f"{PATH}/{message['id']}/approve"
    assert house.ask("POST", approve, yes) == (403, "role_missing")
    assign(store, "communications_lead", ADMIN.subject)
    assert house.ask("POST", approve, {**yes, "sha256": "0" * 64}) == (409, "approval_void")
    status, document = house.ask("POST", approve, yes)
    assert (status, document["messages"][0]["state"]) == (200, "queued")
    assert house.ask("POST", approve, yes) == (409, "message_state")
    kinds = [each.event.kind for each in incidents.timeline(store, INCIDENT.id)]
    assert kinds == ["comm_drafted", "decision"]


def test_no_program_approves_and_nobody_is_two(house: House, store: Store) -> None:
    _, message = sent(house, "breach")
    approve, told = f"{PATH}/{message['id']}/approve", {"sha256": message["sha256"]}
    for role in ("communications_lead", "legal_liaison"):
        assign(store, role, ADMIN.subject)
    robot = House(store, who=msgspec.structs.replace(ADMIN, actor=("agent",)))
    yes = {**told, "role": "communications_lead"}
    assert robot.ask("POST", approve, yes) == (403, "approver_automation")
    assert house.ask("POST", approve, yes)[0] == 202
    elsewhere = House(store, who=msgspec.structs.replace(ADMIN, issuer="https://other.example"))
    assert elsewhere.ask("POST", approve, {**told, "role": "legal_liaison"}) == (409, "approver_repeated")


def test_a_breach_report_needs_a_second_person(house: House, store: Store) -> None:
    _, message = sent(house, "breach")
    assign(store, "communications_lead", ADMIN.subject)
    assign(store, "legal_liaison", ADMIN.subject)
    approve = f"{PATH}/{message['id']}/approve"
    told: dict[str, Any] = {"sha256": message["sha256"]}
    assert house.ask("POST", approve, {**told, "role": "communications_lead"})[0] == 202
    assert house.ask("POST", approve, {**told, "role": "legal_liaison"}) == (409, "approver_repeated")


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (PATH, {"template": "executive"}, (422, "nobody_to_tell")),
        (PATH, {"template": "page"}, (422, "template_unknown")),
        (PATH, {"template": "poem"}, (422, "invalid_params")),
        (f"{PATH}/none/approve", {"role": "approver", "sha256": "x"}, (403, "role_missing")),
        ("/api/v1/incidents/INC-20260101-000000/comms", {"template": "team"}, (404, "incident_unknown")),
    ],
)
def test_bad_input_is_named_and_changes_nothing(
    house: House, store: Store, path: str, body: dict[str, str], said: tuple[int, str]
) -> None:
    assert house.ask("POST", path, body) == said
    assert incidents.timeline(store, INCIDENT.id) == []


def test_a_message_of_another_incident_is_unknown(house: House, store: Store) -> None:
    other = "INC-20261122-190000"
    incidents.create(store, msgspec.structs.replace(INCIDENT, id=other), [])
    _, message = sent(house, "customer")
    assign(store, "communications_lead", ADMIN.subject)

    def given(incident: Any) -> Any:
        from airlock.model.incident import Decided

        found = incidents.get(store, INCIDENT.id)
        assert found is not None
        return Decided(incident=msgspec.structs.replace(incident, roles=found.roles))

    incidents.change(store, other, given)
    yes = {"role": "communications_lead", "sha256": message["sha256"]}
    path = f"/api/v1/incidents/{other}/comms/{message['id']}/approve"
    assert house.ask("POST", path, yes) == (404, "message_unknown")


def test_contacts_are_shown_with_what_is_missing(house: House, tmp_path: Path) -> None:
    status, document = house.ask("GET", "/api/v1/contacts")
    assert (status, document["contacts"]) == (200, {})
    assert document["concerns"]
    file = tmp_path / "contacts.yaml"
    file.write_text("contacts: {on_call: {primary: '+1-555-0101'}}")
    house.base = Config(incident=IncidentSection(contacts_file=str(file)))
    assert house.ask("GET", "/api/v1/contacts")[1]["contacts"] == {"on_call.primary": "+1-555-0101"}
    file.write_text("contacts: [")
    assert house.ask("GET", "/api/v1/contacts") == (409, "contacts_unreadable")
