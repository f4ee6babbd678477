"""Logins in the store: every secret counts once, also for two processes, and what comes twice ends it all."""

from __future__ import annotations

import pytest

from airlock.store import login, revocations
from airlock.store.database import Store
from airlock.store.login import Grant, Issued, Outcome

NOW = 1000.0
ENDS = NOW + 3600


class Mint:
    """Makes tokens t1, t2, ... with refresh tokens r1, r2, ..."""

    def __init__(self, until: float = NOW + 600) -> None:
        self.made = 0
        self.until = until

    def __call__(self, grant: Grant) -> Issued:
        self.made += 1
        return Issued(token=f"{grant.id}.t{self.made}", until=self.until, refresh=f"r{self.made}")


@pytest.fixture
def mint() -> Mint:
    return Mint()


def begin(store: Store, grant: str = "g", code: str = "code") -> None:
    assert login.claim(store, grant=grant, until=NOW + 600, now=NOW)
    login.issue_code(store, grant=grant, code=code, login=f'"{grant}"', until=NOW + 60, ends=ENDS)


def redeem(store: Store, mint: Mint, *, fits: bool = True, now: float = NOW, code: str = "code") -> Outcome:
    return login.redeem(store, code=code, fits=lambda _: fits, mint=mint, now=now)


def refresh(store: Store, mint: Mint, old: str, *, fits: bool = True, now: float = NOW) -> Outcome:
    return login.refresh(store, grant="g", old=old, fits=lambda _: fits, mint=mint, now=now)


def revoked(store: Store, now: float = NOW) -> set[str]:
    return set(revocations.load(store, now=now).token_ids)


def test_a_state_counts_once_for_all_processes(store: Store, other: Store) -> None:
    assert login.claim(store, grant="g", until=NOW + 600, now=NOW)
    assert not login.claim(other, grant="g", until=NOW + 600, now=NOW)
    assert login.claim(other, grant="h", until=NOW + 600, now=NOW)


def test_what_has_ended_by_itself_is_dropped(store: Store, mint: Mint) -> None:
    begin(store)
    assert login.claim(store, grant="later", until=ENDS + 600, now=ENDS)
    assert redeem(store, mint, now=ENDS).verdict == "unknown"


def test_a_code_becomes_tokens_once(store: Store, other: Store, mint: Mint) -> None:
    begin(store)
    assert redeem(store, mint) == Outcome(verdict="ok", grant=Grant(id="g", login='"g"', ends=ENDS))
    assert redeem(other, mint).verdict == "reused"
    assert mint.made == 1


def test_an_unknown_code_is_nobodys(store: Store, mint: Mint) -> None:
    assert redeem(store, mint) == Outcome(verdict="unknown")


def test_a_claimed_state_has_no_code(store: Store, mint: Mint) -> None:
    login.claim(store, grant="g", until=NOW + 600, now=NOW)
    assert refresh(store, mint, "").verdict == "unknown"


def test_a_code_comes_in_time_or_never(store: Store, mint: Mint) -> None:
    begin(store)
    assert redeem(store, mint, now=NOW + 60).verdict == "expired"
    assert redeem(store, mint, now=NOW).verdict == "reused"


def test_a_code_that_does_not_fit_its_sender_is_gone(store: Store, mint: Mint) -> None:
    begin(store)
    assert redeem(store, mint, fits=False).verdict == "misfit"
    assert redeem(store, mint).verdict == "reused"


def test_a_code_that_comes_twice_revokes_every_token(store: Store, other: Store, mint: Mint) -> None:
    begin(store)
    redeem(store, mint)
    refresh(store, mint, "r1")
    before = store.versions()["revocations"]
    redeem(other, mint)
    assert revoked(store) == {"g.t1", "g.t2"}
    assert store.versions()["revocations"] > before
    assert refresh(store, mint, "r2").verdict == "unknown"


def test_a_refresh_token_is_good_for_the_next(store: Store, other: Store, mint: Mint) -> None:
    begin(store)
    redeem(store, mint)
    assert refresh(store, mint, "r1").verdict == "ok"
    assert refresh(other, mint, "r2").verdict == "ok"
    assert revoked(store) == set()


def test_a_refresh_token_that_comes_twice_revokes_every_token(store: Store, other: Store, mint: Mint) -> None:
    begin(store)
    redeem(store, mint)
    refresh(store, mint, "r1")
    outcome = refresh(other, mint, "r1")
    assert (outcome.verdict, outcome.grant and outcome.grant.id) == ("reused", "g")
    assert revoked(store) == {"g.t1", "g.t2"}
    assert refresh(store, mint, "r2").verdict == "unknown"


def test_a_refresh_token_that_does_not_fit_its_sender_stays_its_owners(store: Store, mint: Mint) -> None:
    begin(store)
    redeem(store, mint)
    assert refresh(store, mint, "r1", fits=False).verdict == "misfit"
    assert refresh(store, mint, "r1").verdict == "ok"


def test_a_refresh_token_ends_with_its_login(store: Store, mint: Mint) -> None:
    begin(store)
    redeem(store, mint)
    assert refresh(store, mint, "r1", now=ENDS).verdict == "unknown"


def test_the_tokens_of_a_login_that_count_at_a_time_are_bounded(
    store: Store, mint: Mint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "MAX_TOKENS", 2)
    begin(store)
    redeem(store, mint)
    refresh(store, mint, "r1")
    assert refresh(store, mint, "r2").verdict == "busy"
    assert refresh(store, mint, "r2", now=NOW + 600).verdict == "ok"


def test_a_login_can_be_ended_by_its_owner(store: Store, mint: Mint) -> None:
    begin(store)
    redeem(store, mint)
    assert login.end(store, grant="g", now=NOW) == Grant(id="g", login='"g"', ends=ENDS)
    assert revoked(store) == {"g.t1"}
    assert login.end(store, grant="g", now=NOW) is None
    assert login.end(store, grant="unknown", now=NOW) is None


def test_a_token_that_has_ended_needs_no_revocation(store: Store) -> None:
    begin(store)
    redeem(store, Mint(until=NOW + 10))
    login.end(store, grant="g", now=NOW + 20)
    assert revoked(store, NOW + 20) == set()
