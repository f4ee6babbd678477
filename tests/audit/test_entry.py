"""The bytes of an entry."""

from __future__ import annotations

import hashlib
import hmac
import math
import subprocess
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.audit import entry as form
from airlock.audit import limits, vocabulary
from airlock.model import exact
from airlock.model.entry import Event, Personal
from tests.audit.writing_parts import event

if TYPE_CHECKING:
    from pathlib import Path

SALT = bytes(range(32))
PLACE = form.Place(
    chain_uid="0192aaaa-0000-7000-8000-000000000001",
    seq=7,
    previous_hash="ab" * 32,
    tenant_seq=3,
    id="0192aaaa-0000-7000-8000-00000000000a",
    timestamp="2026-01-02 03:04:05.000006",
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
KEYS = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
WHOLE = st.integers(-exact.INTEGER_MAX, exact.INTEGER_MAX)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


def encode(given: Event, place: form.Place = PLACE) -> bytes:
    return form.encode(given, form.commit(given.personal, SALT), place)


def decode(raw: bytes) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])


@given(TEXT, TEXT, OBJECTS, OBJECTS, WHOLE.map(abs))
@settings(max_examples=150, deadline=None)
def test_an_entry_has_the_bytes_of_rfc_8785(
    reason: str, tenant: str, metadata: dict[str, Any], identity: dict[str, Any], latency: int
) -> None:
    raw = encode(
        event(reason=reason, tenant=tenant, metadata=metadata, identity=identity, latency_ms=latency)
    )
    assert raw == rfc8785.dumps(decode(raw))


@given(OBJECTS)
@settings(max_examples=100, deadline=None)
def test_a_relocated_entry_has_the_bytes_of_rfc_8785(metadata: dict[str, Any]) -> None:
    spooled = form.Spooled.parse(encode(event(metadata=metadata)), b"")
    raw = form.relocate(spooled, PLACE)
    assert raw == rfc8785.dumps(decode(raw))


PERSONAL = st.builds(
    Personal,
    **{
        name: st.uuids().map(lambda value: f"canary {value}")
        for name in (
            "issuer", "subject", "source_ip", "user_agent", "token_id", "session_digest", "client_info",
            "arguments_digest", "input_digest",
        )
    },
    actor=st.tuples(st.uuids().map(str)),
    source_port=st.integers(40_000, 65_535),
    arguments=st.uuids().map(lambda value: value.bytes.hex().encode()),
    result=st.uuids().map(lambda value: value.bytes.hex().encode()),
    inputs=st.uuids().map(lambda value: value.bytes.hex().encode()),
)  # fmt: skip


@given(PERSONAL)
@settings(max_examples=60, deadline=None)
def test_no_personal_value_is_in_the_entry(personal: Personal) -> None:
    raw = encode(event(personal=personal))
    fields = msgspec.structs.asdict(personal)
    del fields["source_port"]  # five digits may occur in any hash
    for value in fields.values():
        for plain in cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,):
            canary = plain if isinstance(plain, bytes) else str(plain).encode()
            assert canary not in raw


@given(PERSONAL)
@settings(max_examples=40, deadline=None)
def test_commitments_open_with_the_stored_texts_and_the_row_salt(personal: Personal) -> None:
    committed = form.commit(personal, SALT)
    side = decode(committed.record)
    assert side["salt"] == SALT.hex()
    assert set(committed.commit) == set(form.PERSONAL_FIELDS)
    assert set(side["values"]) == set(form.PERSONAL_FIELDS) - form.UNSTORED
    for field, text in side["values"].items():
        assert committed.commit[field] == form.commitment(SALT, field, text)
    assert committed.commit["arguments"] == form.commitment(SALT, "arguments", personal.arguments or b"")


def test_a_commitment_is_what_the_format_says() -> None:
    salt = hmac.digest(SALT, b"airlock/v1/subject", "sha256")
    assert form.field_salt(SALT, "subject") == salt
    assert form.commitment(SALT, "subject", "älice") == hashlib.sha256(salt + "älice".encode()).hexdigest()


def test_nothing_personal_makes_no_personal_record() -> None:
    assert form.commit(Personal(), SALT) == form.Committed(commit={}, record=b"")


def test_sha256sum_reproduces_the_hash(tmp_path: Path) -> None:
    raw = encode(event())
    (tmp_path / "entry").write_bytes(raw)
    printed = subprocess.run(["sha256sum", tmp_path / "entry"], capture_output=True, check=True).stdout
    assert printed.split()[0].decode() == form.entry_hash(raw)


def test_a_leaf_is_hashed_with_its_prefix() -> None:
    assert form.leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()


