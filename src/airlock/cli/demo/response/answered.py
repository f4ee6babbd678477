"""The second half: a playbook contains what runs, people are told, and the incident comes to its end."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from pathlib import Path

from airlock.cli.demo import agent
from airlock.cli.demo.evidence import eventually, eventually_true
from airlock.cli.demo.response import attack
from airlock.cli.demo.response.room import PATIENCE, Document, Room
from airlock.core.clock import SYSTEM, rfc3339

MANUAL = {
    "pattern": ("audit", "query", "--decision", "deny", "--since", "2h", "--json"),
    "whole": ("audit", "verify"),
}
"""The commands that the playbook leaves to a person."""

QUICK = {"RATE": "5", "DURATION_S": "2", "P95_MS": "5000"}
"""What the check of the performance takes from the environment: a demo is no benchmark."""

TRIES = 3
"""Times that it may be tried."""

SOON = 15.0
"""Seconds from a lease to the end of what it cuts; on a quiet machine it is a tenth of one."""


async def contained(room: Room) -> None:
    """The playbook for a breach, while the attacker's streams are open."""
    words = (
        "--incident",
        room.incident,
        "--unattended",
        "--set",
        f"source_ip={attack.THIEF}",
        "--wait",
        "90",
        "--json",
    )
    said = await room.command("runbook", "run", "security-breach", *words, exits=(4,))
    run = said.json["run"]
    room.check(
        "it waits for a person, at the first thing that takes one", expected="pattern", seen=run["current"]
    )
    for step in run["steps"]:
        if step["state"] == "succeeded":
            room.tell("playbook", f"{step['step']}: {step['what'].splitlines()[0]}")
    await _cut(room, run)
    while run["state"] == "waiting":
        run = await _by_hand(room, run)
    room.check("the playbook ran to its end", expected="succeeded", seen=run["state"])
    await room.until(
        "the snapshot is there",
        lambda told: any(each["state"] in ("complete", "sealed") for each in told["bundles"]),
        f"/api/v1/incidents/{room.incident}/evidence",
    )
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


async def _by_hand(room: Room, run: Document) -> Document:
    """Do what the playbook leaves to a person, and hand in what was seen."""
    step = run["current"]
    said = await room.command(*MANUAL[step], token=False)
    seen = room.site.folder / f"{step}.txt"
    await asyncio.to_thread(seen.write_text, said.out[:8000])
    await room.command("runbook", "answer", run["id"], step, "done", "--output", str(seen))

    def settled(told: Document) -> Document | None:
        now = told["run"]
        return now if now["state"] != "running" and now["current"] != step else None

    return await room.until(f"{step} is answered", settled, f"/api/v1/runs/{run['id']}")


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
    alerts = (await room.ask(f"/api/v1/alerts?state=all&incident={room.incident}"))["alerts"]
    cause = "Two tokens were stolen from laptops; the thief used them from another network."
    await room.command(
        "incident", "identify", room.incident, "--hypothesis", cause, "--evidence", alerts[0]["id"]
    )
    await room.command("incident", "mitigate", room.incident)
    record = (await room.about())["incident"]
    room.check("what caused it is known, and it is contained", expected="MONITORING", seen=record["status"])
    await room.about("/clocks", {"id": "gdpr", "trigger": "awareness"})
    await room.command("incident", "send", "update", "--incident", room.incident)
    update = await room.delivered("update", "status_updates")
    room.tell("inbox", update["subject"])
    await _outside(room, "customer")


async def _outside(room: Room, template: str) -> None:
    """A notice that leaves the house waits for the one who speaks to those outside."""
    said = await room.command("incident", "send", template, "--incident", room.incident, "--json", exits=(4,))
    [message] = said.json["messages"]
    before = [each["template"] for each in room.place.inbox.messages]
    room.check(f"nobody outside was told yet by {template}", expected=False, seen=template in before)
    await room.command("incident", "comms", room.incident, "--approve", message["id"], who="paul")
    arrived = await room.delivered(template, "customer")
    room.tell("inbox", f"customers: {arrived['subject']}")
    room.check("what arrived is what was approved", expected=message["body"], seen=arrived["body"])


