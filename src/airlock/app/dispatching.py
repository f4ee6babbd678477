"""The engine's loop that tells people: it makes what timelines call for, and delivers what is due.

1 what happened since the last look makes messages, and the look is noted, in one transaction
2 what is due is sent: to every target at the same time, to one of them one message after the other
3 the receipt, the record and its timeline change together; a crash before that sends again: better twice than
  never, and the other side folds by the id of the incident

While an incident lasts, targets of kind `alertmanager` hear of it again and again, as that protocol wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, cast

from airlock.app.posting import Notifier
from airlock.core.clock import Clock
from airlock.core.errors import ConfigError, Fault
from airlock.core.incident_config import IncidentSection, TargetEntry
from airlock.incident.comms import contacts, delivery, outgoing
from airlock.incident.comms.contacts import Contacts
from airlock.incident.comms.outgoing import Text
from airlock.incident.comms.payloads import Verdict
from airlock.incident.escalation import PARTIES
from airlock.incident.guard import GuardFailed
from airlock.model.incident import SYSTEM_ACTOR, Incident, Recorded
from airlock.model.lease import Unfit
from airlock.model.message import Message, Template
from airlock.store import incidents, messages
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store

EVERY = 1.0
"""Seconds between two looks."""

REFIRE = 60.0
"""Seconds between two words to an Alertmanager, which forgets after some minutes."""

PATIENCE = 3.0
"""Seconds of one look that one target may take before the rest of its messages waits for the next."""

CURSOR = "dispatch"

AT_DECLARATION: tuple[Template, ...] = ("notification", "team")
ENDS = ("RESOLVED", "CLOSED", "CANCELLED", "MERGED")

Write = Callable[[str, Template], Text]
"""Renders a notice of an incident from its record. Raises `Fault`, `Unfit`. Blocks."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Dispatch:
    """One for each engine."""

    def __init__(
        self,
        *,
        store: Store,
        settings: IncidentSection,
        notifier: Notifier,
        write: Write,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._store = store
        self._settings = settings
        self._notifier = notifier
        self._write = write
        self._clock = clock
        self._log = log
        self._fired = -REFIRE
        self.trouble = ""
        """What is wrong, while it is tried again; empty: nothing."""

    def configure(self, settings: IncidentSection) -> None:
        """Take over a reloaded section."""
        self._settings = settings

    async def run(self) -> None:
        """Work until cancelled. What fails is tried again, and keeps nothing else from being done."""
        while True:
            trouble = ""
            for step in (partial(asyncio.to_thread, self.make), self.deliver, self._refire):
                try:
                    await step()
                except (Fault, OSError, ValueError) as failed:
                    trouble = trouble or str(failed)
            if trouble and not self.trouble:
                self._log.error("dispatch_stale", detail=trouble)
            self.trouble = trouble
            await asyncio.sleep(EVERY)

    def make(self) -> int:
        """1. Returns how many messages there are more. Blocks."""
        with self._store.read() as connection:
            behind = int(messages.cursor(connection, CURSOR) or 0)
        news = incidents.since(self._store, behind)
        if not news:
            return 0
        known = self._contacts()
        made = [(recorded, self._called_for(recorded, known)) for _, recorded in news]
        now = self._clock.wall()
        with self._store.change(INCIDENTS) as change:
            for recorded, several in made:
                messages.leave(change.connection, several)
                events = outgoing.drafted(several, by=SYSTEM_ACTOR, now=now)
                if events:
                    incidents.append(change, recorded.incident, events)
            messages.move(change.connection, CURSOR, str(news[-1][0]))
        return sum(len(several) for _, several in made)

    async def deliver(self) -> int:
        """2 and 3. Returns how many were tried."""
        queues: dict[str, list[Message]] = {}
        for message in await asyncio.to_thread(lambda: messages.due(self._store, now=self._clock.wall())):
            queues.setdefault(message.target, []).append(message)
        return sum(await asyncio.gather(*map(self._emptied, queues.values())))

    async def _emptied(self, queue: Sequence[Message]) -> int:
        """Send what waits for one target; where that takes long, the rest is for the next look."""
        until = self._clock.monotonic() + PATIENCE
        for tried, message in enumerate(queue, 1):
            target = next((each for each in self._settings.targets if each.name == message.target), None)
            if target is None:
                verdict = Verdict(delivered=False, detail="the configuration has no such target", again=False)
            else:
                verdict = await self._notifier.deliver(target, message)
            await asyncio.to_thread(self._noted, message, verdict)
            if self._clock.monotonic() >= until:
                return tried
        return len(queue)

    def _noted(self, message: Message, verdict: Verdict) -> None:
        """3. Where the record takes no more, the receipt is kept all the same: nothing is sent for ever."""
        after = delivery.after(message, verdict, now=self._clock.wall())
        try:
            self._kept(message, after, verdict)
        except (Unfit, GuardFailed):
            with self._store.change(INCIDENTS) as change:
                messages.put(change.connection, after)
        self._say(message, message.template, after.state, verdict)

    def _say(self, message: Message, template: str, state: str, verdict: Verdict) -> None:
        told = {"incident": message.incident, "target": message.target, "detail": verdict.detail}
        if verdict.delivered:
            self._log.info("notice", template=template, state=state, **told)
        else:
            self._log.warning("notice", template=template, state=state, **told)

    def _kept(self, message: Message, after: Message, verdict: Verdict) -> None:
        """Message, record and timeline, in one transaction. Raises `Unfit`, `GuardFailed`."""
        now = self._clock.wall()
        with self._store.change(INCIDENTS) as change:
            messages.put(change.connection, after)
            changed = incidents.change(
                change,
                message.incident,
                lambda incident: delivery.told(incident, after, ticket=verdict.ticket, now=now),
            )
            if after.state == "failed" and message.template != "reminder":
                several = self._undelivered(changed.incident, after)
                messages.leave(change.connection, several)
                incidents.append(
                    change, message.incident, outgoing.drafted(several, by=SYSTEM_ACTOR, now=now)
                )

    def _undelivered(self, incident: Incident, message: Message) -> tuple[Message, ...]:
        """The communications lead hears of a message that was given up, by every other way."""
        others = [each for each in self._settings.targets if each.name != message.target]
        lead = incident.person("communications_lead") or "nobody"
        why = f"{message.template} for {message.target} was not delivered; communications lead: {lead}"
        return outgoing.pages(
            incident,
            "L1",
            why,
            occasion=f"failed:{message.id}",
            call=self._contacts().reach("L1"),
            targets=others,
            now=self._clock.wall(),
            template="reminder",
        )

    def _called_for(self, recorded: Recorded, known: Contacts) -> tuple[Message, ...]:
        """The messages that one event calls for."""
        incident = incidents.get(self._store, recorded.incident)
        if incident is None:
            return ()
        event, occasion = recorded.event, f"event:{recorded.seq}"
        targets, now = self._settings.targets, self._clock.wall()
        if event.kind == "escalated":
            return outgoing.pages(
                incident,
                str(event.details.get("level", "L1")),
                event.summary,
                occasion=occasion,
                call=known.of(*_called(event.details)),
                targets=targets,
                now=now,
            )
        if event.kind == "clock_breached" and event.details.get("kind") == "update":
            lead = incident.person("communications_lead") or "nobody yet"
            return outgoing.pages(
                incident,
                "L1",
                f"an update is overdue since {event.details.get('due_at')}; communications lead: {lead}",
                occasion=occasion,
                call=known.reach("L1"),
                targets=targets,
                now=now,
                template="reminder",
            )
        if event.kind == "status_changed" and incident.status in ENDS:
            return outgoing.all_clear(incident, occasion=occasion, targets=targets, now=now)
        if event.kind == "declared":
            return self._announced(incident, occasion)
        return ()

    def _announced(self, incident: Incident, occasion: str) -> tuple[Message, ...]:
        """What a declaration sends by itself: P0 and P1 to the house, and a ticket to be opened."""
        templates: Sequence[Template] = AT_DECLARATION if incident.severity in ("P0", "P1") else ()
        several: list[Message] = []
        for template in (*templates, "ticket"):
            rendered: Template = "notification" if template == "ticket" else template
            if template == "ticket" and incident.ticket_url:
                continue
            try:
                text = self._write(incident.id, rendered)
                several += outgoing.notices(
                    incident,
                    template,
                    text,
                    occasion=occasion,
                    targets=self._settings.targets,
                    by="airlock",
                    now=self._clock.wall(),
                )
            except Unfit:  # nobody to tell: `contacts check` and the night page say so
                continue
        return tuple(several)

    async def _refire(self) -> None:
        targets = [each for each in self._settings.targets if each.kind == "alertmanager"]
        if not targets or self._clock.monotonic() - self._fired < REFIRE:
            return
        self._fired = self._clock.monotonic()
        found = await asyncio.to_thread(lambda: incidents.listing(self._store))
        firing = [each for each in found if each.status not in ENDS and each.status != "IN_REVIEW"]
        await asyncio.gather(*(self._tell_again(firing, target) for target in targets))

    async def _tell_again(self, firing: Sequence[Incident], target: TargetEntry) -> None:
        """Say what fires; to a target that does not take it, nothing more before the next time."""
        for incident in firing:
            message = outgoing.firing(incident, target, now=self._clock.wall())
            verdict = await self._notifier.deliver(target, message)
            if not verdict.delivered:
                self._say(message, "firing", "failed", verdict)
                return

    def _contacts(self) -> Contacts:
        """What the file says at this time; a broken one leaves pages without numbers, and is said."""
        if self._settings.contacts_file is None:
            return contacts.NOBODY
        try:
            return load(self._settings.contacts_file)
        except ConfigError as wrong:
            self._log.warning("contacts", detail=str(wrong))
            return contacts.NOBODY


def load(path: str) -> Contacts:
    """The contacts in a file. Raises `ConfigError`."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}") from error
    return contacts.read(text, name=path)


def _called(details: Mapping[str, object]) -> list[str]:
    """Where contacts have those whom an escalation names."""
    people, parties = _names(details.get("contacts")), _names(details.get("parties"))
    return [*people, *(PARTIES[party] for party in parties if party in PARTIES)]


def _names(value: object) -> list[str]:
    several = cast("list[object]", value) if isinstance(value, list) else []
    return [each for each in several if isinstance(each, str)]
