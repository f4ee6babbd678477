"""The first half of the story: what an agent may see and do, and how it is told no."""

from __future__ import annotations

from airlock.cli.demo import agent
from airlock.cli.demo.stage import Stage


async def lists(stage: Stage) -> None:
    """An agent sees what its role names, and nothing of another tenant."""
    seen: dict[str, list[str]] = {}
    for name, token in (("ada", stage.ada), ("omar", stage.omar), ("eve", stage.eve)):
        async with agent.connected(stage.site.url, token) as client:
            seen[name] = sorted(await client.tools())
            era = client.era
    stage.tell("ada", f"analyst of acme, MCP {era}, asks tools/list and gets")
    stage.tell("", ", ".join(seen["ada"]))
    stage.tell("omar", "editor of acme, asks the same and also gets")
    stage.tell("", ", ".join(tool for tool in seen["omar"] if tool not in seen["ada"]))
    stage.tell("eve", "analyst of globex, another tenant, gets only")
    stage.tell("", ", ".join(seen["eve"]))
    catalogue = ["catalogue__discount", "catalogue__price", "catalogue__reserve"]
    analyst = [*catalogue, "notes__list_notes", "notes__read_note", "notes__write_note"]
    stage.check("ada's list has the six tools of her role", expected=analyst, seen=seen["ada"])
    stage.check(
        "omar's list has one more, notes__delete_note",
        expected=sorted([*analyst, "notes__delete_note"]),
        seen=seen["omar"],
    )
    stage.check("eve's list has nothing of acme's own server", expected=catalogue, seen=seen["eve"])


async def allowed(stage: Stage) -> None:
    """A call that policy allows reaches its server and is in the log."""
    async with agent.connected(stage.site.url, stage.ada) as client:
        price = await client.call("catalogue__price", item="desk")
        note = await client.call("notes__read_note", name="roadmap")
    stage.tell("ada", 'catalogue__price {"item": "desk"}')
    stage.tell("catalogue", price.text)
    stage.tell("ada", 'notes__read_note {"name": "roadmap"}')
    stage.tell("notes", note.text)
    rows = await stage.evidence.rows(subject="ada", decision="allow", least=2)
    for row in rows:
        stage.tell("log", row)
    stage.check("the HTTP server answered", expected="desk: 210 EUR", seen=price.text)
    stage.check(
        "the stdio server answered",
        expected="First the audit log, then everything else.",
        seen=note.text,
    )
    stage.check(
        "both calls stand in the log as allowed",
        expected=["mcp://catalogue/price", "mcp://notes/read_note"],
        seen=sorted(row.resource or "" for row in rows),
    )


async def denied(stage: Stage) -> None:
    """A call that policy denies says why, and does not happen."""
    async with agent.connected(stage.site.url, stage.ada) as client:
        answer = await client.call("notes__write_note", name="mine", text="I was here.")
    async with agent.connected(stage.site.url, stage.omar) as client:
        notes = await client.call("notes__list_notes")
    stage.tell("ada", 'notes__write_note {"name": "mine", "text": "I was here."}')
    stage.tell("airlock", f"{answer.code} {answer.reason}: {answer.text}")
    rows = await stage.evidence.rows(id=answer.decision_id)
    for row in rows:
        stage.tell("log", row)
    stage.tell("omar", f"notes__list_notes: {', '.join(notes.text.splitlines())}")
    stage.check(
        "denied with the reason of the policy",
        expected=(40301, "editors_only"),
        seen=(answer.code, answer.reason),
    )
    stage.check("no note was written", expected=["roadmap", "welcome"], seen=notes.text.splitlines())
    stage.check(
        "one row, and no intent: nothing was sent",
        expected=[("single", "deny", "policy_denied: editors_only")],
        seen=[(row.phase, row.decision, row.reason) for row in rows],
    )
    stage.denied_row = rows[0].id


async def arguments(stage: Stage) -> None:
    """The same tool, allowed and denied, by what stands in its arguments."""
    before = len(stage.evidence.received())
    async with agent.connected(stage.site.url, stage.omar) as client:
        small = await client.call("catalogue__discount", item="lamp", percent=15)
        large = await client.call("catalogue__discount", item="lamp", percent=80)
    stage.tell("omar", 'catalogue__discount {"item": "lamp", "percent": 15}')
    stage.tell("catalogue", small.text)
    stage.tell("omar", 'catalogue__discount {"item": "lamp", "percent": 80}')
    stage.tell("airlock", f"{large.code} {large.reason}: {large.text}")
    rows = await stage.evidence.rows(id=large.decision_id)
    for row in rows:
        stage.tell("log", row)
    stage.check("15 percent are given", expected="lamp: 15 % off", seen=small.text)
    stage.check(
        "80 percent are denied, although an editor asks",
        expected=(40301, "discount_too_high"),
        seen=(large.code, large.reason),
    )
    arrived = stage.evidence.received()[before:]
    stage.check(
        "the server received the first call only",
        expected=[15],
        seen=[call["arguments"]["percent"] for call in arrived],
    )


async def twice(stage: Stage) -> None:
    """A key that stands twice is read by nobody: no two parsers may see two different calls."""
    body = (
        b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"catalogue__discount",'
        b'"arguments":{"item":"lamp","percent":5,"percent":80}}}'
    )
    before = len(stage.evidence.received())
    async with agent.http(stage.omar) as carrier:
        answer = await agent.by_hand(carrier, stage.site.url, body)
    error = answer.get("error", {})
    stage.tell("omar", 'by hand: catalogue__discount {"item": "lamp", "percent": 5, "percent": 80}')
    stage.tell("airlock", f"{error.get('code')}: {error.get('message')}")
    rows = await stage.evidence.rows("security_violation", subject="omar")
    for row in rows:
        stage.tell("log", row)
    stage.check("refused as an invalid request", expected=-32600, seen=error.get("code"))
    stage.check("nothing reached the server", expected=before, seen=len(stage.evidence.received()))
    stage.check(
        "the log names it for what it is",
        expected=["parser_differential: duplicate_key"],
        seen=[row.reason for row in rows],
    )
