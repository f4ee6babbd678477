"""`/api/v1/policy`: which policies came to decide, by whom, and the way back to one of them.

1 the changes of a time, with the difference of their texts
2 the calls of that time are asked of both sides of each: what flips is counted
3 a rollback is a proposal; who may approve it alone has done so by asking, else it waits for people
"""

from __future__ import annotations

import asyncio
import difflib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from airlock.api import leasing, proposal_shown
from airlock.api.entries import Entry, document, query
from airlock.api.leasing import NO_REASON, Leasing
from airlock.api.proposals import One, ProposalsApi, worded
from airlock.audit import past
from airlock.core.clock import Clock, rfc3339
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.incident import rejudge, rollback
from airlock.incident.rejudge import Judges
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from airlock.model.proposal import Order
from airlock.model.revision import Revision, undone
from airlock.policy import kept
from airlock.store import revisions

DAY = 86_400.0

MOST = 20
"""Changes of one answer, the newest."""

LONGEST = 100_000
"""Characters of the difference of one change."""


class Since(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far an answer reaches back."""

    since: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rollback takes: `previous`, or the revision of a policy that is kept, 8 digits at least."""

    to: str = rollback.PREVIOUS
    reason: str = ""
    incident: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `undone`: a rollback took it back. `diff`: None where a text is not kept. `judged`: calls
    that this policy lets pass and the earlier one refuses, or with more obligations (`opened`), that this one
    refuses and the earlier one lets pass (`closed`), neither (`same`), and those that
    nobody can tell (`untold`); None where there is no log, or nothing before."""

    n: int
    revision: str
    before: str
    kind: str
    at: str
    by: str
    origin: str
    reason: str
    incident: str
    undone: bool
    diff: str | None
    judged: dict[str, int] | None


class Listed(msgspec.Struct, frozen=True):
    """Changes: those that were refused or taken back come first, then the newest."""

    changes: list[Change]


class RevisionsApi:
    """Policies that decided."""

    def __init__(
        self, *, leasing: Leasing, proposals: ProposalsApi, base: Callable[[], Config], clock: Clock
    ) -> None:
        self._leasing = leasing
        self._proposals = proposals
        self._base = base
        self._clock = clock

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """1 and 2."""
        seconds = leasing.seconds(query(request, Since).since) or DAY
        found = await asyncio.to_thread(self._changes, self._clock.wall() - seconds)
        return json_response(200, Listed(changes=found))

    async def roll_back(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """3."""
        asked = document(request, Asked)
        order = Order(
            action=rollback.ACTION,
            selector={"to": asked.to},
            reason=worded(asked.reason or NO_REASON),
            incident=leasing.incident(asked.incident),
        )
        proposal = await self._proposals.kept(request, who, order)
        done = await self._proposals.agreed(proposal, who)
        if done is not None:
            return await self._proposals.rolled(done, who)
        return json_response(202, {"proposal": proposal_shown.shown(proposal, self._clock.wall())})

    def _changes(self, since: float) -> list[Change]:
        with self._leasing.store.read() as connection:
            known = revisions.listing(connection)
        data, taken = Path(self._base().data_dir), undone(known)
        found = [each for each in known if each.at >= since][-MOST:]
        found.sort(key=lambda each: (each.n not in taken and each.kind != "refused", -each.n))
        judged = _judged(data, found, since=since, until=self._clock.wall())
        return [self._shown(data, each, each.n in taken, judged.get(each.n)) for each in found]

    def _shown(self, data: Path, change: Revision, undone: bool, judged: dict[str, int] | None) -> Change:
        members = {key: value for key, value in msgspec.structs.asdict(change).items() if key != "against"}
        members |= {"at": rfc3339(change.at), "undone": undone, "diff": _difference(data, change)}
        return Change(**members, judged=judged)


def _judged(data: Path, changes: list[Revision], *, since: float, until: float) -> dict[int, dict[str, int]]:
    """2, by the number of the change; empty where there is no log."""
    try:
        calls, _ = past.asked(data / "audit.db", since=since, until=until, most=rejudge.MOST)
    except sqlite3.Error:
        return {}
    with closing(Judges(data)) as judges:
        return {
            each.n: rejudge.counted([(call, judges.flip(call, each.before, each.revision)) for call in calls])
            for each in changes
            if each.before
        }


def _difference(data: Path, change: Revision) -> str | None:
    """Unified, over all files; None where one of the texts is not kept."""
    try:
        before = kept.load(data, change.before).files if change.before else {}
        after = kept.load(data, change.revision).files
    except ConfigError:
        return None
    lines: list[str] = []
    for name in sorted({*before, *after}):
        old, new = (files.get(name, b"").decode().splitlines() for files in (before, after))
        lines += difflib.unified_diff(old, new, f"before/{name}", f"after/{name}", lineterm="")
    return "\n".join(lines)[:LONGEST]


def entries(api: RevisionsApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    return (
        Entry(
            method="GET",
            path="/api/v1/policy/revisions",
            permission="incidents.read",
            summary="List what came to decide, by whom, and which calls it flips.",
            handler=api.list,
            asks=Since,
            gives=Listed,
        ),
        Entry(
            method="POST",
            path="/api/v1/policy/rollback",
            permission="leases.write",
            summary="Go back to a policy that decided before.",
            handler=api.roll_back,
            takes=Asked,
            gives=One,
            statuses=(200, 202, 207),
        ),
    )
