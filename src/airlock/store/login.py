"""Logins of OAuth clients: codes, refresh tokens and what became of them. Only digests of secrets are kept.

Every step is one transaction that moves a grant on, so a state, a code or a refresh token that is presented
twice, at whichever worker, counts once. What is presented after it counted is taken for stolen: the grant
ends and so do its tokens, everywhere, in the same transaction.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, delete, insert, select, update

from airlock.store.changes import REVOCATIONS, Change
from airlock.store.database import Store
from airlock.store.schema import login_grants, revocations

MAX_TOKENS = 32
"""Access tokens of one grant that count at a time: each of them is known by name, so that all can end."""

_Row = Row[Any]
_tokens = msgspec.json.Decoder(list[tuple[str, float]])


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A login that counts. `login` is what it says, as JSON; `ends` in Unix seconds."""

    id: str
    login: str
    ends: float


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were made for a grant."""

    token: str
    """The `jti` of the access token."""
    until: float
    """Unix seconds until which verifiers may accept it."""
    refresh: str
    """Digest of the refresh token."""


Mint = Callable[[Grant], Issued]
"""Makes the tokens of a grant."""

Verdict = Literal["ok", "unknown", "expired", "misfit", "reused", "busy"]
"""`misfit`: the secret is right, but not for who presented it. `busy`: too many tokens already."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a code or refresh token. `grant` is the one that it belongs to, if there is one."""

    verdict: Verdict
    grant: Grant | None = None


def claim(store: Store, *, grant: str, until: float, now: float) -> bool:
    """Take the one chance that a `state` gives, until a time in Unix seconds; false if it was taken."""
    with store.change(REVOCATIONS) as change:
        change.connection.execute(delete(login_grants).where(login_grants.c.ends_at <= now))
        known = select(login_grants.c.id).where(login_grants.c.id == grant)
        if change.connection.execute(known).first() is not None:
            return False
        row = {"id": grant, "state": "claimed", "login": "", "refresh": "", "tokens": "[]"}
        change.connection.execute(insert(login_grants).values(**row, expires_at=until, ends_at=until))
        return True


def issue_code(store: Store, *, grant: str, code: str, login: str, until: float, ends: float) -> None:
    """Somebody logged in: `code` (a digest) counts until a time, what it is exchanged for until `ends`."""
    this = (login_grants.c.id == grant) & (login_grants.c.state == "claimed")
    values = {"state": "coded", "login": login, "code": code, "expires_at": until, "ends_at": ends}
    with store.change(REVOCATIONS) as change:
        change.connection.execute(update(login_grants).where(this).values(**values))


def redeem(store: Store, *, code: str, fits: Callable[[Grant], bool], mint: Mint, now: float) -> Outcome:
    """Exchange a code (a digest) for tokens.

    A code that does not fit its sender, or comes late or twice, ends the grant.
    """
    with store.change(REVOCATIONS) as change:
        row = change.connection.execute(select(login_grants).where(login_grants.c.code == code)).first()
        if row is None:
            return Outcome(verdict="unknown")
        verdict: Verdict = "ok"
        if row.state != "coded":
            verdict = "reused"
        elif now >= row.expires_at:
            verdict = "expired"
        elif not fits(_grant(row)):
            verdict = "misfit"
        if verdict != "ok":
            _end(change, row, now)
            return Outcome(verdict=verdict, grant=_grant(row))
        return _go_on(change, row, mint, now)


def refresh(
    store: Store, *, grant: str, old: str, fits: Callable[[Grant], bool], mint: Mint, now: float
) -> Outcome:
    """Exchange the refresh token `old` (a digest) for the next tokens.

    Any other refresh token of a grant than its current one was rotated away: that ends the grant.
    """
    with store.change(REVOCATIONS) as change:
        row = change.connection.execute(select(login_grants).where(login_grants.c.id == grant)).first()
        if row is None or row.state != "live" or now >= row.ends_at:
            return Outcome(verdict="unknown")
        if not hmac.compare_digest(row.refresh, old):
            _end(change, row, now)
            return Outcome(verdict="reused", grant=_grant(row))
        if not fits(_grant(row)):
            return Outcome(verdict="misfit", grant=_grant(row))
        return _go_on(change, row, mint, now)


def end(store: Store, *, grant: str, now: float) -> Grant | None:
    """End a grant and its tokens; None if there is none that counts."""
    with store.change(REVOCATIONS) as change:
        row = change.connection.execute(select(login_grants).where(login_grants.c.id == grant)).first()
        if row is None or row.state != "live":
            return None
        _end(change, row, now)
        return _grant(row)


def _go_on(change: Change, row: _Row, mint: Mint, now: float) -> Outcome:
    grant = _grant(row)
    counting = [(token, until) for token, until in _tokens.decode(row.tokens) if until > now]
    if len(counting) >= MAX_TOKENS:
        return Outcome(verdict="busy", grant=grant)
    issued = mint(grant)
    tokens = msgspec.json.encode([*counting, (issued.token, issued.until)]).decode()
    values = {"state": "live", "refresh": issued.refresh, "tokens": tokens}
    change.connection.execute(update(login_grants).where(login_grants.c.id == grant.id).values(**values))
    return Outcome(verdict="ok", grant=grant)


def _end(change: Change, row: _Row, now: float) -> None:
    """The row stays until its own end, so that what is presented again is still known for what it is."""
    this = login_grants.c.id == row.id
    change.connection.execute(update(login_grants).where(this).values(state="ended", tokens="[]", refresh=""))
    for token, ends in _tokens.decode(row.tokens):
        known = (revocations.c.kind == "token") & (revocations.c.value == token)
        if ends > now and change.connection.execute(select(revocations.c.value).where(known)).first() is None:
            values = {"kind": "token", "value": token, "reason": "login_ended", "at": now, "expires_at": ends}
            change.connection.execute(insert(revocations).values(**values))
            change.announce()


def _grant(row: _Row) -> Grant:
    return Grant(id=row.id, login=row.login, ends=row.ends_at)
