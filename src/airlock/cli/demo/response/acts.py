"""What several stories share while an incident is open: an alert, a commander, notices, a playbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airlock.cli.demo.response.room import Document, Room

PROPOSING = ("rollback",)
"""Steps of playbooks that propose something, and wait until people have agreed."""


async def alerted(room: Room, rule: str) -> Document:
    """The alert of a rule, once it has an incident, which is the story's from here on."""

    def placed(told: Document) -> Document | None:
        return next((each for each in told["alerts"] if each["incident"]), None)

    alert = await room.until(f"{rule} raised an alert with an incident", placed, of(rule))
    room.incident = alert["incident"]
    said(room, alert)
    room.tell("airlock", f"opens {room.incident}")
    return alert


def of(rule: str) -> str:
    """The address of the alerts of a rule."""
    return f"/api/v1/alerts?state=all&rule={rule}"


def said(room: Room, alert: Document) -> None:
    """Tell what an alert says."""
    finding = alert["finding"]
    room.tell("airlock", f"{finding['severity']} {finding['rule']}: {finding['summary']}")


async def commanded(room: Room, facts: Mapping[str, object]) -> None:
    """olga takes command, paul speaks to those outside; `facts` complete the record, and whoever has to know
    is told."""
    await room.about("/acknowledge", {})
    for role, person in (("incident_commander", "olga"), ("communications_lead", "paul")):
        await room.about("/roles", {"role": role, "person": person})
    await room.ask(f"/api/v1/incidents/{room.incident}", dict(facts), method="PATCH")
    await room.command("incident", "declare", room.incident)
    record = (await room.about())["incident"]
    room.check("people work on it", expected="INVESTIGATING", seen=record["status"])
    for template, audience in (("notification", "status_updates"), ("team", "war_room")):
        message = await room.delivered(template, audience)
        first = message["subject"] or message["body"].splitlines()[0]
        room.tell("inbox", f"{audience}: {first}")
        _complete(room, message)


def _complete(room: Room, message: Document) -> None:
    """A notice names the incident, and leaves no blank."""
    text = f"{message['subject']}\n{message['body']}"
    room.check(
        f"{message['template']} names the incident and has no blank to fill in",
        expected=(True, False),
        seen=(room.incident in text, "[" in message["body"]),
    )


async def known(room: Room, cause: str, *, action: str = "") -> None:
    """What caused it is said, with an alert for evidence, and what ended the harm where no lease did; those
    inside get an update."""
    alerts = (await room.ask(f"/api/v1/alerts?state=all&incident={room.incident}"))["alerts"]
    evidence = ("--evidence", alerts[0]["id"])
    await room.command("incident", "identify", room.incident, "--hypothesis", cause, *evidence)
    how = ("--action", action) if action else ()
    await room.command("incident", "mitigate", room.incident, *how)
    record = (await room.about())["incident"]
    room.check("what caused it is known, and it is mitigated", expected="MONITORING", seen=record["status"])
    await room.command("incident", "send", "update", "--incident", room.incident)
    update = await room.delivered("update", "status_updates")
    room.tell("inbox", update["subject"])


async def outside(room: Room, template: str) -> None:
    """A notice that leaves the house waits for the one who speaks to those outside."""
    words = (template, "--incident", room.incident, "--json")
    [message] = (await room.command("incident", "send", *words, exits=(4,))).json["messages"]
    before = [each["template"] for each in room.place.inbox.messages]
    room.check(f"nobody outside was told yet by {template}", expected=False, seen=template in before)
    await room.command("incident", "comms", room.incident, "--approve", message["id"], who="paul")
    arrived = await room.delivered(template, "customer")
    room.tell("inbox", f"customers: {arrived['subject']}")
    room.check("what arrived is what was approved", expected=message["body"], seen=arrived["body"])


async def played(room: Room, playbook: str, *settings: str, stops: str) -> Document:
    """A playbook up to `stops`, its first step that takes a person; its run as it stands then. `settings` are
    its parameters, `name=value`."""
    words = [word for each in settings for word in ("--set", each)]
    words += ["--incident", room.incident, "--unattended", "--wait", "90", "--json"]
    run = (await room.command("runbook", "run", playbook, *words, exits=(4,))).json["run"]
    room.check(
        "it waits for a person, at the first thing that takes one", expected=stops, seen=run["current"]
    )
    for step in run["steps"]:
        if step["state"] == "succeeded":
            room.tell("playbook", f"{step['step']}: {step['what'].splitlines()[0]}")
    return run


async def by_hand(room: Room, run: Document, words: Sequence[str], *, token: bool = False) -> Document:
    """Do what the playbook leaves to a person by a command of Airlock, and hand in what it said; the run when
    it waits again or is over."""
    said = await room.command(*words, token=token, exits=(0, 1))
    return await answered(room, run, said.out[:8000])


async def answered(room: Room, run: Document, text: str, *, outcome: str = "done") -> Document:
    """Hand in what a person did or saw, which is the reason of a failure; the run when it waits again or is
    over."""
    step = run["current"]
    said = {"decision": outcome, "output": text, "reason": text if outcome == "failed" else ""}
    await room.ask(f"/api/v1/runs/{run['id']}/steps/{step}", said)
    room.tell("olga", f"answers step {step} of the playbook: {outcome}")
    return await beyond(room, run)


async def beyond(room: Room, run: Document) -> Document:
    """The run once it has left the step where it stood, and waits for a person or for a proposal, or is
    over."""

    def settled(told: Document) -> Document | None:
        now = told["run"]
        standing = now["state"] != "running" or now["current"] in PROPOSING
        return now if standing and now["current"] != run["current"] else None

    return await room.until(f"{run['current']} is behind", settled, f"/api/v1/runs/{run['id']}")


async def kept(room: Room) -> None:
    """Wait for the snapshot of the incident."""
    await room.until(
        "the snapshot is there",
        lambda told: any(each["state"] in ("complete", "sealed") for each in told["bundles"]),
        f"/api/v1/incidents/{room.incident}/evidence",
    )
