"""`airlock demo policy`: a policy that passes its checks and cannot decide, until the incident is closed."""

from __future__ import annotations

import asyncio
import itertools

from airlock.cli.demo import agent
from airlock.cli.demo.evidence import eventually_true
from airlock.cli.demo.play import Story
from airlock.cli.demo.response import acts
from airlock.cli.demo.response.ending import Ending
from airlock.cli.demo.response.room import PATIENCE, Document, Room
from airlock.cli.demo.response.site import ResponseSite
from airlock.cli.demo.transcript import Line

READ, MAIL, SEND = "customers__customer", "mail__list_mail", "mail__send_mail"

UNDECIDED = 50302
"""What a call gets that policy cannot decide."""

FIRST = "decision := {"
RULE = """# 5. A program that is not Airlock's own is one of those that are known.
programs := [id | id := input.subject.client_id; id != "airlock-local"]

decision := {"allow": false, "reason": "program_unknown", "rule": "demo.program"} if {
	not object.subset(["ide-1", "ide-2"], programs)
} else := {"""
"""The engine panics where the second list of `object.subset` is empty: with every token of this gateway, and
with no question of the trial, whose caller uses ide-1."""

OPEN = "30s"
"""How long read-only calls may pass."""

LOOKS = 6
"""Calls over connections of their own, so that both workers are asked."""

NEEDED = 10
"""Calls that each person makes at a time, until a share of them is an alert."""


async def quiet(room: Room) -> None:
    """Work as usual, by the policy of the demo."""
    codes = [await _call(room, "ada", READ, number=7), await _call(room, "ada", MAIL)]
    room.tell("ada", "reads a customer and the mail")
    room.check("both servers answer", expected=[0, 0], seen=codes)
    guest = await _call(room, "gus", READ, number=7)
    room.tell("gus", f"a guest, gets {guest} for the same customer")
    room.check("a guest is refused", expected=False, seen=guest == 0)


async def broken(room: Room) -> None:
    """Somebody adds a rule, checks it and deploys it; from then on nothing is decided."""
    path = room.site.folder / "policy" / "decision.rego"
    text = await asyncio.to_thread(path.read_text)
    await asyncio.to_thread(path.write_text, text.replace(FIRST, RULE, 1))
    room.tell("olga", f"adds a rule to {path.name}: only programs that are known")
    said = await room.command("policy", "check", token=False)
    room.tell("airlock", said.out.strip().splitlines()[-1])
    said = await room.command("policy", "reload", "--all-replicas")
    room.starts("it was deployed")
    room.tell("airlock", said.out.strip().splitlines()[-1])
    await _all(room, "ada", READ, UNDECIDED, "every call is refused, by both workers")
    async with agent.http(room.clerks["ada"]) as carrier:
        answer = await agent.by_hand(carrier, room.site.url, agent.message(READ, number=1))
    refusal = answer["result"]["_meta"][agent.REFUSAL_KEY]
    room.tell("airlock", f"{refusal['code']} {refusal['reason']}: {answer['result']['content'][0]['text']}")
    room.check("the agent is told that nothing happened", expected="none", seen=refusal["effect"])
    room.mark("refusing")


async def found(room: Room) -> None:
    """The gateway sees that its policy decides nothing, and declares an incident."""
    async with asyncio.TaskGroup() as others:
        calls = others.create_task(_go_on(room))
        await acts.alerted(room, "MCP-024")
        calls.cancel()
    room.mark("detected and opened")
    record = (await room.about())["incident"]
    opened = (record["type"], record["status"], record["severity"])
    room.check(
        "an incident is open, without a person", expected=("policy_failure", "TRIAGE", "P1"), seen=opened
    )
    component = await _component(room, "failed")
    room.tell("airlock", f"/ready: policy {component['state']}: {component['reason']}")
    said = await room.command("status", exits=(1,))
    line = next((line for line in said.out.splitlines() if "decides nothing" in line), "")
    room.tell("airlock", line.strip())
    room.check("so does airlock status", expected=True, seen=bool(line))


