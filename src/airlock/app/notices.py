"""Notices as whoever sends them gets them: rendered from the record of the moment."""

from __future__ import annotations

from collections.abc import Callable

from airlock.app import record
from airlock.app.record import Sources
from airlock.core.clock import Clock
from airlock.incident.comms.outgoing import Text
from airlock.incident.render.documents import NOTICES, notice
from airlock.incident.render.record import Service
from airlock.model.lease import Unfit
from airlock.model.message import Template


def writer(
    where: Sources, *, service: Callable[[], Service], clock: Clock
) -> Callable[[str, Template], Text]:
    """What renders a notice of an incident. Blocks; raises `Unfit` for a template that is no notice."""

    def write(id: str, template: Template) -> Text:
        if template not in NOTICES:
            raise Unfit("template_unknown", f"{template} is no notice: one of {', '.join(NOTICES)}.")
        made = notice(template, record.gather(where, id, service=service(), clock=clock, verify=False))
        return Text(subject=made.subject or made.body.partition("\n")[0], body=made.body)

    return write
