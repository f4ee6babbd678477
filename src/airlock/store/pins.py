"""Pinned tool definitions: which digest of a tool may be called, and which others its server showed since.

A tool that was never seen may be pinned on first sight; the caller says so, and does it for servers of the
local configuration only. From then on any other digest waits for a decision, and seeing the old one again
changes nothing. At most one digest per tool is pinned, which the table itself enforces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select, update

from airlock.model.entry import Event
from airlock.store import outbox
from airlock.store.changes import PINS, Change
from airlock.store.database import Store
from airlock.store.schema import approvals, pins

State = Literal["pinned", "changed"]

MAX_TOOLS = 10_000
"""Tools remembered per server and tenant. More are refused unseen: a server must not fill the disk."""

NAMED_MOST = 20
"""Tools named in the row of an intake."""

MAX_WAITING = 8
"""Changed definitions kept per tool, the newest ones, for the same reason."""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One definition that a tool showed."""

    digest: str
    definition: dict[str, Any]
    first_seen: float
    """Unix seconds."""
    decided_by: str = ""
    """Who approved it; empty: nobody yet, or pinned on first sight."""


class PinChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is pinned of a tool, and what its server offered instead."""

    server: str
    tenant: str
    tool: str
    pinned: Definition | None
    """None: the tool was never approved."""
    waiting: tuple[Definition, ...]
    """Oldest first."""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody pinned a definition."""

    server: str
    tenant: str
    tool: str
    digest: str
    replaced: str
    """The digest that was pinned before; empty: none."""
    decided_at: float
    """Unix seconds."""
    decided_by: str


def observe(
    store: Store,
    *,
    server: str,
    tenant: str,
    tools: Mapping[str, tuple[str, dict[str, Any]]],
    pin_new: bool,
    now: float,
) -> dict[str, State]:
    """Note what a server offers: name -> (digest, definition), and say which of it may be called.

    One transaction; processes that observe at once get the same answer. Where everything is known already,
    nothing is written and no lock taken.
    """
    with store.read() as connection:
        known = _known(connection, server, tenant)
    if any((name, digest) not in known for name, (digest, _) in tools.items()):
        with store.change(PINS) as change:
            known = _record(change, server=server, tenant=tenant, tools=tools, pin_new=pin_new, now=now)
    return {
        name: "pinned" if known.get((name, digest)) == "pinned" else "changed"
        for name, (digest, _) in tools.items()
    }


def approve(
    store: Store, *, server: str, tenant: str = "", tool: str, digest: str, by: str, now: float
) -> None:
    """Pin a definition that was seen, in place of the one before. Raises `LookupError` for any other.

    The approval waits in the same transaction for somebody who records it.
    """
    this = _tool(server, tenant, tool)
    with store.change(PINS) as change:
        state = change.connection.execute(select(pins.c.state).where(this, pins.c.digest == digest)).scalar()
        if state is None:
            raise LookupError(f"{server} never offered {tool} with the digest {digest}")
        if state == "pinned":
            return
        replaced = change.connection.execute(select(pins.c.digest).where(this, pins.c.state == "pinned"))
        approval = Approval(
            server=server,
            tenant=tenant,
            tool=tool,
            digest=digest,
            replaced=replaced.scalar() or "",
            decided_at=now,
            decided_by=by,
        )
        change.connection.execute(insert(approvals).values(**msgspec.structs.asdict(approval)))
        change.connection.execute(update(pins).where(this, pins.c.state == "pinned").values(state="replaced"))
        change.connection.execute(
            update(pins)
            .where(this, pins.c.digest == digest)
            .values(state="pinned", decided_at=now, decided_by=by)
        )
        change.announce()


def record_approvals(store: Store, record: Callable[[Approval], None]) -> None:
    """Hand every approval that nobody recorded yet to `record`, oldest first, and forget it.

    One transaction holds others off, so that an approval is recorded once however many processes try. If
    `record` raises, the approval stays. A crash between its end and the commit repeats it: better twice than
    never.
    """
    with store.read() as connection:
        if connection.execute(select(approvals.c.n).limit(1)).scalar() is None:
            return
    with store.change(PINS) as change:
        for row in change.connection.execute(select(approvals).order_by(approvals.c.n)).all():
            number, *values = row
            record(Approval(**dict(zip(Approval.__struct_fields__, values, strict=True))))
            change.connection.execute(delete(approvals).where(approvals.c.n == number))


def last_decision(store: Store) -> float:
    """When the newest of the approvals in force was given, in Unix seconds; 0 if there is none."""
    with store.read() as connection:
        return connection.execute(select(func.max(pins.c.decided_at))).scalar() or 0.0


def digests(store: Store) -> dict[tuple[str, str, str], str]:
    """(server, tenant, tool) -> the digest that may be called: the part `pins` of a snapshot."""
    query = select(pins.c.server, pins.c.tenant, pins.c.tool, pins.c.digest).where(pins.c.state == "pinned")
    with store.read() as connection:
        return {(row.server, row.tenant, row.tool): row.digest for row in connection.execute(query)}