async def commanded(room: Room) -> None:
    """Somebody takes command, evidence is kept first, and the playbook is begun."""
    facts = {
        "business_impact": "Nobody can use a tool.",
        "affected_users": "everybody",
        "affected_services": ["policy"],
        "ticket_url": "https://tickets.example.com/INC-2",
        "status_page_url": "https://status.example.com/",
    }
    await acts.commanded(room, facts)
    room.mark("declared and told")
    await room.command("evidence", "collect", "--incident", room.incident, token=False)
    await acts.kept(room)
    run = await acts.played(room, "policy-engine-failure", stops="status")
    run = await acts.by_hand(room, run, ("policy", "status"), token=True)
    run = await acts.by_hand(room, run, ("logs", "--since", "1h", "--last", "20"))
    room.check("the playbook asks for the file", expected="check", seen=run["current"])
    run = await acts.answered(room, run, "It passes its checks, and decides nothing.", outcome="failed")
    room.check("and proposes what decided before", expected="rollback", seen=run["current"])
    room.run = run


async def opened(room: Room) -> None:
    """Two people let calls pass that only read, for seconds, until the last good policy is there."""
    for name in room.people:
        room.people[name] = room.site.token(name, role="admin", signed_in=True)
    words = ("--tools", "read-only", "--ttl", OPEN, "--incident", room.incident, "--json")
    said = await room.command("failmode", "set", "open", *words, exits=(4,))
    proposal = said.json["proposal"]["id"]
    await room.command("approve", proposal, exits=(4,))
    again = await room.command("approve", proposal, exits=(1,))
    room.tell("airlock", again.err.strip().splitlines()[-1])
    room.check("one person is not two", expected=UNDECIDED, seen=await _call(room, "ada", READ, number=1))
    await room.command("approve", proposal, who="paul")
    await _all(room, "ada", READ, 0, "calls that only read pass, in both workers")
    room.mark("failing open")
    guest = await _call(room, "gus", READ, number=8)
    room.tell("gus", "reads a customer, which nobody decided")
    room.check("nobody asks policy about the guest either", expected=0, seen=guest)
    code = await _call(room, "ada", SEND, to="omar@example.com", text="hello")
    room.check("what writes stays refused", expected=UNDECIDED, seen=code)
    component = await _component(room, "degraded")
    room.tell("airlock", f"/ready: policy {component['state']}: {component['reason']}")


async def restored(room: Room) -> None:
    """The policy that worked is back, and decides."""
    proposal = await room.until(
        "the playbook proposed it",
        lambda told: next((p for p in told["proposals"] if p["order"]["action"] == "policy.rollback"), None),
        f"/api/v1/proposals?incident={room.incident}",
    )
    for why in proposal["why"]:
        room.tell("airlock", f"{proposal['order']['action']}: {why}")
    room.check("calls would pass that are refused, so two people agree", expected="D", seen=proposal["needs"])
    await room.command("approve", proposal["id"], exits=(4,))
    await room.command("approve", proposal["id"], who="paul", exits=(0, 3))
    await _all(room, "ada", MAIL, 0, "work goes on, in both workers")
    room.mark("restored")
    status = (await room.command("policy", "status", exits=(1,))).out
    back = next((line for line in status.splitlines() if "rolled back" in line), "")
    room.tell("airlock", back.strip())
    room.check("airlock policy status says so", expected=True, seen=bool(back))
    run = await acts.beyond(room, room.run)
    room.check(
        "the playbook looks from outside whether it decides", expected="afterwards", seen=run["current"]
    )
    run = await acts.answered(room, run, "The trial asks by one program only.")
    room.check("the playbook ran to its end", expected="succeeded", seen=run["state"])


async def judged(room: Room) -> None:
    """Every call that passed is judged by the policy that is back."""
    await acts.known(room, ENDING.cause, action=ENDING.resolution)
    early = await room.command("incident", "resolve", room.incident, exits=(1,))
    why = [line.strip() for line in early.err.splitlines() if "grants:" in line or "debt" in line]
    room.tell("airlock", "; ".join(why))
    room.check("nothing is resolved before every call is judged", expected=True, seen=bool(why))
    await acts.outside(room, "customer")
    path = f"/api/v1/incidents/{room.incident}/debt"
    await room.until("every call is counted and judged", _settled, path)
    said = await room.command("incident", "debt", room.incident)
    for line in said.out.splitlines():
        room.tell("", line)
    owed = (await room.ask(path))["debt"]
    violations = [(each["subject"], each["why"]) for each in owed if each["state"] == "violation"]
    room.check("the guest's is named", expected=[("gus", "not_granted")], seen=violations)
    room.check("the others are upheld", expected={"ada"}, seen={e["subject"] for e in owed} - {"gus"})
    await room.command("failmode", "show")
    room.mark("everything judged")


