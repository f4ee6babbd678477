"""How a chain grows."""

from __future__ import annotations

import pytest

from airlock.audit import entry as form
from airlock.audit.chain import Chain, Draft, Stamp
from airlock.model.entry import Event, Personal
from tests.audit.test_entry import decode
from tests.audit.writing_parts import UID, event


def stamp(number: int = 1) -> Stamp:
    return Stamp(
        timestamp="2026-01-02 03:04:05.000006",
        id=f"0192aaaa-0000-7000-8000-{number:012x}",
        salt=number.to_bytes(32, "big"),
    )


def grow(chain: Chain, *events: Event) -> Draft:
    draft = chain.draft()
    for number, each in enumerate(events, chain.seq + 1):
        draft.append(each, stamp(number))
    return draft


def test_an_entry_names_the_hash_of_the_one_before() -> None:
    draft = grow(Chain(uid=UID), event(1), event(2))
    first, second = draft.sealed
    assert decode(first.entry)["previous_hash"] is None
    assert decode(second.entry)["previous_hash"] == first.hash == form.entry_hash(first.entry)


def test_each_tenant_counts_for_itself() -> None:
    draft = grow(Chain(uid=UID, seq=5, hash="ab" * 32, tenants={"a": 7}), *(
        event(tenant=tenant) for tenant in ("a", "b", "a", "", "b")
    ))  # fmt: skip
    counted = [decode(each.entry).get("tenant_seq") for each in draft.sealed]
    assert counted == [8, 1, 9, None, 2]
    assert [each.seq for each in draft.sealed] == [6, 7, 8, 9, 10]


def test_a_chain_moves_only_when_its_draft_is_accepted() -> None:
    chain = Chain(uid=UID)
    draft = grow(chain, event(1), event(2))
    assert (chain.seq, chain.hash, chain.tenants) == (0, None, {})
    chain.accept(draft)
    assert (chain.seq, chain.hash, chain.tenants) == (2, draft.sealed[-1].hash, {"acme": 2})


def test_a_dropped_draft_leaves_its_numbers_to_the_next() -> None:
    chain = Chain(uid=UID)
    grow(chain, event(1))
    again = grow(chain, event(2))
    assert again.sealed[0].seq == 1


def test_a_second_draft_of_the_same_head_is_refused() -> None:
    chain = Chain(uid=UID)
    first, second = grow(chain, event(1)), grow(chain, event(2))
    chain.accept(first)
    with pytest.raises(RuntimeError, match="stands at 1"):
        chain.accept(second)


def test_a_malformed_event_leaves_the_draft_as_it_was() -> None:
    draft = grow(Chain(uid=UID), event(1))
    with pytest.raises(ValueError):
        draft.append(event(action="nonsense"), stamp(2))
    assert (draft.seq, len(draft.sealed), draft.tenants) == (1, 1, {"acme": 1})


def test_a_lone_surrogate_cannot_avoid_its_record() -> None:
    draft = grow(Chain(uid=UID), event(personal=Personal(user_agent="\ud800")))
    (sealed,) = draft.sealed
    assert decode(sealed.personal)["values"]["user_agent"] == "\\ud800"


def test_given_commitments_replace_those_of_the_event() -> None:
    committed = form.Committed(commit={"host": "00"}, record=b"{}")
    sealed = Chain(uid=UID).draft().append(event(), stamp(), committed)
    assert (decode(sealed.entry)["commit"], sealed.personal) == ({"host": "00"}, b"{}")


def test_a_late_entry_takes_the_next_place() -> None:
    first = grow(Chain(uid=UID), event(1)).sealed[0]
    draft = Chain(uid=UID, seq=3, hash="cd" * 32, tenants={"acme": 9}).draft()
    late = draft.append_late(form.Spooled.parse(first.entry, first.personal), stamp(4))
    found = decode(late.entry)
    assert (found["seq"], found["tenant_seq"], found["previous_hash"]) == (4, 10, "cd" * 32)
    assert late.personal == first.personal
    assert draft.size == late.size == len(late.entry) + len(late.personal)


@pytest.mark.parametrize(("seq", "hash"), [(0, "ab" * 32), (3, None)])
def test_a_chain_has_a_hash_exactly_when_it_has_an_entry(seq: int, hash: str | None) -> None:
    with pytest.raises(ValueError, match="hash"):
        Chain(uid=UID, seq=seq, hash=hash)
