"""How every incident ends: resolved once it was verified, reviewed, closed, and proven afterwards."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec

from airlock.cli.demo.evidence import eventually_true
from airlock.cli.demo.response.acts import outside
from airlock.cli.demo.response.room import PATIENCE, Room
from airlock.core.clock import SYSTEM, rfc3339

QUICK = {"RATE": "5", "DURATION_S": "2", "P95_MS": "5000"}
"""What the check of the performance takes from the environment: a demo is no benchmark."""

TRIES = 3
"""Times that it may be tried."""

RECORDS = ("incident", "incident-timeline", "rca", "pir")
"""Files for people that every incident leaves."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What people say about an incident, in three steps."""

    cause: str
    resolution: str
    answers: tuple[str, ...]
    """Of the review, `name=text`."""
    action: str
    """What olga shall do within two weeks."""
    summary: str
    records: tuple[str, ...] = RECORDS
    """Kinds of files for people; none leaves anything open."""

    async def resolved(self, room: Room) -> None:
        """Everything works again, is verified from outside, and is watched."""
        told = await room.ask("/api/v1/leases")
        for lease in told["leases"]:
            if lease["incident"] == room.incident and lease["origin"] in ("detector", "playbook"):
                await room.about("/owners", {"lease": lease["id"], "person": "olga"})
                room.tell("olga", f"answers for {lease['action']} until {lease['expires_at']}")
        early = await room.command("incident", "resolve", room.incident, exits=(1,))
        room.tell("airlock", early.err.strip().splitlines()[-1])
        room.check("unverified, nothing is resolved", expected=True, seen="verification" in early.err)
        await _verified(room)
        words = ("--cause", self.cause, "--resolution", self.resolution, "--watch", "24h")
        await room.command("incident", "resolve", room.incident, *words)
        record = (await room.about())["incident"]
        room.check("resolved, and watched for a day", expected="RESOLVED", seen=record["status"])
        room.mark("resolved")
        await outside(room, "resolved")

    async def reviewed(self, room: Room) -> None:
        """The review is written, the evidence sealed, the incident closed."""
        when = rfc3339(SYSTEM.wall() + 48 * 3600)
        words = ("--begin", "--scheduled", when, *self.answers)
        await room.command("incident", "review", room.incident, *words)
        said = await room.command("incident", "counterfactuals", room.incident)
        for line in said.out.splitlines():
            room.tell("", line)
        due = rfc3339(SYSTEM.wall() + 14 * 86400)[:10]
        item = (self.action, "--owner", "olga", "--due", due, "--priority", "high")
        await room.command("incident", "actions", "add", room.incident, *item)
        bundle = f"evidence-{room.incident}"
        await room.command("evidence", "seal", bundle, token=False)
        await room.command("incident", "close", room.incident, "--summary", self.summary)
        whole = await room.about()
        room.check("closed", expected="CLOSED", seen=whole["incident"]["status"])
        for each in whole["durations"]:
            if each["seconds"] is not None:
                room.tell("clock", f"{each['title']}: {each['seconds']:.1f} s")

    async def proven(self, room: Room) -> None:
        """What was recorded holds, and a manager can read it."""
        bundle = room.site.data / "evidence" / f"evidence-{room.incident}"
        said = await room.command("evidence", "verify", str(bundle), "--json", token=False)
        found = said.json
        for step in found["steps"]:
            room.tell("airlock", f"{step['name']}: {step['result']}")
        room.not_proven = found["not_proven"]
        copy = room.site.folder / "copy"
        await asyncio.to_thread(shutil.copytree, bundle, copy)
        changed = copy / "data" / "record" / "timeline.json"
        await asyncio.to_thread(_edit, changed)
        room.tell("somebody", "in a copy: changes one bit of data/record/timeline.json")
        said = await room.command("evidence", "verify", str(copy), "--json", token=False, exits=(1,))
        named = [step for step in said.json["steps"] if "timeline.json" in str(step)]
        room.check("the changed file is named", expected=True, seen=bool(named))
        said = await room.command("audit", "verify", "--json", token=False)
        room.check("the log is whole", expected=[], seen=said.json["findings"])
        for kind in self.records:
            await _written(room, kind)


async def _verified(room: Room) -> None:
    """The checks from outside are green."""
    only: tuple[str, ...] = ()
    for _ in range(TRIES):
        said = await room.command(
            "incident", "verify", room.incident, *only, variables=QUICK, exits=(0, 1, 3)
        )
        for line in said.out.splitlines():
            room.tell("", line)
        if said.exit == 0:
            return
        only = ("--check", "performance")  # the machine may have stood still for a moment


async def _written(room: Room, kind: str) -> None:
    """A file for people, once it is of the closed record."""
    path = room.site.data / "incidents" / room.incident / f"{kind}-{room.incident}.md"

    async def look() -> tuple[bool, str]:
        text = await asyncio.to_thread(path.read_text)
        return "not yet known" not in text, text

    text = await eventually_true(look, within=PATIENCE)
    room.tell("file", f"{path.name}, {len(text.splitlines())} lines")
    room.check(f"{kind} leaves nothing open", expected=0, seen=text.count("not yet known"))


def _edit(path: Path) -> None:
    """Turn one bit of the last byte but one."""
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))
