"""Records to render: one that knows nothing, one that knows everything, one that strangers wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from airlock.incident import regulation
from airlock.incident.questions import INTEGRITY, Answered, answered, question
from airlock.incident.render.record import Places, Record
from airlock.model.health import Service
from airlock.model.incident import (
    ActionItem,
    Actor,
    Incident,
    IncidentEvent,
    Kind,
    Recorded,
    RegulatoryClock,
    Review,
    Role,
    Task,
    Why,
)
from airlock.model.lease import Lease, Selector

START = datetime(2026, 11, 22, 21, 7, tzinfo=UTC).timestamp()
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
ID = "INC-20261122-210700"

HOSTILE = (
    "\x1b[31mred\x1b[0m\n# Incident Report: forged\n21:07 UTC [declared] forged (event 1)\n| a | b |"
    "<script>alert(1)</script> [Name](http://evil.example) `rm -rf /` {{ 7 * 7 }} "
    "{% raw %} \u202eabc <!channel>"
)


def event(seq: int, kind: Kind, at: float, summary: str, **more: Any) -> Recorded:
    said = IncidentEvent(
        kind=kind, at=at, occurred_at=at, actor=Actor(type="human", id="i|alice"), summary=summary, **more
    )
    return Recorded(incident=ID, seq=seq, event=said, digest=f"{seq:064x}")


def found(name: str, columns: tuple[str, ...], *rows: tuple[object, ...]) -> Answered:
    """An answer of a stored question, as `ask` would give it."""
    title = question(name).title if name != INTEGRITY else "Whether the audit log is genuine"
    since, until = "2026-11-22 20:07:00.000000", "2026-11-22 22:07:01.000000"
    return answered(Answered(query=name, title=title, since=since, until=until), columns, rows, sql="")


def empty() -> Record:
    """What is known a second after somebody opened an incident."""
    incident = Incident(
        id=ID,
        title="Unknown trouble",
        type="security_incident",
        severity="P1",
        status="TRIAGE",
        detection_source="user_report",
        opened_at=START,
        detected_at=START,
        clocks_from=START,
    )
    return Record(incident=incident, at=START + 1)


def full() -> Record:
    """A resolved incident of which everything is known. It goes over midnight."""
    bare = empty().incident
    incident = msgspec.structs.replace(
        bare,
        title="Exfiltration by a stolen token",
        severity="P0",
        status="RESOLVED",
        is_suspected_breach=True,
        tenants=("acme",),
        affected_users="the finance team",
        affected_services=("files", "mail"),
        business_impact="payments wait",
        symptoms=("50 refused tokens in a minute", "a list of all tools"),
        hypothesis="a stolen token",
        root_cause="a token in a public repository",
        eta="done",
        bridge="+1 555 0100",
        status_page_url="https://status.example",
        tlp="AMBER",
        roles=(Role(role="incident_commander", person="Alice", assumed_at=START + 2 * MINUTE),),
        tasks=(Task(key="rotate", text="Rotate the key", due_at=START + HOUR),),
        actions=(
            ActionItem(id="A1", text="Scan repositories", owner="Bob", due="2026-12-01", priority="high"),
            ActionItem(id="A2", text="Shorter tokens", owner="Eve", due="2026-12-09", closed_at=START + DAY),
        ),
        regulatory=(RegulatoryClock(id="gdpr", trigger="awareness", started_at=START),
                    RegulatoryClock(id="sox", not_applicable="not listed (legal)")),
        review=Review(
            scheduled_for=START + 2 * DAY,
            link="https://meet.example/1",
            contributing_factors=("no scan of repositories",),
            whys=Why(
                occurrence="a token leaked",
                prevention="nothing looked for it",
                detection_delay="the first calls looked usual",
                resolution_time="the owner slept",
                monitoring="no rule on volume",
            ),
            went_well=("contained within a minute",),
            improve=("tell the owner sooner",),
            resolution="the token was revoked",
            prevention="tokens live for an hour",
        ),
        acknowledged_at=START + MINUTE,
        identified_at=START + 30 * MINUTE,
        mitigated_at=START + 40 * MINUTE,
        resolved_at=START + 3 * HOUR,
    )  # fmt: skip
    timeline = (
        event(1, "detected", START, "Alert MCP-002 from 203.0.113.7"),
        event(2, "acknowledged", START + MINUTE, "Seen by L1"),
        event(3, "role_assumed", START + 2 * MINUTE, "Alice is incident commander"),
        event(4, "containment_started", START + 3 * MINUTE, "ip.block holds", refs=("lease-1",)),
        event(5, "note", START + 5 * MINUTE, "The first address is a VPN"),
        event(6, "note", START + 4 * MINUTE, "Mail may be late today", visibility="customer"),
        event(7, "comm_sent", START + 6 * MINUTE, "Notification sent to status_updates"),
        event(8, "status_changed", START + 30 * MINUTE, "Cause identified", details={"to": "IDENTIFIED"}),
        event(9, "status_changed", START + 40 * MINUTE, "Mitigated", details={"to": "MONITORING"}),
        event(10, "status_changed", START + 3 * HOUR, "Resolved", details={"to": "RESOLVED"}),
    )
    lease = Lease(
        id="lease-1",
        action="ip.block",
        selector=Selector(cidr="203.0.113.7/32"),
        state="released",
        reason="credential stuffing",
        actor="detector|MCP-002",
        origin="cli",
        incident=ID,
        created_at=START + 3 * MINUTE,
        expires_at=START + HOUR,
        max_until=START + DAY,
        epoch=1,
        ended_at=START + 50 * MINUTE,
    )
    answers = (
        found("affected_users", ("subject", "tenant", "failed", "contained", "first", "last"),
              ("carol", "acme", 3, 0, "", ""), ("dave", "acme", 1, 1, "", "")),
        found("affected_tools", ("server", "tool", "failed", "contained"), ("files", "read", 4, 1)),
        found("calls", ("allowed", "denied", "failed", "calls"), (90, 6, 4, 100)),
        found("redactions", ("data_type", "found", "calls", "users", "tenants"), ("email", 12, 3, 2, 1)),
        found("individuals", ("users", "tenants"), (2, 1)),
        found("denials", ("action", "reason", "tenant", "attempts", "first", "last"),
              ("token_validate", "bad_signature", "", 50, "", "")),
        found(INTEGRITY, ("result", "rows", "from_start", "first", "finding"), ("intact", 400, True, "", "")),
    )  # fmt: skip
    return Record(
        incident=incident,
        timeline=timeline,
        leases=(lease,),
        answers={each.query: each for each in answers},
        law=regulation.shipped(),
        service=Service(state="DEGRADED", reasons=("upstreams degraded: files is down",)),
        places=Places(support="support@example.org", status_page="https://status.example"),
        at=START + 4 * HOUR,
    )


def hostile() -> Record:
    """Every text of the full record, written by somebody who means harm."""
    record = full()

    def spoil(value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            plain = {
                name: spoil(getattr(value, name)) for name in value.__struct_fields__ if name not in _KEPT
            }
            return msgspec.structs.replace(value, **plain)
        if isinstance(value, tuple):
            return tuple(spoil(each) for each in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return HOSTILE if isinstance(value, str) and value else value

    return msgspec.structs.replace(
        record,
        incident=spoil(record.incident),
        timeline=tuple(
            msgspec.structs.replace(each, event=msgspec.structs.replace(each.event, summary=HOSTILE))
            for each in record.timeline
        ),
        leases=tuple(msgspec.structs.replace(each, reason=HOSTILE, actor=HOSTILE) for each in record.leases),
        answers={name: msgspec.structs.replace(each, rows=spoil(each.rows)) for name, each in
                 record.answers.items() if name != INTEGRITY},
        service=Service(state="DOWN", reasons=(HOSTILE,)),
        places=Places(support=HOSTILE, status_page=HOSTILE),
    )  # fmt: skip


_KEPT = frozenset(
    ("id", "type", "subtype", "severity", "status", "detection_source", "tlp", "role", "trigger", "priority",
     "due", "kind", "verdict", "deadlines", "flags")
)  # fmt: skip
