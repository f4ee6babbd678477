"""Sessions: an id opens for who got it, on its route, in its time; for anybody else it is simply unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import AuditFault, Rejected, Unauthenticated
from airlock.core.sealed import Sealer
from airlock.gateway.attendance import Attendance
from airlock.gateway.sessions import ABSOLUTE_TTL, SESSION_HEADER, EndSession, Sessions, unknown_session
from airlock.model.call import Authenticated, Inbound, Reply
from airlock.model.principal import Principal
from airlock.model.snapshot import Revocations, Snapshot
from tests.gateway.parts import (
    NOW,
    House,
    authenticated,
    inbound,
    principal,
    registered,
    sealer,
    snapshot,
)

VERSION = "2025-11-25"
SESSIONS = Sessions(sealer(), attendance=Attendance(per_principal=100_000, most=100_000))
few = settings(max_examples=100, deadline=None)


def refused(text: str, caller: Authenticated, now: float = NOW) -> Rejected:
    with pytest.raises(Rejected) as rejected:
        SESSIONS.open(text, caller, now)
    return rejected.value


def heard(rejected: Rejected) -> tuple[int, int, str, object]:
    """All that a caller can tell one refusal from another by."""
    return rejected.http, rejected.code, rejected.text, (rejected.data, rejected.headers)


UNKNOWN = heard(unknown_session())


def test_a_session_opens_for_who_got_it() -> None:
    text, sid = SESSIONS.mint(authenticated(), VERSION, NOW)
    session = SESSIONS.open(text, authenticated(), NOW)
    assert (session.sid, session.version, session.tenant, session.route) == (sid, VERSION, "acme", "/mcp")


def test_what_was_opened_stays_open_as_long_as_it_could_be_opened_again() -> None:
    text, sid = SESSIONS.mint(authenticated(), VERSION, NOW)
    session = SESSIONS.open(text, authenticated(), NOW)
    assert SESSIONS.still(session, authenticated(), NOW)
    assert not SESSIONS.still(session, authenticated(who=principal("bob")), NOW)
    assert not SESSIONS.still(session, authenticated(who=principal(tenant="other")), NOW)
    assert not SESSIONS.still(session, authenticated(), NOW + ABSOLUTE_TTL)
    assert not SESSIONS.still(session, authenticated(at=ended(sid)), NOW)
    other = Sessions(sealer())
    other.attendance.gone(sid)
    assert not other.still(session, authenticated(), NOW)


def test_any_worker_with_the_keys_opens_it() -> None:
    text, sid = SESSIONS.mint(authenticated(), VERSION, NOW)
    assert Sessions(sealer()).open(text, authenticated(), NOW).sid == sid


def test_an_id_is_short_visible_ascii() -> None:
    long = principal("s" * 200, "t" * 100)
    text, _ = SESSIONS.mint(authenticated(who=long), VERSION, NOW)
    assert all("!" <= character <= "~" for character in text)
    assert len(SESSIONS.mint(authenticated(), VERSION, NOW)[0]) <= 512


def test_an_id_tells_nothing_of_who_holds_it() -> None:
    text, sid = SESSIONS.mint(authenticated(), VERSION, NOW)
    assert sid not in text
    assert "alice" not in text


def test_two_sessions_of_one_caller_are_different() -> None:
    sids = {SESSIONS.mint(authenticated(), VERSION, NOW)[1] for _ in range(50)}
    assert len(sids) == 50
    assert min(map(len, sids)) >= 22  # 128 bits


@few
@given(st.integers(0, 10_000), st.characters(min_codepoint=0x20, max_codepoint=0xFF))
def test_an_id_with_any_changed_character_is_unknown(place: int, character: str) -> None:
    text, _ = SESSIONS.mint(authenticated(), VERSION, NOW)
    at = place % len(text)
    changed = text[:at] + character + text[at + 1 :]
    if changed != text:
        assert heard(refused(changed, authenticated())) == UNKNOWN


@few
@given(st.text(max_size=40), st.integers(0, 600))
def test_what_is_no_id_or_a_part_of_one_is_unknown(junk: str, cut: int) -> None:
    text, _ = SESSIONS.mint(authenticated(), VERSION, NOW)
    for wrong in (junk, text[: cut % len(text)], text + (junk or "=")):
        assert heard(refused(wrong, authenticated())) == UNKNOWN


def someone(subject: str, tenant: str, issuer: str) -> Principal:
    return msgspec.structs.replace(principal(subject, tenant), issuer=issuer)


whoever = st.builds(
    someone,
    st.sampled_from(["alice", "bob", "alic", "alice\0"]),
    st.sampled_from(["acme", "globex", ""]),
    st.sampled_from(["https://issuer.example", "https://other.example"]),
)


@few
@given(whoever, whoever)
def test_for_another_principal_it_is_unknown_and_the_record_says_hijack(
    owner: Principal, other: Principal
) -> None:
    text, sid = SESSIONS.mint(authenticated(who=owner), VERSION, NOW)
    if owner == other:
        assert SESSIONS.open(text, authenticated(who=other), NOW).sid == sid
        return
    rejected = refused(text, authenticated(who=other))
    assert heard(rejected) == UNKNOWN
    assert rejected.reason == "session_hijack_attempt"


routes = st.sampled_from(["", "docs", "files"])


@few
@given(routes, routes)
def test_on_another_route_it_is_unknown(opened: str, used: str) -> None:
    at = snapshot(registered("docs"), registered("files"))
    text, _ = SESSIONS.mint(authenticated(server=opened, at=at), VERSION, NOW)
    if opened == used:
        assert SESSIONS.open(text, authenticated(server=used, at=at), NOW)
    else:
        assert heard(refused(text, authenticated(server=used, at=at))) == UNKNOWN


@few
@given(st.floats(0, 3 * ABSOLUTE_TTL))
def test_after_twelve_hours_it_is_unknown(later: float) -> None:
    text, _ = SESSIONS.mint(authenticated(), VERSION, NOW)
    if later < 12 * 3600:
        assert SESSIONS.open(text, authenticated(), NOW + later)
    else:
        assert heard(refused(text, authenticated(), NOW + later)) == UNKNOWN


def ended(*sids: str) -> Snapshot:
    return msgspec.structs.replace(snapshot(), revocations=Revocations(sessions=frozenset(sids)))


@few
@given(st.integers(0, 4))
def test_an_ended_session_is_unknown_and_the_others_go_on(which: int) -> None:
    minted = [SESSIONS.mint(authenticated(), VERSION, NOW) for _ in range(5)]
    at = ended(minted[which][1])
    for number, (text, sid) in enumerate(minted):
        if number == which:
            assert heard(refused(text, authenticated(at=at))) == UNKNOWN
        else:
            assert SESSIONS.open(text, authenticated(at=at), NOW).sid == sid


@pytest.mark.parametrize(
    ("purpose", "payload"),
    [("session", b"{}"), ("session", b"no JSON"), ("inputs", None), ("session", b'{"sid": 4}')],
)
def test_what_was_sealed_for_another_use_is_unknown(purpose: str, payload: bytes | None) -> None:
    text, _ = SESSIONS.mint(authenticated(), VERSION, NOW)
    plain = payload if payload is not None else sealer().open("session", text)
    assert heard(refused(sealer().seal(purpose, plain), authenticated())) == UNKNOWN


def test_what_another_deployment_sealed_is_unknown() -> None:
    foreign = Sessions(Sealer({"k1": b"x" * 32}, "k1"))
    text, _ = foreign.mint(authenticated(), VERSION, NOW)
    assert heard(refused(text, authenticated())) == UNKNOWN


class Door:
    """`DELETE` of one deployment, with a store that remembers which sessions ended."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.ended: dict[str, float] = {}
        self.stage = EndSession(
            authenticate=self.house.authenticate,
            sessions=self.house.sessions,
            end=self._end,
            record=self.house.record,
            explain=self.house.problems.explain,
            clock=self.house.clock,
        )
        self.token = self.house.token()

    async def _end(self, sid: str, expires_at: float) -> bool:
        if sid in self.ended:
            return False
        self.ended[sid] = expires_at
        return True

    def open(self, **more: Any) -> str:
        caller = self.house.authenticate(self.request(None, **more))
        return self.house.sessions.mint(caller, VERSION, self.house.clock.wall())[0]

    def request(self, session: str | None, *, token: str = "", server: str = "") -> Inbound:
        headers = {"authorization": f"Bearer {token or self.token}"}
        return inbound(
            b"", server=server, headers={**headers, **({SESSION_HEADER: session} if session else {})}
        )

    def delete(self, session: str | None, **more: Any) -> Reply:
        return asyncio.run(self.stage(self.request(session, **more)))

    def rows(self) -> list[tuple[str, str | None, str]]:
        return [(event.action, event.decision, event.reason) for event in self.house.log.events]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_client_ends_its_own_session(door: Door) -> None:
    reply = door.delete(door.open())
    assert (reply.status, reply.body) == (204, b"")
    assert list(door.ended.values()) == [NOW + ABSOLUTE_TTL]
    assert door.rows() == [("session", "allow", "session_ended")]


