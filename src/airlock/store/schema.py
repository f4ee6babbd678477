"""The tables of control data, in SQL that SQLite and PostgreSQL both understand.

`migrations` creates them; a test compares both. Times are Unix seconds, JSON is text.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, Index, Integer, MetaData, Table, Text, text

metadata = MetaData()

parts = Table(
    "parts",
    metadata,
    Column("part", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)
"""One row per part of the snapshot; its version rises in the transaction that changes the part."""

pins = Table(
    "pins",
    metadata,
    Column("server", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("tool", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("definition", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("first_seen", Float(53), nullable=False),
    Column("decided_at", Float(53)),
    Column("decided_by", Text),
    CheckConstraint("state IN ('pinned', 'changed', 'replaced')", name="pins_state"),
)
"""Every digest that a tool showed. `pinned`: the one that may be called. `changed`: waits for a decision.
`replaced`: was pinned before another one was approved."""

one_pin = Index(
    "pins_one_pinned",
    pins.c.server,
    pins.c.tenant,
    pins.c.tool,
    unique=True,
    sqlite_where=text("state = 'pinned'"),
    postgresql_where=text("state = 'pinned'"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("server", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("replaced", Text, nullable=False),
    Column("decided_at", Float(53), nullable=False),
    Column("decided_by", Text, nullable=False),
)
"""Approvals that stand in no audit log yet: whoever records one takes it out. `replaced`: the digest that was
pinned before, or empty."""

revocations = Table(
    "revocations",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("expires_at", Float(53)),
    CheckConstraint("kind IN ('token', 'subject')", name="revocations_kind"),
)
"""`value` is the `jti`, or the JSON array of tenant, issuer and subject. No `expires_at`: for good."""

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("sid", Text, primary_key=True),
    Column("expires_at", Float(53), nullable=False),
)
"""Session ids that were ended before their own end, until that end."""
