"""What operators changed of detection rules: mode and thresholds, for everybody or for one tenant."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select

from airlock.model.detection import Setting
from airlock.model.entry import Event
from airlock.store import outbox
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from airlock.store.schema import rule_settings

_setting = msgspec.json.Decoder(Setting).decode


def load(store: Store) -> dict[tuple[str, str], Setting]:
    """Every setting by rule and tenant; the tenant `` is everywhere."""
    with store.read() as connection:
        rows = connection.execute(select(rule_settings)).all()
    return {(row.rule, row.tenant): _setting(row.document) for row in rows}


def put(store: Store, *, rule: str, tenant: str, setting: Setting, event: Event, now: float) -> None:
    """Set what holds for a rule and tenant; a setting that changes nothing takes the old one back.

    The row for the audit log is left in the same transaction.
    """
    document = msgspec.json.encode(setting).decode()
    with store.change(INCIDENTS) as change:
        this = (rule_settings.c.rule == rule) & (rule_settings.c.tenant == tenant)
        change.connection.execute(delete(rule_settings).where(this))
        if setting != Setting():
            values = {"rule": rule, "tenant": tenant, "document": document}
            change.connection.execute(insert(rule_settings).values(**values))
        outbox.leave(change.connection, event, at=now)
        change.announce()
