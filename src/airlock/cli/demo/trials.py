"""What others do to the gateway: a server changes its tool, somebody edits the log."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from airlock.cli.demo import agent
from airlock.cli.demo.evidence import PATIENCE, eventually_true
from airlock.cli.demo.stage import Stage
from airlock.core.clock import SYSTEM

SETTLED = 1.0
"""Seconds within which every worker knows what one has seen."""

PRICED = "mcp://catalogue/price"
PRICE = agent.message("catalogue__price", item="desk")


async def changed(stage: Stage) -> None:
    """A definition that is not the approved one is refused until a person has approved it."""
    airlock = stage.evidence.airlock
    (stage.site.folder / "changed").touch()
    stage.tell("catalogue", "describes its tool price in other words, and tells nobody")
    await _refused_everywhere(stage)
    before = len(stage.evidence.received())
    async with agent.connected(stage.site.url, stage.ada) as client:
        answer = await client.call("catalogue__price", item="desk")
    stage.tell("ada", 'catalogue__price {"item": "desk"}')
    stage.tell("airlock", f"{answer.code} {answer.reason}: {answer.text}")
    stage.check("refused", expected=40901, seen=answer.code)
    stage.check("nothing reached the server", expected=before, seen=len(stage.evidence.received()))
    drift = await stage.evidence.rows("tool_drift")
    stage.tell("log", drift[0] if drift else "nothing")
    stage.check(
        "the change itself is in the log", expected={"CRITICAL"}, seen={row.severity for row in drift}
    )

    listed, shown = await asyncio.gather(
        airlock("server", "list", "--json"), airlock("server", "show", "catalogue")
    )
    waiting = {row["name"]: row["waiting"] for row in listed.json["servers"]}
    difference = [line.strip() for line in shown.out.splitlines() if line.strip().startswith(("-  ", "+  "))]
    stage.tell("operator", "airlock server show catalogue")
    for line in difference:
        stage.tell("", line)
    stage.check("one definition waits, at the catalogue", expected={"notes": 0, "catalogue": 1}, seen=waiting)
    stage.check(
        "the difference is one line of its text", expected=["-", "+"], seen=[d[0] for d in difference]
    )

    said = await airlock("server", "approve", "catalogue", "price", "--by", "olga", "--json")
    stage.tell("operator", "airlock server approve catalogue price --by olga")
    stage.check("the approval is taken", expected=(0, ""), seen=(said.exit, said.err))
    stage.check("the call passes again", expected=True, seen=await _served_again(stage))
    await stage.evidence.rows("approval", resource=PRICED)
    await asyncio.sleep(SETTLED)  # both workers have looked by then: a second row would be there
    rows = await stage.evidence.rows("approval", resource=PRICED)
    for row in rows:
        stage.tell("log", row)
    stage.check(
        "the log has one row of it, with who and what",
        expected=[("olga", "mcp://catalogue/price", said.json["digest"])],
        seen=[(row.subject, row.resource, row.definition_digest) for row in rows],
    )


async def _refused_everywhere(stage: Stage) -> None:
    """Wait until every worker refuses: no call passes for as long as news may travel between them."""
    passed = SYSTEM.monotonic()
    async with agent.http(stage.ada) as carrier:

        async def look() -> tuple[bool, bool]:
            nonlocal passed
            answer = await agent.by_hand(carrier, stage.site.url, PRICE)
            if agent.refusal_code(answer) != 40901:
                passed = SYSTEM.monotonic()
            quiet = SYSTEM.monotonic() - passed > SETTLED
            return quiet, quiet

        refused = await eventually_true(look, within=2 * PATIENCE)
    stage.check("the gateway notices by itself, on every worker", expected=True, seen=refused)


async def _served_again(stage: Stage) -> bool:
    async with agent.http(stage.ada) as carrier:

        async def look() -> tuple[bool, bool]:
            served = agent.served(await agent.by_hand(carrier, stage.site.url, PRICE))
            return served, served

        return await eventually_true(look)


async def tampered(stage: Stage) -> None:
    """The log verifies; a copy in which one word was changed does not, and the row is named."""
    report = await stage.evidence.airlock("audit", "verify", "--json")
    found = report.json
    stage.tell("operator", "airlock audit verify")
    stage.tell("airlock", f"{found['rows']} rows in {len(found['chains'])} chains, no contradiction")
    stage.check("verify exits 0", expected=(0, 0), seen=(report.exit, len(found["findings"])))
    stage.not_proven = found["not_proven"]
    stage.check(
        "the gateway stops in order", expected=0, seen=await asyncio.to_thread(stage.site.stop_gateway)
    )

    copy = stage.site.folder / "copy.db"
    changed_rows = await asyncio.to_thread(_tamper, stage.site.data / "audit.db", copy, stage.denied_row)
    stage.tell("attacker", "in a copy: drops the triggers, turns the denial of step 3 into an allow")
    stage.check("one row was changed", expected=1, seen=changed_rows)
    report = await stage.evidence.airlock("audit", "verify", "--db", str(copy), "--json", here=False)
    found = report.json
    stage.tell("operator", "airlock audit verify --db copy.db")
    for finding in found["findings"]:
        stage.tell("airlock", _described(finding))
    stage.check("verify exits 1", expected=1, seen=report.exit)
    named = sorted({finding["id"] for finding in found["findings"]})
    stage.check("it names this row and no other", expected=[stage.denied_row], seen=named)


def _tamper(original: Path, copy: Path, row: str) -> int:
    """Copy the database, remove its guards and rewrite one decision; how many rows changed."""
    with closing(sqlite3.connect(original)) as source, closing(sqlite3.connect(copy)) as database:
        source.backup(database)
        database.execute("DROP TRIGGER audit_log_no_update")
        database.execute("DROP TRIGGER audit_log_no_delete")
        done = database.execute("UPDATE audit_log SET decision = 'allow' WHERE id = ?", (row,))
        database.commit()
        return done.rowcount


def _described(finding: dict[str, Any]) -> str:
    text = f"{finding['code']}  row {finding['seq']}: {finding['what']}"
    return f"{text} (expected {finding['expected']}, seen {finding['seen']})"
