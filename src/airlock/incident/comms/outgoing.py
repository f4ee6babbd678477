"""Which messages an occasion makes: pure. Whoever decides leaves them in the store in the same transaction.

A message has an id that its occasion gives it, so that the same occasion makes it once, whoever notices it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from airlock.core.clock import rfc3339
from airlock.core.incident_config import TargetEntry
from airlock.incident.render.words import plain
from airlock.model.incident import Actor, Incident, IncidentEvent
from airlock.model.lease import Unfit
from airlock.model.message import GATES, USUAL, Approval, Audience, Message, Template
from airlock.model.principal import one_person

CHANNELS = {"status_updates": "#status-updates", "executive": "#exec-incidents"}

INSIDE: frozenset[Audience] = frozenset(("war_room", "status_updates", "executive", "page", "ticket"))
"""Audiences of the house: a text for them needs nobody's yes."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A rendered notice."""

    subject: str
    body: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(f"{self.subject}\n{self.body}".encode()).hexdigest()


def channel(audience: Audience, incident: Incident) -> str:
    """Where people of this audience read."""
    if audience == "war_room":
        return incident.war_room or f"#incident-response-{incident.id}"
    if audience == "customer":
        return incident.status_page_url or "status page"
    return CHANNELS.get(audience, audience)


def notices(
    incident: Incident,
    template: Template,
    text: Text,
    *,
    occasion: str,
    targets: Sequence[TargetEntry],
    by: str,
    now: float,
    audience: Audience | None = None,
    next_update_at: float | None = None,
) -> tuple[Message, ...]:
    """One message for each target of the audience. A text for outsiders waits for those who approve it.

    Raises `Unfit` `nobody_to_tell` where no target has the audience.
    """
    whom = audience or USUAL[template]
    found = [target for target in targets if whom in target.audiences]
    if not found:
        raise Unfit("nobody_to_tell", f"No target has the audience {whom}: give one in incident.targets.")
    needs = gate(template, whom)
    return tuple(
        msgspec.structs.replace(
            _message(incident, template, whom, target, text, by=by, now=now),
            id=_id(incident.id, template, occasion, target.name, text),
            state="waiting" if needs else "queued",
            needs=needs,
            next_update_at=next_update_at,
        )
        for target in found
    )


def gate(template: Template, audience: Audience) -> tuple[str, ...]:
    """The roles that must approve a text: those of its template, and the communications lead of anything that
    leaves the house."""
    if audience in INSIDE:
        return ()
    return GATES.get(template, ("communications_lead",))


def pages(
    incident: Incident,
    level: str,
    why: str,
    *,
    occasion: str,
    call: Sequence[str],
    targets: Sequence[TargetEntry],
    now: float,
    template: Template = "page",
) -> tuple[Message, ...]:
    """A page to every target of this level, if there is one; `call`: how to reach its people."""
    text = Text(
        subject=f"[{incident.severity}] {level}: {incident.id} {plain(incident.title)}",
        body="\n".join(
            (
                f"Incident: {incident.id}",
                f"Severity: {incident.severity}",
                f"Started: {rfc3339(incident.estimated_start or incident.detected_at)}",
                f"Why you: {plain(why)}",
                f"Commander: {plain(incident.person('incident_commander')) or 'nobody yet'}",
                *(f"Call: {way}" for way in call),
                f"Acknowledge: airlock incident acknowledge {incident.id}",
            )
        ),
    )
    found = [
        each for each in targets if "page" in each.audiences and (not each.levels or level in each.levels)
    ]
    return tuple(
        msgspec.structs.replace(
            _message(incident, template, "page", target, text, by="airlock", now=now),
            id=_id(incident.id, template, occasion, target.name, text),
            channel=level,
        )
        for target in found
    )


