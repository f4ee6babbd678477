"""Containment and its opposite, by people: S-07, S-35."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tests.runbooks.registry import Run, row
from tests.runbooks.response import AT, Responding, response
from tests.system.deployment import Answer, until

SERVER = "srv-evil"
AT_SERVER = f"/api/v1/servers/{SERVER}"


@row("S-35", engine=True)
def what_is_no_server_or_no_status_is_refused(run: Run) -> None:
    stack = response(run)
    unknown = run.sh("S-35", server_id="nobody").json
    assert (unknown["status"], unknown["code"]) == (404, "server_unknown"), unknown
    wrong = stack.ask("PATCH", AT_SERVER, {"status": "gone"})
    assert (wrong.status, wrong.json["allowed"]) == (422, ["active", "inactive"]), wrong
    assert calls(stack) == {True}
    run.answer("404 server_unknown, 422 with what is allowed")


def calls(stack: Responding, times: int = 8) -> set[bool]:
    """Whether calls of the server are answered, of as many as both workers get some."""
    return {not refused(stack.call(f"{SERVER}__echo", text=str(n))) for n in range(times)}


def refused(answer: Answer) -> bool:
    return bool(answer.json.get("error") or answer.json["result"].get("isError"))


def restoring(stack: Responding) -> dict[str, Any]:
    """The proposal to put the server back."""
    order = {"action": "server.restore", "selector": {"server": SERVER}, "reason": "it is clean"}
    return stack.done("POST", "/api/v1/proposals", order)["proposal"]


def put_back(stack: Responding) -> list[int]:
    """Back into service, which takes two people while any open incident names the server: the statuses of a
    first approval, of the same person again, and of a second one."""
    proposal = restoring(stack)
    statuses = [approve(stack, proposal, who).status for who in ("pat", "pat", "kim")]
    until(lambda: calls(stack) == {True}, what=f"the server back in service: {statuses}")
    return statuses


@row("S-35", fault="F10", engine=True)
def a_server_is_cut_off_at_every_worker(run: Run) -> None:
    stack = response(run)
    shown = run.sh("S-35")
    said = shown.json
    assert (said["id"], said["before"], said["after"]) == (
        SERVER,
        {"status": "active"},
        {"status": "inactive"},
    ), said
    assert (said["replicas_acked"], said["replicas_total"]) == (2, 2), said
    assert (said["sessions_closed"], said["calls_cancelled"]) == (1, 1), said
    assert said["lease_id"], said
    assert said["audit_seq"], said
    assert calls(stack) == {False}
    run.facts.values["caller"].join(run.check.within)
    [answer] = run.facts.values["answers"]
    assert run.facts.values["marker"] not in answer.body.decode(), answer
    put_back(stack)
    restored_by_two(run)
    run.answer("active -> inactive at 2 of 2 workers; 1 session closed, 1 call cancelled")


def restored_by_two(run: Run) -> None:
    """The native command, under an incident that names the server: one person does not put it back."""
    stack = response(run)
    id = stack.opened(type="security_incident", severity="P1", affected_services=[SERVER])["id"]
    told = run.native("server", "isolate", SERVER, "--incident", id, "--json")
    assert (told.rc, told.json["after"]["status"]) == (0, "inactive"), told
    alone = stack.ask("PATCH", AT_SERVER, {"status": "active"})
    assert (alone.status, alone.json["code"]) == (409, "containment_active"), alone
    assert put_back(stack) == [202, 409, 200]
    stack.done("POST", f"{AT}/{id}/cancel", {"verdict": "test", "reason": "the check is over"})


def approve(stack: Responding, proposal: dict[str, Any], who: str) -> Answer:
    """One person who has just signed in agrees."""
    token = stack.gateway.token(who, roles=["admin"], signed_in=True)
    path = f"/api/v1/proposals/{proposal['id']}/approve"
    return stack.ask("POST", path, {"digest": proposal["digest"]}, token=token)


@row("S-35", fault="F13", engine=True, within=60.0)
def a_worker_that_does_not_hear_of_it_is_counted(run: Run) -> None:
    stack = response(run)
    said = run.sh("S-35").json
    try:
        assert (said["replicas_acked"], said["replicas_total"]) == (1, 2), said
        assert len(said["missing"]) == 1, said
        told = run.native("server", "isolate", SERVER, "--json")
        assert told.rc == 3, told
    finally:
        proposal = restoring(stack)
        for who in ("pat", "kim"):
            approve(stack, proposal, who)
    run.answer("inactive at 1 of 2 workers")


@row("S-07", engine=True)
def a_policy_that_decides_is_not_passed_by(run: Run) -> None:
    id = response(run).opened(type="policy_failure", severity="P1")["id"]
    told = asked(run, id)
    assert told.rc == 1, told
    assert "engine" in told.err, told
    run.answer("refused: policy decides")


def asked(run: Run, incident: str) -> Any:
    return run.native(
        "failmode", "set", "open", "--tools", "read-only", "--ttl", "15m", "--incident", incident, "--json"
    )


@row("S-07", fault="F1", engine=True, within=60.0)
def two_people_let_calls_pass_for_a_while(run: Run) -> None:
    stack = response(run)
    id = stack.opened(type="policy_failure", severity="P1")["id"]

    def proposed() -> Any:
        for _ in range(5):
            stack.ask_policy()
        told = asked(run, id)
        return told.json["proposal"] if told.rc == 4 else None

    proposal = run.until(proposed, what="MCP-024")
    first = approve(stack, proposal, "pat")
    assert (first.status, approve(stack, proposal, "pat").json["code"]) == (202, "approved_already"), first
    assert refused(passer(stack)), "one person opens nothing"
    assert approve(stack, proposal, "kim").json["proposal"]["state"] == "ACTIVE"
    run.until(lambda: not any(refused(passer(stack)) for _ in range(4)), what="calls that pass")
    writes = stack.call(f"{SERVER}__echo", token=fresh(stack), text="x")
    assert writes.refusal["code"] == 50302, writes
    [grant] = [each for each in stack.done("GET", "/api/v1/grants")["grants"] if each["incident"] == id]
    assert grant["in_force"], grant
    run.until(lambda: "fail open until" in policy_state(stack), what="a countdown at /ready")
    blocked = stack.ask("POST", f"{AT}/{id}/resolve", {})
    assert blocked.status == 409, blocked.body
    stack.done("POST", f"/api/v1/grants/{grant['id']}/end", {"reason": "enough"})
    run.until(lambda: refused(passer(stack)), what="calls that are refused again")
    with recovered(stack):
        states = run.until(lambda: judged(stack, id), what="every call judged")
    assert states <= {"upheld", "violation"}, states
    rows = stack.gateway.recorded("reason = 'fail_open'", count=4)
    assert {row["severity"] for row in rows} == {"CRITICAL"}, rows
    run.answer("open after the second approval for read-only tools; closed; every call judged")


def fresh(stack: Responding) -> str:
    """The token of somebody about whom no decision is remembered."""
    return stack.gateway.token(f"passer-{secrets.token_hex(4)}")


def policy_state(stack: Responding) -> str:
    """What `/ready` says of the policy."""
    return str(stack.gateway.get("/ready").json["components"]["policy"]["reason"])


def passer(stack: Responding) -> Answer:
    return stack.call("files__echo", token=fresh(stack), text="x")


@contextmanager
def recovered(stack: Responding) -> Generator[None]:
    """Policy answers again, for a while."""
    request, aside = stack.seam.folder / "panic", stack.seam.folder / "panic.aside"
    request.rename(aside)
    try:
        yield
    finally:
        aside.rename(request)


def judged(stack: Responding, id: str) -> set[str]:
    """States of the calls that passed, once none is open; empty before."""
    owed = stack.done("GET", f"{AT}/{id}/debt")
    return {each["state"] for each in owed["debt"]} if owed["debt"] and not owed["open"] else set()