def test_a_session_ends_once(door: Door) -> None:
    text = door.open()
    door.delete(text)
    assert door.delete(text).status == 404
    assert door.rows()[-1] == ("session", "deny", "session_unknown")


WRONG: dict[str, Callable[[Door], Reply]] = {
    "nonsense": lambda door: door.delete("nonsense"),
    "another's": lambda door: door.delete(door.open(token=door.house.token("bob"))),
    "of another route": lambda door: door.delete(door.open(), server="docs"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_no_other_session_can_be_ended_and_the_answers_are_alike(door: Door, wrong: str) -> None:
    reply = WRONG[wrong](door)
    assert reply.status == 404
    assert msgspec.json.decode(reply.body)["error"]["message"] == UNKNOWN[2]
    assert door.ended == {}
    assert [row[1] for row in door.rows()] == ["deny"]


def test_without_a_session_only_post_is_served(door: Door) -> None:
    reply = door.delete(None)
    assert (reply.status, reply.headers) == (405, (("allow", "POST"),))


def test_without_a_token_the_session_is_not_looked_at(door: Door) -> None:
    reply = asyncio.run(door.stage(inbound(b"", headers={SESSION_HEADER: door.open()})))
    assert reply.status == 401
    assert door.ended == {}
    assert door.rows() == [("token_validate", "deny", "token_missing")]


def test_an_end_that_cannot_be_recorded_is_not_confirmed(door: Door) -> None:
    door.house.log.broken = lambda event: event.reason == "session_ended"
    assert b"50303" in door.delete(door.open()).body


def test_an_end_that_the_store_cannot_take_is_told(door: Door) -> None:
    async def broken(sid: str, expires_at: float) -> bool:
        raise AuditFault("the disk is full")

    stage = EndSession(
        authenticate=door.house.authenticate,
        sessions=door.house.sessions,
        end=broken,
        record=door.house.record,
        explain=door.house.problems.explain,
        clock=door.house.clock,
    )
    reply = asyncio.run(stage(door.request(door.open())))
    assert b"50303" in reply.body


def test_a_token_that_counts_no_more_ends_nothing(door: Door) -> None:
    text = door.open()
    door.house.clock.seconds += 2 * 3600
    with pytest.raises(Unauthenticated):
        door.house.authenticate(door.request(text))
    assert door.delete(text).status == 401
    assert door.ended == {}


def test_the_modern_era_has_no_session_to_end(door: Door) -> None:
    named = {"authorization": f"Bearer {door.token}", SESSION_HEADER: door.open()}
    for version, status in (("2026-07-28", 405), (VERSION, 204)):
        reply = asyncio.run(door.stage(inbound(b"", headers={**named, "mcp-protocol-version": version})))
        assert reply.status == status
    assert len(door.ended) == 1
