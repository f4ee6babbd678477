"""Notices and pages: left here in the transaction that decides on them, sent by the engine."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from airlock.model.lease import Unfit
from airlock.model.message import Message, MessageState
from airlock.store.database import Store
from airlock.store.schema import cursors, messages

_message = msgspec.json.Decoder(Message).decode


def leave(connection: Connection, several: Sequence[Message]) -> None:
    """Leave messages with the transaction of this connection; one that is there already stays as it is."""
    for message in several:
        if get(connection, message.id) is None:
            connection.execute(insert(messages).values(**_row(message)))


def put(connection: Connection, message: Message) -> None:
    """The message as it is from here on."""
    connection.execute(update(messages).where(messages.c.id == message.id).values(**_row(message)))


def get(connection: Connection, id: str) -> Message | None:
    """One message; None where there is none of this id."""
    document = connection.execute(select(messages.c.document).where(messages.c.id == id)).scalar()
    return None if document is None else _message(document)


def find(connection: Connection, id: str) -> Message:
    """One message. Raises `Unfit` `message_unknown`."""
    found = get(connection, id)
    if found is None:
        raise unknown(id)
    return found


def unknown(id: str) -> Unfit:
    """There is no such message, or none of this incident."""
    return Unfit("message_unknown", f"There is no message {id[:64]!r}: `airlock incident comms` lists them.")


def due(store: Store, *, now: float, limit: int = 1024) -> list[Message]:
    """Messages whose time to be sent has come, the longest waiting first. `now` in Unix seconds."""
    this = (messages.c.state == "queued") & (messages.c.due_at <= now)
    query = select(messages.c.document).where(this).order_by(messages.c.due_at).limit(limit)
    with store.read() as connection:
        return [_message(document) for document in connection.execute(query).scalars()]


def listing(store: Store, *, incident: str, state: MessageState | None = None) -> list[Message]:
    """The messages of an incident in the order of their making."""
    query = select(messages.c.document).where(messages.c.incident == incident).order_by(messages.c.id)
    if state is not None:
        query = query.where(messages.c.state == state)
    with store.read() as connection:
        return [_message(document) for document in connection.execute(query).scalars()]


def cursor(connection: Connection, name: str) -> str:
    """Where a reader stands; empty: at the beginning."""
    return connection.execute(select(cursors.c.document).where(cursors.c.name == name)).scalar() or ""


def move(connection: Connection, name: str, document: str) -> None:
    """Let a reader stand here."""
    connection.execute(delete(cursors).where(cursors.c.name == name))
    connection.execute(insert(cursors).values(name=name, document=document))


def _row(message: Message) -> dict[str, object]:
    return {
        "id": message.id,
        "incident": message.incident,
        "state": message.state,
        "due_at": message.due_at,
        "document": msgspec.json.encode(message).decode(),
    }