def list_changes(store: Store) -> list[PinChange]:
    """Every tool with definitions that wait for a decision, by server, tenant and tool."""
    waits = pins.alias()
    with_waiting = (
        select(waits.c.tool)
        .where(
            waits.c.server == pins.c.server,
            waits.c.tenant == pins.c.tenant,
            waits.c.tool == pins.c.tool,
            waits.c.state == "changed",
        )
        .exists()
    )
    return _grouped(store, select(pins).where(with_waiting))


def list_pins(store: Store, *, server: str, tenant: str) -> list[PinChange]:
    """Every tool that a server showed, with what is pinned of it and what waits."""
    return _grouped(store, select(pins).where(pins.c.server == server, pins.c.tenant == tenant))


def _grouped(store: Store, query: Select[tuple[Any, ...]]) -> list[PinChange]:
    ordered = query.where(pins.c.state != "replaced").order_by(
        pins.c.server, pins.c.tenant, pins.c.tool, pins.c.first_seen, pins.c.digest
    )
    found: dict[tuple[str, str, str], list[tuple[str, Definition]]] = {}
    with store.read() as connection:
        for row in connection.execute(ordered):
            seen = Definition(
                digest=row.digest,
                definition=msgspec.json.decode(row.definition),
                first_seen=row.first_seen,
                decided_by=row.decided_by or "",
            )
            found.setdefault((row.server, row.tenant, row.tool), []).append((row.state, seen))
    return [
        PinChange(
            server=server,
            tenant=tenant,
            tool=tool,
            pinned=next((seen for state, seen in rows if state == "pinned"), None),
            waiting=tuple(seen for state, seen in rows if state == "changed"),
        )
        for (server, tenant, tool), rows in found.items()
    ]


def _tool(server: str, tenant: str, tool: str) -> ColumnElement[bool]:
    return and_(pins.c.server == server, pins.c.tenant == tenant, pins.c.tool == tool)


def _known(connection: Connection, server: str, tenant: str) -> dict[tuple[str, str], str]:
    """(tool, digest) -> state. A digest that was replaced counts as unknown: coming back is a change too."""
    query = select(pins.c.tool, pins.c.digest, pins.c.state).where(
        pins.c.server == server, pins.c.tenant == tenant, pins.c.state != "replaced"
    )
    return {(row.tool, row.digest): row.state for row in connection.execute(query)}


def _record(
    change: Change,
    *,
    server: str,
    tenant: str,
    tools: Mapping[str, tuple[str, dict[str, Any]]],
    pin_new: bool,
    now: float,
) -> dict[tuple[str, str], str]:
    known = _known(change.connection, server, tenant)
    names = {name for name, _ in known}
    met = bool(names)
    new: list[dict[str, str | float]] = []
    for name, (digest, definition) in tools.items():
        if (name, digest) in known or (name not in names and len(names) >= MAX_TOOLS):
            continue
        row: dict[str, str | float] = {
            "server": server,
            "tenant": tenant,
            "tool": name,
            "digest": digest,
            "definition": msgspec.json.encode(definition).decode(),
            "state": "pinned" if pin_new and name not in names else "changed",
            "first_seen": now,
        }
        if name in names:
            _add(change.connection, **row)
        else:
            new.append(row)
        names.add(name)
        known[name, digest] = str(row["state"])
        change.announce()
    if new:
        taken_in = [str(row["tool"]) for row in new]
        twice = _elsewhere(change.connection, server, tenant, taken_in)
        change.connection.execute(insert(pins), new)
        if met or twice:
            outbox.leave(change.connection, _intake(server, tenant, taken_in if met else [], twice), at=now)
    return known


def _elsewhere(connection: Connection, server: str, tenant: str, tools: Sequence[str]) -> list[str]:
    """Of these names those that a server of the same tenant, or of all, has too."""
    query = select(pins.c.tool).where(
        pins.c.server != server, pins.c.state != "replaced", pins.c.tenant.in_({"", tenant})
    )
    return sorted(set(tools) & set(connection.scalars(query)))


def _intake(server: str, tenant: str, new: Sequence[str], twice: Sequence[str]) -> Event:
    """The row for tools that a known server did not have before, and for names that exist twice: one for all,
    because a server decides how many there are."""
    tools = list(dict.fromkeys((*new, *twice)))
    only = tools[0] if len(tools) == 1 else ""
    return Event(
        event_type="system",
        action="tool_intake",
        resource=f"mcp://{server}/{only}" if only else f"mcp://{server}",
        server_id=server,
        tool_name=only,
        tenant=tenant,
        reason="tool_unknown" if new else "name_collision",
        severity="HIGH",
        metadata={"tools": tools[:NAMED_MOST], "new": len(new), "collides": len(twice)},
    )


def _add(connection: Connection, **row: str | float) -> None:
    """Add a definition of a known tool.

    What is over `MAX_WAITING` makes room, and so does the same digest from when it was replaced.
    """
    this = and_(*(pins.c[column] == row[column] for column in ("server", "tenant", "tool")))
    connection.execute(delete(pins).where(this, pins.c.digest == row["digest"]))
    connection.execute(insert(pins).values(**row))
    waiting = select(pins.c.digest).where(this, pins.c.state == "changed")
    newest_first = waiting.order_by(pins.c.first_seen.desc(), pins.c.digest)
    surplus = list(connection.scalars(newest_first.offset(MAX_WAITING)))
    if surplus:
        connection.execute(delete(pins).where(this, pins.c.digest.in_(surplus)))
