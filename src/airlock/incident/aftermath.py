"""What people say of an incident afterwards, and what they will do: the review and its action items."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from airlock.incident.keeping import alive, said
from airlock.incident.occasion import Occasion
from airlock.incident.orders import AddAction, CloseAction, WriteReview
from airlock.incident.settling import settle
from airlock.incident.texts import check, needed
from airlock.model.incident import Decided, Incident, Why
from airlock.model.lease import Unfit

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_OWN_NAMES = {"preventive_measures": "prevention"}
"""Fields of the review whose name one of the five questions has too."""


def write_review(incident: Incident, order: WriteReview, occasion: Occasion) -> Decided:
    """Words for the review; what is left out stays. Raises `GuardFailed`, `Unfit` `text_invalid`."""
    check(order)
    alive("review", incident)
    given = {name: value for name in order.__struct_fields__ if (value := getattr(order, name)) is not UNSET}
    answers = {name: value for name, value in given.items() if name in Why.__struct_fields__}
    others = {_OWN_NAMES.get(name, name): value for name, value in given.items() if name not in answers}
    whys = msgspec.structs.replace(incident.review.whys, **answers)
    review = msgspec.structs.replace(incident.review, whys=whys, **others)
    if review == incident.review:
        return Decided(incident=incident)
    after = msgspec.structs.replace(incident, review=review)
    names = ", ".join(name.replace("_", " ") for name in given)
    return settle(incident, after, (said("note", occasion, f"Review: {names}", changed=given),), occasion.now)


def add_action(incident: Incident, order: AddAction, occasion: Occasion) -> Decided:
    """An action item, with the next free id `A-1`, `A-2`... Raises `GuardFailed`, `Unfit` `text_invalid`,
    `date_invalid`."""
    check(order)
    alive("action", incident)
    item = order.item
    needed("text", item.text)
    if item.due and not _is_date(item.due):
        raise Unfit("date_invalid", f"{item.due[:64]!r} is no date: write YYYY-MM-DD.")
    item = msgspec.structs.replace(item, id=f"A-{len(incident.actions) + 1}", closed_at=None)
    after = msgspec.structs.replace(incident, actions=(*incident.actions, item))
    event = said(
        "action_item_created",
        occasion,
        f"Action {item.id}: {item.text}",
        action=item.id,
        owner=item.owner,
        due=item.due,
        priority=item.priority,
        item_kind=item.kind,
    )
    return settle(incident, after, (event,), occasion.now)


def close_action(incident: Incident, order: CloseAction, occasion: Occasion) -> Decided:
    """An action item is done, also long after the incident. Raises `Unfit` `action_item_unknown`."""
    check(order)
    item = next((each for each in incident.actions if each.id == order.id), None)
    if item is None or item.closed_at is not None:
        raise Unfit("action_item_unknown", f"There is no open action item {order.id[:64]!r}.")
    actions = tuple(
        msgspec.structs.replace(each, closed_at=occasion.now) if each == item else each
        for each in incident.actions
    )
    after = msgspec.structs.replace(incident, actions=actions)
    note = f": {order.note}" if order.note else ""
    event = said("action_item_closed", occasion, f"Action {item.id} done: {item.text}{note}", action=item.id)
    return settle(incident, after, (event,), occasion.now)


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True
