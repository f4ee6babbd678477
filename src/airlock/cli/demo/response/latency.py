"""A server becomes slow: it is found and named, taken out of the way of the others, mended and put back."""

from __future__ import annotations

from airlock.cli.demo.response import acts, traffic
from airlock.cli.demo.response.ending import QUICK
from airlock.cli.demo.response.room import Room
from airlock.cli.demo.response.site import ResponseSite
from airlock.cli.demo.response.traffic import calls, usual

SLOW = 1.2
"""Seconds that each call of the register takes once it is slow: more than the second from which on a line
says so, and six times what the rule calls slow."""

CALLS, AT_ONCE = 60, 20
"""Calls of those who work; the rule judges no fewer than 50."""

LOOKS = 12
"""Calls of a measurement."""

FAST = 0.6
"""Seconds within which half of a measurement is answered by a server that is not slow. A call takes some
milliseconds; the rest is for a machine that has other things to do, and is half of `SLOW`."""

TOOL, OTHER = "customers__customer", "mail__list_mail"

DISABLED = 40302

FACTS = {
    "business_impact": "Whoever asks for a customer waits.",
    "affected_users": "all who work with the register",
    "affected_services": ["customers"],
    "security_implications": "none",
    "ticket_url": "https://tickets.example.com/INC-2",
    "status_page_url": "https://status.example.com/",
}


class LatencySite(ResponseSite):
    """The check of the performance at the end of the playbook is the gateway's own."""

    def environment(self) -> dict[str, str]:
        """See `Site.environment`."""
        return {**super().environment(), **QUICK}


async def quick(room: Room) -> None:
    """Both servers are quick."""
    for tool in (TOOL, OTHER):
        took = await calls(room, tool, LOOKS, number=7) if tool == TOOL else await calls(room, tool, LOOKS)
        room.tell("ada", f"{tool}, {LOOKS} times: half of them within {usual(took) * 1000:.0f} ms")
        room.check(f"{tool} is served", expected=LOOKS, seen=sum(each.served for each in took))
        room.check("and quick", expected=True, seen=usual(took) < FAST)
    alerts = (await room.ask(acts.of("MCP-025")))["alerts"]
    room.check("nothing of it is an alert", expected=[], seen=alerts)


async def slowed(room: Room) -> None:
    """The register takes its time; the mail server does not."""
    room.place.slow.write_text(str(SLOW))
    room.starts("the first slow call")
    room.tell("customers", f"takes {SLOW} s for each call from here on")
    took = await calls(room, TOOL, CALLS, at_once=AT_ONCE, number=7)
    room.tell("ada", f"{TOOL}, {CALLS} times: half of them within {usual(took):.1f} s")
    room.check("all of them are served, late", expected=CALLS, seen=sum(each.served for each in took))
    room.check("callers wait", expected=True, seen=min(each.seconds for each in took) >= SLOW)
    await _others(room)
    alert = (await room.until("MCP-025 raised an alert", lambda told: told["alerts"], acts.of("MCP-025")))[0]
    room.mark("detected")
    acts.said(room, alert)
    room.check(
        "it names the slow server, and no other",
        expected={"server": "customers"},
        seen=alert["finding"]["group"],
    )


async def declared(room: Room) -> None:
    """Whether slowness is an incident, a person decides."""
    alert = (await room.ask(acts.of("MCP-025")))["alerts"][0]
    said = await room.command("alert", "declare", alert["id"], "--json")
    room.incident = said.json["alert"]["incident"]
    record = (await room.about())["incident"]
    room.check(
        "its kind follows from the rule",
        expected=("performance_degradation", "high_api_latency"),
        seen=(record["type"], record["subtype"]),
    )
    await acts.commanded(room, FACTS)
    room.mark("declared")


async def looked(room: Room) -> None:
    """The playbook: evidence, then which stage, which calls, and whether it is the machine."""
    run = await acts.played(room, "high-latency", stops="stage")
    done = [step["step"] for step in run["steps"] if step["state"] == "succeeded"]
    room.check("evidence was kept first", expected=["freeze"], seen=done)
    run = await acts.answered(room, run, await _stage(room))
    run = await acts.answered(room, run, await _slowest(room))
    for words in (("doctor", "resources"), ("cache", "stats")):
        said = await room.command(*words, exits=(0, 1, 3))
        run = await acts.answered(room, run, said.out[:8000])
    room.check("it comes to what a program does", expected="cache", seen=run["current"])
    await room.command("runbook", "answer", run["id"], "cache", "go")
    run = await room.until(
        "the playbook is over",
        lambda told: told["run"] if told["run"]["state"] != "running" else None,
        f"/api/v1/runs/{run['id']}",
    )
    for step in run["steps"]:
        if step["step"] in ("cache", "verify"):
            room.tell("playbook", f"{step['step']}: {step['state']}")
    room.check("the playbook ran to its end", expected="succeeded", seen=run["state"])