def test_absent_attributes_are_left_out() -> None:
    place = msgspec.structs.replace(PLACE, seq=1, previous_hash=None, tenant_seq=None)
    raw = encode(Event(event_type="system", action="heartbeat"), place)
    assert decode(raw) == {
        "v": 1, "chain_uid": PLACE.chain_uid, "seq": 1, "previous_hash": None, "id": PLACE.id,
        "timestamp": PLACE.timestamp, "event_type": "system", "phase": "single", "action": "heartbeat",
        "severity": "LOW", "commit": {}, "lease_epoch": 0, "redaction_count": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "tool_cal"},
        {"event_type": "calls"},
        {"severity": "low"},
        {"phase": "done"},
        {"phase": "intent", "decision": "allow"},
        {"phase": "outcome", "decision": None},
        {"decision": "maybe"},
        {"redaction_count": 2},
        {"redaction_count": -1, "action": "redact_data"},
        {"latency_ms": -1},
        {"lease_epoch": 2**53},
        {"occurred_at": "2026-01-02T03:04:05.000006"},
        {"metadata": {"ratio": 0.5}},
        {"metadata": {"nan": math.nan}},
        {"metadata": {"big": 2**53}},
        {"metadata": {"Upper": 1}},
        {"metadata": {"deep": [{"a-b": 1}]}},
        {"metadata": {"raw": b"x"}},
        {"identity": {1: 2}},
    ],
)
def test_what_has_no_place_in_the_format_is_misuse(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        encode(event(**fields))


def test_when_it_happened_stands_beside_when_it_was_recorded() -> None:
    found = decode(encode(event(occurred_at="2025-12-31 23:59:59.999999")))
    assert (found["occurred_at"], found["timestamp"]) == ("2025-12-31 23:59:59.999999", PLACE.timestamp)


def test_nesting_ends_somewhere() -> None:
    nested: list[Any] = []
    for _ in range(20):
        nested = [nested]
    with pytest.raises(ValueError, match="depth"):
        encode(event(metadata={"nested": nested}))


def test_every_action_of_the_closed_list_encodes() -> None:
    assert len(vocabulary.ACTIONS) == 55
    for action in vocabulary.ACTIONS:
        assert decode(encode(event(action=action)))["action"] == action


def test_metadata_beyond_its_cap_gives_way_to_its_digest() -> None:
    big = {"small": 1, "list": ["x" * 40] * 2000, "text": "y" * 200}
    found = decode(encode(event(metadata=big)))["metadata"]
    rest = hashlib.sha256(limits.canonical({"list": big["list"]})).hexdigest()
    assert found == {"small": 1, "text": "y" * 200, "truncated": True, "overflow_digest": rest}


@given(st.integers(1, 40), st.sampled_from(["x", "\0", "ü", "\U0001f600", '"']))
@settings(max_examples=60, deadline=None)
def test_no_client_can_make_a_row_too_large(kilobytes: int, letter: str) -> None:
    long = letter * (kilobytes * 1024)
    raw = encode(
        event(
            reason=long, resource=long, server_id=long, tool_name=long, tenant=long, request_id=long,
            correlation_id=long, policy_revision=long, definition_digest=long,
            metadata={f"k{number}": long for number in range(8)}, identity={"scopes": [long]},
            personal=Personal(user_agent=long, client_info=long, inputs=long.encode()),
        )
    )  # fmt: skip
    assert len(raw) <= limits.ENTRY_MAX


def test_two_long_texts_stay_two() -> None:
    assert limits.clip("a" * 5000 + "1") != limits.clip("a" * 5000 + "2")


def test_an_entry_beyond_65535_bytes_is_refused() -> None:
    committed = form.Committed(commit={f"f{number}": "0" * 64 for number in range(1000)}, record=b"")
    with pytest.raises(ValueError, match="65535"):
        form.encode(event(), committed, PLACE)


def test_a_long_personal_text_is_cut_before_it_is_committed() -> None:
    committed = form.commit(Personal(user_agent="z" * 1_000_000), SALT)
    stored = decode(committed.record)["values"]["user_agent"]
    assert len(stored) < 8192
    assert committed.commit["user_agent"] == form.commitment(SALT, "user_agent", stored)


def test_inputs_beyond_their_limit_are_committed_and_not_stored() -> None:
    committed = form.commit(Personal(inputs=bytes(form.INPUTS_MAX)), SALT)
    assert "inputs" in committed.commit
    assert decode(committed.record)["values"] == {}


def test_scrub_writes_lone_surrogates_out_wherever_they_stand() -> None:
    dirty = event(
        reason="a\ud800b",
        metadata={"agent": ["\udfff"], "more": ({"x": "\udc00"},), "size": 3},
        personal=Personal(user_agent="\ud83d", actor=("\udc80",)),
    )
    clean = form.scrub(dirty)
    assert clean.reason == "a\\ud800b"
    assert clean.metadata == {"agent": ["\\udfff"], "more": ({"x": "\\udc00"},), "size": 3}
    assert clean.personal == Personal(user_agent="\\ud83d", actor=("\\udc80",))
    assert decode(encode(clean))["reason"] == "a\\ud800b"


def test_a_relocated_entry_keeps_what_it_was_and_says_that_it_is_late() -> None:
    given = event(metadata={"size": 1})
    spooled = form.Spooled.parse(encode(given), b"side")
    later = msgspec.structs.replace(
        PLACE, seq=99, id="0192aaaa-0000-7000-8000-00000000000b", timestamp="2026-01-03 00:00:00.000000"
    )
    found = decode(form.relocate(spooled, later))
    assert (found["seq"], found["timestamp"], found["occurred_at"]) == (99, later.timestamp, PLACE.timestamp)
    assert found["metadata"] == {"size": 1, "late": True, "spooled_id": PLACE.id}
    assert found["commit"] == decode(encode(given))["commit"]
    assert spooled.personal == b"side"


def test_a_relocated_entry_without_tenant_has_no_tenant_seq() -> None:
    place = msgspec.structs.replace(PLACE, tenant_seq=None)
    spooled = form.Spooled.parse(encode(event(tenant=""), place), b"")
    assert "tenant_seq" not in decode(form.relocate(spooled, place))
    assert spooled.tenant == ""
