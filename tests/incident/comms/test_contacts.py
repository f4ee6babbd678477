"""The contacts file: its shape, what is missing in it, and what it refuses."""

from __future__ import annotations

import pytest

from airlock.core.errors import ConfigError
from airlock.incident.comms import contacts

SHAPE = b"""
contacts:
  on_call: {primary: "+1-555-0101", secondary: "+1-555-0102"}
  management: {engineering_manager: "+1-555-0201", director: "+1-555-0301"}
  external: {security_team: "security@example.com", legal_team: "legal@example.com"}
  vendors: {cloud_provider: "+1-800-SUPPORT", monitoring_vendor: "support@monitoring.example"}
"""


def test_the_shape_of_the_runbook_loads() -> None:
    found = contacts.read(SHAPE, name="contacts.yaml")
    assert found.reach("L1") == ("on_call.primary: +1-555-0101", "on_call.secondary: +1-555-0102")
    assert found.reach("L3") == (
        "management.engineering_manager: +1-555-0201",
        "external.security_team: security@example.com",
    )
    assert found.reach("L4") == ("management.director: +1-555-0301",)
    assert found.party("legal_team") == ("external.legal_team: legal@example.com",)
    assert len(found.party("vendor_support")) == 2
    missing = [concern.key for concern in contacts.check(found)]
    assert missing == ["management.cto", "external.executive_team"]


def test_unknown_names_are_kept_and_missing_ones_are_named() -> None:
    found = contacts.read(
        b"contacts:\n  on_call: {primary: '+1-555-0101'}\n  press: {agency: '#press'}\n", name="c"
    )
    assert found.known["press.agency"] == "#press"
    missing = {concern.key for concern in contacts.check(found)}
    assert {"management.engineering_manager", "external.security_team", "management.cto"} <= missing
    assert "on_call.primary" not in missing


def test_a_way_that_no_call_would_go_is_a_concern() -> None:
    found = contacts.read(SHAPE.replace(b"+1-555-0101", b"ask around"), name="c")
    assert "on_call.primary" in [concern.key for concern in contacts.check(found)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"contacts: [", "is no YAML"),
        (b"on_call: {primary: x}", "no mapping where one belongs"),
        (b"contacts: {on_call: +1}", "no mapping where one belongs"),
        (b"contacts: {on_call: {primary: [1]}}", "contacts.on_call.primary is no text"),
        (b'contacts: {on_call: {primary: "a\\u001b[31m"}}', "printable"),
        (b"contacts: {1: {primary: x}}", "no short text"),
        (b"#" * (contacts.LARGEST + 1), "are read"),
    ],
)
def test_what_is_no_contacts_file_is_refused_by_name(text: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        contacts.read(text, name="contacts.yaml")
    assert str(refused.value).startswith("contacts.yaml: ")
