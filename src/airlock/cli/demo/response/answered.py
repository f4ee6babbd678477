"""The second half: a playbook contains what runs, the thief comes back, and people are told."""

from __future__ import annotations

import asyncio
import uuid

from airlock.cli.demo import agent
from airlock.cli.demo.evidence import eventually
from airlock.cli.demo.response import acts, attack
from airlock.cli.demo.response.room import PATIENCE, Document, Room

MANUAL = {
    "pattern": ("audit", "query", "--decision", "deny", "--since", "2h", "--json"),
    "whole": ("audit", "verify"),
}
"""The commands that the playbook leaves to a person."""

SOON = 15.0
"""Seconds from a lease to the end of what it cuts; on a quiet machine it is a tenth of one."""


async def contained(room: Room) -> None:
    """The playbook for a breach, while the attacker's streams are open."""
    run = await acts.played(room, "security-breach", f"source_ip={attack.THIEF}", stops="pattern")
    await _cut(room, run)
    while run["state"] == "waiting":
        run = await acts.by_hand(room, run, MANUAL[run["current"]])
    room.check("the playbook ran to its end", expected="succeeded", seen=run["state"])
    await acts.kept(room)
    kept = [step["step"] for step in run["steps"] if step["state"] == "succeeded"]
    room.check("evidence was kept before anything was changed", expected="freeze", seen=kept[0])


async def _cut(room: Room, run: Document) -> None:
    """The streams end soon after the lease that the playbook gave; its id (UUIDv7) has the milliseconds."""
    lease = next(step["lease"] for step in run["steps"] if step["step"] == "block")
    given = uuid.UUID(lease).int >> 80
    open_still = await eventually(
        lambda: (all(s.ended_at for s in room.streams), [s.ended_at is None for s in room.streams]),
        within=PATIENCE,
    )
    room.check("every stream of the attacker is cut", expected=[False, False], seen=open_still)
    ended = max(stream.ended_at or 0.0 for stream in room.streams)
    room.tell("clock", f"both streams ended {ended - given / 1000:.2f} s after the block")
    room.check("at once", expected=True, seen=ended - given / 1000 < SOON)
    for stream, carrier in zip(room.streams, room.carriers, strict=False):
        await stream.close()
        await carrier.aclose()
    parts = room.place.taken.read_text().splitlines()
    await asyncio.sleep(1)
    room.check(
        "the server sends nothing more",
        expected=len(parts),
        seen=len(room.place.taken.read_text().splitlines()),
    )


async def followed(room: Room) -> None:
    """The thief comes back from elsewhere; one person tries a suspension, another one agrees to it."""
    async with attack.behind(room.clerks["vera"], attack.ELSEWHERE) as carrier:
        again = await agent.by_hand(carrier, room.site.url, agent.message("customers__customer", number=2))
        room.tell("attacker", f"calls again with vera's token, from {attack.ELSEWHERE}")
        room.check("the token still counts there", expected=True, seen=agent.served(again))
        why = ("--reason", "the token of vera was stolen", "--incident", room.incident)
        words = ("--selector", "subject=vera", "--selector", "tenant=acme", "--ttl", "1h", *why)
        said = await room.command("contain", "subject.suspend", *words, "--dry-run", "--json")
        proposal = said.json["proposal"]
        hits = proposal["prediction"]
        told = f"of {hits['requests']} calls it would have stopped {hits['flipped']}"
        room.tell("airlock", f"{told}, of {hits['users']} person")
        room.check("it hits nobody else", expected=1, seen=hits["users"])
        approved = await room.command("approve", proposal["id"], "--json", who="paul", exits=(0, 3))
        room.check("what was tried is in force", expected="active", seen=approved.json["lease"]["state"])
        order = {"action": "subject.suspend", "selector": {"subject": "eve", "tenant": "acme"}, "ttl": "1h"}
        stolen = {"reason": "the token of eve was stolen", "incident": room.incident}
        await room.ask("/api/v1/leases", {**order, **stolen})
        room.tell("olga", "suspends eve, too")
        status = 0
        for _ in range(int(PATIENCE)):
            status = await attack.status(carrier, room.site.url, agent.message("customers__customer"))
            if status == 403:
                break
            await asyncio.sleep(0.5)
        room.check("the token counts nowhere any more", expected=403, seen=status)


async def informed(room: Room) -> None:
    """The cause is known; those inside and outside are told, each by who may."""
    await room.about("/clocks", {"id": "gdpr", "trigger": "awareness"})
    await acts.known(room, "Two tokens were stolen from laptops; the thief used them from another network.")
    await acts.outside(room, "customer")