def all_clear(
    incident: Incident, *, occasion: str, targets: Sequence[TargetEntry], now: float
) -> tuple[Message, ...]:
    """What ends the pages of an incident, for targets that know of such an end."""
    text = Text(subject=f"{incident.id} is {incident.status}", body=plain(incident.title))
    found = [each for each in targets if "page" in each.audiences and each.kind == "pagerduty"]
    return tuple(
        msgspec.structs.replace(
            _message(incident, "page", "page", target, text, by="airlock", now=now),
            id=_id(incident.id, "page", occasion, target.name, text),
            action="resolve",
        )
        for target in found
    )


def firing(incident: Incident, target: TargetEntry, *, now: float) -> Message:
    """What a target hears as long as an incident lasts; it is kept nowhere."""
    text = Text(subject=f"[{incident.severity}] {plain(incident.title)}", body=f"Status: {incident.status}")
    made = _message(incident, "page", "page", target, text, by="airlock", now=now)
    labels = {"rule": incident.rules[0] if incident.rules else "", "tenant": ",".join(incident.tenants)}
    return msgspec.structs.replace(made, labels={key: text for key, text in labels.items() if text})


def approve(message: Message, *, role: str, by: str, sha256: str, now: float) -> Message:
    """The message with one yes more; queued once nobody is missing.

    Raises `Unfit`: `message_state` where it waits for nobody, `approval_unneeded` for a role that it does not
    wait for, `approval_void` where the yes is to another text, `approver_repeated` for the same person twice.
    """
    if message.state != "waiting":
        raise Unfit("message_state", f"This message is {message.state}: it waits for nobody.")
    if role not in message.needs:
        raise Unfit(
            "approval_unneeded", f"It waits for {' and '.join(message.needs)}, not for {role[:64]!r}."
        )
    if sha256 != message.sha256:
        raise Unfit("approval_void", "That was another text: look at this one and approve its sha256.")
    if any(one_person(given.by, by) for given in message.approvals):
        raise Unfit("approver_repeated", "You have approved this text: the second yes is another person's.")
    needs = tuple(each for each in message.needs if each != role)
    return msgspec.structs.replace(
        message,
        needs=needs,
        state="waiting" if needs else "queued",
        due_at=now,
        approvals=(*message.approvals, Approval(role=role, by=by, at=now, sha256=sha256)),
    )


def approved(message: Message, *, by: Actor) -> IncidentEvent:
    """What the timeline says of the newest approval of a message."""
    given = message.approvals[-1]
    return IncidentEvent(
        kind="decision",
        at=given.at,
        occurred_at=given.at,
        actor=by,
        summary=f"{message.template} for {message.target} was approved as {given.role}",
        details={"role": given.role, "sha256": given.sha256, "state": message.state},
        refs=(message.id,),
    )


def drafted(several: Iterable[Message], *, by: Actor, now: float) -> tuple[IncidentEvent, ...]:
    """What the timeline says of messages that were made."""
    return tuple(
        IncidentEvent(
            kind="comm_drafted",
            at=now,
            occurred_at=now,
            actor=by,
            summary=f"{message.template} for {message.target} ({message.channel}) is {message.state}",
            details={"template": message.template, "target": message.target, "sha256": message.sha256},
            refs=(message.id,),
            once=f"drafted:{message.id}",
        )
        for message in several
    )


def _message(
    incident: Incident,
    template: Template,
    audience: Audience,
    target: TargetEntry,
    text: Text,
    *,
    by: str,
    now: float,
) -> Message:
    return Message(
        id="",
        incident=incident.id,
        template=template,
        audience=audience,
        target=target.name,
        channel=channel(audience, incident),
        subject=text.subject,
        body=text.body,
        sha256=text.sha256,
        severity=incident.severity,
        state="queued",
        created_at=now,
        created_by=by,
        due_at=now,
    )


def _id(incident: str, template: str, occasion: str, target: str, text: Text) -> str:
    """The same for the same occasion: it sorts by nothing, and says nothing."""
    told = text.sha256 if not occasion else ""
    return hashlib.sha256("\0".join((incident, template, occasion, target, told)).encode()).hexdigest()[:32]