def _settled(told: Document) -> bool:
    return bool(told["debt"]) and not told["open"] and not told["counting"]


async def _call(room: Room, who: str, tool: str, **arguments: object) -> int:
    """The code of the refusal, or of the error; 0: the server answered."""
    token = room.clerks.get(who) or room.site.token(who, role="guest")
    async with agent.http(token) as carrier:
        answer = await agent.by_hand(carrier, room.site.url, agent.message(tool, **arguments))
    if agent.served(answer):
        return 0
    return agent.refusal_code(answer) or answer.get("error", {}).get("code", 1)


async def _go_on(room: Room) -> None:
    """People try again, until it is enough."""
    for number in itertools.count():
        for who in room.clerks:
            await _call(room, who, READ, number=number)
        if number % NEEDED == NEEDED - 1:
            await asyncio.sleep(2)


async def _all(room: Room, who: str, tool: str, expected: int, fact: str) -> None:
    """Wait until each of several calls is answered so."""

    async def look() -> tuple[bool, set[int]]:
        words = {"number": 1} if tool == READ else {}
        seen = {await _call(room, who, tool, **words) for _ in range(LOOKS)}
        return seen == {expected}, seen

    room.check(fact, expected={expected}, seen=await eventually_true(look, within=PATIENCE))


async def _component(room: Room, state: str) -> Document:
    """What /ready says of policy, once a worker says that it is so."""
    async with agent.http() as carrier:

        async def look() -> tuple[bool, Document]:
            answer = agent.read(await carrier.get(f"{room.site.url}/ready"))["components"]["policy"]
            return answer["state"] == state, answer

        component = await eventually_true(look, within=PATIENCE)
    room.check("/ready says it", expected=state, seen=component["state"])
    return component


ENDING = Ending(
    cause="A rule asked the engine for a subset of an empty list, on which it panics.",
    resolution="The policy before that rule decides again; the rule is rewritten.",
    answers=(
        "occurrence=A rule on programs was deployed without a question of this gateway's own callers.",
        "prevention=The checks ask by one program, and the tests of the policy had no other.",
        "detection_delay=None: calls that nobody decided were counted from the first one.",
        "resolution_time=Minutes: two people let reads pass while the last good policy was put back.",
        "monitoring=The share of calls that policy could not decide raised the alert.",
        "contributing_factors=an engine that panics on an empty list; a deployment without a second look",
        "went_well=nothing was sent that writes, and every read that passed was judged afterwards",
        "improve=tests of the policy with the tokens that are used here",
        "breach_answered=true",
    ),
    action="Test the policy with callers of this gateway",
    summary="Nothing passed that writes; one read that policy forbids is named.",
)

STEPS = (
    ("A day like any other", quiet, "The policy decides, and refuses a guest."),
    (
        "A policy that passes its checks",
        broken,
        "What policy cannot decide is refused, and the agent is told that nothing happened.",
    ),
    ("Nothing is decided", found, "It is found and declared without a person, and said by every worker."),
    ("Somebody takes command", commanded, "Evidence comes first; a playbook leads to the last good policy."),
    (
        "Two people fail open",
        opened,
        "One person is not two; what two people let pass only reads, and ends by itself.",
    ),
    ("The last good policy", restored, "What decided before decides again, in every worker."),
    ("Every call is judged", judged, "What passed undecided is judged, and what is forbidden is named."),
    ("Resolved", ENDING.resolved, "Nothing is resolved before it was verified, and it is watched."),
    ("Reviewed and closed", ENDING.reviewed, "Cause, answers, actions and sealed evidence end an incident."),
    (
        "What is left of it",
        ENDING.proven,
        "The evidence holds without the gateway, one changed byte is found, and people can read the files.",
    ),
)
"""Title, step, and what it proves."""

POLICY = Story(
    site=lambda keep: ResponseSite(keep=keep),
    stage=Room,
    opening=(
        Line("customers", "an MCP server over HTTP, with a register that is only read"),
        Line("mail", "an MCP server over stdio, whose tool send_mail writes"),
        Line("inbox", "a webhook of this demo, to which every notice is sent"),
        Line(
            "people", "olga commands, paul speaks to those outside; ada, eve and vera work here, gus visits"
        ),
    ),
    steps=STEPS,
)
"""`airlock demo policy`."""
