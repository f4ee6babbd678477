"""The audit log cannot be written: nothing is served unrecorded, it is found, mended, and accounted for."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airlock.audit import journal
from airlock.cli.demo.evidence import Said, eventually, eventually_true
from airlock.cli.demo.response import acts
from airlock.cli.demo.response.room import PATIENCE, Document, Room
from airlock.cli.demo.response.site import ResponseSite
from airlock.cli.demo.response.traffic import Took, calls
from airlock.cli.demo.transcript import Transcript
from airlock.mcp.refusals import REFUSAL_KEY

MIB = 1024 * 1024

LIMIT = 6 * MIB
"""Bytes that a file may grow to (`ulimit -f`) once the limit is there. The journal of each worker is larger
by then; the other files of a worker are smaller, so that it can do everything but record."""

LETTER = 150_000
"""Characters of a mail. The log keeps what policy was asked, and that has the text in it."""

MOST = 200
"""Mails at most until both journals are long enough."""

UNDER_WAY, HELD = 6, 4.0
"""Calls that are under way when it breaks, and the seconds that each takes."""

ATTEMPTS = 12
"""Calls while nothing can be recorded."""

TOOL, MAIL = "customers__customer", "mail__send_mail"

UNRECORDED = 50303


class RecordingSite(ResponseSite):
    """The log keeps every question to policy in full."""

    def settings(self, place: str, command: list[str], variables: Mapping[str, str]) -> dict[str, Any]:
        """See `Site.settings`."""
        return {**super().settings(place, command, variables), "audit": {"inputs": "full"}}


class Recording(Room):
    """What the steps of this story hand on."""

    place: RecordingSite

    def __init__(self, site: ResponseSite, transcript: Transcript) -> None:
        super().__init__(site, transcript)
        self.cut: list[str] = []
        """Decision ids of the calls that were under way."""
        self.run: Document = {}


async def recorded(room: Recording) -> None:
    """Letters are written, and every one of them is in the log."""
    sent = 0
    while sent < MOST and min(_ends(room), default=0) <= LIMIT:
        took = await calls(room, MAIL, 4, at_once=4, to="ada@example.com", text="x" * LETTER)
        sent += sum(each.served for each in took)
    sizes = ", ".join(f"{end / MIB:.1f} MiB" for end in _ends(room))
    room.tell("ada", f"writes {sent} letters; the journals of the two workers have {sizes}")
    room.check("both journals are long", expected=True, seen=min(_ends(room)) > LIMIT)
    await _gaps(room, 0)


async def broken(room: Recording) -> None:
    """A limit on the size of files stops every journal while calls are under way."""
    before = len(room.evidence.received())
    room.place.slow.write_text(str(HELD))
    async with asyncio.TaskGroup() as group:
        under_way = group.create_task(calls(room, TOOL, UNDER_WAY, at_once=UNDER_WAY, number=7))
        await eventually(lambda: (len(room.evidence.received()) >= before + UNDER_WAY, None), within=PATIENCE)
        room.starts("the limit")
        _limited(room, LIMIT)
        room.tell("somebody", f"ulimit -f: no file of the gateway grows beyond {LIMIT // MIB} MiB")
        room.place.slow.unlink()
    took = under_way.result()
    room.tell("airlock", f"{took[0].code} {_advice(took[0])}")
    room.check(
        "what was under way is not answered as if it were recorded",
        expected={UNRECORDED},
        seen={each.code for each in took},
    )
    room.cut = [_meta(each)["decision_id"] for each in took]
    reached = len(room.evidence.received())
    took = await calls(room, TOOL, ATTEMPTS, number=8)
    room.check(
        "nothing begins that cannot be recorded, on either worker",
        expected={UNRECORDED},
        seen={each.code for each in took},
    )
    room.check("and none of it reached the server", expected=reached, seen=len(room.evidence.received()))
    await acts.alerted(room, "MCP-022")
    room.mark("detected")
    record = (await room.about())["incident"]
    room.check(
        "an incident is open, without a person and without the log",
        expected=("data_issue", "audit_events_not_recording", "P1"),
        seen=(record["type"], record["subtype"], record["severity"]),
    )


FACTS = {
    "business_impact": "No call is served.",
    "affected_users": "everybody",
    "affected_services": ["gateway"],
    "security_implications": "Nothing was done unrecorded.",
    "ticket_url": "https://tickets.example.com/INC-3",
    "status_page_url": "https://status.example.com/",
}


async def declared(room: Recording) -> None:
    """People are told although nothing can be recorded; what is to be recorded waits."""
    await acts.commanded(room, FACTS)
    room.mark("declared")
    events = (await room.about("/timeline"))["events"]
    waiting = [each for each in events if each["audit_seq"] is None]
    room.tell("airlock", f"{len(waiting)} of {len(events)} lines of the timeline wait for the log")
    room.check("every line of the incident waits for the log", expected=len(events), seen=len(waiting))


async def looked(room: Recording) -> None:
    """The playbook: what is missing, whether it was an attack, whether there is room, what writing says."""
    run = await acts.played(room, "audit-not-recording", stops="gaps")
    said = await _gaps(room, 1)
    spooled = [gap for gap in said.json["gaps"] if gap["check"] == "spool"]
    for gap in spooled:
        room.tell("airlock", gap["cause"])
    room.check("outcomes wait, and are said to wait", expected=True, seen=bool(spooled))
    run = await acts.answered(room, run, said.out[:8000])
    for words in (
        ("audit", "verify"),
        ("audit", "storage"),
        ("logs", "--event", "audit_flush_failed,audit_spooled", "--since", "1h"),
    ):
        run = await acts.by_hand(room, run, words)
    room.run = await _goes_on(room, run)
    room.check("it comes to what only a person can mend", expected="warehouse", seen=room.run["current"])
    bundles = (await room.about("/evidence"))["bundles"]
    room.check(
        "evidence was kept before anything was mended", expected=[True], seen=[b["whole"] for b in bundles]
    )


async def mended(room: Recording) -> None:
    """The limit is lifted; the workers go on by themselves."""
    run = await acts.answered(room, room.run, "There is no warehouse here.")
    _limited(room, resource.RLIM_INFINITY)
    room.tell("olga", "lifts the limit")
    run = await acts.answered(room, run, "The limit on file sizes was lifted.")

    async def look() -> tuple[bool, list[Took]]:
        took = await calls(room, TOOL, ATTEMPTS, number=9)
        return all(each.served for each in took), took

    took = await eventually_true(look, within=PATIENCE)
    room.check("both workers serve again", expected=ATTEMPTS, seen=sum(each.served for each in took))
    room.mark("mended")
    room.run = run


async def accounted(room: Recording) -> None:
    """What was missing is in the log, and says that it is late; the playbook comes to its end."""
    await _gaps(room, 0)
    which = ", ".join(f"'{each}'" for each in room.cut)
    sql = (
        "SELECT COUNT(*) AS rows, SUM(json_extract(metadata, '$.late')) AS late FROM audit_events"  # noqa: S608 (our own ids)
        f" WHERE phase = 'outcome' AND correlation_id IN ({which})"
    )
    room.tell("olga", 'airlock audit query "SELECT COUNT(*), SUM(late) ..."')
    said = await room.evidence.airlock("audit", "query", sql, "--json")
    room.check(
        "each call that was under way has one outcome, which says that it came late",
        expected=[{"rows": UNDER_WAY, "late": UNDER_WAY}],
        seen=said.json["rows"],
    )
    whole = await room.until(
        "every line of the incident is in the log",
        lambda told: told if all(each["audit_seq"] for each in told["events"]) else None,
        f"/api/v1/incidents/{room.incident}/timeline",
    )
    room.check("every line of the incident is in the log", expected=True, seen=bool(whole["events"]))
    run = await acts.by_hand(room, room.run, ("audit", "verify"))
    run = await _goes_on(room, run)
    room.check("the playbook ran to its end", expected="succeeded", seen=run["state"])
    cause = "A limit on the size of files was set for the processes of the gateway."
    await acts.known(room, cause, action="The limit was lifted.")


async def _goes_on(room: Recording, run: Document) -> Document:
    """The run once the engine has done what it can."""
    return await room.until(
        "the playbook goes on",
        lambda told: told["run"] if told["run"]["state"] != "running" else None,
        f"/api/v1/runs/{run['id']}",
    )


async def _gaps(room: Recording, exit: int) -> Said:
    """What `airlock audit gaps` says, once it ends so."""

    async def look() -> tuple[bool, Said]:
        said = await room.evidence.airlock("audit", "gaps", "--json")
        return said.exit == exit, said

    room.tell("olga", "airlock audit gaps --json")
    said = await eventually_true(look, within=PATIENCE)
    room.check("nothing is missing" if not exit else "something is missing", expected=exit, seen=said.exit)
    return said


def _limited(room: Recording, size: int) -> None:
    """Limit the files of every worker. Its own user may do that, and lift it up to the hard limit."""
    for pid in room.site.workers():
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size == resource.RLIM_INFINITY else size, hard))


def _ends(room: Recording) -> list[int]:
    """Bytes in the newest segment of each journal."""
    return [_end(journal.segments(chain)[-1]) for chain in journal.chains(room.site.data / "journal")]


def _end(segment: Path) -> int:
    return max((record.end_offset for record in journal.read(segment)), default=0)


def _meta(took: Took) -> Document:
    return took.answer["result"]["_meta"][REFUSAL_KEY]


def _advice(took: Took) -> str:
    return str(_meta(took).get("reason", ""))