async def _stage(room: Room) -> str:
    """What the clocks of the workers say."""
    said = await room.command("status", "--latency", "--json", exits=(0, 1))
    room.tell("airlock", f"p95 {said.json['p95_ms']} ms, most of it in {said.json['slowest_stage']}")
    room.check("it is not the gateway: the slow stage", expected="upstream", seen=said.json["slowest_stage"])
    return said.out[:8000]


async def _slowest(room: Room) -> str:
    """What the slowest calls have in common, by the lines about them and their rows in the log."""
    asked = ("logs", "--slowest", "20", "--event", "slow_request", "--since", "1h", "--json")
    said = await room.command(*asked, token=False)
    lines = said.json["lines"]
    room.check("the slowest are said one by one", expected=20, seen=len(lines))
    for line in lines[:3]:
        room.tell("log", f"{line['duration_ms']:.0f} ms, {line['correlation_id']}")
    which = ", ".join(f"'{line['correlation_id']}'" for line in lines)
    sql = (
        "SELECT server_id, COUNT(DISTINCT correlation_id) AS calls FROM audit_events"  # noqa: S608 (our own ids)
        f" WHERE correlation_id IN ({which}) GROUP BY server_id ORDER BY calls DESC"
    )
    room.tell("olga", 'airlock audit query "SELECT server_id, COUNT(DISTINCT correlation_id) ..."')
    rows = (await room.evidence.airlock("audit", "query", sql, "--json")).json["rows"]
    for row in rows:
        room.tell("log", f"{row['calls']} of them: {row['server_id']}")
    room.check("they were at", expected="customers", seen=rows[0]["server_id"])
    return said.out[:8000]


async def isolated(room: Room) -> None:
    """The slow server is taken out: nobody waits for it any more."""
    words = ("--incident", room.incident, "--reason", "every call waits for a second")
    said = await room.command("server", "isolate", "customers", *words, exits=(0, 3))
    room.tell("airlock", said.out.strip().splitlines()[0])
    took = await calls(room, TOOL, LOOKS, number=7)
    room.check(
        "both workers refuse at once, instead of letting callers wait",
        expected=({DISABLED}, True),
        seen=({each.code for each in took}, usual(took) < FAST),
    )
    room.mark("contained")
    await _others(room)
    text = f"A query of the register lost its index: each call took {SLOW} s."
    await acts.known(room, text)


async def restored(room: Room) -> None:
    """It is mended, and two people put it back."""
    room.place.slow.unlink()
    room.tell("customers", "is mended")
    for name in room.people:
        room.people[name] = room.site.token(name, role="admin", signed_in=True)
    words = ("--reason", "the index is there again", "--incident", room.incident, "--json")
    proposal = (await room.command("server", "restore", "customers", *words, exits=(4,))).json["proposal"]
    room.check("it waits for two people", expected=2, seen=proposal["people"])
    await room.command("approve", proposal["id"], "--json", exits=(0, 3, 4))
    took = await traffic.call(room, TOOL, number=7)
    room.check("one of them is not enough", expected=DISABLED, seen=took.code)
    await room.command("approve", proposal["id"], "--json", who="paul", exits=(0, 3))
    took = await calls(room, TOOL, LOOKS, number=7)
    room.tell("ada", f"{TOOL}, {LOOKS} times: half of them within {usual(took) * 1000:.0f} ms")
    room.check(
        "it serves again, as quick as before",
        expected=(LOOKS, True),
        seen=(sum(each.served for each in took), usual(took) < FAST),
    )
    room.mark("mended")


async def _others(room: Room) -> None:
    """The other server is as quick as ever."""
    took = await calls(room, OTHER, LOOKS)
    room.tell("ada", f"{OTHER}, {LOOKS} times: half of them within {usual(took) * 1000:.0f} ms")
    room.check(
        "the other server is as quick as before",
        expected=(LOOKS, True),
        seen=(sum(each.served for each in took), usual(took) < FAST),
    )