async def resolved(room: Room) -> None:
    """Everything works again, is verified from outside, and is watched."""
    told = await room.ask("/api/v1/leases")
    for lease in told["leases"]:
        if lease["incident"] == room.incident and lease["origin"] in ("detector", "playbook"):
            await room.about("/owners", {"lease": lease["id"], "person": "olga"})
            room.tell("olga", f"answers for {lease['action']} until {lease['expires_at']}")
    early = await room.command("incident", "resolve", room.incident, exits=(1,))
    room.tell("airlock", early.err.strip().splitlines()[-1])
    room.check("unverified, nothing is resolved", expected=True, seen="verification" in early.err)
    only: tuple[str, ...] = ()
    for _ in range(TRIES):
        said = await room.command(
            "incident", "verify", room.incident, *only, variables=QUICK, exits=(0, 1, 3)
        )
        for line in said.out.splitlines():
            room.tell("", line)
        if said.exit == 0:
            break
        only = ("--check", "performance")  # the machine may have stood still for a moment
    cause, done = "Two tokens were stolen from laptops.", "Both tokens and their addresses are shut out."
    words = ("--cause", cause, "--resolution", done, "--watch", "24h")
    await room.command("incident", "resolve", room.incident, *words)
    record = (await room.about())["incident"]
    room.check("resolved, and watched for a day", expected="RESOLVED", seen=record["status"])
    await _outside(room, "resolved")


async def reviewed(room: Room) -> None:
    """The review is written, the evidence sealed, the incident closed."""
    when = rfc3339(SYSTEM.wall() + 48 * 3600)
    answers = (
        "occurrence=Tokens lay in files that other programs could read.",
        "prevention=Nothing bound a token to the machine of its owner.",
        "detection_delay=There was none for the guesses; the thief looked like a clerk until he sent mail.",
        "resolution_time=Minutes: the playbook blocked, a person suspended.",
        "monitoring=Reading followed by sending raised the alert.",
        "contributing_factors=long-lived tokens; no second factor for exports",
        "went_well=guesses were blocked before anybody woke up; the snapshot came before the block",
        "improve=sending after a sensitive read should have waited for a person",
        "breach_answered=true",
    )
    await room.command("incident", "review", room.incident, "--begin", "--scheduled", when, *answers)
    said = await room.command("incident", "counterfactuals", room.incident)
    for line in said.out.splitlines():
        room.tell("", line)
    due = rfc3339(SYSTEM.wall() + 14 * 86400)[:10]
    item = ("Bind tokens to machines", "--owner", "olga", "--due", due, "--priority", "high")
    await room.command("incident", "actions", "add", room.incident, *item)
    bundle = f"evidence-{room.incident}"
    await room.command("evidence", "seal", bundle, token=False)
    await room.command("incident", "close", room.incident, "--summary", "Contained; nobody else was hit.")
    whole = await room.about()
    room.check("closed", expected="CLOSED", seen=whole["incident"]["status"])
    for each in whole["durations"]:
        if each["seconds"] is not None:
            room.tell("clock", f"{each['title']}: {each['seconds']:.1f} s")


async def proven(room: Room) -> None:
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
    room.tell("attacker", "in a copy: changes one bit of data/record/timeline.json")
    said = await room.command("evidence", "verify", str(copy), "--json", token=False, exits=(1,))
    named = [step for step in said.json["steps"] if "timeline.json" in str(step)]
    room.check("the changed file is named", expected=True, seen=bool(named))
    said = await room.command("audit", "verify", "--json", token=False)
    room.check("the log is whole", expected=[], seen=said.json["findings"])
    for kind in ("incident", "incident-timeline", "rca", "breach-report", "pir"):
        await _written(room, kind)


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
