"""Pins and their approvals, revocations, ended sessions and the versions of parts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    parts = op.create_table(
        "parts",
        sa.Column("part", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(parts, [{"part": part, "version": 1} for part in ("pins", "revocations", "sessions")])
    op.create_table(
        "pins",
        sa.Column("server", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("tool", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("first_seen", sa.Float(53), nullable=False),
        sa.Column("decided_at", sa.Float(53)),
        sa.Column("decided_by", sa.Text),
        sa.CheckConstraint("state IN ('pinned', 'changed', 'replaced')", name="pins_state"),
    )
    op.create_index(
        "pins_one_pinned",
        "pins",
        ["server", "tenant", "tool"],
        unique=True,
        sqlite_where=sa.text("state = 'pinned'"),
        postgresql_where=sa.text("state = 'pinned'"),
    )
    op.create_table(
        "approvals",
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("replaced", sa.Text, nullable=False),
        sa.Column("decided_at", sa.Float(53), nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
    )
    op.create_table(
        "revocations",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53)),
        sa.CheckConstraint("kind IN ('token', 'subject')", name="revocations_kind"),
    )
    op.create_table(
        "ended_sessions",
        sa.Column("sid", sa.Text, primary_key=True),
        sa.Column("expires_at", sa.Float(53), nullable=False),
    )
