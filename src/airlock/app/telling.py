"""The addresses of notices and contacts, composed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from airlock.api.comms import CommsApi
from airlock.api.deciding import Deciding
from airlock.app import outside, record
from airlock.app.dispatching import load
from airlock.app.notices import writer
from airlock.core.config import Config
from airlock.incident.comms import contacts
from airlock.incident.comms.contacts import Contacts
from airlock.incident.comms.outgoing import Text
from airlock.model.message import Template


def api(deciding: Deciding, *, base: Callable[[], Config]) -> CommsApi:
    """The addresses of notices, over the configuration of the moment."""

    def write(id: str, template: Template) -> Text:
        config = base()
        where = record.sources(config, deciding.store)
        return writer(where, service=partial(outside.service, config), clock=deciding.clock)(id, template)

    def known() -> Contacts:
        file = base().incident.contacts_file
        return contacts.NOBODY if file is None else load(file)

    return CommsApi(deciding, settings=lambda: base().incident, write=write, load=known)
