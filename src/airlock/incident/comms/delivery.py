"""What becomes of a message after a try to deliver it: pure."""

from __future__ import annotations

import msgspec

from airlock.incident import keeping
from airlock.incident.comms.payloads import Verdict
from airlock.incident.occasion import Occasion
from airlock.incident.orders import UpdateSent
from airlock.model.incident import SYSTEM_ACTOR, Decided, Incident, IncidentEvent
from airlock.model.message import Message, ReceiptOf

UPDATES = ("update", "internal", "notification")
"""Templates that tell how it stands."""

UNRESOLVED = ("TRIAGE", "INVESTIGATING", "IDENTIFIED", "MONITORING")

PAUSES = (5.0, 15.0, 60.0, 300.0)
"""Seconds before each further try; behind the last one a message is given up."""


def after(message: Message, verdict: Verdict, *, now: float) -> Message:
    """The message with its receipt: sent, tried again after a pause that grows, or given up."""
    receipt = ReceiptOf(at=now, delivered=verdict.delivered, detail=verdict.detail[:256])
    receipts = (*message.receipts, receipt)
    if verdict.delivered:
        return msgspec.structs.replace(message, state="sent", sent_at=now, receipts=receipts)
    tries = len(receipts)
    if not verdict.again or tries > len(PAUSES):
        return msgspec.structs.replace(message, state="failed", receipts=receipts)
    return msgspec.structs.replace(message, receipts=receipts, due_at=now + PAUSES[tries - 1])


def told(incident: Incident, message: Message, *, ticket: str, now: float) -> Decided:
    """What the record and its timeline say of a message that is sent or given up.

    An update starts the clock of the updates again, by its receipt; a ticket's address is noted where the
    record has none.
    """
    if message.state not in ("sent", "failed"):
        return Decided(incident=incident)
    sent = message.state == "sent"
    if sent and ticket and not incident.ticket_url:
        incident = msgspec.structs.replace(incident, ticket_url=ticket)
    if sent and message.template in UPDATES and incident.status in UNRESOLVED:
        return keeping.update_sent(incident, _update(message), Occasion(actor=SYSTEM_ACTOR, now=now))
    word = "was delivered to" if sent else "could not be delivered to"
    event = IncidentEvent(
        kind="comm_sent",
        at=now,
        occurred_at=now,
        actor=SYSTEM_ACTOR,
        summary=f"{message.template} {word} {message.target} ({message.channel})",
        details={
            "template": message.template,
            "target": message.target,
            "channel": message.channel,
            "sha256": message.sha256,
            "delivered": sent,
            "receipt": message.receipts[-1].detail if message.receipts else "",
        },
        refs=(message.id,),
        once=f"{message.state}:{message.id}",
    )
    return Decided(incident=incident, events=(event,))


def _update(message: Message) -> UpdateSent:
    return UpdateSent(
        message=message.id,
        template=message.template,
        audience=f"{message.target} ({message.channel})",
        receipt=message.receipts[-1].detail,
        sha256=message.sha256,
    )
